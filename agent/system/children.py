"""Processes that were started here, and descriptors of them: what they say, and their end, as a loop waits for it.

Where a loop waits, it refuses to reap: until the starter does, the number of a process is its own, and a signal meets
no other. It does without `subprocess`, which a daemon would carry for years.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from contextlib import suppress
from time import monotonic  # noqa: TID251 - the clock itself asks timedated by way of this
from typing import TYPE_CHECKING

from agent.core.values import SEARCHED
from agent.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENVIRONMENT = {"PATH": SEARCHED, "LANG": "C.UTF-8"}  # of a program that is none of the agent's

_PART = 65_536  # bytes


def said_by(command: Sequence[str], environment: Mapping[str, str], patience: float, *, most: int) -> bytes:
    """Run a program that only tells something, and return what it writes to its standard output.

    It reads nothing, and what it says elsewhere is lost. It is ended once it has said it all, or as much as may be.

    Args:
        command: The program, by an absolute path, and its arguments.
        environment: All that is told to it.
        patience: Seconds it may take.
        most: How many bytes are wanted; more may come.

    Raises:
        OSError: It could not be started.
        TimeoutError: It took longer.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    descriptors.keep()
    try:
        pid = os.posix_spawn(
            command[0],
            [*command],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write_end, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigdef=[signal.SIGTERM, signal.SIGPIPE],
        )
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    try:
        return read_all(read_end, monotonic() + patience, most)
    finally:
        os.close(read_end)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def read_all(fd: int, deadline: float, most: int) -> bytes:
    """Return what can be read until the end, or as much as is wanted; the deadline is by the monotonic clock.

    Raises:
        TimeoutError: It takes longer.
    """
    found = bytearray()
    while len(found) < most:
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(fd, _PART)
        if not part:
            break
        found += part
    return bytes(found)


def ended(code: int) -> str:
    """Return how a program failed that ended so; a negative code is a signal's number. Empty for 0."""
    if code == 0:
        return ""
    return f"it ended with exit code {code}" if code > 0 else f"it was ended by signal {-code}"


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

    waited, telling = os.pipe2(os.O_CLOEXEC)

    def wait() -> None:
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.close(telling)

    threading.Thread(target=wait, name=f"end of {pid}", daemon=True).start()
    return waited
