"""What a doctor does not ask in vain because something else is the cause, and what is evidence about a clock."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.config.reader import load
from agent.core.exit_codes import Exit
from agent.core.report.checks import Line, Verdict
from agent.core.report.notices import Told
from agent.doctor import probes
from agent.doctor.examination import DaemonWord, Doctor
from agent.errors import ConfigError
from agent.sandbox.replies.faults import Effect, Operation
from agent.system.clock import SystemClock
from support.network.depot import Depot
from support.network.servers import closed_port, server, speaks, tls_context
from support.shorthand import planted
from support.unit.visits import DAY, NOW, ROOT, of_store, visit, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from agent.config.values import Config
    from agent.sandbox.account.authority import Authority
    from support.simulated.rig import Rig


@pytest.fixture
def unsynchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock be unsynchronised."""
    monkeypatch.setattr(SystemClock, "synchronised", lambda _: False)


# -- what rests on what ------------------------------------------------------------------------------------------------


def test_without_a_configuration_nothing_else_is_looked_at(tmp_path: Path) -> None:
    """All other lines say why."""
    lines = visit(tmp_path / "config.yaml")
    assert (lines["configuration"].verdict, lines["configuration"].exit) == (Verdict.FAILURE, Exit.USAGE)
    others = [line for name, line in lines.items() if name != "configuration"]
    assert {line.text for line in others} == {"Skipped: the configuration cannot be used."}


@pytest.mark.parametrize("kind", ["directory", "pipe", "dangling", "loop", "null", "device", "socket", "sparse"])
def test_what_stands_in_place_of_the_configuration_is_told_with_what_helps(tmp_path: Path, kind: str) -> None:
    """By `check` as by the other verbs: there is no list of complaints about what cannot be read."""
    path = tmp_path / "config.yaml"
    with planted.at(path, kind):
        with pytest.raises(ConfigError) as refused:
            load(path)
        line = visit(path)["configuration"]
    assert refused.value.hint
    assert line.text == f"{refused.value}."
    assert line.remedy == f"{refused.value.hint} The daemon keeps the configuration it has."


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"endpoint: x\0y\n", "Save it as UTF-8 text, or put the file that is meant in its place."),
        (b"\xfe\n", "Save it as UTF-8 text, or put the file that is meant in its place."),
        (b"a: [\n", "A line is `key: value`, with a blank behind the colon;"),
        (b"", "`iot-cert config check` lists all complaints; the daemon keeps the configuration it has."),
        (b"a: 1\nb: 2\n", "`iot-cert config check` lists all complaints; the daemon keeps the configuration it has."),
    ],
)
def test_a_configuration_that_cannot_be_understood_is_told_with_what_helps(
    tmp_path: Path, content: bytes, remedy: str
) -> None:
    """Where one thing is wrong, with that; where more is, with the way to all of it."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    assert visit(path)["configuration"].remedy.startswith(remedy)


def test_a_legacy_endpoint_is_no_reason_to_stop_unless_more_is_wrong(tmp_path: Path) -> None:
    """The rest of the gateway is looked at; a second mistake in the file comes first."""
    legacy = "endpoint: abc123.iot.eu-west-1.amazonaws.com\n"
    proxied = f"proxy: {{host: localhost, port: {closed_port()}}}\n"
    path = write(tmp_path, 8883, proxied)
    path.write_text(path.read_text().replace("endpoint: localhost\n", legacy))
    lines = visit(path)
    assert (lines["configuration"].verdict, lines["endpoint"].code) == (Verdict.OK, "legacy-endpoint")
    assert lines["dns"].text.startswith("localhost is ")
    path.write_text(path.read_text() + "endpiont: x\n")
    assert visit(path)["configuration"].verdict is Verdict.FAILURE


def test_a_blocked_port_is_told_from_a_dead_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When 443 is open, the way out is one line of configuration; on another port than 8883 it is not offered."""
    with socket.create_server(("127.0.0.1", 0)) as https:
        monkeypatch.setattr(probes, "HTTPS_PORT", https.getsockname()[1])
        blocked = visit(write(tmp_path, 8883))["tcp"]
        other = visit(write(tmp_path, closed_port()))["tcp"]
    assert (blocked.code, blocked.exit) == ("port-blocked", Exit.UNAVAILABLE)
    assert "set `port: 443`" in blocked.remedy
    assert other.code == "unreachable"
    assert visit(write(tmp_path, 8883))["tcp"].code == "unreachable"


def tls_server(
    issuer: Authority = ROOT, *, until: timedelta = DAY, host: str = "localhost"
) -> AbstractContextManager[int]:
    """Run a server whose certificate ends some time from now, and give its port."""
    return server(speaks(tls_context(issuer.issue_server(host, NOW - 30 * DAY, NOW + until))))


