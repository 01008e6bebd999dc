"""What the fleet's operator says and hears over the session: jobs, the shadow, and retirements.

Everything that comes is hostile until parsed; what cannot be parsed is told to the log and forgotten. Nothing is kept
on disk: after each connect the cloud is asked again, and what became of an order is in the history.

Rules for jobs: an execution is acted on only after the cloud took our word that it is in progress, so that a job which
was cancelled, or which another process of this thing took, is left alone. An answer is repeated until it is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from agent.core.aws import topics
from agent.core.aws.replies import RETIRE, check_accepted
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.failure.retry import Backoff
from agent.core.jsonio import PlainError
from agent.core.report import jobs, shadow
from agent.core.values import Kind
from agent.core.when import retirement
from agent.errors import CloudError
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.failure.failure import Failure
    from agent.core.when.retirement import Retirement
    from agent.core.when.schedule import Suggestion
    from agent.daemon.loop import Loop, Timer
    from agent.iotcore.async_client import Link

REPORT_EVERY = 60.0  # seconds between two reports to the shadow, at least
MAX_FOREIGN = 1_000  # executions of other programs that are remembered, so as not to ask for them again
ASK_AGAIN = 30.0  # seconds
POSTPONED = 300.0  # seconds, at least, before what an execution waits for is looked at again

_RETIRE_AGAIN = Backoff(base=60, cap=86_400, floor=30)


class Gateway(Protocol):
    """What the fleet's orders act on."""

    def record_for(self, order: str) -> ChangeRecord | None:
        """Return the change that an execution ordered, in flight or finished."""

    def waits_for(self, record: ChangeRecord) -> tuple[str, Any]:
        """Return why a change waits, and until when."""

    def begin_for(self, kind: Kind, order: str, reason: str) -> None:
        """Begin a change for an execution, as soon as none is in flight; `Fleet.review` follows."""

    def download_for(self, wanted: jobs.Download, order: str, reason: str) -> None:
        """Have a signed bundle downloaded and installed for an execution; `Fleet.review` follows."""

    def withdraw(self, order: str) -> None:
        """An execution is gone; what it ordered is not begun any more."""

    def suggestion_applies(self, suggestion: Suggestion) -> bool:
        """Whether the certificate is older than a suggestion."""

    def suggest(self, suggestion: Suggestion | None) -> None:
        """Take a suggested window into account."""

    def status(self) -> Mapping[str, Any]:
        """Return the status document."""

    def retired(self, due: Retirement) -> None:
        """The cloud accepted a retirement."""

    def not_retired(self, due: Retirement, text: str, *, refused: bool) -> None:
        """A retirement was refused, or not answered."""

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """Write to the log."""


@dataclass
class _Entry:
    """One execution of ours."""

    execution: jobs.Execution
    order: jobs.Order
    sent: jobs.Answer | None = None
    accepted: bool = False
    begun: bool = False
    refusal: jobs.Answer | None = None
    waits: str = ""
    asking: bool = False


