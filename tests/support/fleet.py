"""The fleet's side: a daemon as the cloud sees it, and malformed messages."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from agent.sandbox.faults import TOKEN_MARK, Effect, Fault, Operation
from support.daemon import LONGEST_LOOK, LOOK
from support.ran import Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.sandbox.answers import Answer
    from agent.sandbox.cloud import Cloud, Entry, Request
    from agent.sandbox.jobs import CloudExecution, JobStatus
    from support.gateway import Gateway
    from support.warm import Forked

T = TypeVar("T")

THING = "gw-0042"
CLIENT = f"{THING}-cert-agent"
SHADOW = "certificate"
PATIENCE = 150.0  # seconds; the machine may be busy with other things

NOTIFY = f"$aws/things/{THING}/jobs/notify"
DELTA = f"$aws/things/{THING}/shadow/name/{SHADOW}/update/delta"
DOCUMENTS = f"$aws/things/{THING}/shadow/name/{SHADOW}/update/documents"


def until(condition: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Return what a condition gives as soon as it holds; it is looked at less often once that has taken a while."""
    begun = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - begun
        assert waited < patience, f"not within {patience:.0f} s: {what}"
        time.sleep(min(LONGEST_LOOK, LOOK + waited / 50))
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


class JobOwner:
    """The operator of one gateway, in its cloud: jobs, wishes, what was asked, and what goes wrong."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def requests(self, operation: Operation) -> list[Request]:
        """Return the requests of one kind, in order."""
        return [request for request in list(self.cloud.requests) if request.operation == operation]

    def fault(self, operation: Operation, effect: Effect, times: int | None = 1, payload: bytes = b"") -> None:
        """Make something go wrong."""
        self.cloud.faults.add(Fault(operation=operation, effect=effect, times=times, payload=payload))

    def push(self, topic: str, payload: bytes) -> None:
        """Have the cloud say something that no gateway asked for."""
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

    def execution(self, job_id: str) -> CloudExecution:
        """Return a job's latest execution."""
        return self.cloud.job(THING, job_id)

    def reaches(self, job_id: str, status: JobStatus, patience: float = PATIENCE) -> CloudExecution:
        """Wait until a job's latest execution has a status, and return it."""

        def reached() -> CloudExecution | None:
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


class Site(JobOwner):
    """One gateway with `iot-cert run` on it, and the operator's view of it; a context manager."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway.cloud)
        self.gateway = gateway
        self.tap = Tap(gateway.cloud)
        self._log = gateway.directory / "daemon.log"
        self._process: Forked | None = None

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
        self._process = self.gateway.fork("run", log=self._log)
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
        """Return its anonymous memory, KiB, with what it shares: a part of that would depend on who else runs."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as rollup:  # noqa: PTH123 - no file of a test's
            found = re.search(r"^Anonymous: +(\d+) kB$", rollup.read(), re.MULTILINE)
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
