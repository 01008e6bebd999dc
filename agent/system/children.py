"""Processes by descriptors: one that stays its own, and the end of a child, as something that a loop can wait for.

It refuses to reap: until the starter does, the number of a child is its own, and a signal meets no other.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

NONE = -1  # in place of a descriptor


def descriptor_of(pid: int) -> int:
    """Return a descriptor that stays a process's when its number becomes another's; the caller closes it.

    The kernel has one from Linux 5.3 on, where no sandbox forbids it; `NONE` stands for it else. Older ones are in the
    field, in vendors' own systems.

    Raises:
        ProcessLookupError: There is no such process.
        OSError: There are too many open files.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        os.kill(pid, 0)
        return NONE


def end_of(pid: int) -> int:
    """Return a descriptor that can be read once a child has ended; the caller closes it.

    Where the kernel has none, a thread waits in its place.
    """
    with suppress(OSError):
        found = descriptor_of(pid)
        if found != NONE:
            return found
    return _waited_for(pid)


def _waited_for(pid: int) -> int:
    import threading  # noqa: PLC0415 - only where the kernel cannot

    ended, telling = os.pipe2(os.O_CLOEXEC)

    def wait() -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(telling)

    threading.Thread(target=wait, name=f"end of {pid}", daemon=True).start()
    return ended