def test_what_needs_the_key_is_not_asked_for_in_vain(rig: Rig) -> None:
    """Without a usable set, and without a verified server, there is nothing to connect with or to."""
    asked: list[bool] = []

    def live(_: Config, known: DaemonWord | None) -> DaemonWord:
        asked.append(known is not None)
        return DaemonWord()

    with tls_server() as port:
        lines = {line.check: line for line in Doctor(write(rig.path.parent, port), live).visit()}
        assert (lines["server"].verdict, lines["set"].code) == (Verdict.OK, "not-enrolled")
    rig.be_enrolled()
    lines = {line.check: line for line in Doctor(write(rig.path.parent, closed_port()), live).visit()}
    assert lines["set"].verdict is Verdict.OK
    assert lines["connect"].text == "Skipped: something before it has failed."
    assert lines["daemon"].code == "no-daemon"
    assert asked == [False, False]


FOUND = Told(check="disk", code="unusable", severity=1, text="Cannot lock it: Read-only file system.")


def test_what_the_daemon_is_stuck_at_stands_in_the_line_about_it(tmp_path: Path) -> None:
    """What root sees is fine; the daemon's own eyes see another world."""

    def line(*findings: Told, check: str) -> Line:
        told = DaemonWord(runs=True, findings=findings)
        lines = {line.check: line for line in Doctor(write(tmp_path, closed_port()), lambda *_: told).visit()}
        return lines[check]

    assert "Read-only file system" in line(FOUND, check="disk").text
    assert (line(replace(FOUND, check="files"), check="files").code) == "unusable"
    assert line(replace(FOUND, check="files", severity=0), check="files").verdict is Verdict.OK
    assert line(replace(FOUND, check="connect", severity=3), check="connect").exit is Exit.CRITICAL
    assert line(check="daemon").verdict is Verdict.OK


def test_without_a_daemons_word_the_status_is_made_of_what_is_on_disk(rig: Rig) -> None:
    """A rotation that was rejected is told in the line about the set."""
    rig.be_enrolled()
    rig.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    rig.rotate()
    line = of_store(rig)["set"]
    assert (line.verdict, line.code, line.exit) == (Verdict.WARNING, "change-failed", Exit.DEGRADED)
    assert line.text.startswith("The last change was given up: ")


# -- evidence about the clock ------------------------------------------------------------------------------------------


@pytest.fixture
def depot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Depot]:
    """Put a web server that tells the time where the endpoint's port 443 would be."""
    with Depot(tmp_path, ROOT) as made:
        port = int(made.url.rpartition(":")[2].rstrip("/"))
        monkeypatch.setattr(probes, "date_of", partial(probes.date_of, port=port))
        yield made


@pytest.mark.usefixtures("unsynchronised")
@pytest.mark.parametrize(
    ("offset", "verdict", "words"),
    [
        (timedelta(), "ok", "and is unsynchronised."),
        (timedelta(hours=6), "failure", "by the endpoint's own time it is 6 h behind."),
        (timedelta(days=-40), "failure", "by the endpoint's own time it is 40 d ahead."),
    ],
)
def test_the_endpoints_own_time_judges_the_clock(
    tmp_path: Path, depot: Depot, offset: timedelta, verdict: str, words: str
) -> None:
    """Where it is not synchronised, the web server on 443 says how wrong it is."""
    depot.date_offset = offset
    with tls_server() as port:
        line = visit(write(tmp_path, port))["clock"]
    assert (line.verdict, words in line.text) == (verdict, True), line


@pytest.mark.usefixtures("unsynchronised")
def test_a_clock_that_the_endpoint_confirms_is_not_blamed(tmp_path: Path, depot: Depot) -> None:
    """What has expired then is the server's certificate, and its owner must act."""
    with tls_server(until=-DAY) as port:
        lines = visit(write(tmp_path, port))
    assert lines["clock"].verdict is Verdict.OK
    assert lines["server"].code == "server-expired"
    depot.date_offset = -3 * DAY
    with tls_server(until=-DAY) as port:
        lines = visit(write(tmp_path, port))
    assert lines["clock"].code == "clock-wrong"
    assert lines["server"].code == "clock-wrong"


def test_a_certificate_out_of_date_makes_every_clock_doubtful(tmp_path: Path, depot: Depot) -> None:
    """A time service keeps the clock and is wrong: the endpoint's own time says so, and the clock is the cause."""
    depot.date_offset = -3 * DAY
    with tls_server(until=-DAY) as port:
        lines = visit(write(tmp_path, port, "vouched_clock: true\n"))
    assert (lines["clock"].verdict, lines["clock"].code) == (Verdict.FAILURE, "clock-wrong")
    assert "3 d ahead" in lines["clock"].text
