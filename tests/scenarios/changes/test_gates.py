"""The operator's gates: what they may hold, for how long, and what they never keep off the air."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.dependants import Leave, Report, Step
from agent.core.exit_codes import Exit, of_outcome
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.report import jobs
from agent.core.report.screen import history_line
from agent.core.values import Kind, Origin
from agent.errors import AgentError
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import START
from support.simulated.rig import Rig, is_told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Gates:
    """Gates that let everything go on, unless they are told otherwise."""

    def __init__(self) -> None:
        self.asked: list[Leave] = []
        self.says: Callable[[Leave], Step] = lambda _: Step(name="gate 10-site")

    def ask(self, leave: Leave) -> Report:
        """See `agent.ports.Gates`."""
        self.asked.append(leave)
        return Report(at=START, generation=1, set="", steps=(self.says(leave),))

    def hold(self, *held: Leave, veto: bool = False) -> None:
        """Have a gate hold these steps."""
        stop = Step(name="gate 10-site", problem="it ended with exit code 75", goes_back=veto)
        self.says = lambda leave: stop if leave in held else Step(name="gate 10-site")

    def fail(self) -> None:
        """Have it be impossible to ask them."""

        def says(_: Leave) -> Step:
            raise AgentError("The helper does not answer.")

        self.says = says


@pytest.fixture(name="gates")
def _gates(rig: Rig) -> Gates:
    """Gates of an enrolled gateway, which the enrolment did not ask."""
    rig.gates = gates = Gates()
    rig.restart()
    rig.enroll()
    assert gates.asked == []
    return gates


def test_each_step_of_a_rotation_is_asked_for_once(rig: Rig, gates: Gates) -> None:
    """Before the certificate is asked for, and before the set is put in use."""
    seen: list[tuple[Leave, int, int | None]] = []
    says = gates.says

    def look(leave: Leave) -> Step:
        seen.append((leave, rig.asked(Operation.CREATE), rig.store.current()))
        return says(leave)

    gates.says = look
    assert rig.rotate().record.phase is Phase.COMMITTED
    assert seen == [(Leave.REQUEST, 1, 1), (Leave.ACTIVATION, 2, 1)]


@pytest.mark.parametrize(
    ("leave", "phase", "asked"), [(Leave.REQUEST, Phase.KEY_READY, 1), (Leave.ACTIVATION, Phase.PROVEN, 2)]
)
def test_what_a_gate_holds_waits_and_goes_on_when_it_may(
    rig: Rig, gates: Gates, leave: Leave, phase: Phase, asked: int
) -> None:
    """The reason and the end of it are told, nothing is degraded, and no second certificate is asked for."""
    gates.hold(leave)
    outcome = rig.rotate(patience=HOUR)
    assert (outcome.record.phase, rig.asked(Operation.CREATE), rig.store.current()) == (phase, asked, 1)
    assert outcome.wait is not None
    assert outcome.wait.failure is not None
    assert (outcome.wait.failure.kind, outcome.wait.failure.code) == (FailureClass.OPERATOR, Code.HELD)
    assert outcome.wait.why.startswith("The gate 10-site holds this change: it ended with exit code 75. Next try at")
    assert "after 24 h, or near expiry, the change goes on without it" in outcome.wait.failure.promise
    assert of_outcome(outcome.record, outcome.wait, has_set=True) is Exit.REFUSED
    assert 10 < gates.asked.count(leave) < 30

    rig.restart()
    gates.hold()
    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.asked(Operation.CREATE) == 2


@pytest.mark.parametrize("leave", list(Leave))
def test_a_veto_ends_the_change_and_leaves_the_set_in_use(rig: Rig, gates: Gates, leave: Leave) -> None:
    """At once; the exit code says that it was refused, and the next one asks again."""
    gates.hold(leave, veto=True)
    outcome = rig.rotate()
    assert (outcome.record.phase, rig.in_use()[0]) == (Phase.REJECTED, 1)
    assert outcome.record.failure is not None
    assert outcome.record.failure.code == Code.VETOED
    assert gates.asked.count(leave) == 1
    assert of_outcome(outcome.record, None, has_set=True) is Exit.REFUSED

    gates.hold()
    assert rig.rotate().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("leave", list(Leave))
def test_no_gate_holds_a_change_for_longer_than_its_patience(rig: Rig, gates: Gates, leave: Leave) -> None:
    """A gate that is broken, or forgotten."""
    gates.hold(leave)
    start = rig.clock.now()
    assert rig.rotate(patience=3 * DAY).record.phase is Phase.COMMITTED
    assert DAY <= rig.clock.now() - start < DAY + HOUR


def test_gates_that_cannot_be_asked_are_waited_for_as_other_programs_are(rig: Rig, gates: Gates) -> None:
    """They may come up; that is told as the trouble that it is, not as a person's hold."""
    gates.fail()
    outcome = rig.rotate(patience=timedelta(seconds=1))
    assert outcome.wait is not None
    assert "The gates cannot be asked: The helper does not answer" in outcome.wait.why
    assert of_outcome(outcome.record, outcome.wait, has_set=True) is Exit.DEGRADED
    start = rig.clock.now()
    record = rig.follow().record
    assert record.phase is Phase.COMMITTED
    assert timedelta(minutes=2) <= dict(record.passed)[Phase.REQUESTED] - start < timedelta(minutes=3)


