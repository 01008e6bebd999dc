"""Letting go of open files, and keeping them from other programs.

What is written durably was synced before, and what was only read is known: so trouble that a file system tells of no
sooner than at the close (NFS, FUSE, a failing disk) is about nothing that could still be done. close(2) has let go of
the descriptor even then, and a second try would close another file's.
"""

from __future__ import annotations

import os
from contextlib import suppress

_STDERR = 2


def release(fd: int) -> None:
    """Close a descriptor; what the file system says to that changes nothing."""
    with suppress(OSError):
        os.close(fd)


def keep() -> None:
    """Have no program that is started from now on inherit an open file other than the three standard ones.

    Python opens none that would be, but the SDK does: its connection's socket, which such a program could hold open for
    longer than the daemon has it, and the queue of its events.
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers are wanted, no paths
        if int(name) > _STDERR:
            with suppress(OSError):  # the listing's own, or one that another thread has closed meanwhile
                os.set_inheritable(int(name), False)  # noqa: FBT003 - its own form
