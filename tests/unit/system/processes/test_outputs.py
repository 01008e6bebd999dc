"""What a program writes: passed on up to a bound, and dropped beyond it, while the program notices nothing."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from agent.system.processes import outputs
from agent.system.processes.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = 60.0  # seconds, which none of these programs needs


@pytest.fixture(name="told", autouse=True)
def _told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands for the journal."""
    path = tmp_path / "told"
    with path.open("w") as file:
        monkeypatch.setattr(outputs, "_stderr", file.fileno)
        yield path


def shell(script: str, timeout: float = LONG) -> str:
    """Run a script of the shell."""
    return run(["/bin/sh", "-c", script], timeout)


def test_both_outputs_are_passed_on_in_order(told: Path) -> None:
    """As the program wrote them, whatever it wrote last."""
    assert shell("echo one; echo two >&2; printf three") == ""
    assert told.read_bytes() == b"one\ntwo\nthree"


def test_what_is_beyond_the_bound_is_left_out_and_the_program_goes_on(told: Path, tmp_path: Path) -> None:
    """Its work is done all the same, and it is said once that more was written."""
    assert shell(f"head -c {8 * outputs.MOST} /dev/zero | tr '\\0' x; echo end; touch {tmp_path}/done") == ""
    assert told.read_bytes() == b"x" * outputs.MOST + outputs.LEFT_OUT
    assert (tmp_path / "done").exists()


def test_exactly_as_much_as_is_allowed_is_whole(told: Path) -> None:
    """Nothing was left out then."""
    assert shell(f"head -c {outputs.MOST} /dev/zero | tr '\\0' x") == ""
    assert told.read_bytes() == b"x" * outputs.MOST


def test_an_endless_output_ends_with_its_time(told: Path) -> None:
    """The journal of a gateway keeps months otherwise."""
    assert "took longer than" in shell("exec yes", 0.5)
    assert len(told.read_bytes()) == outputs.MOST + len(outputs.LEFT_OUT)


def test_a_program_that_is_left_running_may_write_on(tmp_path: Path) -> None:
    """Its words are dropped; a hook's application must not end by the signal of a broken pipe."""
    os.mkfifo(tmp_path / "go")
    os.mkfifo(tmp_path / "done")
    left = f"(read line < {tmp_path}/go; head -c 200000 /dev/zero; echo $? > {tmp_path}/done) &"
    assert shell(left) == ""
    (tmp_path / "go").write_text("\n")
    assert (tmp_path / "done").read_text() == "0\n"


def test_an_endless_output_of_a_program_that_is_left_running_is_not_waited_for(told: Path, tmp_path: Path) -> None:
    """It is dropped by a process of its own, which ends with it."""
    assert shell(f"yes & echo $! > {tmp_path}/pid") == ""
    assert len(told.read_bytes()) <= outputs.MOST + len(outputs.LEFT_OUT)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_journal_that_takes_nothing_holds_no_program_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up for this program; the next one is tried again."""
    there, here = os.pipe()
    os.set_blocking(here, False)
    os.write(here, b"x" * 1_048_576)
    monkeypatch.setattr(outputs.Outflow.__init__, "__defaults__", (0.01,))
    with os.fdopen(here, "w") as full, os.fdopen(there):
        monkeypatch.setattr(outputs, "_stderr", full.fileno)
        assert shell("head -c 300000 /dev/zero") == ""


@pytest.mark.parametrize("gone", [None, "closed"])
def test_without_a_standard_error_it_is_dropped(gone: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a process that was started without one."""
    monkeypatch.undo()
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream if gone else None)
    assert shell("head -c 300000 /dev/zero; exit 3") == "it ended with exit code 3"
