"""The end of a child, on a kernel that has a descriptor for it and on one that has none."""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import pytest

from agent.system import children
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=["", errno.ENOSYS, errno.EPERM], ids=["Linux 5.3", "older", "forbidden"], autouse=True)
def _kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor's kernel of 4.19, and a container whose list of system calls is older than this one."""

    def refused(_: int) -> int:
        raise OSError(request.param, os.strerror(request.param))

    if request.param:
        monkeypatch.setattr(os, "pidfd_open", refused)


@pytest.fixture(name="child")
def _child() -> Iterator[int]:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_child_that_ended_can_be_told_from_one_that_runs(child: int) -> None:
    """It is not reaped by that: its number stays its own until the starter does."""
    with closing(select.epoll()) as poll:
        end = children.end_of(child)
        poll.register(end, select.EPOLLIN)
        os.kill(child, 0)
        os.kill(child, signal.SIGKILL)
        assert [fd for fd, _ in poll.poll()] == [end]
        os.close(end)


def test_a_process_has_a_descriptor_or_is_known_to_be_there(child: int) -> None:
    """A number that is no process's is refused on an older kernel, too."""
    found = children.descriptor_of(child)
    assert (found == children.NONE) == ("refused" in os.pidfd_open.__qualname__)
    if found != children.NONE:
        signal.pidfd_send_signal(found, signal.SIGTERM)
        os.close(found)
    with pytest.raises(ProcessLookupError):
        children.descriptor_of(2**22)  # more than any machine has


def test_what_a_program_says_is_read_to_its_end() -> None:
    """However much a pipe holds at a time, and with what it was told and no more."""
    script = 'head -c 200000 /dev/zero; echo "$TOLD"; echo lost >&2'
    said = children.said_by(["/bin/sh", "-c", script], {"TOLD": "this"}, 60, most=1 << 20)
    assert said == bytes(200_000) + b"this\n"


@pytest.mark.parametrize("script", ["yes", "echo y; sleep 600"], ids=["endless", "too long"])
def test_what_says_more_than_is_wanted_or_takes_too_long_is_ended(script: str) -> None:
    """No descriptor is left of it; for its process see `test_timedated`."""
    before = descriptors()
    with nullcontext() if script == "yes" else pytest.raises(TimeoutError):
        assert children.said_by(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"}, 0.5, most=16)
    assert descriptors() == before


def test_a_program_that_cannot_be_started_is_told() -> None:
    """And costs no descriptor."""
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        children.said_by(["/nonexistent"], {}, 1, most=16)
    assert descriptors() == before
