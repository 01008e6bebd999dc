from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.cli.carrying import client
from agent.core.exit_codes import Exit
from agent.sandbox.account.authority import Authority
from support.simulated.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path


def test_a_defect_is_told_without_a_traceback_and_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text of an unexpected error may hold anything, a key among others."""

    def burst(*_: object) -> int:
        raise ValueError("-----BEGIN PRIVATE KEY-----")

    monkeypatch.setattr(cli, "_dispatch", burst)
    assert cli.main(["--config", str(tmp_path / "c"), "status"]) == 1
    said = capsys.readouterr().err
    assert "This is a defect in iot-cert (ValueError)" in said
    assert "PRIVATE" not in said


def checked(tmp_path: Path, client_id: str, *arguments: str) -> int:
    """Check a configuration that is sound but for its client id, if at all."""
    anchor = Authority("Root", datetime(2027, 1, 1, tzinfo=UTC))
    (tmp_path / "roots.pem").write_bytes(anchor.pem)
    path = tmp_path / "config.yaml"
    path.write_text(
        f'endpoint: x.example\nclient_id: "{client_id}"\nstate_dir: {tmp_path}/state\n'
        f"trust: {{anchors: {tmp_path}/roots.pem}}\n"
    )
    return cli.main(["--config", str(path), "config", "check", *arguments])


def test_a_client_id_that_an_application_may_have_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is sound, so the exit code stays 0; people and machines read the same warning."""
    assert checked(tmp_path, "{thing}") == 0
    sound, warning = capsys.readouterr().out.splitlines()
    assert ": ok;" in sound
    assert warning.startswith("warning: `client_id: {thing}` has no part of the agent's own")
    assert "EXCLUSIVE_THING" in warning
    assert checked(tmp_path, "{thing}", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["warnings"], told["exit"]) == ([warning.removeprefix("warning: ")], 0)


def test_of_a_client_id_of_its_own_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and an empty list for machines."""
    assert checked(tmp_path, "{thing}-cert-agent") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert checked(tmp_path, "{thing}-cert-agent", "--json") == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def enrolled(tmp_path: Path, more: str) -> Path:
    """Return the configuration of a gateway that has its own set and whose claim certificate is gone."""
    with closing(Rig(tmp_path / "state")) as rig:
        rig.be_enrolled()
        (tmp_path / "roots.pem").write_bytes(rig.root.pem)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"endpoint: x.example\nstate_dir: {tmp_path}/state\ntrust: {{anchors: {tmp_path}/roots.pem}}\n{more}"
    )
    return path


CLAIM = "claim: {certificate: /nowhere/claim.pem, key: /nowhere/claim.key}"


def test_what_enrolment_alone_needs_is_a_warning_on_a_gateway_that_is_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The claim certificate is rightly gone, and a serial number may be; before the enrolment both are complaints."""
    needs = f"enrollment: {{template: t, parameters: {{S: {{file: /nowhere/serial}}}}, {CLAIM}}}\n"
    path = enrolled(tmp_path, needs)
    assert cli.main(["--config", str(path), "config", "check"]) == 0
    said = capsys.readouterr().out
    assert said.count("Only a new enrolment needs it.") == 2
    path.write_text(path.read_text().replace("/state\n", "/fresh\n"))
    assert cli.main(["--config", str(path), "config", "check"]) == 2
    said = capsys.readouterr().err
    assert ("/nowhere/claim.key" in said, "/nowhere/serial" in said) == (True, True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory. No signed bundle is taken."),
        (b"keys", "it is not sound JSON"),
        (b"\xfe", "it is not UTF-8 text"),
        (b"{}", ""),
    ],
)
def test_a_root_that_verifies_no_bundle_is_told_before_one_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, why: str
) -> None:
    """The gateway works without: a bundle would be refused on the day that it is needed."""
    if content is not None:
        (tmp_path / "root.json").write_bytes(content)
    path = enrolled(tmp_path, "")
    path.write_text(path.read_text().replace("trust: {", f"trust: {{root: {tmp_path}/root.json, "))
    assert cli.main(["--config", str(path), "config", "check"]) == 0
    said = capsys.readouterr().out
    assert why in said
    assert said.count("warning: trust.root") == bool(why)
    cli.main(["--config", str(path), "check", "configuration", "--json"])
    line = next(json.loads(line) for line in capsys.readouterr().out.splitlines() if '"configuration"' in line)
    code = ("warning", "root-unusable") if why else ("ok", "ok")
    assert (line["verdict"], line["code"]) == code
    assert line["text"].startswith(f"No signed bundle is taken. {tmp_path}/root.json: ") == bool(why)