class Fleet:
    """Speaks with the cloud over whatever link is up."""

    def __init__(self, loop: Loop, gateway: Gateway, chance: Callable[[], float]) -> None:
        self._loop = loop
        self._gateway = gateway
        self._chance = chance
        self._link: Link | None = None
        self._thing = ""
        self._known: dict[str, _Entry] = {}
        self._foreign: dict[str, None] = {}
        self._wish = shadow.Wish()
        self._reported: dict[str, Any] | None = None
        self._reported_at = -REPORT_EVERY
        self._report_timer: Timer | None = None
        self._again: Timer | None = None
        self._shadow_again: Timer | None = None
        self._under_way: set[str] = set()
        self._news = False
        self._retiring: str | None = None  # the certificate that is asked for
        self._retire_tries: dict[str, tuple[int, float]] = {}
        self.refused: dict[str, str] = {}
        self.unanswered: dict[str, str] = {}

    # -- the link --------------------------------------------------------------------------------------------------

    def connected(self, link: Link, thing: str) -> None:
        """Ask for everything anew."""
        self._link, self._thing = link, thing
        self._retiring = None
        self._under_way.clear()
        self._news = False
        for entry in self._known.values():
            entry.asking = False
        link.listen(topics.jobs_changed(thing), lambda _: self._ask_pending())
        link.listen(topics.shadow_documents(thing), self._on_documents)
        self._ask_shadow()
        self._ask_pending()

    def disconnected(self) -> None:
        """Nothing can be said or heard."""
        self._link = None
        if self._retiring is not None:  # where that is what costs the connection, it must not cost every one
            tries, _ = self._retire_tries.get(self._retiring, (0, 0.0))
            self._retire_tries[self._retiring] = (tries + 1, self._not_before(tries) if tries else 0.0)
            self._retiring = None

    def _request(self, operation: str, topic: str, body: dict[str, Any], done: Callable[[bytes], None],
                 failed: Callable[[Failure], None] | None = None) -> None:  # fmt: skip
        def trouble(failure: Failure) -> None:
            if not _is_missing(failure):  # a shadow that does not exist yet is an answer
                self._gateway.tell("progress", failure.message)
            if failed is not None:
                failed(failure)

        def answered(topic: str, payload: bytes) -> None:
            try:
                check_accepted(operation, topic, payload)
                done(payload)
            except CloudError as error:
                trouble(error.failure)
            except PlainError as error:
                trouble(failures.garbled(operation, str(error)))

        if self._link is not None:
            self._link.request(operation, topic, body, answered, trouble)

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _once(
        self, operation: str, topic: str, body: dict[str, Any], done: Callable[[bytes], None],
        failed: Callable[[Failure], None],
    ) -> bool:  # fmt: skip
        """Ask unless the same question is under way; whoever floods a gateway must not make it flood the cloud."""
        key = f"{topic} {body.get('executionNumber', '')}"  # a job redone is another question
        if key in self._under_way or self._link is None:
            return False

        def answered(payload: bytes) -> None:
            self._under_way.discard(key)
            done(payload)

        def trouble(failure: Failure) -> None:
            self._under_way.discard(key)
            failed(failure)

        self._under_way.add(key)
        self._request(operation, topic, body, answered, trouble)
        return True

    def _ask_pending(self) -> None:
        topic = topics.jobs_pending(self._thing)
        asked = self._once("GetPendingJobExecutions", topic, {}, self._on_pending, self._later)
        self._news = not asked

    def _later(self, failure: Failure) -> None:
        """What was not answered is asked for again; the cloud may be throttling a whole fleet."""
        if self._news and failure.kind is not FailureClass.THROTTLED:
            self._ask_pending()  # something new was announced meanwhile
            return
        self._news = False
        if self._again is None or not self._again.pending:
            self._again = self._loop.later(ASK_AGAIN * (1 + 3 * self._chance()), self._ask_pending)

    def _on_pending(self, payload: bytes) -> None:
        pending = jobs.read_pending(payload)
        if self._news:
            self._ask_pending()
        orders = {execution.order for execution in pending}
        for order in [order for order in self._known if order not in orders]:
            self._forget(order)  # it was cancelled, or it is done
            self._gateway.withdraw(order)
        for execution in pending:
            if execution.order in self._known or execution.order in self._foreign:
                continue
            topic = topics.job(self._thing, execution.job_id)
            body = {"executionNumber": execution.number, "includeJobDocument": True}
            self._once("DescribeJobExecution", topic, body, self._on_execution, self._later)
        self.review()

    def _on_execution(self, payload: bytes) -> None:
        execution = jobs.read_execution(payload)
        if execution is None or execution.order in self._known:
            return
        order = jobs.read_order(execution)
        if order is None:
            self._foreign[execution.order] = None
            if len(self._foreign) > MAX_FOREIGN:
                del self._foreign[next(iter(self._foreign))]
            return
        if isinstance(order, jobs.Answer):
            self._gateway.tell("job-rejected", f"Job {execution.job_id}: {order.details['message']}")
            entry = _Entry(execution, jobs.Order(operation=jobs.Operation.REPORT, reason=""), refusal=order)
        else:
            self._gateway.tell("job-accepted", f"Job {execution.job_id} asks to {order.operation}: {order.reason}.")
            entry = _Entry(execution, order)
        self._known[execution.order] = entry
        self.review()

    def refuse(self, order: str, code: str, message: str) -> None:
        """Tell the cloud that a change could not be begun."""
        entry = self._known.get(order)
        if entry is not None:
            entry.refusal = jobs.failed(code, message)
            self.review()

    def done(self, order: str, message: str) -> None:
        """Tell the cloud that there was nothing to change."""
        entry = self._known.get(order)
        if entry is not None:
            entry.refusal = jobs.Answer(status=jobs.Status.SUCCEEDED, details=jobs.details(message=message))
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

    def review(self) -> None:
        """Bring the cloud up to date about every execution of ours, and begin what may be begun."""
        for entry in list(self._known.values()):
            self._review(entry)
        windows = (entry.order.window for entry in self._known.values() if entry.accepted and self._is_ahead(entry))
        self._suggest(next(windows, None))

    def _is_ahead(self, entry: _Entry) -> bool:
        """Whether an execution's window is still to be used."""
        return entry.order.window is not None and self._gateway.record_for(entry.execution.order) is None

    def _review(self, entry: _Entry) -> None:
        answer = self._answer(entry)
        if answer != entry.sent or not entry.accepted:
            self._answer_job(entry, answer)
        elif not entry.begun and entry.order.window is None and answer.status is jobs.Status.IN_PROGRESS:
            entry.begun = True
            self._begin(entry)

    def _begin(self, entry: _Entry) -> None:
        order, reason = entry.execution.order, f"job {entry.execution.job_id}: {entry.order.reason}"
        if entry.order.download is not None:
            self._gateway.download_for(entry.order.download, order, reason)
            return
        kind = Kind.ROLLBACK if entry.order.operation is jobs.Operation.ROLLBACK else Kind.ROTATE
        self._gateway.begin_for(kind, order, reason)

    def _answer(self, entry: _Entry) -> jobs.Answer:
        record = self._gateway.record_for(entry.execution.order)
        if record is not None:
            entry.begun = True
            return jobs.answer_of(record, *self._gateway.waits_for(record))
        if entry.refusal is not None:
            return entry.refusal
        if entry.order.operation is jobs.Operation.REPORT:
            told = shadow.report(self._gateway.status(), self._wish)
            return jobs.Answer(status=jobs.Status.SUCCEEDED, details=jobs.details(**told))
        window = entry.order.window
        if window is None:
            return jobs.waiting(entry.waits or "The order is accepted and is carried out next.")
        if self._gateway.suggestion_applies(window):
            return jobs.waiting(
                f"Rotates between {window.opens_at:%Y-%m-%dT%H:%MZ} and {window.closes_at:%Y-%m-%dT%H:%MZ}."
            )
        message = "The certificate in use is newer than the window that was asked for."
        return jobs.Answer(status=jobs.Status.SUCCEEDED, details=jobs.details(message=message))

    def _answer_job(self, entry: _Entry, answer: jobs.Answer) -> None:
        if entry.asking or self._link is None:
            return
        entry.asking = True
        body = {
            "status": answer.status,
            "statusDetails": answer.details,
            "expectedVersion": entry.execution.version,
            "executionNumber": entry.execution.number,
            "includeJobExecutionState": True,
        }
        topic = topics.job_update(self._thing, entry.execution.job_id)
        self._request("UpdateJobExecution", topic, body, lambda payload: self._on_updated(entry, answer, payload),
                      lambda failure: self._on_not_updated(entry, failure))  # fmt: skip

    def _on_updated(self, entry: _Entry, answer: jobs.Answer, _payload: bytes) -> None:
        entry.asking, entry.accepted, entry.sent = False, True, answer
        entry.execution = jobs.updated(entry.execution)
        if answer.status is not jobs.Status.IN_PROGRESS:
            self._gateway.tell("job-done", f"Job {entry.execution.job_id} is {answer.status}.")
            self._forget(entry.execution.order)
        self.review()

    def _on_not_updated(self, entry: _Entry, failure: Failure) -> None:
        """Somebody else changed it, or the answer was lost: what is true is asked for again."""
        self._forget(entry.execution.order)
        self._later(failure)

    def _forget(self, order: str) -> None:
        self._known.pop(order, None)

    # -- the shadow ------------------------------------------------------------------------------------------------

    def _ask_shadow(self) -> None:
        self._once("GetShadow", topics.shadow_get(self._thing), {}, self._on_shadow, self._on_no_shadow)

    def _on_shadow(self, payload: bytes) -> None:
        self._wish, self._reported = shadow.read_shadow(payload)
        self.review()
        self.report()

    def _on_no_shadow(self, failure: Failure) -> None:
        if _is_missing(failure):
            self._reported = {}
            self.report()
        elif self._shadow_again is None or not self._shadow_again.pending:
            self._shadow_again = self._loop.later(ASK_AGAIN * (1 + 3 * self._chance()), self._ask_shadow)

    def _on_documents(self, payload: bytes) -> None:
        try:
            wish = shadow.read_documents(payload)
        except PlainError as error:
            self._gateway.tell("progress", f"What the cloud told of the shadow was not used: {error}.")
            return
        if wish != self._wish:
            self._wish = wish
            self.review()
            self.report()

    def _suggest(self, from_job: Suggestion | None) -> None:
        self._gateway.suggest(from_job or self._wish.window)

    def report(self) -> None:
        """Bring the shadow up to date, at most once a minute."""
        if self._link is None or self._reported is None:
            return
        told = shadow.report(self._gateway.status(), self._wish)
        if not shadow.differs(self._reported, told):
            return
        wait = self._reported_at + REPORT_EVERY - monotonic()
        if wait > 0:
            if self._report_timer is None or not self._report_timer.pending:
                self._report_timer = self._loop.later(wait, self.report)
            return
        self._reported_at = monotonic()

        def accepted(_payload: bytes) -> None:
            self._reported = {**(self._reported or {}), **told}

        body = {"state": {"reported": told}}
        self._request("UpdateShadow", topics.shadow_update(self._thing), body, accepted, lambda _: None)

    # -- retirement ------------------------------------------------------------------------------------------------

    def retire(self, due: Retirement) -> bool:
        """Ask for a certificate to be deactivated, unless that was done a moment ago; return whether it was asked."""
        _, not_before = self._retire_tries.get(due.certificate_id, (0, 0.0))
        if self._link is None or self._retiring is not None or monotonic() < not_before:
            return False
        self._retiring = due.certificate_id

        def accepted(_payload: bytes) -> None:
            self._retiring = None
            for told in (self.refused, self.unanswered):
                told.pop(due.certificate_id, None)
            self._gateway.retired(due)

        body = {"certificateId": due.certificate_id}
        self._request(
            RETIRE, topics.retire(self._thing), body, accepted, lambda failure: self._not_retired(due, failure)
        )
        return True

    def forgive(self) -> None:
        """Ask for retirements again at once, whatever came of it before."""
        self._retire_tries = {name: (tries, 0.0) for name, (tries, _) in self._retire_tries.items()}

    def _not_retired(self, due: Retirement, failure: Failure) -> None:
        self._retiring = None
        tries = self._retire_tries.get(due.certificate_id, (0, 0.0))[0] + 1
        self._retire_tries[due.certificate_id] = (tries, self._not_before(tries))
        refused = retirement.is_refusal(failure)
        last, before = (self.refused, self.unanswered) if refused else (self.unanswered, self.refused)
        last[due.certificate_id] = failure.message
        before.pop(due.certificate_id, None)
        if refused:
            self._gateway.tell("retire-refused", f"{due.certificate_id[:12]} is not retired: {failure.message}")
        self._gateway.not_retired(due, failure.message, refused=refused)

    def _not_before(self, tries: int) -> float:
        """Return when a retirement may be asked for again, by the monotonic clock."""
        return monotonic() + _RETIRE_AGAIN.delay(tries, 0.5 + 0.5 * self._chance())

    def next_retirement(self) -> float | None:
        """Return the seconds until a retirement that failed may be asked for again."""
        waits = [at - monotonic() for _, at in self._retire_tries.values() if at > monotonic()]
        return min(waits, default=None)


def _is_missing(failure: Failure) -> bool:
    return failure.code == "missing"
