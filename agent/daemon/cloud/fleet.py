"""What the fleet's operator says and hears over the session: jobs, the shadow, and retirements.

It connects the three to one another and to the link that is up; each has a module of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.daemon.cloud.jobs import Jobs
from agent.daemon.cloud.requests import CloudRequests
from agent.daemon.cloud.retirement import RetirementRequests
from agent.daemon.cloud.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.cloud.requests import FleetCalls
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop
    from agent.iotcore.async_client import Link


class FleetSide:
    """The fleet's side of one gateway.

    Attributes:
        jobs: The executions of AWS IoT Jobs.
        retirements: The certificates that were left behind.
    """

    def __init__(self, loop: Loop, facts: GatewayFacts, calls: FleetCalls, chance: Callable[[], float]) -> None:
        """Speak with no cloud yet.

        Args:
            loop: Where to wait.
            facts: What is known of the gateway.
            calls: What the fleet's orders act on.
            chance: Draws a number in [0, 1).
        """
        self._requests = CloudRequests(calls.log)
        self._shadow = Shadow(loop, self._requests, facts, calls, self._on_wish, chance)
        self.jobs = Jobs(loop, self._requests, facts, self._shadow, calls, chance)
        self.retirements = RetirementRequests(self._requests, facts, calls, chance)

    @property
    def busy(self) -> bool:
        """Whether something is said or awaited that the next session would be late for."""
        return self._requests.busy or self._shadow.unreported or self.retirements.ordered

    def connected(self, link: Link, thing: str) -> None:
        """Ask for everything anew."""
        self._requests.connected(link, thing)
        self.retirements.connected()
        self._shadow.connected()
        self.jobs.connected()

    def disconnected(self) -> None:
        """Nothing can be said or heard."""
        self._requests.disconnected()
        self.retirements.disconnected()

    def report(self) -> None:
        """Bring the shadow up to date, at most once a minute."""
        self._shadow.report()

    def _on_wish(self) -> None:
        self.jobs.review()
