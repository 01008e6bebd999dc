"""A gateway in a temporary directory, the simulated cloud, and a clock that the test moves."""

from __future__ import annotations

import errno
import itertools
import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

from cryptography.hazmat.primitives.asymmetric import ec

from agent.change.parts import put_together
from agent.change.world import Provisioning, Settings, World
from agent.core.change.decide import Limits
from agent.core.change.lasting import Lasting
from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import Standing
from agent.core.dependants import trouble
from agent.core.failure import failures
from agent.core.values import Candidate, Kind, Origin, Provenance, TrustSource
from agent.crypto import keys, x509
from agent.crypto.materials import SoftwareMaterials
from agent.errors import CloudError, MaterialError, StoreError, StoreInDoubtError
from agent.operations.execute import Operations
from agent.sandbox.authority import Authority, fingerprint, key_to_pem, name
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.faults import Effect, Fault, Operation
from agent.sandbox.policies import GATEWAY
from agent.store.confirmations import ConfirmationDirectory
from agent.store.room import Room
from agent.store.store import Store
from support.simulator import SimulatedClock, SimulatedEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent import ports
    from agent.change.engine import Outcome
    from agent.core.change.ladder import Climb
    from agent.core.change.lifecycle import ChangeRecord, Phase
    from agent.core.change.progress import Progress
    from agent.core.dependants import Occasion
    from agent.core.failure.failure import Failure
    from agent.core.values import CredentialSet, KeyAlgorithm, TrustBundle, User
    from agent.sandbox.cloud import Entry
    from support.simulator import Connection

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
THING = "gw-0042"
DECADE = timedelta(days=3650)


@dataclass
class Log:
    """A reporter that keeps what it is told."""

    entries: list[Progress] = field(default_factory=list)

    def report(self, progress: Progress) -> None:
        """Keep it."""
        self.entries.append(progress)

    @property
    def text(self) -> str:
        """Everything, a line each."""
        return "\n".join(f"{entry.code}: {entry.text}" for entry in self.entries)


NO_ROOM = StoreError("Cannot write there: No space left on device.", hint="Free some space on this file system.")
FULL = StoreError("Cannot write here: No space left on device.", hint="Free some space on this file system.")
FULL.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
IN_DOUBT = StoreInDoubtError("In doubt: it was done, but the disk did not confirm it.", hint="Read `dmesg`.")


class PowerCut(KeyboardInterrupt):
    """The process ended here, between two system calls, with nothing tidied up."""


@dataclass
class _Trouble:
    """Calls of one method that fail: `after` good ones first, then `times` bad ones."""

    after: int
    times: float
    error: StoreError


class Disk:
    """What happens to the store: calls that fail, and the power that fails around a phase. It outlives a restart.

    Attributes:
        full: Whether there is no room but what the reserve holds.
    """

    def __init__(self) -> None:
        self.full = False
        self.calls: list[str] = []
        self._troubles: dict[str, _Trouble] = {}
        self._cut: tuple[Phase, bool] | None = None

    def fail(self, method: str, *, after: int = 0, times: float = 1, error: StoreError = NO_ROOM) -> None:
        """Let a method of the store fail; an error in doubt is raised once the real method has done its work."""
        self._troubles[method] = _Trouble(after, times, error)

    def heal(self) -> None:
        """Let everything work again."""
        self.full = False
        self._troubles.clear()
        self._cut = None

    def cut_power(self, phase: Phase, *, saved: bool) -> None:
        """End the process when the record is to say `phase`, after that was saved or just before."""
        self._cut = (phase, saved)

    def strike(self, method: str) -> StoreError | None:
        """Return the error of this call, if it fails, and count it."""
        self.calls.append(method)
        trouble = self._troubles.get(method)
        if trouble is None:
            return None
        trouble.after -= 1
        if trouble.after >= 0 or trouble.times <= 0:
            return None
        trouble.times -= 1
        return trouble.error

    def watch(self, record: ChangeRecord, *, saved: bool) -> None:
        """Be told of each record, before and after it is saved.

        Raises:
            PowerCut: Now is the time.
        """
        if self._cut == (record.phase, saved):
            self._cut = None
            raise PowerCut


