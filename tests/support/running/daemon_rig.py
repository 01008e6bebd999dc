"""A daemon whose workers only remember their orders, on clocks that the test moves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from agent.config.values import Config, RotationConfig
from agent.core.change.advance import advance
from agent.core.change.events import Retired
from agent.core.change.progress import Progress
from agent.core.change.records import encode_outcome, encode_record
from agent.core.control_protocol import ControlMessage, ControlRequest, ErrorMessage, LastMessage, encode_message
from agent.core.dependants import Dependants, Hooks, Report, Step, Unit, encode_report
from agent.core.report.known import ConnectionState
from agent.core.values import Kind, Origin
from agent.core.when.retirement import left_behind
from agent.core.worker_protocol import Do, End, Order
from agent.daemon.app import Daemon
from agent.daemon.cloud.session import SessionStatus
from agent.dependants.report_file import REPORT
from agent.store import reserve
from agent.store.files import disk, durable
from agent.system.clock import monotonic
from agent.system.peers import Peer, Role
from support import make
from support.make import DAY, NOW
from support.running.office import HandClock, ListLink
from support.simulated.simulator import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.seen import Seen
    from agent.core.report.status import Retiring, Status
    from agent.daemon.control.client import Client
    from agent.daemon.work.holds import WorkerHolds
    from agent.iotcore.async_client import Link

OLD, OLDER, NEVER_USED = "01" * 32, "02" * 32, "03" * 32


class Recorded:
    """A worker that does nothing but remember its order."""

    orders: ClassVar[list[Order]]
    running: ClassVar[Recorded | None] = None

    def __init__(
        self, _loop: object, _config: Path, order: Order, progress: Callable[..., None], end: Callable[..., None]
    ) -> None:
        self.order = order
        self.tell = progress
        self._end = end
        type(self).orders.append(order)
        type(self).running = self

    def stop(self) -> None:
        """It does nothing anyway."""

    def kill(self) -> None:
        """It does nothing anyway."""

    def finish(self, **end: Any) -> None:
        """End, with this in what it tells."""
        self._end(End(**end))


class Person:
    """A client that stays, and keeps what it is told."""

    role = Role.ADMIN
    peer = Peer(pid=1, uid=0, gid=0, groups=frozenset())

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    @property
    def last(self) -> dict[str, Any]:
        """The last word; empty before it."""
        return self.told[-1] if self.told and "exit" in self.told[-1] else {}

    def on_gone(self, _call: object) -> None:
        """It stays."""

    def send(self, message: ControlMessage) -> bool:
        """Take a line, as it goes over the socket."""
        self.told.append(json.loads(encode_message(message)))
        return True

    def end(self, message: LastMessage) -> None:
        """Take the last one."""
        self.send(message)

    def refuse(self, message: str, hint: str, code: int) -> None:
        """Take a refusal."""
        self.send(ErrorMessage(message=message, hint=hint, exit=code))


class DaemonRig:
    """A daemon, its clock and what it ordered."""

    def __init__(self, path: Path, **config: Any) -> None:
        (path / "state" / "generations" / "000007").mkdir(parents=True)
        (path / "state" / "current").symlink_to("generations/000007")
        (path / "run").mkdir()
        with disk.directory(str(path / "state")) as root:
            reserve.make(root, durable.Modes())
        self.clock = SimulatedClock(NOW)
        self.passed = HandClock()
        self._patch = pytest.MonkeyPatch()
        for module in ("work.holds", "work.schedule_watch", "cloud.retirement"):
            self._patch.setattr(f"agent.daemon.{module}.monotonic", self.passed)

        class Worker(Recorded):
            orders: ClassVar[list[Order]] = []

        self.worker = Worker
        base = Config(path=path / "config.yaml", endpoint="127.0.0.1", port=9, state_dir=path / "state")
        self.config = replace(base, runtime_dir=path / "run", **config)
        self.daemon = Daemon(self.config, clock=self.clock, start_worker=self.worker)

    @property
    def orders(self) -> list[Order]:
        """What was ordered so far."""
        return self.worker.orders

    def see(self, age: timedelta = timedelta(days=10), lifetime: timedelta = timedelta(days=8000)) -> None:
        """Let a worker have seen a sound set of this age."""
        self.daemon.facts.take(seen_set(NOW - age, lifetime))

    def due(self) -> None:
        """Let the rotation of the set be due."""
        self.see(age=timedelta(days=396))

    def change(self, record: ChangeRecord) -> None:
        """Let a change be in flight, as a worker left it."""
        (self.config.state_dir / "change.json").write_bytes(encode_record(record))
        self.daemon.facts.refresh()

    def record(self, record: ChangeRecord) -> None:
        """Let a change have ended."""
        with (self.config.state_dir / "history.jsonl").open("ab") as history:
            history.write(encode_outcome(record))
        self.daemon.facts.refresh()

    def finish_change(self, record: ChangeRecord) -> None:
        """Let a worker have left a change like this, and that change be gone."""
        self.daemon.facts.take(None, record)

    def look(self) -> list[Order]:
        """Consider, and return what was ordered by that."""
        before = len(self.orders)
        self.daemon.consider()
        return self.orders[before:]

    def job(self, order: str, kind: Kind = Kind.ROTATE) -> None:
        """Let an execution order a change."""
        wanted = Order(do=Do.BEGIN, kind=kind, origin=Origin.JOB, reason="a test", order=order)
        self.daemon.work._queue.submit_for_job(wanted)

    def stand(self, *, rival: str = "", **status: Any) -> None:
        """Let the session stand like this."""
        self.daemon.cloud.session._status = SessionStatus(**status)
        self.daemon.cloud.session._memory = replace(self.daemon.cloud.session._memory, rival=rival)

    def close(self) -> None:
        """Let go of what it holds."""
        self._patch.undo()
        self.daemon.close()
        self.daemon.loop.close()

    def ask(self, order: Order) -> Person:
        """Have a person ask for something."""
        person = Person()
        self.daemon.work.submit(order, cast("Client", person))
        return person

    def say(self, verb: str, **arguments: Any) -> Person:
        """Have a person ask for something over the control socket."""
        person = Person()
        request = ControlRequest(verb=verb, **arguments)
        self.daemon.verbs.handle(cast("Client", person), request)
        return person

    def status(self) -> Status:
        """Return how the gateway stands."""
        return self.daemon.report.status()

    def tell(self, code: str, text: str) -> None:
        """Have the running worker tell of a step."""
        self._running.tell(Progress(at=NOW, code=code, text=text))

    def finish(self, **end: Any) -> None:
        """End the running worker."""
        self._running.finish(**end)

    @property
    def _running(self) -> Recorded:
        worker = self.worker.running
        assert worker is not None
        return worker

    # -- time ------------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> WorkerHolds:
        """What keeps a worker from being started."""
        return self.daemon.work._schedule._holds

    @property
    def sleeps(self) -> float:
        """The seconds until the daemon looks again by itself."""
        timer = self.daemon.work._schedule._alarm._timer
        assert timer is not None
        return timer.due - monotonic()

    def wait(self, seconds: float) -> None:
        """Let time pass by the monotonic clock, for what is held and looked for."""
        self.passed.now += seconds


class ConnectedRig(DaemonRig):
    """A daemon that is connected, with certificates that were left behind; the test answers in the cloud's place."""

    def __init__(self, path: Path, *units: Unit, retire: bool = True) -> None:
        dependants = Dependants(hooks=Hooks(directory=path / "hooks.d"), units=units)
        rotation = RotationConfig(grace=7 * DAY, retire=retire)
        super().__init__(path, dependants=dependants, deploy_dir=path / "deploy", rotation=rotation)
        (path / "deploy").mkdir()
        self.link = ListLink()
        self.daemon.work._schedule._dependants._due = 1e12  # they are not this story's
        self.daemon.cloud.session._link = cast("Link", self.link)
        self.stand(generation=7, state=ConnectionState.UP)
        self.daemon.cloud.fleet.connected(cast("Link", self.link), make.THING)

    def leave_behind(self, *records: ChangeRecord) -> None:
        """Write finished changes into the history, and look."""
        with (self.config.state_dir / "history.jsonl").open("ab") as file:
            file.writelines(encode_outcome(record) for record in records)
        self.see()
        self.daemon.cloud.session._identity = self.daemon.facts.current()

    def serve(self, *failing: str, generation: int = 7) -> None:
        """Write down how the dependants stand."""
        steps = tuple(
            Step(name=unit.name, problem=f"{unit.name} is failed." if unit.name in failing else "")
            for unit in self.config.dependants.units
        )
        report = Report(at=NOW, generation=generation, set="ab" * 32, steps=steps)
        (self.config.deploy_dir / REPORT).write_bytes(encode_report(report))

    def asks_for(self) -> list[str]:
        """Consider, and return the certificates that are asked for and not answered yet."""
        self.daemon.consider()
        return [str(asked.body["certificateId"]) for asked in self.link.open("/retire")]

    def accept(self) -> None:
        """Have the cloud accept the oldest request, and a worker write that down."""
        wanted = self.link.answer("/retire", {})["certificateId"]
        self.look()
        (record,) = [item for item in self.daemon.facts.history if left_behind(item) == wanted]
        self.leave_behind(advance(record, Retired(at=NOW)))
        self.finish(seen=seen_set(NOW - DAY * 10, DAY * 8000))

    def retirement(self) -> Retiring:
        """Return what the status says of the old certificate."""
        (found,) = [item for item in self.status().retiring if item.certificate_id == OLD]
        return found


def seen_set(not_before: datetime, lifetime: timedelta, **changes: Any) -> Seen:
    """Return what a worker has seen of a sound set that began then, but for the changes."""
    leaf = make.certificate(not_before=not_before, not_after=not_before + lifetime)
    found = make.seen(floor=datetime(2026, 11, 1, tzinfo=UTC), current=make.in_use(certificate=leaf))
    return replace(found, **changes)
