"""Letting go of open files changes nothing, whatever the file system says to it; and no other program gets one."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.daemon.loop import Loop
from agent.daemon.work import worker_process
from agent.daemon.work.notice_command import NoticeCommand
from agent.store.files import disk, durable
from agent.system import descriptors, timedated

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(name="closed")
def _closed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have each close tell of trouble after it has let go, as Linux does."""
    really, closed = os.close, []

    def close(fd: int) -> None:
        really(fd)
        closed.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close)
    return closed


def test_trouble_at_the_close_is_none_and_a_descriptor_is_closed_once(tmp_path: Path, closed: list[int]) -> None:
    """A second try would close what another thread has opened since."""
    fd = os.open(tmp_path, os.O_RDONLY)
    descriptors.release(fd)
    assert closed == [fd]


def test_what_was_synced_or_read_is_known_although_the_close_fails(tmp_path: Path, closed: list[int]) -> None:
    """On NFS and FUSE a disk that fails may say so first at close(2)."""
    with disk.directory(str(tmp_path)) as fd:
        durable.replace(fd, "a", b"new", durable.Modes())
        durable.append(fd, "b", b"line\n", durable.Modes())
        assert disk.read(fd, "a", 10) == b"new"
        assert disk.read(fd, "b", 10) == b"line\n"
    assert len(closed) >= 5


# -- what other programs get -------------------------------------------------------------------------------------------


def _tell(command: str) -> None:
    ends: list[str] = []
    with closing(Loop()) as loop:
        NoticeCommand(loop, (command,), b"", ends.append)
        while not ends:
            loop.turn()
    assert ends == [""]


def _work(command: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", command)
        pid, output = worker_process._spawn(Path("config.yaml"), b"")
    os.waitpid(pid, 0)
    os.close(output)


@pytest.mark.parametrize("listed", [descriptors.OPEN_FILES, "/nowhere"])
@pytest.mark.parametrize("start", [_tell, _work, timedated.ask])
def test_what_a_library_leaves_to_be_inherited_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[[str], object], listed: str
) -> None:
    """The SDK's sockets are, and a program that is started beside a connection would hold it open after its end.

    So it is where the kernel does not tell of open files, without /proc.
    """
    monkeypatch.setattr(descriptors, "OPEN_FILES", listed)
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\nls /proc/self/fd > {tmp_path}/fds\necho yes\n")
    command.chmod(0o755)
    left = fcntl.fcntl(2, fcntl.F_DUPFD, 77)
    try:
        start(str(command))
    finally:
        os.close(left)
    assert (tmp_path / "fds").read_text().split() == ["0", "1", "2", "3"]  # the last is of `ls`
