"""Processes that were started here: their end, as something that a loop can wait for.

It refuses to reap: until the starter does, the number of a process is its own, and a signal meets no other.
"""

from __future__ import annotations

import os
from contextlib import suppress


def end_of(pid: int) -> int:
    """Return a descriptor that can be read once a child has ended; the caller closes it.

    The kernel has one from Linux 5.3 on, where no sandbox forbids it. Older ones are in the field, in vendors' own
    systems: there a thread waits in its place.
    """
    try:
        return os.pidfd_open(pid)
    except OSError:
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
