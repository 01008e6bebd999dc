"""What keeps a worker from being started, and for how long, by the monotonic clock.

* Another process works on the store: nothing is started for a second.
* Work that the daemon began by itself failed: it is put off for ever longer, up to four minutes. What a client waits
  for is not.
* There is no set: the ladder is climbed at most once a minute, since each climb may cost a certificate, and not in the
  half minute in which a person who has replaced one file of a pair may replace the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure.retry import CAP, Backoff
from agent.daemon.work.credential_watch import HALF
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

BUSY = 1.0  # seconds between two tries while another process works on the store
CLIMB_AGAIN = 60.0  # seconds between two climbs for want of a set
_TROUBLE = Backoff(base=5, cap=CAP, floor=1)


class WorkerHolds:
    """The holds of one daemon."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """Hold nothing.

        Args:
            chance: Draws a number in [0, 1).
        """
        self._chance = chance
        self._failures = 0
        self._busy_until = self._failed_until = self._no_climb_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether nothing may be started."""
        return monotonic() < self._busy_until

    @property
    def failed(self) -> bool:
        """Whether only that may be started which a client waits for."""
        return monotonic() < self._failed_until

    @property
    def may_climb(self) -> bool:
        """Whether the ladder may be climbed for want of a set."""
        return monotonic() >= self._no_climb_until

    @property
    def delays(self) -> list[float]:
        """The seconds before each hold ends."""
        now = monotonic()
        return [at - now for at in (self._busy_until, self._failed_until, self._no_climb_until) if at > now]

    def store_was_busy(self) -> None:
        """Another process works on the store."""
        self._busy_until = monotonic() + BUSY

    def work_failed(self) -> None:
        """What the daemon began by itself could not be done, or a worker died."""
        self._failures += 1
        self._failed_until = monotonic() + _TROUBLE.delay(self._failures, 0.5 + 0.5 * self._chance())

    def work_succeeded(self) -> None:
        """A worker did what it was to do."""
        self._failures = 0

    def climbed(self) -> None:
        """The ladder is being climbed for want of a set."""
        self._no_climb_until = monotonic() + CLIMB_AGAIN

    def half_replaced(self) -> None:
        """A person has replaced one file of a pair."""
        self._no_climb_until = max(self._no_climb_until, monotonic() + HALF)

    def forget_failures(self) -> None:
        """What failed does not hold back what comes next."""
        self._failed_until = 0.0

    def lift(self) -> None:
        """What is waited for may just have been put right."""
        self._failed_until = self._no_climb_until = 0.0
