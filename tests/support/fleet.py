"""The fleet's side: a daemon as the cloud sees it, a link and a gateway made of lists, and malformed messages."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from agent.core.change.lifecycle import ChangeRecord, Issued, Phase
from agent.core.failure import failures
from agent.core.report.journal_events import Event
from agent.core.values import Kind, Origin
from agent.daemon.fleet import Fleet
from agent.daemon.loop import Loop
from agent.errors import CloudError
from agent.sandbox.faults import TOKEN_MARK, Effect, Fault, Operation
from support.gateway import COMMAND, Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.core.failure.failure import Failure
    from agent.core.report.jobs import Download
    from agent.core.when.retirement import Retirement
    from agent.core.when.schedule import Suggestion
    from agent.iotcore.async_client import Link
    from agent.sandbox.answers import Answer
    from agent.sandbox.cloud import Cloud, Entry, Request
    from agent.sandbox.jobs import Execution, JobStatus
    from support.gateway import Gateway

T = TypeVar("T")

THING = "gw-0042"
CLIENT = f"{THING}-cert-agent"
SHADOW = "certificate"
PATIENCE = 60.0  # seconds; the machine may be busy with other things

NOTIFY = f"$aws/things/{THING}/jobs/notify"
DELTA = f"$aws/things/{THING}/shadow/name/{SHADOW}/update/delta"
DOCUMENTS = f"$aws/things/{THING}/shadow/name/{SHADOW}/update/documents"


def until(condition: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Return what a condition gives as soon as it holds."""
    end = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {patience:.0f} s: {what}"
        time.sleep(0.02)
    return found


def instant(at: datetime) -> str:
    """Return an instant as a job document spells it."""
    return at.astimezone(UTC).isoformat()


def window(opens: timedelta, closes: timedelta) -> dict[str, str]:
    """Return a renewal window, seen from now."""
    now = datetime.now(UTC)
    return {"opens_at": instant(now + opens), "closes_at": instant(now + closes)}


# -- a real daemon -----------------------------------------------------------------------------------------------------


class Tap:
    """Notes what a cloud is asked, topic and body, before the cloud answers."""

    def __init__(self, cloud: Cloud) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._publish = cloud.publish
        vars(cloud)["publish"] = self

    def __call__(self, entry: Entry, client_id: str, topic: str, payload: bytes) -> Answer:
        """Note a request and hand it on."""
        self.asked.append((topic, json.loads(payload)))
        return self._publish(entry, client_id, topic, payload)

    def bodies(self, end: str) -> list[dict[str, Any]]:
        """Return what was asked on the topics with this end."""
        return [body for topic, body in list(self.asked) if topic.endswith(end)]


