"""A copy of this process that does some work: what it says, how it ends, and what is left of one that cannot be had."""

from __future__ import annotations

import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pytest

from agent.system.processes import forks
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def outcome(work: Callable[[int], object]) -> tuple[bytes, int]:
    """Return what a child said and how it ended."""
    child, pipe = forks.fork(work)
    with os.fdopen(pipe, "rb") as told:
        said = told.read()
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def broken(_pipe: int) -> NoReturn:
    """Raise what no handler of the work's knows."""
    raise KeyboardInterrupt


def test_a_child_says_what_it_has_to_say_and_ends() -> None:
    """It is another process, and nothing of it stays open."""
    before = descriptors()
    assert outcome(lambda pipe: os.write(pipe, str(os.getppid()).encode())) == (str(os.getpid()).encode(), 0)
    assert descriptors() == before


def test_work_that_fails_ends_the_child_and_no_frame_of_the_parents_runs_twice() -> None:
    """Whatever was raised."""
    assert outcome(broken) == (b"", 1)


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_where_no_child_can_be_had_nothing_is_left_open() -> None:
    """The error is the system's own."""
    before = descriptors()
    with no_more_files(), pytest.raises(OSError, match="Too many open files"):
        forks.fork(broken)
    assert descriptors() == before
