"""The agent's parts over a state directory, as one process after another has them open, and what lies there."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from agent.change.parts import put_together
from agent.change.world import Provisioning, Settings, World
from agent.core.change.decide import Limits
from agent.crypto.materials import SoftwareMaterials
from agent.store.notes.confirmations import ConfirmationDirectory
from support.simulated.outside import Outside, Programs
from support.simulated.troubled import SmallStore, TroubledDisk, TroubledStore

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

    from agent import ports
    from agent.change.climb import Climber
    from agent.change.engine import Engine
    from agent.change.plan import Planner
    from agent.change.rehearsal import Examiner, Rehearsal
    from agent.change.retiring import Retirements
    from agent.change.sets import Sets
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.change.progress import Progress
    from agent.core.values import KeyAlgorithm, User
    from agent.sandbox.cloud import Entry


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


class AgentProcess(Outside):
    """A process of the agent, and what it finds on its disk; the same again after a restart."""

    def __init__(self, path: Path, *, limits: Limits | None = None, lifetime: timedelta | None = None) -> None:
        super().__init__(lifetime=lifetime)
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
        self.disk = TroubledDisk()
        self.programs = Programs(lambda: self.current)
        self._ids = itertools.count(1)
        path.mkdir(mode=0o700, exist_ok=True)
        self.start(path)

    def start(self, path: Path) -> None:
        """Open a state directory, without a look at the change that may be in flight there."""
        self.path = path
        self.said = path.with_name("confirm")
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

    @property
    def engine(self) -> Engine:
        """Carries the change in flight on."""
        return self.change.engine

    @property
    def planner(self) -> Planner:
        """Begins changes."""
        return self.change.planner

    @property
    def climber(self) -> Climber:
        """Finds a set that gets through."""
        return self.change.climber

    @property
    def sets(self) -> Sets:
        """The sets on the gateway."""
        return self.change.sets

    @property
    def retirements(self) -> Retirements:
        """The certificates that were left behind."""
        return self.change.retirements

    @property
    def rehearsal(self) -> Rehearsal:
        """All of a rotation that costs nothing."""
        return self.change.rehearsal

    @property
    def examiner(self) -> Examiner:
        """What the doctor asks of the endpoint."""
        return self.change.examiner

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

    @property
    def tells_secrets(self) -> bool:
        """Whether a token, a key or a certificate stands in the history, or a token or key in what was reported."""
        history = self.path / "history.jsonl"
        kept = history.read_text(encoding="utf-8") if history.exists() else ""
        tokens = [entry.token for entry in self.cloud.registry.values() if entry.token]
        secret = any(token in kept + self.log.text for token in tokens)
        return secret or "-----BEGIN" in kept + self.log.text or re.search(r'"token":"[^"]', kept) is not None