class Site:
    """One gateway with `iot-cert run` on it, and the operator's view of it; a context manager."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.cloud = gateway.cloud
        self.tap = Tap(gateway.cloud)
        self._log = gateway.directory / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
        elif self._process is not None:
            print(self.log[-4000:])
            self.kill()

    # -- the process -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon and wait until the cloud has its client; a gateway out of the factory enrols first."""
        before = self.cloud.count(Operation.CONNECT)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [COMMAND, "--config", str(self.gateway.config), "run"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.gateway.directory,
            )
        until(lambda: self.cloud.count(Operation.CONNECT) > before and self.up, "the daemon connects")

    def stop(self) -> None:
        """Tell it to stop; it must do so, in order, and must never have shown a traceback."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
        self.gateway.remember(Ran(arguments=("run",), code=code, out="", err=""))
        assert code == 0, self.log[-2000:]
        assert "Traceback" not in self.log

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        process.wait(PATIENCE)
        until(lambda: not self.live, "the connection of the killed daemon and of its worker is gone")

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """Tell it to read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def memory(self) -> float:
        """Return the anonymous part of the proportional set size, KiB: the rest depends on who else runs."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as rollup:  # noqa: PTH123 - no file of anybody's
            found = re.search(r"^Pss_Anon: +(\d+) kB$", rollup.read(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    @property
    def log(self) -> str:
        """What the daemon has written so far."""
        return self._log.read_text(errors="replace")

    # -- the gateway -------------------------------------------------------------------------------------------------

    @property
    def status(self) -> dict[str, Any]:
        """The status document that the daemon publishes; empty before it does."""
        try:
            document: dict[str, Any] = json.loads((self.gateway.directory / "run" / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return document

    @property
    def planned_at(self) -> datetime | None:
        """When the next rotation is planned for."""
        at = (self.status.get("plan") or {}).get("at")
        return datetime.fromisoformat(at) if at else None

    @property
    def orders(self) -> list[str]:
        """What the finished changes were ordered by."""
        return [record.order for record in self.gateway.history()]

    # -- the cloud ---------------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[str]:
        """The certificates of this gateway's connections."""
        return [item.certificate_id for item in self.gateway.service.front.live if item.client_id == CLIENT]

    @property
    def up(self) -> bool:
        """Whether the daemon says that it is connected, and the cloud agrees."""
        return bool(self.live) and (self.status.get("connection") or {}).get("state") == "up"

    def requests(self, operation: Operation) -> list[Request]:
        """Return the requests of one kind, in order."""
        return [request for request in list(self.cloud.requests) if request.operation == operation]

    def fault(self, operation: Operation, effect: Effect, times: int | None = 1, payload: bytes = b"") -> None:
        """Make something go wrong."""
        self.cloud.faults.add(Fault(operation=operation, effect=effect, times=times, payload=payload))

    def push(self, topic: str, payload: bytes) -> None:
        """Have the cloud say something that nobody asked for."""
        self.cloud.push(THING, topic, payload)

    def notify(self) -> None:
        """Have the cloud say that the list of jobs has changed."""
        self.push(NOTIFY, b'{"timestamp": 1, "jobs": {}}')

    def job(self, document: Mapping[str, Any] | bytes, job_id: str | None = None) -> str:
        """Queue a job."""
        return self.cloud.create_job(THING, document, job_id)

    def rotation(self, **more: Any) -> str:
        """Queue a job that asks for a rotation."""
        return self.job({"operation": "rotate-certificate", "reason": "from the operator", **more})

    def execution(self, job_id: str) -> Execution:
        """Return a job's latest execution."""
        return self.cloud.job(THING, job_id)

    def reaches(self, job_id: str, status: JobStatus, patience: float = PATIENCE) -> Execution:
        """Wait until a job's latest execution has a status, and return it."""

        def reached() -> Execution | None:
            execution = self.execution(job_id)
            assert execution.status == status or execution.status.pending, execution
            return execution if execution.status == status else None

        return until(reached, f"{job_id} becomes {status}", patience)

    def settle(self) -> None:
        """Wait until a job that was queued only now is done: all that was there before has been looked at."""
        job_id = self.job({"operation": "report"})
        until(lambda: not self.execution(job_id).status.pending, "a report is given")

    def desired(self, wish: Mapping[str, Any] | None) -> None:
        """Have the shadow wish for a renewal window."""
        self.cloud.desire(THING, SHADOW, {"renew": wish})

    @property
    def shadow(self) -> dict[str, Any]:
        """The shadow's state."""
        document = self.cloud.shadow(THING, SHADOW) or {}
        state: dict[str, Any] = document.get("state", {})
        return state

    @property
    def reported(self) -> dict[str, Any]:
        """What the shadow reports."""
        reported: dict[str, Any] = self.shadow.get("reported", {})
        return reported


# -- a link, a gateway and a clock -------------------------------------------------------------------------------------


class HandClock:
    """Monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Asked:
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
        self.asked: list[Asked] = []
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
        self.asked.append(Asked(operation, topic, body, done, failed))

    def listen(self, topic: str, heard: Callable[[bytes], None]) -> None:
        """Keep whoever listens."""
        self.heard[topic] = heard

    def open(self, end: str = "") -> list[Asked]:
        """Return the requests to topics with this end that are not answered yet."""
        return [asked for asked in self.asked if asked.open and asked.topic.endswith(end)]

    def all(self, end: str) -> list[Asked]:
        """Return all requests to topics with this end."""
        return [asked for asked in self.asked if asked.topic.endswith(end)]

    def take(self, end: str) -> Asked:
        """Return the oldest open request to such a topic; nobody answers it any more."""
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
    """A gateway that notes what it is to do, and knows what the test tells it."""

    document: dict[str, Any] = field(default_factory=lambda: {"version": "1", "exit": 0, "health": []})
    records: dict[str, ChangeRecord] = field(default_factory=dict)
    waits: tuple[str, Any] = ("", None)
    not_before: datetime = datetime(2027, 1, 1, tzinfo=UTC)
    begun: list[tuple[Kind, str, str]] = field(default_factory=list)
    downloads: list[tuple[Download, str, str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    suggested: list[Suggestion | None] = field(default_factory=list)
    retirements: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    silences: list[str] = field(default_factory=list)
    told: list[tuple[Event, str]] = field(default_factory=list)

    def record_for(self, order: str) -> ChangeRecord | None:
        """See `agent.daemon.fleet.Gateway`, also for the others."""
        return self.records.get(order)

    def waits_for(self, record: ChangeRecord) -> tuple[str, Any]:
        """Return what the test has set."""
        return ("", None) if record.phase.ended else self.waits

    def begin_for(self, kind: Kind, order: str, reason: str) -> None:
        """Note it."""
        self.begun.append((kind, order, reason))

    def download_for(self, wanted: Download, order: str, reason: str) -> None:
        """Note it."""
        self.downloads.append((wanted, order, reason))

    def withdraw(self, order: str) -> None:
        """Note it."""
        self.withdrawn.append(order)

    def suggestion_applies(self, suggestion: Suggestion) -> bool:
        """Compare with the certificate's beginning."""
        return self.not_before < suggestion.opens_at

    def suggest(self, suggestion: Suggestion | None) -> None:
        """Note it."""
        self.suggested.append(suggestion)

    def status(self) -> Mapping[str, Any]:
        """Return what the test has set."""
        return self.document

    def retired(self, due: Retirement) -> None:
        """Note it."""
        self.retirements.append(due.certificate_id)

    def not_retired(self, due: Retirement, text: str, *, refused: bool) -> None:
        """Note it."""
        (self.refusals if refused else self.silences).append(f"{due.certificate_id}: {text}")

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """Note it under its name in the catalogue."""
        assert not fields
        self.told.append((Event(event), text))


