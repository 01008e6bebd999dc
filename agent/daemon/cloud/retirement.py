"""Asks the cloud to deactivate the certificates that were left behind, each once nothing rests on it any more.

Rules:

* One is asked for at a time, over the session of the current set, and with no change in flight.
* A request that is refused, or not answered, is made again ever more seldom; so is one that costs the connection. A
  refusal that shows that the certificate was never registered is an end.
* What came due while there was no connection waits for a time of this gateway's own: an outage was many gateways'. It
  waits once, however often the connection comes and goes; in a process that has just started, not at all.
* The order of a person goes over the grace, and over what other programs may use still if it says so.

It owns the requests and what came of them. Which certificates were left behind `agent.core.when.retirement` says, and
what was accepted a worker writes down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.aws import topics
from agent.core.aws.replies import RETIRE
from agent.core.exit_codes import Exit
from agent.core.failure.retry import Backoff
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.when import retirement
from agent.errors import AgentError
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.failure.failure import Failure
    from agent.core.when.retirement import Answers, Retirement
    from agent.daemon.cloud.requests import CloudRequests, FleetCalls
    from agent.daemon.facts import GatewayFacts

_AGAIN = Backoff(base=60, cap=86_400, floor=30)


_NO_DELAY = (0, 0.0)


class RetirementRequests:
    """The retirements of one gateway."""

    def __init__(
        self, requests: CloudRequests, facts: GatewayFacts, calls: FleetCalls, chance: Callable[[], float]
    ) -> None:
        """Ask for none yet.

        Args:
            requests: How the cloud is asked.
            facts: What is known of the gateway.
            calls: What is called when something happens.
            chance: Draws a number in [0, 1).
        """
        self._requests = requests
        self._facts = facts
        self._calls = calls
        self._chance = chance
        self._asked: str | None = None  # the certificate whose request is under way
        self._down_since: float | None = None  # since when there is no connection, nor an attempt that got through
        self._delays: dict[str, tuple[int, float]] = {}  # tries that failed, and before when there is none (monotonic)
        self._ordered: dict[str, bool] = {}  # by a person; whether also while other programs may use it
        self._refused: dict[str, str] = {}
        self._unanswered: dict[str, str] = {}

    @property
    def answers(self) -> Answers:
        """What came of the requests so far."""
        return retirement.Answers(refused=self._refused, unanswered=self._unanswered)

    @property
    def ordered(self) -> bool:
        """Whether a person or an answer is waiting."""
        return bool(self._ordered) or self._asked is not None

    def connected(self) -> None:
        """What was asked over another link is not answered any more."""
        self._asked = None
        if self._down_since is not None:
            outage, self._down_since = monotonic() - self._down_since, None
            self._wait_for_place(outage)

    def _wait_for_place(self, outage: float) -> None:
        subject, now = self._facts.subject(), self._facts.clock.now()
        not_before = monotonic() + retirement.wait_after(outage, subject.splay if subject else self._chance())
        for item in self._facts.retirements():
            if item.due <= now and item.certificate_id not in self._ordered:
                self._delays.setdefault(item.certificate_id, (0, not_before))

    def disconnected(self) -> None:
        """Nothing can be asked for."""
        if self._down_since is None and self._calls.session().state is ConnectionState.DOWN:
            self._down_since = monotonic()
        if self._asked is not None:  # where that is what costs the connection, it must not cost every one
            tries, _ = self._delays.get(self._asked, _NO_DELAY)
            self._delays[self._asked] = (tries + 1, self._not_before(tries) if tries else 0.0)
            self._asked = None

    # -- what is due -----------------------------------------------------------------------------------------------

    def consider(self) -> None:
        """Ask for the next one that is due, with nothing else in flight."""
        session = self._calls.session()
        if (
            self._facts.change is not None
            or session.generation != self._facts.generation
            or not self._facts.reading().believable
            or session.state is not ConnectionState.UP
        ):
            return
        for item in self._facts.retirements():
            if self._is_due(item) and self.ask(item):
                return
        self.conclude()

    def _is_due(self, item: Retirement) -> bool:
        """Whether it is time for one, and nothing uses it; a person's order goes over the grace, or over both."""
        ordered, over = item.certificate_id in self._ordered, self._ordered.get(item.certificate_id, False)
        return (ordered or item.due <= self._facts.clock.now()) and (over or not item.waits_for)

    def order_all(self, *, over: bool) -> int:
        """Ask for the retirement of everything left behind, now; return how much that is.

        Args:
            over: Whether also that is asked for which other programs may use still.

        Raises:
            AgentError: It cannot be asked for.
        """
        if not self._facts.config.rotation.retire:
            raise retirement.not_asked_for()
        found = [item for item in self._facts.retirements() if over or not item.waits_for]
        session = self._calls.session()
        if found and session.state in {ConnectionState.DOWN, ConnectionState.TAKEN_OVER}:
            raise AgentError(f"There is no connection to ask over: {session.why}", hint="Try again later.")
        self._ordered |= {item.certificate_id: over for item in found}
        self._delays = {name: (tries, 0.0) for name, (tries, _) in self._delays.items()}
        return len(found)

    def conclude(self) -> None:
        """Tell the person who waits for it when nothing is left that is to be retired at once."""
        if self._ordered:
            left = {item.certificate_id for item in self._facts.retirements() if self._is_due(item)}
            self._ordered = {name: over for name, over in self._ordered.items() if name in left}
        if not self._ordered:
            self._calls.all_retired()

    # -- one request -----------------------------------------------------------------------------------------------

    def ask(self, item: Retirement) -> bool:
        """Ask for a certificate to be deactivated, unless that was done a moment ago; return whether it was asked."""
        _, not_before = self._delays.get(item.certificate_id, _NO_DELAY)
        if not self._requests.up or self._asked is not None or monotonic() < not_before:
            return False
        self._asked = item.certificate_id
        topic, body = topics.retire(self._requests.thing), {"certificateId": item.certificate_id}
        self._requests.ask(
            RETIRE, topic, body, lambda _: self._accepted(item), lambda failure: self._not_accepted(item, failure)
        )
        return True

    def _accepted(self, item: Retirement) -> None:
        self._asked = None
        self._forget(item.certificate_id)
        self._calls.retired(item)

    def _forget(self, name: str) -> None:
        for told in (self._refused, self._unanswered):
            told.pop(name, None)

    def _not_accepted(self, item: Retirement, failure: Failure) -> None:
        self._asked = None
        name, shown, text = item.certificate_id, item.certificate_id[: retirement.SHOWN_ID], failure.message
        tries = self._delays.get(name, _NO_DELAY)[0] + 1
        self._delays[name] = (tries, self._not_before(tries))
        self._forget(name)
        if retirement.never_registered(item, failure):
            self._calls.unregistered(item)
            return
        refused = retirement.is_refusal(failure)
        (self._refused if refused else self._unanswered)[name] = text
        if refused:
            self._calls.log(Event.RETIRE_REFUSED, f"{shown} is not retired: {text}")
            self._ordered.pop(name, None)
        else:
            self._ordered.clear()  # the next one would have to wait as long, and for the same
        self._calls.not_retired(f"{shown} is not retired: {text}", Exit.REFUSED if refused else Exit.UNAVAILABLE)

    def _not_before(self, tries: int) -> float:
        """Return when a retirement may be asked for again, by the monotonic clock."""
        return monotonic() + _AGAIN.delay(tries, 0.5 + 0.5 * self._chance())

    def next_try(self) -> float | None:
        """Return the seconds until a request that failed may be made again."""
        now = monotonic()
        return min((at - now for _, at in self._delays.values() if at > now), default=None)
