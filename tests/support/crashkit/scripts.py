"""Whole changes at the level of the store: the steps that the engine takes, in its order, with no cloud behind them.

`carry_out` looks at what is on disk and goes on from there, so the same call begins a change and resumes one. Times
and material are fixed: an undisturbed run always leaves the same tree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.change.advance import advance
from agent.core.change.events import (
    Activated,
    CertificateIssued,
    ChangeEvent,
    Condemned,
    Deployed,
    GenerationPrepared,
    KeyReady,
    ProbationPassed,
    Proven,
    Registered,
    Rejected,
    RequestBegun,
    Resumed,
    RolledBack,
)
from agent.core.change.lasting import Lasting, lasting
from agent.core.change.lifecycle import ChangeRecord, Issued, Phase
from agent.core.change.records import encode_record
from agent.core.failure.failure import Failure, FailureClass
from agent.core.values import Kind, Origin
from agent.errors import AgentError
from agent.store.store import Store
from support.crashkit import marks
from support.crashkit.marks import Mark
from support.crashkit.material import NOW, THING, material

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = Failure(kind=FailureClass.CREDENTIAL, code="hung-up", message="It was refused.", decisive=True)
PROBATION = timedelta(minutes=10)


class Verdict(StrEnum):
    """How a change is to end."""

    COMMIT = "commit"
    REJECT = "reject"
    CONDEMN = "condemn"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A change to carry out.

    Attributes:
        generation: The generation it makes, or goes back to.
        base: The one that is current before.
        kind: What it does.
        verdict: How it ends.
        keep: How many further generations pruning leaves.
        early: Acknowledge the new generation before it is active: a planted bug.
    """

    generation: int
    base: int | None
    kind: Kind = Kind.ROTATE
    verdict: Verdict = Verdict.COMMIT
    keep: int = 3
    early: bool = False

    @property
    def change(self) -> str:
        """The id of the change."""
        return f"change-{self.kind}-{self.generation}-{self.verdict}"

    def first_record(self) -> ChangeRecord:
        """Return the record the change begins with."""
        return ChangeRecord(
            id=self.change,
            kind=self.kind,
            origin=Origin.SCHEDULE,
            reason="A crash test wants it.",
            generation=self.generation,
            base=self.base,
            phase=Phase.PLANNED if self.kind.issues else Phase.PREPARED,
            planned_at=NOW,
            entered_at=NOW,
        )


def progress(record: ChangeRecord) -> int:
    """Return how far a record has come: a number that never falls from one save to the next."""
    return 2 * len(record.passed) + (record.condemned is not None)


