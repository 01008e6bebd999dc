"""The fleet's side of a daemon without a daemon: a link, a gateway and a clock that the test has in its hands."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from agent.core.change.decide import Action, Wait
from agent.core.change.lifecycle import ChangeRecord, Issued, Phase
from agent.core.exit_codes import Exit
from agent.core.failure import failures
from agent.core.report.jobs import Download
from agent.core.values import Kind, Origin
from agent.core.when.retirement import Retirement
from agent.core.when.schedule import Subject, Suggestion
from agent.core.worker_protocol import Do, Order
from agent.daemon.cloud.fleet import FleetSide
from agent.daemon.cloud.requests import FleetCalls
from agent.daemon.cloud.session import SessionStatus
from agent.daemon.loop import Loop
from agent.errors import CloudError
from support import make
from support.running.fleet import THING, described, listed
from support.simulated.simulator import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.failure.failure import Failure
    from agent.core.report.journal_events import Event
    from agent.core.report.status import Status
    from agent.daemon.facts import GatewayFacts
    from agent.iotcore.async_client import Link


GET_JOBS, GET_SHADOW, PUT_SHADOW, RETIRE = "/jobs/get", "/certificate/get", "/certificate/update", "/retire"
JOB, UPDATE = "/job-1/get", "/job-1/update"
ORDER = "job:job-1:1"
ROTATE = {"operation": "rotate-certificate", "reason": "a reason"}
DUE = Retirement(change="abc123", certificate_id="d" * 64, due=datetime(2027, 1, 1, tzinfo=UTC))
WINDOW = {"opens_at": "2027-05-01T00:00:00+00:00", "closes_at": "2027-05-02T00:00:00+00:00"}


class HandClock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class HandLoop:
    """The real loop, which a test turns, and the clock that the test moves."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.loop = Loop()

    def turn(self) -> None:
        """Let the loop see to what is due, without waiting for more."""
        self.loop.post(lambda: None)
        self.loop.turn()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.turn()


@dataclass
class LinkRequest:
    """One request over the link."""

    operation: str
    topic: str
    body: Mapping[str, Any]
    done: Callable[[str, bytes], None]
    failed: Callable[[Failure], None]
    open: bool = True


class ListLink:
    """A link whose answers the test gives. As with the real one, each request is answered once at most.

    Attributes:
        up: As the session's owner looks at it.
    """

    up = True

    def __init__(self) -> None:
        self.asked: list[LinkRequest] = []
        self.heard: dict[str, Callable[[bytes], None]] = {}

    def request(
        self,
        operation: str,
        topic: str,
        body: Mapping[str, Any],
        done: Callable[[str, bytes], None],
        failed: Callable[[Failure], None],
    ) -> None:
        """Keep a request; what cannot be encoded cannot be sent."""
        json.dumps(body, allow_nan=False).encode()
        self.asked.append(LinkRequest(operation, topic, body, done, failed))

    def listen(self, topic: str, heard: Callable[[bytes], None]) -> None:
        """Keep the listeners."""
        self.heard[topic] = heard

    def open(self, end: str = "") -> list[LinkRequest]:
        """Return the requests to topics with this end that are not answered yet."""
        return [asked for asked in self.asked if asked.open and asked.topic.endswith(end)]

    def all(self, end: str) -> list[LinkRequest]:
        """Return all requests to topics with this end."""
        return [asked for asked in self.asked if asked.topic.endswith(end)]

    def take(self, end: str) -> LinkRequest:
        """Return the oldest open request to such a topic; no answer comes any more."""
        asked = self.open(end)[0]
        asked.open = False
        return asked

    def answer(self, end: str, payload: Mapping[str, Any] | bytes, verdict: str = "accepted") -> Mapping[str, Any]:
        """Answer the oldest open request to such a topic and return what it had asked."""
        asked = self.take(end)
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        try:
            asked.done(f"{asked.topic}/{verdict}", data)
        except CloudError as error:
            asked.failed(error.failure)
        return asked.body

    def refuse(self, end: str, code: str | int, message: str = "no") -> None:
        """Refuse the oldest open request to such a topic."""
        self.answer(end, {"code": code, "message": message}, "rejected")

    def lose(self, end: str) -> None:
        """Let the oldest open request to such a topic time out."""
        asked = self.take(end)
        asked.failed(failures.no_reply(asked.operation))

    def say(self, topic: str, payload: Mapping[str, Any] | bytes) -> None:
        """Have the cloud say something."""
        self.heard[topic](payload if isinstance(payload, bytes) else json.dumps(payload).encode())


