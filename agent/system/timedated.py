"""Whether the clock is synchronised, by systemd-timedated's word, for who may not ask the kernel.

The sandbox of the daemon's unit takes away the call that could set the clock, and with it the one that tells.
Timedated may make it, whatever program keeps the clock, and answers over D-Bus. It is asked by its own command, for a
bounded time and not more than once a minute.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

from agent.system import descriptors

TIMEDATECTL = "/usr/bin/timedatectl"
PATIENCE = 2.0  # seconds; a bus that hangs must not hold the daemon up
LASTS = 60.0  # seconds that an answer is good for

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


class Timedated:
    """Asks, and remembers the answer for a while."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._answer = False

    def synchronised(self, now: float) -> bool:
        """Return what it said last.

        Args:
            now: Seconds by the monotonic clock.
        """
        if self._asked_at is None or now - self._asked_at >= LASTS:
            self._asked_at, self._answer = now, ask()
        return self._answer


def ask(command: str = TIMEDATECTL) -> bool:
    """Ask now; no answer means that the clock is not vouched for."""
    try:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
    except OSError:
        return False
    descriptors.keep()
    try:
        pid = os.posix_spawn(
            command,
            [command, "show", "--property=NTPSynchronized", "--value"],
            _ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write_end, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigdef=[signal.SIGTERM, signal.SIGPIPE],
        )
    except OSError:
        os.close(read_end)
        return False
    finally:
        os.close(write_end)
    try:
        ready, _, _ = select.select([read_end], [], [], PATIENCE)
        return bool(ready) and os.read(read_end, 16).strip() == b"yes"
    finally:
        os.close(read_end)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
