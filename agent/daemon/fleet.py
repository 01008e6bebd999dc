"""What the fleet's operator says and hears over the session: jobs, the shadow, and retirements.

It connects the three to one another and to the link that is up; each has a module of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.daemon.cloud_requests import CloudRequests
from agent.daemon.jobs import JobCalls, Jobs
from agent.daemon.retirement import RetirementCalls, Retirements
from agent.daemon.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.exit_codes import Exit
    from agent.core.report.journal_events import Event
    from agent.core.report.status import Status
    from agent.core.when.retirement import Retirement
    from agent.core.when.schedule import Suggestion
    from agent.core.worker_protocol import Order
    from agent.daemon.facts import Outlook
    from agent.daemon.loop import Loop
    from agent.daemon.session import SessionStatus
    from agent.iotcore.async_client import Link


@dataclass(frozen=True, kw_only=True)
class FleetCalls:
    """What the fleet's orders act on, and what is called when something happens.

    Attributes:
        session: Returns how the session stands.
        status: Returns how the gateway stands.
        begin: See `JobCalls.begin`.
        withdraw: See `JobCalls.withdraw`.
        suggest: Take the renewal window that the fleet suggests into account; None when it suggests none.
        retired: See `RetirementCalls.accepted`.
        not_retired: See `RetirementCalls.failed`.
        all_retired: See `RetirementCalls.finished`.
        log: Write to the journal.
    """

    session: Callable[[], SessionStatus]
    status: Callable[[], Status]
    begin: Callable[[Order], None]
    withdraw: Callable[[str], None]
    suggest: Callable[[Suggestion | None], None]
    retired: Callable[[Retirement], None]
    not_retired: Callable[[str, Exit], None]
    all_retired: Callable[[], None]
    log: Callable[[Event, str], None]


class Fleet:
    """The fleet's side of one gateway.

    Attributes:
        jobs: The executions of AWS IoT Jobs.
        retirements: The certificates that were left behind.
    """

    def __init__(self, loop: Loop, facts: Outlook, calls: FleetCalls, chance: Callable[[], float]) -> None:
        """Speak with no cloud yet.

        Args:
            loop: Where to wait.
            facts: What is known of the gateway.
            calls: What the fleet's orders act on.
            chance: Draws a number in [0, 1).
        """
        self._suggest = calls.suggest
        self._requests = CloudRequests(calls.log)
        self._shadow = Shadow(
            loop, self._requests, status=calls.status, wished=self._on_wish, log=calls.log, chance=chance
        )
        job_calls = JobCalls(
            begin=calls.begin,
            withdraw=calls.withdraw,
            suggest=self._on_window,
            digest=self._shadow.digest,
            log=calls.log,
        )
        self.jobs = Jobs(loop, self._requests, facts, job_calls, chance)
        retirement_calls = RetirementCalls(
            accepted=calls.retired, failed=calls.not_retired, finished=calls.all_retired, log=calls.log
        )
        self.retirements = Retirements(self._requests, facts, calls.session, retirement_calls, chance)

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

    def _on_window(self, from_job: Suggestion | None) -> None:
        """Suggest the window of a job before that of the shadow, which means any gateway."""
        self._suggest(from_job or self._shadow.window)
