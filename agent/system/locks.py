"""Locks in files, which the kernel lets go of when their process ends, however it ends.

One that is held for the life of a process says that it is there. A command that only wants to know takes it for a
moment, as one of many; the process itself does not mistake that for another of its kind, since it tries again.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.system import descriptors
from agent.system.clock import sleep

if TYPE_CHECKING:
    from collections.abc import Callable

DAEMON = "daemon.lock"  # the daemon's, in its runtime directory and in its state directory

_TRIES = 5
_AGAIN = 0.02  # seconds


@frozen
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Which, or None where the kernel does not tell.
    """

    pid: int | None

    @property
    def who(self) -> str:
        """The process in brackets, to follow a noun, or an empty text."""
        return f" (process {self.pid})" if self.pid else ""


class HeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: Which.
    """

    def __init__(self, holder: Holder) -> None:
        super().__init__(holder)
        self.holder = holder


class LifeLock:
    """A lock that is held for as long as the process lives, from the moment on at which there is a place for it."""

    def __init__(self, path: Path, opened: Callable[[Path], int]) -> None:
        """Name the file; nothing is opened yet. Its directory may come later, and may be replaced by another.

        Args:
            path: The file.
            opened: Opens it, and makes it where there is none; its errors come out of `hold`.
        """
        self._path = path
        self._opened = opened
        self._fd = -1

    def hold(self) -> None:
        """Hold the lock, or go on holding it; cheap when it is held. Where it has no directory yet nothing is done.

        Raises:
            HeldError: Another process holds it.
            OSError: It cannot be held.
        """
        if self._holds():
            return
        self.close()
        try:
            fd = self._opened(self._path)
        except FileNotFoundError:
            return
        try:
            _lock(fd)
        except (HeldError, OSError):
            descriptors.release(fd)
            raise
        self._fd = fd

    def _holds(self) -> bool:
        if self._fd < 0:
            return False
        try:
            there, here = os.lstat(self._path), os.fstat(self._fd)
        except OSError:
            return not os.access(self._path.parent, os.X_OK)  # then no other process finds a lock there either
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            descriptors.release(self._fd)
            self._fd = -1


def held(path: Path) -> Holder | None:
    """Return who holds the lock in a file; None where no process does, or this user may not know."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        return Holder(pid=holder(fd))
    except OSError:  # a file system without locks
        return None
    finally:
        descriptors.release(fd)


def holder(fd: int) -> int | None:
    """Return the process that holds the lock on an open file, as far as the kernel tells."""
    status = os.fstat(fd)
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if inode in fields and "->" not in fields and int(fields[4]) > 0:
                return int(fields[4])
    except (OSError, ValueError, IndexError):
        pass  # a sandboxed process does not see the locks; the answer is only a courtesy
    return None


def _lock(fd: int) -> None:
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left == 0:
                raise HeldError(Holder(pid=holder(fd))) from None
            sleep(_AGAIN)
        else:
            return
