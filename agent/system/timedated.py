"""Whether the clock is synchronised, by systemd-timedated's word, for who may not ask the kernel.

The sandbox of the daemon's unit takes away the call that could set the clock, and with it the one that tells.
Timedated may make it, whatever program keeps the clock, and answers over D-Bus. It is asked by its own command, for a
bounded time and not more than once a minute.
"""

from __future__ import annotations

from agent.system import children

TIMEDATECTL = "/usr/bin/timedatectl"
PATIENCE = 2.0  # seconds; a bus that hangs must not hold the daemon up
LASTS = 60.0  # seconds that an answer is good for

_MOST = 16  # bytes; it says yes or no


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
    words = [command, "show", "--property=NTPSynchronized", "--value"]
    try:
        return children.said_by(words, children.ENVIRONMENT, PATIENCE, most=_MOST).strip() == b"yes"
    except OSError:
        return False
