"""AWS IoT Jobs, as far as one thing meets them: its executions, what it may ask about them, and what it is told.

It owns the executions of all things. What it does follows the developer guide ("Jobs device MQTT API operations", "Jobs
notifications", "Job execution states"):

* Executions that are QUEUED or IN_PROGRESS are pending. Those in progress come first, then the order of queueing.
* A device may set IN_PROGRESS, SUCCEEDED, FAILED and REJECTED. What has ended stays as it is: an update of it is an
  InvalidStateTransition, a request to describe it TerminalStateReached.
* Each update raises the version. An update that expects another one is a VersionMismatch. Its `statusDetails` replace
  the old ones altogether; without them the old ones stay.
* `notify` is sent when an execution joins or leaves the pending ones, `notify-next` when another one is the next.
  An execution that merely starts causes neither.

A job document goes into messages to the byte, so it may be anything, even no JSON. Nothing times out by itself, and
`stepTimeoutInMinutes` is taken without effect.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from dataclasses import field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agent.core.frozen import frozen
from agent.sandbox.replies.answers import BAD_REQUEST, CONFLICT, GONE, NOT_FOUND, ServiceRefusalError, Verbatim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

MAX_DOCUMENT = 32_768
MAX_VALUE = 1024
MAX_NOTIFIED = 15  # executions in one `notify`
NEXT = "$next"

_JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KEY = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


class JobStatus(StrEnum):
    """The states of a job execution."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    CANCELED = "CANCELED"
    TIMED_OUT = "TIMED_OUT"
    REMOVED = "REMOVED"

    @property
    def pending(self) -> bool:
        """Whether something is still to be done."""
        return self in {JobStatus.QUEUED, JobStatus.IN_PROGRESS}


_BY_DEVICE = frozenset({JobStatus.IN_PROGRESS, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.REJECTED})


@frozen
class CloudExecution:
    """One execution of a job on one thing, as it is now. Instants are seconds since the epoch.

    Attributes:
        job_id: The job.
        thing_name: The thing.
        document: The job document, to the byte.
        number: Which execution of this job on this thing it is, from 1.
        status: Its state.
        status_details: What the device said about it last.
        version: Raised by each change.
        queued_at: When it was queued.
        started_at: When it was first in progress.
        last_updated_at: When it changed last.
    """

    job_id: str
    thing_name: str
    document: bytes
    number: int
    status: JobStatus = JobStatus.QUEUED
    status_details: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    queued_at: int
    started_at: int | None = None
    last_updated_at: int

    @property
    def summary(self) -> dict[str, Any]:
        """A JobExecutionSummary."""
        started = {} if self.started_at is None else {"startedAt": self.started_at}
        return {
            "jobId": self.job_id,
            "queuedAt": self.queued_at,
            "lastUpdatedAt": self.last_updated_at,
            **started,
            "versionNumber": self.version,
            "executionNumber": self.number,
        }

    @property
    def state(self) -> dict[str, Any]:
        """A JobExecutionState."""
        return {
            "status": self.status,
            "statusDetails": dict(self.status_details),
            "versionNumber": self.version,
        }

    def data(self, *, with_document: bool = True) -> dict[str, Any]:
        """Return a JobExecution."""
        document = {"jobDocument": Verbatim(self.document)} if with_document else {}
        return {"thingName": self.thing_name, **self.summary, **self.state, **document}

    def changed(self, status: JobStatus, at: int, status_details: Mapping[str, str] | None = None) -> CloudExecution:
        """Return it in another state, or in the same once more."""
        starts = status is JobStatus.IN_PROGRESS and self.started_at is None
        return replace(
            self,
            status=status,
            status_details=self.status_details if status_details is None else dict(status_details),
            version=self.version + 1,
            started_at=at if starts else self.started_at,
            last_updated_at=at,
        )


