"""What a worker said, and what follows from it: for the clients, for the job, for the journal, and for what is next.

It starts nothing itself. What is to be done next is put into the queue, and what was found out is told to the part that
it belongs to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.control_protocol import (
    DroppedMessage,
    ExaminationMessage,
    LockedOutMessage,
    NothingMessage,
    OutcomeMessage,
    RehearsalMessage,
    WaitMessage,
)
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.report import journal_events
from agent.core.report.journal_events import Event
from agent.core.worker_protocol import Do

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.decide import Wait
    from agent.core.change.ladder import Climb
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.change.progress import Progress
    from agent.core.control_protocol import LastMessage
    from agent.core.report.checks import Line
    from agent.core.worker_protocol import End, NoChange, Order, WorkerError
    from agent.daemon.cloud.fleet import FleetSide
    from agent.daemon.control.client import Client
    from agent.daemon.control.followers import Followers
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.work.holds import WorkerHolds
    from agent.daemon.work.ladder_news import LadderNews
    from agent.daemon.work.queue import Work, WorkQueue
    from agent.daemon.work.schedule_watch import ScheduleWatch


@frozen
class Recipients:
    """The parts that are told what a worker said."""

    queue: WorkQueue
    holds: WorkerHolds
    schedule: ScheduleWatch
    followers: Followers
    fleet: FleetSide
    ladder: LadderNews


class WorkerResults:
    """Concludes what workers say."""

    def __init__(
        self,
        facts: GatewayFacts,
        to: Recipients,
        explain: Callable[[str], None],
        examined: Callable[[str, str], None],
        log: Callable[..., None],
    ) -> None:
        """Conclude nothing yet.

        Args:
            facts: What is known of the gateway.
            to: The parts that are told.
            explain: Takes the reason that a worker found for there being no connection.
            examined: Takes why a new connection is not accepted, and why other trust anchors of this gateway should be
                in use, or empty texts.
            log: Writes to the journal; see `agent.daemon.daemon_log.DaemonLog.tell`.
        """
        self._facts = facts
        self._to = to
        self._explain = explain
        self._examined = examined
        self._log = log

    def started(self, work: Work) -> None:
        """A worker is about to be started."""
        if work.client is not None:
            self._to.followers.started(work.client)

    def progress(self, step: Progress) -> None:
        """Tell what a worker has told of its way."""
        event = journal_events.of_progress(step.code, step.failure)
        if event is not Event.LADDER or self._to.ladder.is_new(step.text):
            self._log(event, step.text, change=step.change, phase=step.code, failure_class=step.failure)
        self._to.followers.progress(step)

    def ended(self, work: Work, end: End) -> None:
        """Conclude how a worker ended.

        Args:
            work: What it was to do.
            end: What it told of that.
        """
        error = end.error
        self._to.schedule.worker_ended(orderly=error is None)
        if end.half:
            self._to.holds.half_replaced()
        if error is None and _disk_failed(end.wait):
            self._to.holds.work_failed()  # the disk may know no later instant, and a worker a second mends nothing
        elif error is None:
            self._to.holds.work_succeeded()
        elif error.busy:
            self._to.queue.put_back(work)
            self._to.holds.store_was_busy()
        else:
            self._failed(work, error)
        if end.climb is not None:
            self._climbed(end.climb)
        if end.postponed:
            self._to.queue.postpone(work)
            self._to.followers.postponed(work.client)
        self._tell_bundle(work.order, end.bundle)
        self._tell_dropped(work.client, end.dropped)
        self._tell_end(work, end)

    def _failed(self, work: Work, error: WorkerError) -> None:
        order, client, message, died = work.order, work.client, error.message, error.died
        asked_for = client is not None or bool(order.order)
        if not asked_for or died:  # a client, or the job, is told, and no other order waits for that
            self._to.holds.work_failed()
        if order.do is Do.LOOK:
            self._to.schedule.look_failed(message)
        event = Event.PROGRESS if asked_for else Event.TROUBLE_STORE
        self._log(Event.WORKER_DIED if died else event, message)
        if order.order:
            self._to.queue.withdraw(order.order)
            self._to.fleet.jobs.refuse(order.order, "refused", message)
        if client is not None:
            self._to.followers.failed(client, error)

    def _climbed(self, climb: Climb) -> None:
        if climb.use is None:
            self._explain(climb.why)  # the worker sees more of it than the session does
        elif _locks_out(climb):
            self._to.ladder.locked_out(climb.why, climb.remedy)
        else:
            self._to.ladder.found_a_set()

    def _tell_bundle(self, order: Order, told: NoChange | None) -> None:
        """Tell the pipeline that shipped a bundle, or the job, that it became no change."""
        if order.do is Do.TAKE_DROP:
            self._to.schedule.drop_taken(order.drop)
        if told is None:
            return
        refused = told.code != "unchanged"
        where = f"{order.drop} in the inbox" if order.do is Do.TAKE_DROP else f"The bundle of {order.order}"
        event = Event.BUNDLE_REFUSED if refused and not told.passing else Event.PROGRESS
        self._log(event, f"{where}: {told.message} {told.hint}".rstrip())
        if order.do is not Do.DOWNLOAD:
            return
        if not refused:
            self._to.fleet.jobs.done(order.order, told.message)
        elif told.passing:
            self._to.fleet.jobs.postpone(order.order, told.message)
        else:
            self._to.fleet.jobs.refuse(order.order, told.code, told.message)

    def _tell_dropped(self, client: Client | None, text: str | None) -> None:
        """Tell the client that asked for it that a certificate is not asked to be retired any more."""
        if text is None:
            return
        self._log(Event.RETIRE_DROPPED, text)
        self._answer(client, DroppedMessage(text=text))

    def _tell_end(self, work: Work, end: End) -> None:
        tell, order = self._to.followers.ended, work.order
        if end.rehearsal is not None:
            self._answer(work.client, RehearsalMessage(text=end.rehearsal))
        elif end.examination is not None:
            self._answer(work.client, ExaminationMessage(lines=end.examination))
            self._examined(_why_refused(end.examination), _why_distrusted(end.examination))
        elif order.do in {Do.NOTE_RETIRED, Do.NOTE_UNREGISTERED}:
            self._to.fleet.retirements.conclude()
        elif end.repeats is not None:
            current = self._facts.generation
            tell(OutcomeMessage(change=end.repeats, current=current, exit=Exit.DONE, repeated=True))
        elif end.change is not None and end.wait is not None:
            self._to.followers.waits(self._wait(end, end.change, end.wait))
        elif end.change is not None:
            self._tell_outcome(end.change, end.exit)
        elif end.climb is not None:
            tell(_of_climb(end.climb))

    def _answer(self, client: Client | None, message: LastMessage) -> None:
        """Tell the client that asked, and no other: another may follow a change that goes on."""
        if client is not None:
            self._to.followers.answer(client, message)

    def _wait(self, end: End, change: ChangeRecord, wait: Wait) -> WaitMessage:
        """Return what clients are told of a change that waits."""
        climb = end.climb
        return WaitMessage(
            change=change,
            wait=wait,
            postponed=end.postponed,
            locked_out=climb if climb is not None and _locks_out(climb) else None,
            current=self._facts.generation,
            would_exit=end.exit,
        )

    def _tell_outcome(self, change: ChangeRecord, code: int) -> None:
        text = f"{change.kind} {change.id} ended: {change.phase}."
        failure = change.failure
        if change.phase is not Phase.COMMITTED:  # which was told as it happened
            event = journal_events.of_progress(change.phase, None)
            why = {"failure_class": failure.kind, "failure_code": failure.code} if failure is not None else {}
            told = f"{text} {failure.message}" if failure is not None else text
            self._log(event, told, change=change.id, phase=change.phase, **why)
        self._to.followers.ended(OutcomeMessage(change=change, current=self._facts.generation, exit=code))


def _locks_out(climb: Climb) -> bool:
    """Whether a climb found no set that is accepted, so that a technician is needed."""
    from agent.core.change.ladder import Rung  # noqa: PLC0415 - seldom needed, and the idle daemon is small

    return climb.use == Rung.TECHNICIAN


# What the doctor says of a new connection that is refused; a path that is down says nothing of the set.
_REFUSED = frozenset({"certificate-refused", "connect-denied", Code.LOCKED_OUT})


def _why_refused(lines: tuple[Line, ...]) -> str:
    """Return why the doctor found that the set does not get through any more, or an empty text."""
    met = (line for line in lines if line.code in _REFUSED or traits(line.code).other_anchors)
    return next((line.text for line in met if line.check == "connect"), "")


def _why_distrusted(lines: tuple[Line, ...]) -> str:
    """Return why other anchors should be in use, which verify the server as well, or an empty text."""
    return next((line.text for line in lines if (line.check, line.code) == ("connect", "distrusted-root")), "")


def _of_climb(climb: Climb) -> LastMessage:
    """Return what a client is told of a climb that led to no change."""
    from agent.core.change.ladder import Rung  # noqa: PLC0415 - as in `_locks_out`

    if _locks_out(climb):
        return LockedOutMessage(why=climb.why, remedy=climb.remedy)
    works = climb.use == Rung.CURRENT
    remedy = "" if works else " Run the same command again later."
    text = f"Nothing was changed: {climb.why}.{remedy}"
    return NothingMessage(text=text, exit=Exit.DONE if works else Exit.UNAVAILABLE)


def _disk_failed(wait: Wait | None) -> bool:
    """Whether a change waits for the disk to take its record."""
    return wait is not None and wait.failure is not None and wait.failure.kind is FailureClass.STORE
