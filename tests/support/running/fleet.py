"""The fleet's side: a daemon as the cloud sees it."""

from __future__ import annotations

import json
import re
import signal
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar

from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.make import NOW
from support.running.daemon import LONGEST_LOOK, LOOK
from support.suite.ran import Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.sandbox.cloud import Cloud, Entry, Request
    from agent.sandbox.replies.answers import Answer
    from agent.sandbox.services.jobs import CloudExecution, JobStatus
    from support.running.gateway import Gateway
    from support.suite.warm import Forked

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
    return {"inProgressJobs": [], "queuedJobs": [summary(*execution) for execution in executions], "timestamp": 1}


def described(job_id: str, document: object, *, number: int = 1, version: int = 1) -> dict[str, Any]:
    """Return one execution with its document."""
    about = {"thingName": THING, "status": "QUEUED", "statusDetails": {}, "jobDocument": document}
    return {"execution": {**summary(job_id, number, version), **about}, "timestamp": 1}


def summary(job_id: str, number: int, version: int) -> dict[str, Any]:
    """Return what a list says of one execution."""
    times = {"queuedAt": int(NOW.timestamp()), "lastUpdatedAt": 1}
    return {"jobId": job_id, "executionNumber": number, "versionNumber": version, **times}


@contextmanager
def daemon(gateway: Gateway, **settings: str) -> Iterator[Site]:
    """Run a daemon of one's own, on a gateway that has its first certificate, with more settings for rotation."""
    lines = "".join(f"  {name}: {value}\n" for name, value in settings.items())
    if not gateway.state.exists():
        gateway.enroll()
    gateway.configure({"  template: gateway-rotation\n": f"  template: gateway-rotation\n{lines}"})
    with Site(gateway) as site:
        yield site
