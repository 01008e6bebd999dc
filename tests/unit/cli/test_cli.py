from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import make
import pytest

from agent import cli
from agent.cli.output import printable
from agent.cli.parser import parse
from agent.core import exits
from agent.core.decide import Wait
from agent.core.exits import Exit
from agent.core.failure import Failure, FailureClass
from agent.core.lifecycle import Phase
from agent.core.troubles import hung_up
from agent.errors import AgentError, CloudError, ConfigError, RefusedError, StoreBusyError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2027, 3, 1, tzinfo=UTC)


def failure(kind: FailureClass) -> Failure:
    """Return a failure of a class."""
    return Failure(kind=kind, code="x", message="It failed.")


def denied() -> StoreError:
    """Return what opening somebody else's directory raises."""
    error = StoreError("Cannot open it.")
    error.__cause__ = PermissionError(13, "Permission denied")
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.USAGE),
        (RefusedError("x"), Exit.REFUSED),
        (StoreBusyError("x"), Exit.REFUSED),
        (CloudError(hung_up()), Exit.UNAVAILABLE),
        (StoreError("x"), Exit.DEGRADED),
        (denied(), Exit.REFUSED),
        (AgentError("x"), Exit.DEGRADED),
    ],
    ids=lambda item: type(item).__name__,
)
def test_every_error_has_its_exit_code(error: AgentError, code: Exit) -> None:
    """Programs that call the command rely on its exit codes."""
    assert exits.of_error(error) is code


@pytest.mark.parametrize(
    ("phase", "kind", "has_set", "code"),
    [
        (Phase.COMMITTED, None, True, Exit.DONE),
        (Phase.REJECTED, FailureClass.CREDENTIAL, True, Exit.DEGRADED),
        (Phase.REJECTED, FailureClass.PROTOCOL, False, Exit.CRITICAL),
        (Phase.ROLLED_BACK, FailureClass.CREDENTIAL, True, Exit.DEGRADED),
        (Phase.ROLLED_BACK, FailureClass.OPERATOR, True, Exit.DONE),
    ],
)
def test_every_end_has_its_exit_code(phase: Phase, kind: FailureClass | None, code: Exit, *, has_set: bool) -> None:
    """An end is good, degraded with a set in use, or critical without one."""
    record = make.record(phase, failure=kind and failure(kind))
    assert exits.of_outcome(record, None, has_set=has_set) is code


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("probation", None, Exit.DONE),
        ("budget", None, Exit.REFUSED),
        ("crash-loop", None, Exit.DEGRADED),
        ("clock", None, Exit.UNAVAILABLE),
        ("retry", FailureClass.NETWORK, Exit.UNAVAILABLE),
        ("retry", FailureClass.THROTTLED, Exit.UNAVAILABLE),
        ("retry", FailureClass.SERVER_TRUST, Exit.UNAVAILABLE),
        ("retry", FailureClass.STORE, Exit.DEGRADED),
    ],
)
def test_every_wait_has_its_exit_code(code: str, kind: FailureClass | None, expected: Exit) -> None:
    """A change that is kept says by its code whether the cloud, the disk or a budget holds it."""
    met = None if kind is None else failure(kind)
    wait = Wait(why="x", until=NOW + timedelta(hours=1), code=code, failure=met)
    assert exits.of_outcome(make.record(Phase.KEY_READY), wait, has_set=True) is expected


def test_nothing_from_outside_steers_a_terminal() -> None:
    """Escapes in a file name or a service's message are shown, not obeyed."""
    assert "\x1b" not in printable("a\x1b[2Jb\x07")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["rotate", "--wait", "soon"], ["rotate", "--reason", ""]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage is shown on standard error."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments)
    assert caught.value.code == 2
    assert "usage: iot-cert" in capsys.readouterr().err


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


def test_help_and_version_load_nothing_heavy() -> None:
    """What a technician waits for on a slow gateway is what a verb needs and no more."""
    script = (
        "import sys\nfrom agent.cli.parser import parse\nfrom agent.cli import main\n"
        "heavy = {'awscrt', 'awsiot', 'cryptography', 'yaml', 'mqtt5', 'asyncio', 'ssl'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_status_does_not_load_the_sdk(tmp_path: Path) -> None:
    """Looking needs no connection."""
    (tmp_path / "config.yaml").write_text(f"endpoint: x.example\nstate_dir: {tmp_path}/state\n")
    (tmp_path / "state").mkdir(mode=0o700)
    script = (
        f"import sys\nfrom agent.cli import main\ncode = main(['--config', '{tmp_path}/config.yaml', 'status'])\n"
        "print(code, sorted({'awscrt', 'awsiot', 'asyncio'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "3 []"
