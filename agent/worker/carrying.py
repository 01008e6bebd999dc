"""How long a worker stays with a change: through waits of a moment, and with a certificate that is in memory alone.

It refuses every other wait: that is the daemon's, and costs no process.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import WaitCode
from agent.core.failure.failure import HOLDING

if TYPE_CHECKING:
    from datetime import datetime
    from threading import Event

    from agent.change.engine import Engine, Outcome
    from agent.ports import Clock

SHORT = timedelta(seconds=1)  # the session belongs to no process while it waits
_LEAST = 0.05  # seconds, however soon a wait is over


class Carrying:
    """Runs the change in flight."""

    def __init__(self, engine: Engine, clock: Clock, stop: Event) -> None:
        self._engine = engine
        self._clock = clock
        self._stop = stop
        self._held_since: datetime | None = None

    def carry(self) -> Outcome:
        """Run until the change ends, has to wait for longer than is worth a process, or is stopped."""
        while True:
            outcome = self._engine.run(self._stop.is_set)
            if outcome.wait is None or outcome.wait.code == WaitCode.STOPPED:
                return outcome
            left = outcome.wait.until - self._clock.now()
            if left > SHORT and not self._holds(outcome):
                return outcome
            if self._stop.wait(max(left.total_seconds(), _LEAST)):
                return outcome

    def _holds(self, outcome: Outcome) -> bool:
        """Whether to stay since a certificate is not saved yet; a clock that was set back does not prolong it."""
        if not outcome.unsaved_certificate:
            self._held_since = None
            return False
        now = self._clock.now()
        self._held_since = self._held_since or now
        return timedelta() <= now - self._held_since < HOLDING
