"""What a command lacks of its machine, and what is a defect all the same."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.cli.surroundings import lack_of
from agent.core.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="nowhere")
def _nowhere(tmp_path: Path) -> Iterator[None]:
    """The directory of this process is removed."""
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    yield
    os.chdir(before)


@pytest.mark.usefixtures("nowhere")
def test_a_path_that_begins_in_a_directory_that_is_gone_is_no_defect() -> None:
    """As after an update that replaced the directory under an open shell."""
    found = lack_of(FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert found is not None
    assert found[1] is Exit.USAGE
    assert str(found[0]).startswith("The directory that this command was started in is gone")


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (RuntimeError("can't start new thread"), "thread"),
        (RuntimeError("12 (AWS_ERROR_THREAD_INSUFFICIENT_RESOURCE): it has none left."), "thread"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "process"),
        (OSError(errno.EMFILE, "Too many open files"), "file descriptor"),
        (OSError(errno.ENFILE, "Too many open files in system"), "file descriptor"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (MemoryError(), "memory"),
    ],
)
def test_what_is_used_up_is_named(error: BaseException, missing: str) -> None:
    """A limit of the unit, of a container or of the shell is in the way, and not the program."""
    found = lack_of(error)
    assert found is not None
    assert str(found[0]) == f"This gateway has no further {missing} for this command."
    assert "TasksMax=" in found[0].hint
    assert found[1] is Exit.DEGRADED


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "x"), RuntimeError("x"), OSError("x"), ValueError("thread")]
)
def test_anything_else_may_be_a_defect(error: BaseException) -> None:
    """Nothing is guessed."""
    assert lack_of(error) is None
