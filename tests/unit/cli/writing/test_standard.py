"""Standard output and standard error: what cannot be written is given up and remembered, and nothing is raised."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from agent.cli import is_ctrl_c
from agent.cli.writing import standard
from support.suite import campaigns

COMMAND = str(Path(sys.executable).with_name("iot-cert"))
FULL = "What this command prints cannot be written: No space left on device."


def typed(arguments: str, redirections: str, **environment: str) -> tuple[int, str]:
    """Type a command into a shell; return its exit code and what was on standard error."""
    line = f"{COMMAND} {arguments} {redirections}"
    done = subprocess.run(
        ["/bin/bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
        check=False,
    )
    return done.returncode, done.stderr


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    (tmp_path / "state").mkdir(mode=0o700)
    path.write_text(f"endpoint: x.example\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}/run\n")
    return path


SHOWN = {"history": "read", "explain": "read", "status": "quick", "status --json": "quick"}
SHOWN |= {"config check --help": "help", "--help": "help"}
TAKEN = campaigns.one_of_each(list(SHOWN), SHOWN.__getitem__)


@pytest.mark.parametrize("verb", TAKEN)
def test_what_was_only_to_be_shown_and_was_not_is_no_success(config: Path, verb: str) -> None:
    """A script that reads an empty file must not take it for the answer; the reason is a sentence."""
    code, said = typed(f"--config {config} {verb}", ">/dev/full")
    assert (code, said.count(FULL)) == (3 if verb.startswith("status") else 1, 1)
    assert "defect" not in said
    assert "Traceback" not in said


AWAY = ["| head -c 1 >/dev/null", "| true", ">&-", ">&- 2>&-", "<&- >&- 2>&-"]
CODES = {"status": 3, "history": 0}
BOTH = [(verb, way) for way in AWAY for verb in CODES]


@pytest.mark.parametrize(("verb", "redirections"), campaigns.take(BOTH, 7))  # of each verb one
def test_a_reader_that_leaves_changes_no_exit_code(config: Path, verb: str, redirections: str) -> None:
    """Nor does one that never was there: `set -o pipefail` sees what the command found."""
    assert typed(f"--config {config} {verb}", redirections) == (CODES[verb], "")


def test_trouble_with_standard_error_is_not_raised_either(config: Path) -> None:
    """The exit code says enough."""
    assert typed(f"--config {config}.none history", "2>/dev/full")[0] == 2
    assert typed("dance", "2>/dev/full")[0] == 2


@pytest.mark.parametrize("encoding", ["iso-8859-1", "euc_kr", "ascii"])
def test_a_terminal_that_lacks_a_character_gets_its_number(config: Path, encoding: str) -> None:
    """Whatever locale the operator has: no name of a file ends a command."""
    code, said = typed(f"--config {config.parent}/Gerät-장치-€ status", "", PYTHONIOENCODING=encoding)
    assert code == 2
    assert "the configuration file cannot be read" in said


@pytest.fixture(name="locales")
def _locales(tmp_path: Path) -> Path:
    """Return a folder with two locales that are not UTF-8; nothing of them but their characters is asked for."""
    for language, charmap in (("de_DE", "ISO-8859-1"), ("ko_KR", "EUC-KR")):
        made = subprocess.run(
            ["localedef", "-i", "POSIX", "-f", charmap, str(tmp_path / f"{language}.{charmap}")],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode > 1:
            pytest.skip(f"this machine has no sources of locales: {made.stderr}")
    return tmp_path


@pytest.mark.parametrize("name", campaigns.take(["de_DE.ISO-8859-1", "ko_KR.EUC-KR"], 2))
def test_paths_are_utf8_in_every_locale(tmp_path: Path, locales: Path, name: str) -> None:
    """The configuration is UTF-8, and its paths mean the same to the daemon and to a technician's shell."""
    folder = tmp_path / "Gerät 장치 €"
    folder.mkdir()
    (folder / "c.yaml").write_text(f"endpoint: x.example\nstate_dir: {folder}/state\n", encoding="utf-8")
    done = subprocess.run(
        [COMMAND, "--config", str(folder / "c.yaml"), "check", "files"],
        capture_output=True,
        env={**os.environ, "LC_ALL": name, "LOCPATH": str(locales)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    encoding = name.partition(".")[2]
    assert done.stdout.decode(encoding).startswith("ok        files          ")
    assert f"{folder}/state".encode(encoding, errors="backslashreplace") in done.stdout


def test_nothing_is_lost_where_all_could_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """The usual case."""
    standard.prepare()
    standard.say("out")
    standard.complain("err")
    assert not standard.lost()
    assert capsys.readouterr() == ("out\n", "err\n")


def _stopped_after(seconds: float, *command: str) -> tuple[int, str]:
    """Start a command as the package's launcher does, wait, and press Ctrl-C."""
    as_launched = ["env", "--default-signal=INT", "--block-signal=INT"]  # also where a shell began these tests with &
    process = subprocess.Popen([*as_launched, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    return process.returncode, said


def test_ctrl_c_is_never_answered_by_a_traceback(config: Path) -> None:
    """From the first moment on: the launcher has the signal wait until the command can say a sentence."""
    for step in campaigns.places(20, 4):
        with campaigns.case(step):
            code, said = _stopped_after(0.004 + step * 0.015, COMMAND, "--config", str(config), "history")
            assert "Traceback" not in said
            assert code in {0, 130, -signal.SIGINT}, said


class _Interrupted:
    """What Ctrl-C meets while a class is made of it."""

    def __set_name__(self, owner: type, name: str) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_that_meets_the_making_of_a_class_is_known() -> None:
    """Modules make classes while they are read, and Python 3.11 tells the signal there as a RuntimeError."""
    with pytest.raises((KeyboardInterrupt, RuntimeError)) as met:
        type("Made", (), {"part": _Interrupted()})
    assert is_ctrl_c(met.value)
    assert not is_ctrl_c(RuntimeError("it is another one"))
