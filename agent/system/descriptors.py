"""Letting go of open files, and keeping them from other programs.

What is written durably was synced before, and what was only read is known: so trouble that a file system tells of no
sooner than at the close (NFS, FUSE, a failing disk) is about nothing that could still be done. close(2) has let go of
the descriptor even then, and a second try would close another file's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OPEN_FILES = "/proc/self/fd"
_STDERR = 2
_MOST = 4_096  # numbers; a daemon has some twenty


def release(fd: int) -> None:
    """Close a descriptor; what the file system says to that changes nothing."""
    with suppress(OSError):
        os.close(fd)


def keep() -> None:
    """Have no program that is started from now on inherit an open file other than the three standard ones.

    Python opens none that would be, but the SDK does: its connection's socket, which such a program could hold open for
    longer than the daemon has it, and the queue of its events.
    """
    for fd in numbers():
        if fd > _STDERR:
            with suppress(OSError):  # none, or one that another thread has closed meanwhile
                os.set_inheritable(fd, False)  # noqa: FBT003 - its own form


def numbers() -> Iterable[int]:
    """Return the numbers that this process's open files have, and maybe some that none has."""
    try:
        return map(int, os.listdir(OPEN_FILES))  # noqa: PTH208 - numbers are wanted, no paths
    except OSError:  # without /proc, as in some containers
        return range(min(os.sysconf("SC_OPEN_MAX"), _MOST))
