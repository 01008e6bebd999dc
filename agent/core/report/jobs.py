"""Orders from AWS IoT Jobs: which are ours, what they want, and what is answered.

The queue of a thing is shared with other programs ("AWS IoT Jobs MQTT API"), so start-next is never called and only
documents of our own are touched::

    {"operation": "rotate-certificate", "reason": "...", "window": {"opens_at": "...", "closes_at": "..."}}
    {"operation": "rollback", "reason": "..."}
    {"operation": "install-trust-bundle", "url": "https://...", "sha256": "...", "reason": "..."}
    {"operation": "report"}

The URL is that of an archive, presigned or not, or of a repository when it ends with a slash; the hash is optional.

``"agent": "iot-cert-agent"`` may mark a document as ours; one that is marked and cannot be understood is rejected with
the reason. Other programs have operations of these names, too: without the mark a document is ours only when nothing in
it is unknown; and a `rollback` or a `report`, which many have, when it can be carried out.

A rotation that begins after a job was queued has done what that job asks for, by whatever order: of many jobs that were
queued together, or that waited while the gateway was away, not each costs a certificate. A marked document with
``"force": true`` is carried out all the same.

Nothing is remembered apart from the history: a change carries the job and its execution number, so a job that is
delivered twice, or found in progress after a restart, is answered from there.
"""

from __future__ import annotations

import re
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.jsonio import Node, PlainError, decode
from agent.core.text import clock_time, printable
from agent.core.values import MAX_URL, Kind
from agent.core.when.schedule import Suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARK = "iot-cert-agent"
MAX_PAYLOAD = 131_072  # bytes; AWS IoT Core's largest message
MAX_LISTED = 100  # executions looked at in one pending list
MAX_DETAIL = 1_000  # characters; AWS takes 1024
MAX_DETAILS = 10  # pairs of name and value
MAX_REASON = 300  # characters of an operator's reason that are kept
SOONEST = timedelta(minutes=1)  # until a window closes: a rotation needs that, on a link that is slow

DATED_BACK = timedelta(minutes=2)  # AWS IoT Core lets a certificate begin so long before it is issued
_LAST = 253_402_300_800  # seconds since 1970 at the end of the last year that a time may be in

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class JobOperation(StrEnum):
    """What a job may ask for."""

    ROTATE = "rotate-certificate"
    ROLLBACK = "rollback"
    INSTALL = "install-trust-bundle"
    REPORT = "report"


# What many programs name so, and all that a document of ours may hold.
_GENERIC = frozenset({JobOperation.ROLLBACK, JobOperation.REPORT})
_OURS = frozenset({"operation", "agent", "reason", "window"})
_OF_A_BUNDLE = frozenset({"url", "sha256"})


class ExecutionStatus(StrEnum):
    """The states of a job execution that the agent sets."""

    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"


@frozen
class Execution:
    """One job execution on this thing.

    Attributes:
        job_id: The job.
        number: The execution number; a job redone has a new one.
        version: Grows with each update; an update names the one it rests on.
        document: The job document, or None when it was not asked for or is no object.
        new: Whether nothing has been answered to it yet.
        queued_at: When it was queued, by the cloud's clock, to the second; None where that is not said.
    """

    job_id: str
    number: int
    version: int
    document: Node | None = None
    new: bool = False
    queued_at: datetime | None = None

    @property
    def order(self) -> str:
        """How a change names the execution it was ordered by."""
        return f"job:{self.job_id}:{self.number}"


@frozen
class Download:
    """Where a signed bundle is.

    Attributes:
        url: It may be presigned, and then it is a secret.
        digest: The SHA-256 that its archive must have, or empty.
    """

    url: str = field(repr=False)
    digest: str = ""


@frozen
class DocumentOrder:
    """What a document of ours wants.

    Attributes:
        operation: What to do.
        reason: Why, in the words of the operator who made the job.
        window: When to do it; None means now.
        download: What to install, for that operation.
        force: Whether it is to be carried out also where it is done already.
    """

    operation: JobOperation
    reason: str
    window: Suggestion | None = None
    download: Download | None = None
    force: bool = False


@frozen
class JobAnswer:
    """What the cloud is told about an execution.

    Attributes:
        status: Its new state.
        details: The ``statusDetails``.
    """

    status: ExecutionStatus
    details: dict[str, str] = field(default_factory=dict)


def read_pending(payload: bytes) -> tuple[Execution, ...]:
    """Return the executions that wait or are in progress, from the reply to GetPendingJobExecutions.

    Raises:
        PlainError: The reply is not what the service's API says.
    """
    node = decode(payload, "the list of jobs", limit=MAX_PAYLOAD)
    listed = (*node.nodes("inProgressJobs"), *node.nodes("queuedJobs"))
    return tuple(_execution(item) for item in listed[:MAX_LISTED])


