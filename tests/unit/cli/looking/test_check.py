"""How a visit is shown, what the daemon's word is taken for, and which exit code a program learns."""

from __future__ import annotations

import argparse
import json
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from agent import cli
from agent.cli.carrying import client
from agent.cli.command_line.parser import parse
from agent.cli.looking import check
from agent.cli.writing.output import Output
from agent.config.reader import load
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.core.report import checks
from agent.core.report.checks import CHECKS, Line, Verdict
from agent.core.report.notices import Told
from agent.doctor.examination import DaemonWord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.config.values import Config

FINE = {name: checks.ok(name, "Fine.") for name in CHECKS}
BROKEN = checks.failure("tcp", "unreachable", "No way.", "Find one.", Exit.UNAVAILABLE)
IDLE = checks.failure("daemon", "no-daemon", "None runs.", "Start it.")
ODD = checks.warning("tls", "tls-1.3-only", "Only one.", "Choose two.")
UNSEEN = checks.skipped("server", "something before it has failed")


def carried_out(
    monkeypatch: pytest.MonkeyPatch, *found: Line, names: tuple[str, ...] = (), as_json: bool = False
) -> Exit:
    """Show a visit that found these lines, and fine ones for the rest."""
    lines = tuple({**FINE, **{line.check: line for line in found}}.values())

    class FakeVisit:
        def __init__(self, *_: object) -> None:
            pass

        def visit(self, _names: object = None, tell: Callable[[Line], None] = lambda _: None) -> tuple[Line, ...]:
            for line in lines:
                tell(line)
            return lines

    monkeypatch.setattr(check, "Doctor", FakeVisit)
    arguments = argparse.Namespace(config=None, names=list(names))
    return check.carry_out(arguments, Output(as_json=as_json))


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_people_read_a_line_for_each_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The remedy stands below what is wrong and nowhere else; with two failures, where to begin is said."""
    assert carried_out(monkeypatch, BROKEN, ODD, UNSEEN, IDLE) is Exit.UNAVAILABLE
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(CHECKS) + 3 + 1
    assert shown[0] == "ok        configuration  Fine."
    at = shown.index("failure   tcp            No way.")
    assert shown[at + 1] == " " * 25 + "Find one."
    assert shown[at + 2 : at + 5] == [
        "warning   tls            Only one.",
        " " * 25 + "Choose two.",
        "skipped   server         Skipped: something before it has failed.",
    ]
    assert shown[-1] == "Begin with tcp: it may be the reason of the others."


@pytest.mark.parametrize(
    ("found", "code"), [((), Exit.DONE), ((ODD,), Exit.DEGRADED), ((IDLE,), Exit.DEGRADED), ((UNSEEN,), Exit.DONE)]
)
def test_one_failure_needs_no_beginning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: tuple[Line, ...], code: Exit
) -> None:
    """It is the beginning."""
    assert carried_out(monkeypatch, *found) is code
    assert "Begin with" not in capsys.readouterr().out


def test_machines_read_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An object for each line, and one for the whole with the cause and the exit code."""
    assert carried_out(monkeypatch, BROKEN, IDLE, as_json=True) is Exit.UNAVAILABLE
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [item.get("check") for item in shown] == [*CHECKS, None]
    assert shown[CHECKS.index("tcp")] == {
        "event": "line", "check": "tcp", "verdict": "failure", "code": "unreachable", "text": "No way.",
        "remedy": "Find one.", "exit": 5,
    }  # fmt: skip
    assert shown[-1] == {"event": "check", "cause": "tcp", "exit": 5}
    assert carried_out(monkeypatch, ODD, as_json=True) is Exit.DEGRADED
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"event": "check", "cause": None, "exit": 1}