@dataclass
class ListGateway:
    """What is known of a gateway and what it is to do: the test says the one, and this keeps the other."""

    status: Status = field(default_factory=make.status)
    records: dict[str, ChangeRecord] = field(default_factory=dict)
    waits: tuple[str, datetime] | None = None
    not_before: datetime = datetime(2027, 1, 1, tzinfo=UTC)
    place: float = 0.5
    begun: list[tuple[Kind, str, str]] = field(default_factory=list)
    downloads: list[tuple[Download, str, str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    suggested: list[Suggestion | None] = field(default_factory=list)
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(make.NOW))
    left: tuple[Retirement, ...] = ()
    deactivated: list[str] = field(default_factory=list)
    unregistered: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    silences: list[str] = field(default_factory=list)
    told: list[tuple[Event, str]] = field(default_factory=list)

    # -- as much of `agent.daemon.facts` as the fleet's parts read -------------------------------------------------

    @property
    def change(self) -> ChangeRecord | None:
        """The last change, as long as it is in flight."""
        last = next(reversed(self.records.values()), None)
        return None if last is None or last.phase.ended else last

    @property
    def history(self) -> tuple[ChangeRecord, ...]:
        """The changes that have ended."""
        return tuple(record for record in self.records.values() if record.phase.ended)

    def following(self) -> Action | None:
        """Return the wait that the test has set."""
        return Wait(why=self.waits[0], until=self.waits[1], code="probation") if self.waits else None

    def retirements(self) -> tuple[Retirement, ...]:
        """Return what the test says is left to retire."""
        return self.left

    def subject(self) -> Subject:
        """Return a certificate that began when the test says, and its gateway's place."""
        return Subject(not_before=self.not_before, not_after=self.not_before + timedelta(days=400), splay=self.place)

    # -- what it is called for -------------------------------------------------------------------------------------

    @property
    def calls(self) -> FleetCalls:
        """What the fleet's parts call."""
        return FleetCalls(
            session=SessionStatus,
            status=lambda: self.status,
            begin=self._begin,
            withdraw=self.withdrawn.append,
            suggest=self.suggested.append,
            retired=lambda due: self.deactivated.append(due.certificate_id),
            unregistered=lambda due: self.unregistered.append(due.certificate_id),
            not_retired=self._not_retired,
            all_retired=lambda: None,
            log=lambda event, text: self.told.append((event, text)),
        )

    def _begin(self, order: Order) -> None:
        assert order.origin is Origin.JOB
        if order.do is Do.DOWNLOAD:
            self.downloads.append((Download(url=order.url, digest=order.digest), order.order, order.reason))
        else:
            assert order.do is Do.BEGIN
            self.begun.append((order.kind, order.order, order.reason))

    def _not_retired(self, text: str, code: Exit) -> None:
        (self.refusals if code is Exit.REFUSED else self.silences).append(text)


class Office(HandLoop):
    """A `FleetSide` with all that it needs: the real loop, which the test turns, and lists for the rest."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.gateway = ListGateway()
        self.link = ListLink()
        self.fleet = FleetSide(self.loop, cast("GatewayFacts", self.gateway), self.gateway.calls, lambda: 0.5)
        self.jobs, self.retirements = self.fleet.jobs, self.fleet.retirements

    def connect(self) -> None:
        """Give it a new link."""
        self.link = ListLink()
        self.fleet.connected(cast("Link", self.link), THING)

    def begin(self, job_id: str, document: object, *, number: int = 1, version: int = 1) -> None:
        """Have the cloud queue a job and describe it; the list must have been asked for."""
        self.link.answer("/jobs/get", listed((job_id, number, version)))
        self.link.answer(f"/{job_id}/get", described(job_id, document, number=number, version=version))


def change(order: str, phase: Phase, failure: Failure | None = None) -> ChangeRecord:
    """Return the record of a rotation that an execution ordered."""
    at = datetime(2027, 3, 1, tzinfo=UTC)
    issued = Issued(certificate_pem="", certificate_id="c" * 64, token="", at=at)
    return ChangeRecord(
        id="abc123",
        kind=Kind.ROTATE,
        origin=Origin.JOB,
        reason="job",
        generation=7,
        base=6,
        phase=phase,
        planned_at=at,
        entered_at=at,
        issued=issued,
        failure=failure,
        order=order,
    )


def details(body: Mapping[str, Any]) -> dict[str, str]:
    """Return what an update tells besides the status."""
    told: dict[str, str] = body["statusDetails"]
    return told


def accept(office: Office, job_id: str = "job-1") -> Mapping[str, Any]:
    """Have the cloud accept the update of a job and return what it said."""
    return office.link.answer(f"/{job_id}/update", {"executionState": {"status": "IN_PROGRESS"}})


def suggested(office: Office) -> Suggestion | None:
    """Return the window that the gateway was told of last."""
    return office.gateway.suggested[-1]