def read_execution(payload: bytes) -> Execution | None:
    """Return one execution with its document, from the reply to DescribeJobExecution; None when there is none.

    Raises:
        PlainError: The reply is not what the service's API says.
    """
    node = decode(payload, "the job", limit=MAX_PAYLOAD)
    inner = node.optional_node("execution")
    return None if inner is None else _execution(inner)


def _execution(node: Node) -> Execution:
    job_id = node.text("jobId", limit=64)
    if _JOB_ID.fullmatch(job_id) is None:
        raise PlainError(f"{node.path}: jobId: letters, digits, - and _ are expected")
    try:
        document = node.optional_node("jobDocument")
    except PlainError:
        document = None  # another program's document may be anything
    return Execution(
        job_id=job_id,
        number=node.number("executionNumber", 1),
        version=node.number("versionNumber", 1),
        document=document,
        new=node.optional_text("status", limit=32) == "QUEUED",
        queued_at=_queued_at(node.plain().get("queuedAt")),
    )


def _queued_at(seconds: object) -> datetime | None:
    """Return when an execution was queued; what cannot be understood keeps none from being carried out."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < _LAST:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def in_time(execution: Execution, order: DocumentOrder, now: datetime) -> DocumentOrder | JobAnswer:
    """Return an order, refused when it is new and its window closes too soon to be kept."""
    if not execution.new or order.window is None or order.window.closes_at >= now + SOONEST:
        return order
    closes, shown = clock_time(order.window.closes_at), clock_time(now)
    return rejected(
        "window-over",
        f"The window closes too soon, at {closes}: it is {shown} here. It is to last for a minute from when the "
        "gateway hears of it.",
    )


def taken_by_another(payload: bytes, tried: ExecutionStatus | None) -> str:
    """Return that another client of this thing ended an order of ours, from the reply to DescribeJobExecution.

    Empty when an operator did (it was cancelled, or its time was over), and while it has not ended.

    Args:
        payload: The reply.
        tried: The state that this agent asked for last: that one is its own doing, though the answer may be lost.

    Raises:
        PlainError: The reply is not what the service's API says.
    """
    node = decode(payload, "the job", limit=MAX_PAYLOAD).optional_node("execution")
    status = None if node is None else node.optional_text("status", limit=32)
    if node is None or status not in _ENDED_BY_A_CLIENT or status == tried:
        return ""
    return (
        f"Job {_execution(node).job_id}: another program on this gateway took the order and ended it as {status}; this "
        "agent has not carried it out. Keep that program from jobs with operations of iot-cert, or order through the "
        "shadow `certificate` instead, which no other program answers."
    )


_ENDED_BY_A_CLIENT = frozenset({"SUCCEEDED", "FAILED", "REJECTED"})


def updated(execution: Execution) -> Execution:
    """Return the execution after an update of ours was accepted."""
    return replace(execution, version=execution.version + 1)


def read_order(execution: Execution) -> DocumentOrder | JobAnswer | None:
    """Return what the document wants; an answer when it is ours and cannot be carried out; None when it is not ours."""
    node = execution.document
    if node is None:
        return None
    operation, agent = node.plain().get("operation"), node.plain().get("agent")
    if agent not in (None, MARK):
        return None
    if not isinstance(operation, str) or operation not in set(JobOperation):
        known = ", ".join(JobOperation)
        return rejected("unknown-operation", f"The operations are {known}.") if agent == MARK else None
    known_names = _OURS | _OF_A_BUNDLE if operation == JobOperation.INSTALL else _OURS
    if agent is None and not set(node.names()) <= known_names:
        return None
    try:
        reason = node.optional_text("reason", limit=MAX_REASON) or "no reason given"
        window = read_window(node.optional_node("window"), f"job {execution.job_id}", execution.order)
        if window is not None and operation != JobOperation.ROTATE:
            return rejected("malformed-document", f"Only {JobOperation.ROTATE} takes a window.")
        download = _download(node) if operation == JobOperation.INSTALL else None
        force = agent == MARK and node.flag("force")
        return DocumentOrder(
            operation=JobOperation(operation), reason=reason, window=window, download=download, force=force
        )
    except PlainError as error:
        return None if agent is None and operation in _GENERIC else rejected("malformed-document", f"{error}.")


def _download(node: Node) -> Download:
    url, digest = node.text("url", limit=MAX_URL), node.optional_text("sha256", limit=64) or ""
    if not url.startswith("https://"):
        raise PlainError(f"{node.path}: url: one that begins with https:// is expected")
    if digest and _SHA256.fullmatch(digest) is None:
        raise PlainError(f"{node.path}: sha256: 64 hexadecimal digits are expected")
    return Download(url=url, digest=digest.lower())


def read_window(node: Node | None, source: str, order: str = "") -> Suggestion | None:
    """Return a suggested renewal window.

    Raises:
        PlainError: It is not one.
    """
    if node is None:
        return None
    opens_at, closes_at = node.time("opens_at"), node.time("closes_at")
    if closes_at < opens_at:
        raise PlainError(f"{node.path}: it closes before it opens")
    return Suggestion(opens_at=opens_at, closes_at=closes_at, source=source, order=order)


def rejected(code: str, message: str) -> JobAnswer:
    """Return the answer to a document that cannot be carried out, on any gateway or at any time."""
    return JobAnswer(status=ExecutionStatus.REJECTED, details=details(code=code, message=message))


def failed(code: str, message: str) -> JobAnswer:
    """Return the answer to an order that this gateway refuses in its present state."""
    return JobAnswer(status=ExecutionStatus.FAILED, details=details(code=code, message=message))


def waiting(message: str) -> JobAnswer:
    """Return the answer to an order that is accepted and not begun yet."""
    return JobAnswer(status=ExecutionStatus.IN_PROGRESS, details=details(phase="waiting", message=message))


def details(**values: object) -> dict[str, str]:
    """Return ``statusDetails`` within the service's limits: the empty goes, the long is cut, lines are joined."""
    told = [(name, printable(str(value), MAX_DETAIL)) for name, value in values.items() if value not in (None, "")]
    return dict(told[:MAX_DETAILS])


