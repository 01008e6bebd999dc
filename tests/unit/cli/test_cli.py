from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.cli.output import printable
from agent.cli.parser import parse

if TYPE_CHECKING:
    from pathlib import Path


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