def broken(leave: Leave) -> Step:
    """Be a gate that cannot be run."""
    _ = leave
    return Step(name="gate 10-site", problem="/gates.d/10-site is not executable.", untried=True)


@pytest.mark.parametrize("kind", ["certificate", "anchors"])
def test_a_gate_that_cannot_be_run_holds_nothing_and_the_change_says_so(rig: Rig, gates: Gates, kind: str) -> None:
    """To its end: exit code, history, the job's details. It was told since it was broken; no person said no."""
    gates.says = broken
    start = rig.clock.now()
    anchors = rig.bundle(rig.root, rig.second_root)
    record = (rig.rotate() if kind == "certificate" else rig.install(anchors)).record
    assert (record.phase, record.degraded is not None) == (Phase.COMMITTED, True)
    assert rig.clock.now() - start < timedelta(minutes=15)
    assert record.degraded is not None
    assert record.degraded.code == Code.UNASKED
    assert record.degraded.message == "The gate 10-site is not asked: /gates.d/10-site is not executable."
    assert is_told(record.degraded)
    assert of_outcome(record, None, has_set=True) is Exit.DEGRADED
    assert "(without this: The gate 10-site is not asked: " in history_line(record)
    assert jobs.answer_of(record).details["failureCode"] == "gate-unasked"
    told = [entry.text for entry in rig.log.entries if "goes on without this" in entry.text]
    assert told == [f"The change goes on without this: {record.degraded.message}"]


def test_a_gate_that_is_put_right_is_asked_before_the_next_step(rig: Rig, gates: Gates) -> None:
    """And may hold it; that the certificate was asked for without it stays told."""
    gates.says = lambda leave: broken(leave) if leave is Leave.REQUEST else Step(name="gate 10-site", problem="no")
    outcome = rig.rotate(patience=HOUR)
    assert (outcome.record.phase, rig.store.current()) == (Phase.PROVEN, 1)
    assert outcome.record.failure is not None
    assert outcome.record.failure.code == Code.HELD
    assert outcome.record.degraded is not None


def test_why_a_change_failed_is_not_hidden_by_a_gate_that_was_not_asked(rig: Rig, gates: Gates) -> None:
    """The history's line has the cause."""
    gates.says = broken
    rig.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    record = rig.rotate().record
    assert record.failure is not None
    assert record.failure.message in history_line(record)


@pytest.mark.parametrize("veto", [False, True])
def test_near_expiry_none_is_asked(state: Path, *, veto: bool) -> None:
    """The certificate would run out."""
    rig = Rig(state, lifetime=timedelta(days=2))
    rig.gates = gates = Gates()
    rig.restart()
    rig.enroll()
    gates.hold(*Leave, veto=veto)
    rig.clock.advance(hours=46)
    assert rig.rotate().record.phase is Phase.COMMITTED
    assert gates.asked == []


def test_a_change_that_is_held_goes_on_near_expiry(state: Path) -> None:
    """However long the gate's patience is."""
    rig = Rig(state, lifetime=timedelta(days=2), limits=Limits(gates_patience=30 * DAY))
    rig.gates = gates = Gates()
    rig.restart()
    rig.enroll()
    gates.hold(Leave.REQUEST)
    rig.clock.advance(hours=30)
    ends = rig.store.generation(1).credential.leaf.not_after
    assert rig.rotate(patience=2 * DAY).record.phase is Phase.COMMITTED
    assert gates.asked
    assert rig.clock.now() < ends


def test_what_leads_back_is_never_held(rig: Rig, gates: Gates) -> None:
    """A rollback, what the ladder begins, and a claim's enrolment."""
    rig.rotate()
    gates.asked.clear()
    gates.hold(*Leave, veto=True)
    assert rig.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    rig.planner.begin(Kind.ROTATE, Origin.LADDER, "ladder: test")
    assert rig.follow().record.phase is Phase.COMMITTED
    assert gates.asked == []


def test_a_set_that_is_refused_while_a_gate_holds_is_left(rig: Rig, gates: Gates) -> None:
    """The ladder goes before: the change that waits gives way."""
    rig.rotate()
    gates.hold(Leave.ACTIVATION)
    assert rig.rotate(patience=HOUR).record.phase is Phase.PROVEN
    rig.revoke(2)
    rig.operations.climb("The broker hangs up.")
    rig.follow() if rig.engine.change is not None else None
    assert rig.connects()


def test_anchors_are_held_before_they_are_put_in_use(rig: Rig, gates: Gates) -> None:
    """And no certificate is asked for."""
    gates.hold(Leave.ACTIVATION)
    outcome = rig.install(rig.bundle(rig.root, rig.second_root), patience=HOUR)
    assert (outcome.record.phase, set(gates.asked)) == (Phase.PROVEN, {Leave.ACTIVATION})
    gates.hold()
    assert rig.follow().record.phase is Phase.COMMITTED
