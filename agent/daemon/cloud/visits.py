"""Ends the session once a look is over, and makes it again before the next one where something is to be seen to.

It owns when; `agent.core.when.looks` says how long. How a connection is made, and when a failed one is tried again, is
the session's business alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.report.known import ConnectionState
from agent.core.text import clock_time
from agent.core.when import looks
from agent.daemon.loop import Alarm
from agent.system.clock import boottime, monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.cloud.session import CloudSession
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop


class Visits:
    """When the session of one gateway comes and goes by itself."""

    def __init__(
        self,
        loop: Loop,
        session: CloudSession,
        facts: GatewayFacts,
        needed: Callable[[], bool],
        chance: Callable[[], float],
    ) -> None:
        """End nothing yet.

        Args:
            loop: Where to wait.
            session: What comes and goes.
            facts: When there is to be a session, and the clock that people read.
            needed: Returns whether there is something to be connected for.
            chance: Draws a number in [0, 1).
        """
        self._session = session
        self._facts = facts
        self._needed = needed
        self._chance = chance
        self._leave = Alarm(loop, self.consider)
        self._idle_since = 0.0  # by the monotonic clock
        self._rests_since = 0.0  # by the clock that goes on while the machine is suspended

    def consider(self) -> None:
        """Let the session end or be made, if it is time."""
        status, wanted, needed = self._session.status, self._facts.config.session, self._needed()
        if needed:
            self._idle_since = monotonic()
        if status.state is ConnectionState.RESTING:
            if looks.wakes(wanted, boottime() - self._rests_since, needed=needed):
                self._session.wake()
        elif status.state is ConnectionState.UP and wanted is not None:
            left = looks.stay(wanted, monotonic() - max(status.since, self._idle_since))
            if left:
                self._leave.set(left)
            else:
                self._rest(looks.rest(wanted, self._chance()))

    def _rest(self, seconds: float) -> None:
        self._rests_since = boottime()
        at = clock_time(self._facts.clock.now() + timedelta(seconds=seconds))
        self._session.rest(seconds, f"`session` asks for a look now and then; the next one is at {at}.")