def test_an_inbox_from_which_nothing_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link is followed by no reader, and a name that no line can hold is passed over; both were so in silence."""
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "real").mkdir()
    for name in (b"\xff.tar", b"a\nb"):
        (tmp_path / "real" / os.fsdecode(name)).touch()
    (tmp_path / "link").symlink_to("real")
    path = enrolled(tmp_path, "")
    text = path.read_text()
    for inbox, told in (
        ("real", r"trust.inbox: passed over: 'a\nb' and 1 more. A drop's name has at most 100 characters"),
        ("link", f"trust.inbox: {tmp_path}/link is a symbolic link, where a directory is expected."),
    ):
        path.write_text(text.replace("trust: {", f"trust: {{root: {tmp_path}/root.json, inbox: {tmp_path}/{inbox}, "))
        assert cli.main(["--config", str(path), "config", "check"]) == 0
        assert told in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["hooks", "gates"])
def test_a_hook_or_a_gate_that_is_not_run_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """A change goes on without it; what package managers leave is none."""
    directory = tmp_path / "named.d"
    path = enrolled(tmp_path, f"{kind}: {{directory: {directory}}}\n")

    def warned() -> list[str]:
        assert cli.main(["--config", str(path), "config", "check"]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if str(directory) in line]

    (told,) = warned()
    assert told.startswith(f"warning: {directory} is not there, so nothing in it is run")
    os.mkfifo(directory)
    assert warned() == [f"warning: {directory} is a pipe, where a directory is expected: move it out of the way."]
    directory.unlink()
    directory.mkdir()
    assert warned() == []
    for name, mode in (("10-good", 0o755), ("20-bad", 0o644), ("20-bad.dpkg-old", 0o644)):
        (directory / name).touch()
        (directory / name).chmod(mode)
    (told,) = warned()
    assert told.startswith(f"warning: {directory}/20-bad is not executable")


def test_a_value_in_quotes_is_told_and_sent_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In each kind of file that holds one value; what it holds is not told."""
    for name in ("serial", "token", "password"):
        (tmp_path / name).write_text('"s3cr3t"\n')
        (tmp_path / name).chmod(0o600)
    path = enrolled(
        tmp_path,
        f"proxy: {{host: localhost, port: 1, user: u, password_file: {tmp_path}/password}}\n"
        f"enrollment: {{method: vending-machine, url: 'https://x.example/', token: {{file: {tmp_path}/token}}, "
        f"parameters: {{SerialNumber: {{file: {tmp_path}/serial}}}}}}\n",
    )
    assert cli.main(["--config", str(path), "config", "check"]) == 0
    said = capsys.readouterr().out
    told = [line for line in said.splitlines() if "the value stands in quotes" in line]
    assert [line.split(":")[1].rsplit("/", 1)[1] for line in told] == ["serial", "token", "password"]
    assert "s3cr3t" not in said


@pytest.mark.parametrize(
    ("mode", "why"), [(None, "cannot be read: No such file"), (0o644, "may be read by others (mode 0644)"), (0o600, "")]
)
def test_a_password_that_cannot_be_given_to_the_proxy_is_a_complaint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int | None, why: str
) -> None:
    """There is no way to the cloud without it."""
    if mode is not None:
        (tmp_path / "password").write_text("s3cr3t")
        (tmp_path / "password").chmod(mode)
    path = enrolled(tmp_path, f"proxy: {{host: localhost, port: 1, user: u, password_file: {tmp_path}/password}}\n")
    assert cli.main(["--config", str(path), "config", "check"]) == (2 if why else 0)
    assert (f"{tmp_path}/password: the password of the proxy {why}" in capsys.readouterr().err) is bool(why)