def test_only_what_was_asked_for_is_shown_and_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of cause before effect, whatever order they were asked for in."""
    assert carried_out(monkeypatch, BROKEN, IDLE, names=("tls", "dns")) is Exit.DONE
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["dns", "tls"]
    assert carried_out(monkeypatch, BROKEN, IDLE, names=("daemon",)) is Exit.DEGRADED
    assert "Begin with" not in capsys.readouterr().out


def test_what_could_not_be_looked_at_is_shown_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 would say that it is in order."""
    assert carried_out(monkeypatch, BROKEN, UNSEEN, IDLE, names=("server",)) is Exit.UNAVAILABLE
    shown = [line.split()[1] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert shown == ["tcp", "server"]


def test_nothing_from_outside_steers_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name in a stranger's certificate is shown, not obeyed."""
    carried_out(monkeypatch, checks.failure("server", "wrong-host", "For \x1b[2J\n\x07.", "Check.\x1b]0;"))
    said = capsys.readouterr().out
    assert not {"\x1b", "\x07"} & set(said)


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_can_be_named(name: str) -> None:
    """And more than one."""
    assert parse(["check", name, "dns"]).names == [name, "dns"]
    assert parse(["check"]).names == []


def test_a_name_that_is_none_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as for every wrong command line."""
    with pytest.raises(SystemExit) as caught:
        parse(["check", "tsl"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "'tsl'" in said
    assert all(name in said for name in CHECKS)
    assert "[]" not in said


@pytest.mark.parametrize("content", [None, "", "a: [", "endpoint: https://x\n", "endpoint: x\ncolour: blue\n"])
def test_a_configuration_that_cannot_be_used_is_the_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    """The command itself says so, as a line and with exit code 2."""
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    assert cli.main(["--config", str(path), "check", "--json"]) == Exit.USAGE
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (shown[0]["check"], shown[0]["verdict"]) == ("configuration", "failure")
    assert str(path) in shown[0]["text"]
    assert shown[-1]["cause"] == "configuration"
    assert {item["verdict"] for item in shown[1:-1]} == {"skipped"}


# -- what the daemon says ----------------------------------------------------------------------------------------------


def config_of(tmp_path: Path) -> Config:
    """Return a configuration without a store."""
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoint: localhost\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}\n")
    return load(path)


@contextmanager
def daemon(tmp_path: Path, answers: dict[str, dict[str, Any]]) -> Iterator[list[str]]:
    """Answer each verb on the control socket with one message; gives the verbs that were asked."""
    asked: list[str] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, connection.makefile("rb") as heard:
                        verb = json.loads(heard.readline())["verb"]
                        asked.append(verb)
                        connection.sendall(json.dumps(answers[verb]).encode() + b"\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


REFUSAL = {"event": "error", "message": "Only root may.", "hint": "Use sudo.", "exit": 4}


def live(tmp_path: Path, *, examine: bool) -> DaemonWord:
    """Return what the daemon tells, if there is one."""
    config = config_of(tmp_path)
    stands = check.live(config, None)
    return check.live(config, stands) if examine else stands


def test_a_daemon_is_asked_once_how_it_stands(tmp_path: Path) -> None:
    """Each answer costs it a look at its connection and its files."""
    examined, status = {"event": "examination", "lines": [], "exit": 0}, {"event": "status", "exit": 0}
    with daemon(tmp_path, {"examine": examined, "status": status}) as asked:
        live(tmp_path, examine=True)
    assert asked == ["status", "examine"]


def test_the_daemon_looks_for_a_user_who_may_change_things(tmp_path: Path) -> None:
    """Its lines are taken as they are."""
    told = [checks.ok("connect", "Yes."), checks.failure("permissions", "x", "No.", "Add it.")]
    answer = {"event": "examination", "lines": [to_plain(line) for line in told], "exit": 0}
    finding: dict[str, Any] = {"check": "disk", "code": "unusable", "severity": 1, "text": "Cannot lock it."}
    status = {"event": "status", "document": {"findings": [finding]}, "exit": 1}
    with daemon(tmp_path, {"examine": answer, "status": status}):
        assert live(tmp_path, examine=True) == DaemonWord(lines=tuple(told), runs=True)
        assert live(tmp_path, examine=False) == DaemonWord(runs=True, findings=(Told(**finding),))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"event": "status", "document": {"connection": {"state": "up"}}, "exit": 0}, Verdict.OK),
        ({"event": "status", "document": {"connection": {"state": "down"}}, "exit": 0}, Verdict.SKIPPED),
        ({"event": "status", "document": {}, "exit": 0}, Verdict.SKIPPED),
        (REFUSAL, Verdict.SKIPPED),
    ],
)
def test_a_user_who_may_only_look_learns_what_the_daemon_shows(
    tmp_path: Path, status: dict[str, Any], verdict: Verdict
) -> None:
    """The connection's state is no secret; what was skipped, and how to have it looked at, is said."""
    with daemon(tmp_path, {"examine": REFUSAL, "status": status}):
        found = live(tmp_path, examine=True)
    lines = found.lines
    assert found.runs is True
    assert [line.check for line in lines] == ["connect", "permissions"]
    assert [line.verdict for line in lines] == [verdict, Verdict.SKIPPED]
    assert lines[1].text == "Skipped: Only root may. Use sudo."


def test_a_user_who_may_only_look_learns_of_another_client_with_the_same_id(tmp_path: Path) -> None:
    """A connection that is up may be ended in the next second, so it is not called sound."""
    link = {"state": "up", "rival": "Another client connected as gw-0042."}
    status = {"event": "status", "document": {"connection": link}, "exit": 1}
    with daemon(tmp_path, {"examine": REFUSAL, "status": status}):
        lines = live(tmp_path, examine=True).lines
    assert [(line.check, line.code) for line in lines] == [("connect", "taken-over"), ("permissions", "not-looked-at")]
    assert lines[0].text.startswith("Another client connected as gw-0042.")


def test_without_a_daemon_or_a_set_the_reason_is_told(tmp_path: Path) -> None:
    """Nothing is made up, and nothing is made on disk."""
    found = live(tmp_path, examine=True)
    lines = found.lines
    assert (found.runs, found.findings) == (False, None)
    assert {line.verdict for line in lines} == {Verdict.SKIPPED}
    assert "This gateway has no certificate yet" in lines[0].text
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("examine", [True, False])
def test_a_socket_whose_service_never_comes_up_is_no_daemon_that_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, examine: bool
) -> None:
    """Systemd listens, and connects; that nothing answers is the fault."""
    monkeypatch.setattr(client.call, "__kwdefaults__", {"timeout": 0.1})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        found = live(tmp_path, examine=examine)
    (line,) = [line for line in found.lines if line.check == "daemon"]
    assert (line.verdict, line.code, line.exit) == (Verdict.FAILURE, "daemon-silent", Exit.DEGRADED)
    assert "does not answer" in line.text
    assert "systemctl status iot-cert-agent" in line.remedy