class Office:
    """A `Fleet` with all that it needs: the real loop, which the test turns, and lists for the rest."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.loop = Loop()
        self.gateway = ListGateway()
        self.link = ListLink()
        self.fleet = Fleet(self.loop, self.gateway, lambda: 0.5)

    def connect(self) -> None:
        """Give it a new link."""
        self.link = ListLink()
        self.fleet.connected(cast("Link", self.link), THING)

    def turn(self) -> None:
        """Let the loop see to what is due, without waiting for more."""
        self.loop.post(lambda: None)
        self.loop.turn()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.turn()

    def begin(self, job_id: str, document: object, *, number: int = 1, version: int = 1) -> None:
        """Have the cloud queue a job and describe it; the list must have been asked for."""
        self.link.answer("/jobs/get", listed((job_id, number, version)))
        self.link.answer(f"/{job_id}/get", described(job_id, document, number=number, version=version))


def listed(*executions: tuple[str, int, int]) -> dict[str, Any]:
    """Return a list of pending executions, each by job, number and version."""
    return {"inProgressJobs": [], "queuedJobs": [_summary(*execution) for execution in executions], "timestamp": 1}


def described(job_id: str, document: object, *, number: int = 1, version: int = 1) -> dict[str, Any]:
    """Return one execution with its document."""
    about = {"thingName": THING, "status": "QUEUED", "statusDetails": {}, "jobDocument": document}
    return {"execution": {**_summary(job_id, number, version), **about}, "timestamp": 1}


def _summary(job_id: str, number: int, version: int) -> dict[str, Any]:
    times = {"queuedAt": 1, "lastUpdatedAt": 1}
    return {"jobId": job_id, "executionNumber": number, "versionNumber": version, **times}


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


# -- malformed messages ------------------------------------------------------------------------------------------------

_TOKEN = TOKEN_MARK.decode()
_FAR = {"opens_at": "2090-01-01T00:00:00Z", "closes_at": "2090-01-02T00:00:00+00:00"}
_ORDERS: tuple[object, ...] = (
    {"operation": "rotate-certificate", "reason": "a reason", "window": _FAR, "agent": "iot-cert-agent"},
    {"operation": "report", "reason": "a reason"},
    {"operation": "dance", "agent": "iot-cert-agent"},
    {"operation": "reboot", "steps": [1, {"a": [None, 2.5, "x"]}]},
    ["no", "object"],
)
_JUNK = (
    *("null", "true", "0", "-1", "1.5", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1e-400"),
    *("9" * 10, "9" * 4000, "9" * 5000, "-" + "9" * 4300),
    *("[]", "{}", '""', "[null]", '{"": {}}', '"\\ud800"', '{"\\udfff": 1}', '"\\u0000\\u001b[31m\\u202e"'),
    *('"2027-01-01T00:00:00"', '"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', '"24:00"', '"soon"'),
    *('"iot-cert-agent"', '"rotate-certificate"', '"../../../etc"', '"%s%n"', '"' + "\N{GRINNING FACE}" * 300 + '"'),
)
_DEPTHS = (30, 200, 320, 330, 340, 400, 480, 500, 700, 900, 940, 960, 970, 980, 990, 995, 1000, 3000, 30_000)
_LONGEST = 200_000  # bytes; the agent's client takes packets of 256 KiB at most
_WHOLE = (b"", b"null", b"[]", b"{}", b'"text"', b"0", b"\x00\x01\x02", b"\xff" * 100, b"{" * 50_000, b"\xef\xbb\xbf{}")


class Malformed:
    """Mutations of what a cloud says, the same ones in every run: an endless iterator."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - the same mutants every time
        self._raw: dict[str, str] = {}

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._next()

    def _next(self) -> bytes:
        if self._chance.random() < 0.03:
            return self._chance.choice(_WHOLE)
        self._raw.clear()
        message = self._sound()
        for _ in range(self._chance.choice((1, 1, 1, 2, 3))):
            self._mutate(message)
        data = json.dumps(message, ensure_ascii=self._chance.random() < 0.5).encode(errors="surrogatepass")
        for name, raw in self._raw.items():
            data = data.replace(json.dumps(name).encode(), raw.encode())
        return self._spoil(data[:_LONGEST])

    def _sound(self) -> dict[str, Any]:
        """Return a message that is as it should be."""
        summaries = [_summary(f"job-{number}", 1, number) for number in range(1, self._chance.choice((2, 3, 6)))]
        execution = described("job-1", json.loads(json.dumps(self._chance.choice(_ORDERS))))
        reported = {"agent": "1", "generation": 3, "renew": dict(_FAR), "problem": "a sentence."}
        wish = {"renew": dict(_FAR), "other": [1, 2]}
        message: dict[str, Any] = self._chance.choice((
            {"inProgressJobs": summaries[:1], "queuedJobs": summaries, "timestamp": 1},
            execution,
            {"state": {"desired": wish, "reported": reported, "delta": {}}, "metadata": {}, "version": 3},
            {"state": wish, "metadata": {"renew": {"opens_at": {"timestamp": 1}}}, "version": 4, "timestamp": 1},
            {"previous": {"state": {}}, "current": {"state": {"desired": wish, "reported": reported}, "version": 4}},
            {"executionState": {"status": "IN_PROGRESS", "statusDetails": {"a": "b"}, "versionNumber": 2}},
            {"certificateId": "ab" * 32},
            {"code": "VersionMismatch", "message": "no", "executionState": {"status": "QUEUED", "versionNumber": 9}},
            {"code": 404, "message": "No shadow exists"},
        ))  # fmt: skip
        return {"clientToken": _TOKEN, **message}

    def _mutate(self, message: dict[str, Any]) -> None:
        places = list(_places(message))
        if not places:
            return
        holder, key = self._chance.choice(places)
        value = holder[key]
        match self._chance.randrange(12):
            case 0:
                del holder[key]
            case 1 if isinstance(value, dict) and value:
                name = self._chance.choice(list(value))
                holder[key] = self._put(f"{json.dumps(value)[:-1]}, {json.dumps(name)}: 1}}")
            case 2 if isinstance(holder, dict):
                holder[self._chance.choice(("", "\ud800", "x" * 3000, "renew", "state", "code"))] = holder.pop(key)
            case 3 if isinstance(value, list):
                holder[key] = value * self._chance.choice((30, 300))
            case 4:
                depth = self._chance.choice(_DEPTHS)
                opening, closing = self._chance.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
                holder[key] = self._put(opening * depth + "1" + closing * depth)
            case 5 if self._chance.random() < 0.1:
                holder[key] = "y" * self._chance.choice((70_000, 129_000, 140_000))
            case 6:
                holder[key] = self._sound()
            case _:
                holder[key] = self._put(self._chance.choice(_JUNK))

    def _put(self, raw: str) -> str:
        """Return a name that stands for a piece of text until the message is put together."""
        name = f"raw-{len(self._raw)}-"
        self._raw[name] = raw
        return name

    def _spoil(self, data: bytes) -> bytes:
        spoilt = bytearray(data)
        match self._chance.randrange(10):
            case 0:
                del spoilt[self._chance.randrange(len(spoilt)) :]
            case 1:
                for _ in range(self._chance.choice((1, 3, 20))):
                    spoilt[self._chance.randrange(len(spoilt))] = self._chance.randrange(256)
            case 2:
                at = self._chance.randrange(len(spoilt))
                spoilt[at:at] = self._chance.choice((b"\xed\xa0\x80", b"\xff\xfe", b"\x00", b"\xc0\xaf"))
            case _:
                pass
        return bytes(spoilt)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])