def answer_of(record: ChangeRecord, why: str = "", until: datetime | None = None) -> JobAnswer:
    """Return what to tell about the change that an execution ordered.

    Args:
        record: The change.
        why: What it waits for now, if it waits.
        until: Until when.
    """
    failure = record.failure or record.degraded
    told = details(
        phase=record.phase,
        change=record.id,
        generation=record.generation,
        certificateId=record.issued.certificate_id if record.issued else None,
        failureClass=failure.kind if failure else None,
        failureCode=failure.code if failure else None,
        message=failure.message if failure else why,
        remedy=failure.advice if failure else None,
        nextTry=clock_time(until) if until else None,
    )
    return JobAnswer(status=_status(record), details=told)


def _status(record: ChangeRecord) -> ExecutionStatus:
    if record.phase.succeeded:
        return ExecutionStatus.SUCCEEDED
    if record.phase not in {Phase.REJECTED, Phase.ROLLED_BACK}:
        return ExecutionStatus.IN_PROGRESS
    given_up = record.failure is not None and record.failure.kind is FailureClass.OPERATOR
    return ExecutionStatus.REJECTED if given_up else ExecutionStatus.FAILED  # a rejected job is not redone by itself


def done_already(
    execution: Execution,
    order: DocumentOrder,
    history: Iterable[ChangeRecord],
    not_before: Callable[[], datetime | None],
) -> JobAnswer | None:
    """Return the answer to an order to rotate at once which a rotation has carried out that began after it was queued.

    The new key is younger than the order then by this gateway's clock, and the certificate by the cloud's: a clock that
    is ahead makes no older rotation look like it.

    Args:
        execution: The execution.
        order: What it wants.
        history: The finished changes, oldest first.
        not_before: Returns the start of the certificate in use, if there is one.
    """
    asks = order.operation is JobOperation.ROTATE and order.window is None and not order.force
    queued = execution.queued_at
    if queued is None or not asks:
        return None
    ended = [record for record in history if record.phase.succeeded and record.kind is not Kind.TRUST]
    if not ended or ended[-1].kind not in {Kind.ROTATE, Kind.ENROLL}:
        return None
    begins, last = not_before(), ended[-1]
    if last.planned_at.replace(microsecond=0) <= queued:  # in the same second it may have begun before
        return None
    if begins is None or begins + DATED_BACK < queued:
        return None
    message = (
        f"Already rotated: the certificate in use was asked for by {last.kind} {last.id}, which began at "
        f"{clock_time(last.planned_at)}, after this job was queued. `force` in a job has it done all the same."
    )
    told = details(change=last.id, generation=last.generation, message=message)
    return JobAnswer(status=ExecutionStatus.SUCCEEDED, details=told)


def find(order: str, change: ChangeRecord | None, history: Iterable[ChangeRecord]) -> ChangeRecord | None:
    """Return the change that an execution ordered, in flight or finished."""
    if change is not None and change.order == order:
        return change
    return next((record for record in history if record.order == order), None)