def test_what_a_rotation_needs_is_a_complaint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of both that look: without it there will be no other certificate."""
    path = enrolled(tmp_path, "rotation: {parameters: {S: {file: /nowhere/serial}}}\n")
    assert cli.main(["--config", str(path), "config", "check"]) == 2
    assert "/nowhere/serial: the file for parameter S cannot be read" in capsys.readouterr().err
    assert cli.main(["--config", str(path), "check", "configuration"]) == 1
    assert "No certificate can be rotated: /nowhere/serial" in capsys.readouterr().out


def test_a_zone_that_this_machine_does_not_have_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the check of the file, by the doctor and by the status; nothing else depends on it."""
    window = 'from: "02:00", to: "04:00", time_zone: US/Pacific-Gone'
    path = enrolled(tmp_path, f"rotation: {{maintenance: [{{{window}}}]}}\n")
    said = "This machine has no time zone 'US/Pacific-Gone': its hours are taken as UTC."
    assert cli.main(["--config", str(path), "config", "check"]) == 2
    assert said in capsys.readouterr().err
    assert cli.main(["--config", str(path), "check", "configuration"]) == 1
    assert said in capsys.readouterr().out
    cli.main(["--config", str(path), "status"])
    assert said in capsys.readouterr().out
    assert cli.main(["--config", str(path), "explain"]) == 0


def test_help_and_version_load_nothing_heavy() -> None:
    """What a technician waits for on a slow gateway is what a verb needs and no more."""
    script = (
        "import sys\nfrom agent.cli.command_line.parser import parse\nfrom agent.cli import main\n"
        "heavy = {'awscrt', 'awsiot', 'cryptography', 'yaml', 'mqtt5', 'asyncio', 'ssl'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_status_loads_what_looking_needs(tmp_path: Path) -> None:
    """It needs no connection, no parser of its own command line, no words for a daemon, and nothing that acts."""
    (tmp_path / "config.yaml").write_text(f"endpoint: x.example\nstate_dir: {tmp_path}/state\n")
    (tmp_path / "state").mkdir(mode=0o700)
    script = (
        f"import sys\nfrom agent.cli import main\ncode = main(['--config', '{tmp_path}/config.yaml', 'status'])\n"
        "no = {'awscrt', 'awsiot', 'asyncio', 'argparse', 'subprocess', 'agent.operations.wiring', 'agent.change'}\n"
        "no |= {'agent.core.control_protocol', 'agent.core.worker_protocol'}\n"
        "print(code, sorted(no & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "3 []"


def test_ctrl_c_before_the_command_is_known_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """While its modules are read there is nothing that could be lost, and a traceback helps no technician."""

    def stopped(_argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", stopped)

    assert cli.main(["status"]) == 130
    assert capfd.readouterr().err == "iot-cert: Stopped before anything was begun.\n"


# -- what is called ok -------------------------------------------------------------------------------------------------


@pytest.fixture(name="unfilled")
def _unfilled(tmp_path: Path) -> Path:
    """Give a configuration as the package comes with it, in a folder of its own."""
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoint: change-me.invalid\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}/run\n")
    return path


@pytest.mark.parametrize("verb", [("config", "check"), ("enroll",), ("rotate",), ("rotate", "--dry-run")])
def test_an_endpoint_that_was_never_filled_in_is_the_fault(
    unfilled: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    """Nothing is asked of a name that is none, and nothing is made on disk."""
    assert cli.main(["--config", str(unfilled), *verb]) == Exit.USAGE
    told = capsys.readouterr().err
    assert "`endpoint` is still the placeholder change-me.invalid" in told
    assert "aws iot describe-endpoint" in told
    assert not (unfilled.parent / "state").exists()


def test_a_way_back_is_not_refused_for_the_endpoint(unfilled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused for there being none."""
    assert cli.main(["--config", str(unfilled), "rollback"]) == Exit.REFUSED
    assert "change-me" not in capsys.readouterr().err


def test_without_a_daemon_status_is_not_ok(unfilled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing would be renewed."""
    assert cli.main(["--config", str(unfilled), "status", "--json"]) == Exit.CRITICAL
    told = json.loads(capsys.readouterr().out)
    assert [item["code"] for item in told["findings"]] == ["no-endpoint", "not-enrolled", "no-daemon"]
    assert told["plan"]["code"] == "not-configured"
    assert told["findings"][-1]["text"].endswith("`sudo systemctl start iot-cert-agent`, or `iot-cert enroll`.")


def test_a_daemon_that_does_not_answer_is_none(
    unfilled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk is told all the same, and that it does not answer."""
    monkeypatch.setattr(client.call, "__kwdefaults__", {"timeout": 0.1})
    (unfilled.parent / "state").mkdir(mode=0o700)
    (unfilled.parent / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(unfilled.parent / "run" / "control.sock"))
        listener.listen()
        cli.main(["--config", str(unfilled), "status"])
    assert "The agent's daemon does not answer." in capsys.readouterr().out
