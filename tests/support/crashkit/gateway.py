"""The real engine against the simulated cloud, in a process that may be killed while the cloud lives on.

The cloud is an object in the killed child's memory. So after each call to it, and after each step of the clock, all
that can change in it is pickled into memory shared with the parent, which sets its own copy to that and goes on. No
system call is made for it, and a child is killed only at the entry of one, so what is read is never torn.
"""

from __future__ import annotations

import itertools
import mmap
import pickle
import struct
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from agent.change.parts import ChangeParts, put_together
from agent.change.world import Provisioning, Settings, World
from agent.core.change.decide import Limits
from agent.core.values import Candidate, Kind, Origin
from agent.crypto import keys, x509
from agent.crypto.materials import SoftwareMaterials
from agent.operations.execute import Operations
from agent.sandbox.account.authority import Authority, fingerprint
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.replies.faults import Operation
from agent.store.store import Store
from agent.system import clock
from support.crashkit.bugs import replaced
from support.crashkit.invariants import InvariantError
from support.simulated.simulator import SimulatedClock, SimulatedEndpoint
from support.simulated.unheard import Unheard

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from agent import ports
    from agent.change.engine import Engine, Outcome
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import TrustBundle
    from agent.ports import CreatedCertificate
    from support.simulated.simulator import SimulatedSession

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits(probation=timedelta(minutes=2))

_HOUR = 3_600_000_000_000  # nanoseconds
_HEADER = struct.Struct("=QQ")