class SmallRoom(Room):
    """The real room, on a disk that may be full."""

    def __init__(self, disk: Disk, *parts: Any) -> None:
        super().__init__(*parts)
        self._disk = disk

    def reserve(self) -> Standing:
        """See `Room.reserve`."""
        found = super().reserve()
        return Standing.NO_ROOM if self._disk.full and found is Standing.MISSING else found


class SmallStore(Store):
    """The real store, on a disk that may be full."""

    def __init__(self, path: Path, disk: Disk) -> None:
        super().__init__(path)
        self.room = SmallRoom(disk, path, self._root, self._directory, self.modes)


# What needs room.
WRITING = frozenset({"save_change", "stage_key", "prepare", "activate", "roll_back", "finish"})


class _Troubled:
    """A part of the store on a disk that fails when told. What is not named here goes straight through."""

    def __init__(self, store: SmallStore, disk: Disk, part: object) -> None:
        self._store = store
        self._disk = disk
        self._part = part

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._part, name)
        return lambda *arguments, **named: self._call(name, partial(method, *arguments, **named))

    def _call(self, name: str, method: Callable[[], Any]) -> Any:
        error = self._disk.strike(name)
        if self._disk.full and name in WRITING and self._store.room.reserve() is Standing.KEPT:
            raise FULL
        if error is None:
            return method()
        if isinstance(error, StoreInDoubtError):
            method()
        raise error


class _TroubledRoom(_Troubled):
    def preflight(self, *, back: bool = False) -> None:
        """Find as much room as there is: what the reserve gave up is enough to go back, and not for anything else."""
        if self._disk.full and (not back or self._store.room.reserve() is Standing.KEPT):
            raise FULL
        self._call("preflight", partial(self._store.room.preflight, back=back))


class TroubledStore(_Troubled):
    """The real store on a disk that fails when told."""

    def __init__(self, store: SmallStore, disk: Disk) -> None:
        super().__init__(store, disk, store)
        self.room = _TroubledRoom(store, disk, store.room)
        self.others = _Troubled(store, disk, store.others)
        self.retired_keys = _Troubled(store, disk, store.retired_keys)

    def save_change(self, record: ChangeRecord, needed: Lasting = Lasting.NOW) -> None:
        """Save it, unless the power fails first."""
        self._disk.watch(record, saved=False)
        self._call("save_change", partial(self._store.save_change, record, needed))
        self._disk.watch(record, saved=True)


_SENTENCE = re.compile(r"[^\W_][^\n]* [^\n]*\.")


def is_told(failure: Failure | None) -> bool:
    """Whether a failure reads as a sentence and says, in another, what to do or what the agent does by itself."""
    texts = (failure.message, failure.advice) if failure else ("",)
    return all(_SENTENCE.fullmatch(text) for text in texts)


class Programs:
    """The gateway's other programs: which set they use, as far as they take one up. They outlive a restart."""

    def __init__(self, current: Callable[[], int | None]) -> None:
        self._current = current
        self.asked: list[Occasion] = []
        self.uses: int | None = None
        self.refused: set[int] = set()
        self.stubborn = False
        self.goes_back = False
        self.meanwhile: Callable[[], None] = lambda: None

    def take_up(self, occasion: Occasion) -> None:
        """See `agent.ports.Deployment`."""
        self.asked.append(occasion)
        self.meanwhile()
        current = self._current()
        assert current is not None
        if self.stubborn or current in self.refused:
            raise CloudError(trouble("bridge.service is failed after its restart.", decisive=self.goes_back))
        self.uses = current


_read_once = cache(keys.credential_set)  # in a day of outage the claim is asked for hundreds of times