@dataclass
class Driver:
    """One process that works on one change."""

    store: Store
    plan: Plan
    record: ChangeRecord

    def go(self) -> None:
        """Take step after step to the end."""
        while not self.record.phase.ended:
            self.steps()[self.record.phase]()
        record = self.record
        take(self.store, "finish", lambda store: store.finish(record))
        marks.make(Mark.FINISHED)

    def steps(self) -> dict[Phase, Callable[[], None]]:
        """Return what is done in each phase."""
        return {
            Phase.PLANNED: self._make_key,
            Phase.KEY_READY: lambda: self._save(RequestBegun(at=NOW)),
            Phase.REQUESTED: self._take_certificate,
            Phase.ISSUED: self._register,
            Phase.REGISTERED: self._prepare,
            Phase.PREPARED: self._prove,
            Phase.PROVEN: self._activate,
            Phase.ACTIVE: lambda: self._save(Deployed(at=NOW, probation=PROBATION)),
            Phase.DEPLOYED: self._end_probation,
        }

    def _save(self, event: ChangeEvent) -> None:
        self.save(advance(self.record, event))

    def save(self, record: ChangeRecord) -> None:
        """Make a record as durable as it has to be, then go by it."""
        needed = Lasting.NOW if record == self.record else lasting(self.record, record)
        how = "commit" if record.phase is Phase.COMMITTED else "save" if needed is Lasting.NOW else "show"
        name = f"{how} {hashlib.sha256(encode_record(record)).hexdigest()}"
        if needed in {Lasting.NOW, Lasting.SEEN}:
            take(self.store, name, lambda store: store.save_change(record, needed))
        self.record = record
        if needed is Lasting.NOW:
            marks.make(Mark.SAVED, progress(record))

    def _make_key(self) -> None:
        ours = material(self.plan.generation)
        take(self.store, "preflight", lambda store: store.room.preflight())
        take(self.store, "stage_key", lambda store: store.stage_key(ours.number, ours.key_pem))
        self._save(KeyReady(at=NOW))

    def _take_certificate(self) -> None:
        content = material(self.plan.generation).content
        issued = Issued(
            certificate_pem=content.certificate_pem.decode(),
            certificate_id=content.leaf.sha256,
            token="token",  # noqa: S106 - a script's
            at=NOW,
        )
        self._save(CertificateIssued(at=NOW, issued=issued))

    def _register(self) -> None:
        number = self.plan.generation
        take(self.store, "staged_key", lambda store: store.staged_key(number))
        self._save(Registered(at=NOW, thing_name=THING))

    def _prepare(self) -> None:
        ours = material(self.plan.generation)
        manifest = ours.manifest(self.plan.change, self.plan.kind)
        take(self.store, "prepare", lambda store: store.prepare(manifest, ours.content, ours.trust))
        self._save(GenerationPrepared(at=NOW))

    def _prove(self) -> None:
        if self.plan.verdict is Verdict.REJECT:
            self._save(Rejected(at=NOW, failure=REFUSED))
        else:
            self._save(Proven(at=NOW, synchronised=True))

    def _activate(self) -> None:
        if self.plan.early:
            marks.make(Mark.CURRENT, self.plan.generation)
        number = self.plan.generation
        take(self.store, "activate", lambda store: store.activate(number))
        marks.make(Mark.CURRENT, number)
        self._save(Activated(at=NOW))

    def _end_probation(self) -> None:
        if self.plan.verdict is Verdict.CONDEMN:
            self._roll_back()
        else:
            self._save(ProbationPassed(at=NOW, synchronised=True))

    def _roll_back(self) -> None:
        base, condemned = self.record.base, self.record.generation
        assert base is not None
        if self.record.condemned is None:
            self._save(Condemned(at=NOW, failure=REFUSED))
        take(self.store, "roll_back", lambda store: store.roll_back(base, condemned))
        marks.make(Mark.CURRENT, base)
        self._save(RolledBack(at=NOW))


StepTaken = Callable[[Store], object]

# Called around each step by a campaign that cuts a change up: with the step's name, the step, and whether it is over.
OBSERVERS: list[Callable[[str, StepTaken, bool], None]] = []


def take(store: Store, name: str, step: StepTaken) -> None:
    """Take a step; an error out of it carries the step's name."""
    for observer in OBSERVERS:
        observer(name, step, False)  # noqa: FBT003 - see OBSERVERS
    try:
        step(store)
    except BaseException as error:
        error.add_note(name)
        raise
    for observer in OBSERVERS:
        observer(name, step, True)  # noqa: FBT003 - see OBSERVERS


def carry_out(path: Path, plan: Plan) -> None:
    """Begin the change, or go on with it, and bring it to its end; then prune."""
    with Store(path) as store:
        store.lock()
        found = store.recover(NOW).change
        if found is not None or all(record.id != plan.change for record in store.history()):
            record = plan.first_record() if found is None else advance(found, Resumed(at=NOW))
            driver = Driver(store=store, plan=plan, record=record)
            driver.save(record)
            driver.go()
        take(store, "prune", lambda store: store.prune(plan.keep, frozenset()))


def had_effect(path: Path, plan: Plan, step: str) -> bool | None:
    """Whether a step's effect can be seen in the store; None for steps that have no single effect."""
    with Store(path) as store:
        match step.split():
            case ["save" | "show" | "commit", digest]:
                return _holds(path, digest)
            case ["prepare"]:
                return _is_whole(store, plan.generation)
            case ["activate"]:
                return store.current() == plan.generation
            case ["roll_back"]:
                return store.current() == plan.base
            case ["finish"]:
                return not (path / "change.json").exists()
            case _:
                return None


def _holds(path: Path, digest: str) -> bool:
    """Whether a record is there: as that of the change in flight, or, of one that held, as a line of the history."""
    kept = [path / name for name in ("change.json", "history.jsonl") if (path / name).exists()]
    lines = [line for item in kept for line in item.read_bytes().splitlines(keepends=True)]
    return digest in {hashlib.sha256(line).hexdigest() for line in lines}


def _is_whole(store: Store, number: int) -> bool:
    try:
        store.generation(number)
    except AgentError:
        return False
    return True
