"""A gateway in a temporary directory, the simulated cloud, and a clock that the test moves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.adapters import keys, x509
from agent.adapters.materials import SoftwareMaterials
from agent.adapters.store import Store
from agent.core.decide import Limits
from agent.core.values import Candidate, Kind, Origin
from agent.engine import Engine, Outcome, Provisioning, Settings, World
from agent.errors import MaterialError
from agent.sandbox.authority import Authority
from agent.sandbox.cloud import Cloud
from agent.sandbox.simulator import SimulatedClock, SimulatedEndpoint

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.lifecycle import ChangeRecord
    from agent.core.values import KeyAlgorithm, TrustBundle
    from agent.ports import Progress

START = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
THING = "gw-0042"


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


class Rig:
    """One gateway and its cloud."""

    def __init__(self, path: Path, *, limits: Limits | None = None, lifetime: timedelta | None = None) -> None:
        self.path = path
        self.clock = SimulatedClock(START)
        self.root = Authority("Sandbox endpoint root A", START)
        self.cloud = Cloud(self.clock.now, lifetime=lifetime)
        self.endpoint = SimulatedEndpoint(cloud=self.cloud, root_sha256=self.anchors().anchors[0].sha256)
        self.log = Log()
        self.materials = SoftwareMaterials()
        self.settings = Settings(
            enrollment=Provisioning(template="gateway", parameters={"SerialNumber": "0042"}),
            rotation=Provisioning(template="gateway-rotation"),
            client_id=lambda thing: f"{thing}-cert-agent",
            claim=self.claim,
            anchors=self.anchors,
            limits=limits or Limits(),
        )
        self.claim_present = True
        self._ids = itertools.count(1)
        path.mkdir(mode=0o700, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self.store = Store(self.path)
        self.store.lock()
        world = World(
            clock=self.clock,
            store=self.store,
            cloud=self.endpoint,
            materials=self.materials,
            reporter=self.log,
            chance=lambda: 0.5,
            new_id=lambda: f"change-{next(self._ids)}",
        )
        self.engine = Engine(world, self.settings)

    def restart(self) -> ChangeRecord | None:
        """Do what a fresh process does: open, lock, recover."""
        self.engine.close()
        self.store.close()
        self._open()
        return self.engine.recover()

    def configure(self, **changes: object) -> None:
        """Change the engine's settings and restart."""
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        self.restart()

    def use_keys(self, algorithm: KeyAlgorithm) -> None:
        """Make keys of another kind from now on."""
        self.materials = SoftwareMaterials(algorithm=algorithm)
        self.restart()

    def anchors(self) -> TrustBundle:
        """Return the baked trust anchors."""
        return x509.read_bundle(self.root.pem)

    def claim(self) -> Candidate:
        """Return the claim certificate, as long as it lies on the gateway."""
        if not self.claim_present:
            raise MaterialError("there is no claim certificate on this gateway")
        pair = self.cloud.claim
        return Candidate(
            name="the claim certificate",
            credential=keys.credential_set(pair.key_pem, pair.certificate_pem),
            trust=self.anchors(),
            client_id="iot-cert-agent-0042",
            thing_name=None,
        )

    def run(self, kind: Kind, *, patience: timedelta = timedelta(hours=2), reason: str = "test") -> Outcome:
        """Begin a change and follow it."""
        self.engine.begin(kind, Origin.TECHNICIAN, reason)
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
        """Enrol the gateway and see it committed."""
        return self.run(Kind.ENROLL)

    def rotate(self, *, patience: timedelta = timedelta(hours=2)) -> Outcome:
        """Rotate once."""
        return self.run(Kind.ROTATE, patience=patience)

    def connects(self) -> bool:
        """Whether the current set gets through, as an application would find."""
        return self.engine.find_footing().use == "current"