class Rig:
    """One gateway and its cloud."""

    def __init__(self, path: Path, *, limits: Limits | None = None, lifetime: timedelta | None = None) -> None:
        self.path = path
        self.clock = SimulatedClock(START)
        self.root = Authority("Sandbox endpoint root A", START)
        self.second_root = Authority("Sandbox endpoint root B", START)
        self.baked: TrustBundle | None = x509.read_bundle(self.root.pem)
        self.cloud = Cloud(self.clock.now, lifetime=lifetime)
        self.token = self.cloud.stack.arm("0042")
        self.endpoint = SimulatedEndpoint(cloud=self.cloud, root_sha256=self.anchors().anchors[0].sha256)
        self.log = Log()
        self.gates: ports.Gates | None = None
        self.materials = SoftwareMaterials()
        self.settings = Settings(
            enrollment=Provisioning(template="gateway", parameters=self.parameters),
            rotation=Provisioning(template="gateway-rotation"),
            client_id=lambda thing: f"{thing}-cert-agent",
            claim=self.claim,
            anchors=self.anchors,
            limits=limits or Limits(),
        )
        self.asked_by: User | None = None
        self.claim_present = True
        self.said = path.with_name("confirm")
        self.disk = Disk()
        self.programs = Programs(lambda: self.current)
        self._ids = itertools.count(1)
        path.mkdir(mode=0o700, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self.store = SmallStore(self.path, self.disk)
        self.store.lock()
        world = World(
            clock=self.clock,
            store=cast("ports.Store", TroubledStore(self.store, self.disk)),
            cloud=self.endpoint,
            materials=self.materials,
            reporter=self.log,
            chance=lambda: 0.5,
            new_id=lambda: f"change-{next(self._ids)}",
            dependants=self.programs,
            confirmations=ConfirmationDirectory(self.said, admins=frozenset),
            gates=self.gates,
            asked_by=self.asked_by,
        )
        self.change = put_together(world, self.settings)
        self.engine, self.planner, self.climber = self.change.engine, self.change.planner, self.change.climber
        self.sets, self.retirements = self.change.sets, self.change.retirements
        self.rehearsal, self.examiner = self.change.rehearsal, self.change.examiner

    def close(self) -> None:
        """End, as a process does: what it has open is given back, and what is on the disk stays."""
        self.engine.close()
        self.store.close()

    def restart(self, *, orderly: bool = False) -> ChangeRecord | None:
        """Do what a fresh process does: open, lock, recover; `orderly` as the daemon says it of its last worker."""
        self.close()
        self._open()
        return self.engine.recover(orderly=orderly)

    def configure(self, **changes: object) -> None:
        """Change the engine's settings and restart."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        self.restart()

    def use_keys(self, algorithm: KeyAlgorithm) -> None:
        """Make keys of another kind from now on."""
        self.materials = SoftwareMaterials(algorithm=algorithm)
        self.restart()

    def anchors(self) -> TrustBundle:
        """Return the baked trust anchors, as long as they can be read."""
        if self.baked is None:
            raise MaterialError("there is no certificate in the baked copy")
        return self.baked

    def bundle(self, *authorities: Authority, version: int = 1) -> TrustBundle:
        """Return a signed bundle's anchors, as they are once it is verified."""
        pem = b"".join(authority.pem for authority in authorities)
        provenance = Provenance(source=TrustSource.BUNDLE, version=version, issued_at=START)
        return replace(x509.read_bundle(pem), provenance=provenance)

    def move_endpoint(self, authority: Authority) -> None:
        """Let the endpoint chain to another root from now on."""
        self.endpoint.root_sha256 = fingerprint(authority.certificate)

    def install(self, bundle: TrustBundle, *, patience: timedelta = timedelta(hours=2), order: str = "") -> Outcome:
        """Plan a change to other trust anchors and follow it."""
        if self.planner.install(bundle, Origin.INBOX, "test", order) is None:
            raise AssertionError("these anchors are in use already")
        return self.follow(patience=patience)

    def claim(self, anchors: TrustBundle) -> Candidate:
        """Return the claim certificate, as long as it lies on the gateway."""
        if not self.claim_present:
            raise MaterialError("there is no claim certificate on this gateway")
        pair = self.cloud.claim
        return Candidate(
            name="the claim certificate",
            credential=_read_once(pair.key_pem, pair.certificate_pem),
            trust=anchors,
            client_id="iot-cert-agent-0042",
            thing_name=None,
        )

    def run(self, kind: Kind, *, patience: timedelta = timedelta(hours=2), reason: str = "test") -> Outcome:
        """Begin a change and follow it."""
        self.planner.begin(kind, Origin.TECHNICIAN, reason)
        return self.follow(patience=patience)

    def follow(self, *, patience: timedelta = timedelta(hours=2)) -> Outcome:
        """Carry the change on, moving the clock over every wait, until it ends or patience does."""
        end = self.clock.now() + patience
        while True:
            outcome = self.engine.run()
            if outcome.wait is None or outcome.wait.until > end:
                return outcome
            self.clock.time = max(self.clock.time, outcome.wait.until)

    def enroll(self) -> Outcome:
        """Enrol the gateway and see it committed; it is readmitted at once, for stories in which it loses all."""
        outcome = self.run(Kind.ENROLL)
        self.readmit()
        return outcome

    def rotate(self, *, patience: timedelta = timedelta(hours=2)) -> Outcome:
        """Rotate once."""
        return self.run(Kind.ROTATE, patience=patience)

    def connects(self) -> bool:
        """Whether the current set gets through, as an application would find."""
        return self.climber.find_footing().use == "current"

    # -- stories ---------------------------------------------------------------------------------------------------

    def stop_at(self, kind: Kind, phase: Phase, *, saved: bool = True) -> None:
        """Begin a change and lose power at a phase; `restart` comes next."""
        self._lose_power(phase, lambda: self.run(kind), saved=saved)

    def stop_installing_at(self, bundle: TrustBundle, phase: Phase, *, saved: bool = True) -> None:
        """Begin a change to other trust anchors and lose power at a phase; `restart` comes next."""
        self._lose_power(phase, lambda: self.install(bundle), saved=saved)

    def _lose_power(self, phase: Phase, go: Callable[[], Outcome], *, saved: bool) -> None:
        self.disk.cut_power(phase, saved=saved)
        try:
            outcome = go()
        except PowerCut:
            return
        raise AssertionError(f"the change came to {outcome.record.phase} without passing {phase}")

    def run_to(self, kind: Kind, phase: Phase) -> ChangeRecord:
        """Begin a change, stop at a phase and start again: what comes next is the step of that phase.

        Some phases are on the disk only of a change that was cut off before; see `agent.core.change.lasting`.
        """
        self.stop_at(kind, phase)
        record = self.restart()
        if record is not None and record.phase is not phase:
            self._lose_power(phase, self.engine.run, saved=True)
            record = self.restart()
        assert record is not None
        return record

    def to_probation(self, kind: Kind = Kind.ROTATE) -> Outcome:
        """Begin a change and follow it into the first minutes of its probation."""
        outcome = self.run(kind, patience=timedelta(minutes=2))
        assert outcome.wait is not None
        assert outcome.wait.code == "probation"
        return outcome

    def heal(self) -> Climb:
        """Climb the ladder and do what its top rung says, as the command does."""
        climb = self.climber.find_footing()
        match climb.use:
            case "previous":
                self._must(Kind.ROLLBACK)
                self._must(Kind.ROTATE)
            case "claim":
                self._must(Kind.ENROLL)
            case _:
                pass
        return climb

    def _must(self, kind: Kind) -> None:
        self.planner.begin(kind, Origin.LADDER, "ladder")
        outcome = self.follow(patience=timedelta(days=3))
        assert outcome.record.phase == "committed", outcome

    def use_up_budget(self) -> None:
        """Ask for certificates up to the daily limit, without anything coming of it."""
        self.fault(Operation.CREATE, Effect.GARBLE, times=None)
        assert self.rotate().record.phase == "rejected"  # after three
        outcome = self.rotate()
        assert outcome.wait is not None
        assert outcome.wait.code == "budget"
        self.engine.give_up("test")
        self.follow()
        self.cloud.faults.clear()

    @property
    def operations(self) -> Operations:
        """How orders are carried out here: each change is followed for days."""
        return self.operate(patience=timedelta(days=3))

    def operate(self, *, patience: timedelta = timedelta(hours=2), told: str = "") -> Operations:
        """Return how orders are carried out, by a process that stays with a change for some time."""
        return Operations(
            self.change,
            cast("ports.Store", TroubledStore(self.store, self.disk)),
            self.clock,
            lambda: self.follow(patience=patience),
            told=lambda: told,
        )

    def replace_by_hand(
        self, number: int, *, key: bytes | None = None, status: Status = Status.ACTIVE, thing: str = THING
    ) -> str:
        """Put a new certificate and its key into a generation, as a technician does, and return its id.

        Args:
            number: The generation.
            key: The key that is put there, when it is not the certificate's own.
            status: What the cloud thinks of the certificate.
            thing: The thing it is registered for.
        """
        found = self.outside_set(status=status, thing=thing)
        directory = self.path / "generations" / f"{number:06d}"
        (directory / "key.pem").write_bytes(key or found.key_pem)
        (directory / "certificate.pem").write_bytes(found.certificate_pem)
        return found.leaf.sha256

    def parameters(self) -> dict[str, str]:
        """Return what the gateway registers with."""
        return {"SerialNumber": "0042", "RegistrationToken": self.token}

    def readmit(self) -> None:
        """Let the gateway's token buy a certificate once more, as the operator of a gateway that lost all of them."""
        self.cloud.stack.readmit("0042")

    def outside_set(self, *, status: Status = Status.ACTIVE, thing: str = THING) -> CredentialSet:
        """Return a key and certificate that were made outside this gateway, as the cloud knows them."""
        pair, now = ec.generate_private_key(ec.SECP256R1()), self.clock.now()
        certificate = self.cloud.authority.issue_client(name("by hand"), pair.public_key(), now, now + DECADE)
        entry = self.cloud.registry.add(certificate, status)
        entry.policies, entry.thing_name = [GATEWAY], thing
        return keys.credential_set(key_to_pem(pair), entry.pem.encode())

    def say_that_it_works(self, generation: int) -> None:
        """Be the gateway's own application, and content with a generation."""
        (self.said / f"{generation:06d}").touch()

    # -- making trouble --------------------------------------------------------------------------------------------

    def fault(self, operation: Operation, effect: Effect, times: int | None = 1, payload: bytes = b"") -> None:
        """Let something go wrong in the cloud."""
        self.cloud.faults.add(Fault(operation=operation, effect=effect, times=times, payload=payload))

    def revoke(self, *numbers: int, status: Status = Status.REVOKED) -> None:
        """Make the certificates of these generations useless."""
        for number in numbers:
            self.cloud.set_status(self.certificate(number), status)

    def damage(self, number: int, file: str = "key.pem") -> None:
        """Flip one bit of a file, as flash memory does in time."""
        path = self.path / "generations" / f"{number:06d}" / file
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    def true_time(self) -> SimulatedClock:
        """Give the cloud a clock of its own, which goes right whatever the gateway's shows, and return it."""
        clock = SimulatedClock(self.clock.time)
        self.cloud._now = clock.now
        return clock

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def current(self) -> int | None:
        """The number of the current generation, by the store as it is open now."""
        return self.store.current()

    def in_use(self) -> tuple[int | None, int | None]:
        """Return the numbers of the current and the previous generation."""
        return self.store.current(), self.store.previous()

    @property
    def generations(self) -> list[str]:
        """The names in the directory of generations by number; one that is being filled begins with a dot."""
        names = [path.name for path in (self.path / "generations").iterdir()]
        return sorted(names, key=lambda name: name.lstrip("."))

    @property
    def history(self) -> list[tuple[str, str, int]]:
        """Kind, end and generation of each finished change, oldest first."""
        return [(record.kind, record.phase, record.generation) for record in self.store.history()]

    @property
    def at_rest(self) -> bool:
        """Whether no change is in flight, in memory and on disk."""
        return self.engine.change is None and self.store.change() is None

    def certificate(self, number: int) -> str:
        """Return the certificate id of a whole generation."""
        made = [record.issued for record in self.store.history() if record.generation == number and record.issued]
        return made[-1].certificate_id if made else self.store.generation(number).manifest.certificate_id

    def entry(self, number: int) -> Entry:
        """Return what the cloud's registry says of a generation's certificate."""
        return self.cloud.registry[self.certificate(number)]

    def asked(self, operation: Operation, outcome: str = "") -> int:
        """Return how often the cloud was asked, with this outcome or with any."""
        return sum(
            request.operation == operation and outcome in {"", request.outcome} for request in self.cloud.requests
        )

    def connections_of(self, candidate: str) -> list[Connection]:
        """Return the connections that were tried with one set."""
        return [connection for connection in self.endpoint.connections if connection.candidate == candidate]

    @property
    def tells_secrets(self) -> bool:
        """Whether a token, a key or a certificate stands in the history, or a token or key in what was reported."""
        history = self.path / "history.jsonl"
        kept = history.read_text(encoding="utf-8") if history.exists() else ""
        tokens = [entry.token for entry in self.cloud.registry.values() if entry.token]
        secret = any(token in kept + self.log.text for token in tokens)
        return secret or "-----BEGIN" in kept + self.log.text or re.search(r'"token":"[^"]', kept) is not None


NO_ROUTE = failures.unreachable("sandbox", 8883, "no route to host")


MINUTES = timedelta(minutes=5)
NO_ROUTE = failures.unreachable("sandbox", 8883, "no route to host")