class Mirror:
    """Memory that a child writes and its parent reads."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 << 22)

    def write(self, data: bytes) -> None:
        """Put a new state there and count it."""
        number, _ = _HEADER.unpack_from(self._memory)
        self._memory[_HEADER.size : _HEADER.size + len(data)] = data
        _HEADER.pack_into(self._memory, 0, number + 1, len(data))

    def read(self) -> bytes:
        """Return the last state."""
        _, size = _HEADER.unpack_from(self._memory)
        return self._memory[_HEADER.size : _HEADER.size + size]

    @property
    def number(self) -> int:
        """How many states have been put there."""
        return int(_HEADER.unpack_from(self._memory)[0])


class _MirroredSession:
    """A session of the simulator that publishes the cloud after each request."""

    def __init__(self, gateway: MirroredGateway, session: SimulatedSession) -> None:
        self._gateway, self._session = gateway, session

    @property
    def anchor(self) -> str:
        """See `agent.ports.Session`."""
        return self._session.anchor

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """See `agent.ports.Session`."""
        try:
            return self._session.create_certificate(request_pem)
        finally:
            self._gateway.publish()

    def register_thing(self, template: str, token: str, parameters: Mapping[str, str]) -> str:
        """See `agent.ports.Session`."""
        try:
            return self._session.register_thing(template, token, parameters)
        finally:
            self._gateway.publish()

    def ask(self) -> None:
        """See `agent.ports.Session`."""
        try:
            self._session.ask()
        finally:
            self._gateway.publish()

    def close(self) -> None:
        """See `agent.ports.Session`."""
        self._session.close()


@dataclass(frozen=True, kw_only=True)
class ChangeEnding:
    """How a change ended on a gateway.

    Attributes:
        phase: The phase it ended in.
        asked: How many certificates the cloud was asked for, ever.
        connects: The current set is accepted by the endpoint.
    """

    phase: str
    asked: int
    connects: bool


class MirroredGateway:
    """One gateway and its cloud; `carry_out` is what each process does."""

    def __init__(self) -> None:
        self.clock = SimulatedClock(START)
        self._root = Authority("Endpoint root", START)
        self._other_root = Authority("Another root", START)
        self.limits = LIMITS
        self.bakes_the_other = False  # whether the baked anchors have another root besides
        self.drops_the_root = False  # whether the anchors to be installed lack the one that the endpoint chains to
        self.cloud = Cloud(self.clock.now)
        self.token = self.cloud.stack.arm("0042")
        self.endpoint = SimulatedEndpoint(cloud=self.cloud, root_sha256=self._anchors().anchors[0].sha256)
        self.mirror = Mirror()
        self.publish()

    # -- the cloud as a value ----------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Put the state of the cloud and the clock into the mirror."""
        self.mirror.write(self.state())

    def state(self) -> bytes:
        """Return all that can change."""
        faults = self.cloud.faults._faults
        tables = vars(self.cloud.stack.store)
        return pickle.dumps((dict(self.cloud.registry), tables, self.cloud.requests, faults, self.clock.time))

    def restore(self, state: bytes) -> None:
        """Make the cloud what it was; connections that were open are gone."""
        registry, tables, requests, faults, time = pickle.loads(state)  # noqa: S301 - our own
        self.cloud.registry.clear()
        self.cloud.registry.update(registry)
        vars(self.cloud.stack.store).update(tables)
        self.cloud.requests, self.clock.time = requests, time
        self.cloud.faults._faults = faults
        self.endpoint._live.clear()
        self.publish()

    # -- agent.ports.CloudEndpoint -----------------------------------------------------------------------------------

    def connect(self, candidate: Candidate) -> _MirroredSession:
        """See `agent.ports.CloudEndpoint`."""
        try:
            return _MirroredSession(self, self.endpoint.connect(candidate))
        finally:
            self.publish()

    # -- processes ---------------------------------------------------------------------------------------------------

    def carry_out(self, path: Path, kind: Kind, change: str) -> ChangeEnding:
        """Do what a fresh process does: recover, take up the change or begin it unless it is over, follow it.

        Calls are counted in one run and used in others, so a reading of a generation is kept however fast a run is.
        """
        with replaced(clock, "stamp", lambda: time.time_ns() + _HOUR), Store(path) as store:
            store.lock()
            parts = self._parts(store)
            found = parts.engine.recover()
            over = [record for record in store.history() if record.id == change]
            if found is None and over:
                return self._ending(parts, over[0])
            if found is None and kind is Kind.TRUST:
                parts.planner.install(self._new_anchors(), Origin.TECHNICIAN, "a crash test")
            elif found is None:
                parts.planner.begin(kind, Origin.TECHNICIAN, "a crash test")
            return self._follow(store, parts)

    def fall_back(self, path: Path) -> ChangeEnding:
        """Do what a fresh process does when the set in use is refused: end the change in flight, climb the ladder.

        The operator has readmitted the gateway: its token was spent by the first use of what it bought.
        """
        self.cloud.stack.readmit("0042")
        with replaced(clock, "stamp", lambda: time.time_ns() + _HOUR), Store(path) as store:
            store.lock()
            parts = self._parts(store)
            if parts.engine.recover() is not None:
                self._until_over(parts.engine)

            port = cast("ports.Store", store)
            Operations(parts, port, self.clock, lambda: self._until_over(parts.engine)).climb("a crash test")
            return self._ending(parts, store.history()[-1])

    def _follow(self, store: Store, parts: ChangeParts) -> ChangeEnding:
        self._until_over(parts.engine)
        return self._ending(parts, store.history()[-1])

    def _until_over(self, engine: Engine) -> Outcome:
        for _ in range(1000):
            outcome = engine.run()
            if outcome.wait is None:
                return outcome
            self.clock.time = max(self.clock.time, outcome.wait.until)
            self.publish()
        raise InvariantError("the change never ends")

    def _ending(self, parts: ChangeParts, record: ChangeRecord) -> ChangeEnding:
        asked = self.cloud.count(Operation.CREATE)
        connects = parts.climber.find_footing().use == "current"
        parts.engine.close()
        return ChangeEnding(phase=record.phase, asked=asked, connects=connects)

    def _parts(self, store: Store) -> ChangeParts:
        ids = itertools.count(len(store.history()) + 1)
        any_world: dict[str, Any] = {"cloud": self, "clock": self.clock, "store": store}
        return put_together(
            World(
                **any_world,
                materials=SoftwareMaterials(),
                reporter=Unheard(),
                chance=lambda: 0.5,
                new_id=lambda: f"change-{next(ids)}",
            ),
            Settings(
                enrollment=Provisioning(template="gateway", parameters=self._parameters),
                rotation=Provisioning(template="gateway-rotation"),
                client_id=lambda thing: f"{thing}-cert-agent",
                claim=self._claim,
                anchors=self._anchors,
                limits=self.limits,
            ),
        )

    def _parameters(self) -> dict[str, str]:
        return {"SerialNumber": "0042", "RegistrationToken": self.token}

    def revoke(self, *certificates: str) -> None:
        """Let the cloud refuse these certificates."""
        for certificate in certificates:
            self.cloud.set_status(certificate, Status.REVOKED)
        self.publish()

    def settle(self) -> None:
        """Let the endpoint chain to the root that it began with."""
        self.bakes_the_other = False
        self.endpoint.root_sha256 = fingerprint(self._root.certificate)

    def move_endpoint(self) -> None:
        """Let the endpoint chain to another root, which of all anchors the baked ones alone have."""
        self.bakes_the_other = True
        self.endpoint.root_sha256 = fingerprint(self._other_root.certificate)

    def _anchors(self) -> TrustBundle:
        return x509.read_bundle(self._root.pem + (self._other_root.pem if self.bakes_the_other else b""))

    def _new_anchors(self) -> TrustBundle:
        kept = b"" if self.drops_the_root else self._root.pem
        return x509.read_bundle(kept + self._other_root.pem)

    def _claim(self, anchors: TrustBundle) -> Candidate:
        pair = self.cloud.claim
        return Candidate(
            name="the claim certificate",
            credential=keys.credential_set(pair.key_pem, pair.certificate_pem),
            trust=anchors,
            client_id="iot-cert-agent-0042",
            thing_name=None,
        )