class JobQueue:
    """The job executions of all things."""

    def __init__(self, now: Callable[[], datetime], send: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Make an account without jobs.

        Args:
            now: The cloud's clock.
            send: Takes the topic and the body of a notification.
        """
        self._now = now
        self._send = send
        self._names = itertools.count(1)
        # In the order of queueing.
        self._executions: dict[tuple[str, str, int], CloudExecution] = {}

    # -- the account's owner ---------------------------------------------------------------------------------------

    def create(self, thing_name: str, document: Mapping[str, Any] | bytes, job_id: str | None = None) -> str:
        """Queue a job and return its id; see `Cloud.create_job`."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"a job document has at most {MAX_DOCUMENT} bytes, not {len(data)}")
        name = self._free_name(thing_name) if job_id is None else job_id
        if not _JOB_ID.fullmatch(name):
            raise ValueError("a job id has 1 to 64 letters, digits, - and _")
        if self._all(thing_name, name):
            raise ValueError(f"there is a job {name} already")
        self._queue(thing_name, name, data, number=1)
        return name

    def _free_name(self, thing_name: str) -> str:
        names = (f"job-{number}" for number in self._names)
        return next(name for name in names if not self._all(thing_name, name))

    def retry(self, thing_name: str, job_id: str) -> None:
        """Queue a job that has ended once more; see `Cloud.retry_job`."""
        last = self.latest(thing_name, job_id)
        if last.status.pending:
            raise ValueError(f"job {job_id} has not ended yet")
        self._queue(thing_name, job_id, last.document, number=last.number + 1)

    def end(self, thing_name: str, job_id: str, status: JobStatus) -> None:
        """End a job from the outside; see `Cloud.end_job`."""
        last = self.latest(thing_name, job_id)
        if status.pending:
            raise ValueError(f"{status} is no end")
        if not last.status.pending:
            raise ValueError(f"job {job_id} has ended already: {last.status}")
        self._put(last.changed(status, self._seconds()))

    def latest(self, thing_name: str, job_id: str) -> CloudExecution:
        """Return the latest execution of a job.

        Raises:
            KeyError: There is none.
        """
        executions = self._all(thing_name, job_id)
        if not executions:
            raise KeyError(job_id)
        return executions[-1]

    def of_thing(self, thing_name: str) -> list[CloudExecution]:
        """Return all executions on a thing, in the order of queueing."""
        return [execution for execution in self._executions.values() if execution.thing_name == thing_name]

    def _all(self, thing_name: str, job_id: str) -> list[CloudExecution]:
        return [execution for execution in self.of_thing(thing_name) if execution.job_id == job_id]

    # -- what a device asks ----------------------------------------------------------------------------------------

    def answer(self, thing_name: str, path: tuple[str, ...], request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a request.

        Args:
            thing_name: Whose jobs.
            path: The levels of the topic after `jobs`.
            request: The message.

        Raises:
            ServiceRefusalError: It is refused.
        """
        match path:
            case ("get",):
                return self._lists(thing_name)
            case ("start-next",):
                return self._start_next(thing_name, request)
            case (job_id, "get"):
                return self._describe(thing_name, job_id, request)
            case (job_id, "update"):
                return self._update(thing_name, job_id, request)
            case _:
                raise ServiceRefusalError(NOT_FOUND, "InvalidTopic", "The topic does not map to any operation of jobs")

    def _lists(self, thing_name: str) -> dict[str, Any]:
        pending = self.pending(thing_name)
        return {
            "inProgressJobs": _summaries(pending, JobStatus.IN_PROGRESS),
            "queuedJobs": _summaries(pending, JobStatus.QUEUED),
        }

    def _start_next(self, thing_name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        details = _details(request)
        pending = self.pending(thing_name)
        if not pending:
            return {}
        first = pending[0]
        if first.status is JobStatus.QUEUED:
            first = self._put(first.changed(JobStatus.IN_PROGRESS, self._seconds(), details))
        return {"execution": first.data()}

    def _describe(self, thing_name: str, job_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with_document = request.get("includeJobDocument") is not False
        if job_id == NEXT:
            pending = self.pending(thing_name)
            return {"execution": pending[0].data(with_document=with_document)} if pending else {}
        execution = self._find(thing_name, job_id, request)
        if not execution.status.pending:
            raise ServiceRefusalError(GONE, "TerminalStateReached", f"The job execution has ended: {execution.status}")
        return {"execution": execution.data(with_document=with_document)}

    def _update(self, thing_name: str, job_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
        status, details, expected = _status(request), _details(request), _number(request, "expectedVersion")
        execution = self._find(thing_name, job_id, request)
        if expected is not None and expected != execution.version:
            message = f"Expected version {expected}, found {execution.version}"
            raise ServiceRefusalError(CONFLICT, "VersionMismatch", message, executionState=execution.state)
        if not execution.status.pending:
            message = f"A job execution that is {execution.status} cannot become {status}"
            raise ServiceRefusalError(CONFLICT, "InvalidStateTransition", message, executionState=execution.state)
        execution = self._put(execution.changed(status, self._seconds(), details))
        state = {"executionState": execution.state} if request.get("includeJobExecutionState") is True else {}
        document = {"jobDocument": Verbatim(execution.document)} if request.get("includeJobDocument") is True else {}
        return state | document

    def _find(self, thing_name: str, job_id: str, request: Mapping[str, Any]) -> CloudExecution:
        number = _number(request, "executionNumber")
        found = [item for item in self._all(thing_name, job_id) if number in {None, item.number}]
        if not found:
            raise ServiceRefusalError(NOT_FOUND, "ResourceNotFound", "There is no such job execution for this thing")
        return found[-1]

    # -- changes ---------------------------------------------------------------------------------------------------

    def pending(self, thing_name: str) -> list[CloudExecution]:
        """Return what is still to be done on a thing, the next first."""
        executions = [execution for execution in self.of_thing(thing_name) if execution.status.pending]
        return sorted(executions, key=lambda execution: execution.status is JobStatus.QUEUED)

    def _queue(self, thing_name: str, job_id: str, document: bytes, number: int) -> None:
        at = self._seconds()
        self._put(
            CloudExecution(
                job_id=job_id,
                thing_name=thing_name,
                document=document,
                number=number,
                queued_at=at,
                last_updated_at=at,
            )
        )

    def _put(self, execution: CloudExecution) -> CloudExecution:
        thing_name = execution.thing_name
        before = [_key(item) for item in self.pending(thing_name)]
        self._executions[_key(execution)] = execution
        pending = self.pending(thing_name)
        after = [_key(item) for item in pending]
        topic = f"$aws/things/{thing_name}/jobs/notify"
        if set(before) != set(after):
            self._send(topic, {"timestamp": self._seconds(), "jobs": _by_status(pending[:MAX_NOTIFIED])})
        if before[:1] != after[:1]:
            following = {"execution": pending[0].data()} if pending else {}
            self._send(f"{topic}-next", {"timestamp": self._seconds(), **following})
        return execution

    def _seconds(self) -> int:
        return int(self._now().timestamp())


def _key(execution: CloudExecution) -> tuple[str, str, int]:
    return execution.thing_name, execution.job_id, execution.number


def _summaries(executions: Iterable[CloudExecution], status: JobStatus) -> list[dict[str, Any]]:
    return [execution.summary for execution in executions if execution.status is status]


def _by_status(executions: list[CloudExecution]) -> dict[str, Any]:
    lists = {status: _summaries(executions, status) for status in (JobStatus.IN_PROGRESS, JobStatus.QUEUED)}
    return {status: found for status, found in lists.items() if found}


# -- what a request holds ----------------------------------------------------------------------------------------------


def _refuse(message: str) -> ServiceRefusalError:
    return ServiceRefusalError(BAD_REQUEST, "InvalidRequest", message)


def _status(request: Mapping[str, Any]) -> JobStatus:
    status = request.get("status")
    if not isinstance(status, str) or status not in _BY_DEVICE:
        raise _refuse("status must be one of IN_PROGRESS, SUCCEEDED, FAILED and REJECTED")
    return JobStatus(status)


def _number(request: Mapping[str, Any], name: str) -> int | None:
    value = request.get(name)
    if isinstance(value, str) and value.isdecimal():  # AWS's own examples write expectedVersion as text
        value = int(value)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise _refuse(f"{name} must be a number")
    return value


def _details(request: Mapping[str, Any]) -> dict[str, str] | None:
    details = request.get("statusDetails")
    if details is None:
        return None
    if not isinstance(details, dict):
        raise _refuse("statusDetails must be an object")
    for name, value in details.items():
        if not _KEY.fullmatch(name):
            raise _refuse("a name in statusDetails must have 1 to 128 letters, digits, :, _ and -")
        if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE:
            raise _refuse(f"{name} in statusDetails must be text of 1 to {MAX_VALUE} characters")
        if any(unicodedata.category(char).startswith("C") for char in value):
            raise _refuse(f"{name} in statusDetails must not hold control characters")
    return details
