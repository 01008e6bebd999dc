"""The executions of AWS IoT Jobs that are this agent's: asked for, taken, handed over, and answered.

Everything that comes is hostile until parsed. Nothing is kept on disk: after each connect the cloud is asked again, and
what became of an execution is in the history.

Rules: an execution is acted on only after the cloud took our word that it is in progress, so that a job which was
cancelled, or which another process of this thing took, is left alone. An answer is repeated until it is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from agent.core.aws import topics
from agent.core.change.decide import Wait
from agent.core.failure.failure import FailureClass
from agent.core.report import jobs
from agent.core.report.journal_events import Event
from agent.core.values import Kind, Origin
from agent.core.when import schedule
from agent.core.worker_protocol import Do, Order
from agent.daemon.cloud.requests import again_after
from agent.daemon.loop import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.failure.failure import Failure
    from agent.core.when.schedule import Suggestion
    from agent.daemon.cloud.requests import CloudRequests, FleetCalls
    from agent.daemon.cloud.shadow import Shadow
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop

MAX_REMEMBERED = 1_000  # executions of other programs, so as not to ask for them again; and ours that were told of
# The same for all that wait: nothing is told anew, to each of a hundred, when one of them begins or ends.
_QUEUED = "The order is accepted and follows those before it: one change at a time, within the daily limit."
POSTPONED = 300.0  # seconds, at least, before what an execution waits for is looked at again


@dataclass
class _Entry:
    """One execution of ours.

    Attributes:
        execution: As it was described, with the version that the next update rests on.
        order: What it wants.
        sent: The last answer that was accepted.
        accepted: Whether the cloud took our word that it is in progress.
        begun: Whether it was handed over.
        refusal: What ends it without a change of its own, once and for all.
        waits: What it waits for, in words, or empty.
        asking: Whether an update is under way.
        tried: The last answer that was sent, accepted or not.
    """

    execution: jobs.Execution
    order: jobs.DocumentOrder
    sent: jobs.JobAnswer | None = None
    accepted: bool = False
    begun: bool = False
    refusal: jobs.JobAnswer | None = None
    waits: str = ""
    asking: bool = False
    tried: jobs.JobAnswer | None = None


class Jobs:
    """The executions of one thing."""

    def __init__(
        self,
        loop: Loop,
        requests: CloudRequests,
        facts: GatewayFacts,
        shadow: Shadow,
        calls: FleetCalls,
        chance: Callable[[], float],
    ) -> None:
        """Know of no execution yet.

        Args:
            loop: Where to wait.
            requests: How the cloud is asked.
            facts: What is known of the gateway and its changes.
            shadow: Gives the digest that a report answers with, and a window where no job has one.
            calls: What jobs have done.
            chance: Draws a number in [0, 1).
        """
        self._loop = loop
        self._requests = requests
        self._facts = facts
        self._shadow = shadow
        self._calls = calls
        self._chance = chance
        self._known: dict[str, _Entry] = {}
        self._foreign: dict[str, None] = {}
        self._told: dict[str, None] = {}  # orders of ours that the journal has: one may be forgotten and come again
        self._taken: dict[str, _Entry] = {}  # updates of which were refused: it may be another client's now
        self._announced = False  # something new since the list was asked for
        self._again = Alarm(loop, self._ask_pending)

    def connected(self) -> None:
        """Ask for everything anew."""
        self._announced = False
        for entry in self._known.values():
            entry.asking = False
        self._requests.listen(topics.jobs_changed(self._requests.thing), lambda _: self._ask_pending())
        self._ask_pending()

    # -- what became of an execution, as a worker tells it ---------------------------------------------------------

    def refuse(self, order: str, code: str, message: str) -> None:
        """Tell the cloud that a change could not be begun."""
        self._conclude(order, jobs.failed(code, message))

    def done(self, order: str, message: str) -> None:
        """Tell the cloud that there was nothing to change."""
        self._conclude(
            order, jobs.JobAnswer(status=jobs.ExecutionStatus.SUCCEEDED, details=jobs.details(message=message))
        )

    def _conclude(self, order: str, answer: jobs.JobAnswer) -> None:
        entry = self._known.get(order)
        if entry is not None:
            entry.refusal = answer
            self.review()

    def postpone(self, order: str, message: str) -> None:
        """Tell the cloud what an execution waits for, and try it again after a while."""
        entry = self._known.get(order)
        if entry is not None:
            entry.waits = message
            self._loop.later(POSTPONED * (1 + self._chance()), lambda: self._begin_again(entry))
            self.review()

    def _begin_again(self, entry: _Entry) -> None:
        if self._known.get(entry.execution.order) is entry:
            entry.begun = False
            self.review()

    # -- which executions there are --------------------------------------------------------------------------------

    def _ask_pending(self) -> None:
        topic = topics.jobs_pending(self._requests.thing)
        asked = self._requests.ask_once("GetPendingJobExecutions", topic, {}, self._on_pending, self._later)
        self._announced = not asked

    def _later(self, failure: Failure) -> None:
        """What was not answered is asked for again; the cloud may be throttling a whole fleet."""
        if self._announced and failure.kind is not FailureClass.THROTTLED:
            self._ask_pending()
            return
        self._announced = False
        self._again.set_if_unset(again_after(self._chance()))

    def _on_pending(self, payload: bytes) -> None:
        pending = jobs.read_pending(payload)
        if self._announced:
            self._ask_pending()
        orders = {execution.order for execution in pending}
        for order in [order for order in self._known if order not in orders]:
            self._taken[order] = self._known.pop(order)  # it was cancelled, or another client ended it
            self._calls.withdraw(order)
        self._ask_who_ended(orders)
        for execution in pending:
            if execution.order in self._known or execution.order in self._foreign:
                continue
            topic = topics.job(self._requests.thing, execution.job_id)
            body = {"executionNumber": execution.number, "includeJobDocument": True}
            self._requests.ask_once("DescribeJobExecution", topic, body, self._on_execution, self._later)
        self.review()

    def _ask_who_ended(self, pending: set[str]) -> None:
        """Ask what became of the executions of ours that wait no more, and that this agent has not ended."""
        for order, entry in list(self._taken.items()):
            del self._taken[order]
            if order not in pending:
                topic = topics.job(self._requests.thing, entry.execution.job_id)
                body = {"executionNumber": entry.execution.number, "includeJobDocument": False}
                heard = partial(self._on_ended, entry)
                self._requests.ask_once("DescribeJobExecution", topic, body, heard, lambda _: None)

    def _on_ended(self, entry: _Entry, payload: bytes) -> None:
        told = jobs.taken_by_another(payload, entry.tried.status if entry.tried else None)
        if told:
            self._calls.log(Event.JOB_REJECTED, told)

    def _on_execution(self, payload: bytes) -> None:
        execution = jobs.read_execution(payload)
        if execution is None or execution.order in self._known:
            return
        order = jobs.read_order(execution)
        if isinstance(order, jobs.DocumentOrder) and order.window is not None and self._applies(order.window):
            status = self._calls.status()  # one that is done already is done, whenever its window was
            order = jobs.in_time(execution, order, status.now) if status.clock.believable else order
        if order is None:
            _remember(self._foreign, execution.order)
            return
        if isinstance(order, jobs.JobAnswer):
            self._tell_once(execution, Event.JOB_REJECTED, f"Job {execution.job_id}: {order.details['message']}")
            entry = _Entry(execution, jobs.DocumentOrder(operation=jobs.JobOperation.REPORT, reason=""), refusal=order)
        else:
            asks = f"Job {execution.job_id} asks to {order.operation}: {order.reason}."
            self._tell_once(execution, Event.JOB_ACCEPTED, asks)
            entry = _Entry(execution, order)
        self._known[execution.order] = entry
        self.review()

    def _tell_once(self, execution: jobs.Execution, event: Event, text: str) -> None:
        if execution.order not in self._told:
            _remember(self._told, execution.order)
            self._calls.log(event, text)

    # -- what is answered, and begun -------------------------------------------------------------------------------

    def review(self) -> None:
        """Bring the cloud up to date about every execution of ours, and begin what may be begun."""
        for entry in list(self._known.values()):
            self._review(entry)
        windows = (entry.order.window for entry in self._known.values() if entry.accepted and self._is_ahead(entry))
        # A job means this gateway, and the shadow's wish any that has it.
        self._calls.suggest(next(windows, None) or self._shadow.window)

    def _is_ahead(self, entry: _Entry) -> bool:
        """Whether an execution's window is still to be used."""
        return entry.order.window is not None and self._record(entry) is None

    def _record(self, entry: _Entry) -> ChangeRecord | None:
        """Return the change that an execution ordered, in flight or finished."""
        return jobs.find(entry.execution.order, self._facts.change, self._facts.history)

    def _review(self, entry: _Entry) -> None:
        record = self._record(entry)
        done = self._done_already(entry) if record is None and entry.refusal is None else None
        if done is not None and entry.begun:
            self._calls.withdraw(entry.execution.order)  # it is not begun then, unless that is undone
        entry.begun = record is not None or (entry.begun and done is None)
        answer = self._answer(entry, record, done)
        if answer != entry.sent or not entry.accepted:
            self._update(entry, answer)
        elif not entry.begun and entry.order.window is None and answer.status is jobs.ExecutionStatus.IN_PROGRESS:
            entry.begun = True
            self._calls.begin(_worker_order(entry))

    def _answer(self, entry: _Entry, record: ChangeRecord | None, done: jobs.JobAnswer | None) -> jobs.JobAnswer:
        """Return what is true of an execution, by the change that it ordered, or by why it is done already."""
        if record is not None:
            return jobs.answer_of(record, *self._waits_for(record))
        settled = entry.refusal or done
        if settled is not None:
            return settled
        if entry.order.operation is jobs.JobOperation.REPORT:
            return jobs.JobAnswer(status=jobs.ExecutionStatus.SUCCEEDED, details=jobs.details(**self._shadow.digest()))
        window = entry.order.window
        if window is None:
            return jobs.waiting(entry.waits or _QUEUED)
        if self._applies(window):
            return jobs.waiting(
                f"Rotates between {window.opens_at:%Y-%m-%dT%H:%MZ} and {window.closes_at:%Y-%m-%dT%H:%MZ}."
            )
        message = "The certificate in use is newer than the window that was asked for."
        return jobs.JobAnswer(status=jobs.ExecutionStatus.SUCCEEDED, details=jobs.details(message=message))

    def _done_already(self, entry: _Entry) -> jobs.JobAnswer | None:
        return jobs.done_already(entry.execution, entry.order, self._facts.history, self._begins)

    def _begins(self) -> datetime | None:
        subject = self._facts.subject()
        return subject.not_before if subject is not None else None

    def _waits_for(self, record: ChangeRecord) -> tuple[str, datetime | None]:
        """Return why a change waits, and until when."""
        action = self._facts.following() if record is self._facts.change else None
        return (action.why, action.until) if isinstance(action, Wait) else ("", None)

    def _applies(self, window: Suggestion) -> bool:
        """Whether the certificate in use is older than a window."""
        subject = self._facts.subject()
        return subject is None or schedule.applies(
            window, subject, schedule.past_of(self._facts.history), self._facts.clock.now()
        )

    def _update(self, entry: _Entry, answer: jobs.JobAnswer) -> None:
        if entry.asking or not self._requests.up:
            return
        entry.asking, entry.tried = True, answer
        body = {
            "status": answer.status,
            "statusDetails": answer.details,
            "expectedVersion": entry.execution.version,
            "executionNumber": entry.execution.number,
            "includeJobExecutionState": True,
        }
        topic = topics.job_update(self._requests.thing, entry.execution.job_id)
        self._requests.ask("UpdateJobExecution", topic, body, lambda _: self._on_updated(entry, answer),
                           lambda failure: self._on_not_updated(entry, failure))  # fmt: skip

    def _on_updated(self, entry: _Entry, answer: jobs.JobAnswer) -> None:
        entry.asking, entry.accepted, entry.sent = False, True, answer
        entry.execution = jobs.updated(entry.execution)
        if answer.status is not jobs.ExecutionStatus.IN_PROGRESS:
            why = f" {answer.details['message']}" if answer == self._done_already(entry) else ""
            self._calls.log(Event.JOB_DONE, f"Job {entry.execution.job_id} is {answer.status}.{why}")
            self._known.pop(entry.execution.order, None)
        self.review()

    def _on_not_updated(self, entry: _Entry, failure: Failure) -> None:
        """Another process changed it, or the answer was lost: what is true is asked for again."""
        if self._known.pop(entry.execution.order, None) is not None:
            self._taken[entry.execution.order] = entry
        self._later(failure)


def _remember(orders: dict[str, None], order: str) -> None:
    orders[order] = None
    if len(orders) > MAX_REMEMBERED:
        del orders[next(iter(orders))]


def _worker_order(entry: _Entry) -> Order:
    """Return what a worker is to do for an execution."""
    order, reason = entry.execution.order, f"job {entry.execution.job_id}: {entry.order.reason}"
    wanted = entry.order.download
    if wanted is not None:
        return Order(
            do=Do.DOWNLOAD, origin=Origin.JOB, reason=reason, order=order, url=wanted.url, digest=wanted.digest
        )
    kind = Kind.ROLLBACK if entry.order.operation is jobs.JobOperation.ROLLBACK else Kind.ROTATE
    return Order(do=Do.BEGIN, kind=kind, origin=Origin.JOB, reason=reason, order=order)
