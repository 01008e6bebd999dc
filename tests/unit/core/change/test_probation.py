"""Probation: what of it a restart needs, what can be confirmed, and how far apart its proofs are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.change import probation
from agent.core.change.advance import advance
from agent.core.change.decide import Limits
from agent.core.change.events import Doubted, ProbationHeld, ProbationPassed, StepFailed
from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind
from support import make
from support.make import DAY, MINUTE, NOW, SECOND

if TYPE_CHECKING:
    from datetime import timedelta

    from agent.core.change.events import ChangeEvent
    from agent.core.change.lifecycle import ChangeRecord

REFUSED = make.failure(FailureClass.CREDENTIAL, "hung-up", decisive=True)


@pytest.mark.parametrize("synchronised", [True, False])
def test_a_proof_of_a_quiet_probation_is_nothing_that_a_restart_needs(*, synchronised: bool) -> None:
    """It says only when, and a restart proves the set once more."""
    record = make.record(Phase.DEPLOYED, anchor="ef" * 32)
    event = make.event(ProbationHeld, NOW + MINUTE, synchronised=synchronised, anchor="ef" * 32)

    assert probation.is_quiet(record, advance(record, event))


@pytest.mark.parametrize(
    ("record", "event"),
    [
        (make.record(Phase.DEPLOYED, anchor="ab" * 32), make.event(ProbationHeld, anchor="ef" * 32)),
        (make.record(Phase.DEPLOYED, checked_at=None), make.event(ProbationHeld)),
        (make.record(Phase.DEPLOYED, prove_at=NOW, doubts=1), make.event(ProbationHeld)),
        (make.record(Phase.DEPLOYED, refusals=1), make.event(ProbationHeld)),
        (make.record(Phase.DEPLOYED, failure=make.failure(), attempts=1), make.event(ProbationHeld)),
        (make.record(Phase.DEPLOYED, resumes=1), make.event(ProbationHeld)),
        (make.record(Phase.DEPLOYED), make.event(ProbationPassed)),
        (make.record(Phase.DEPLOYED), make.event(StepFailed)),
        (make.record(Phase.DEPLOYED), make.event(Doubted)),
    ],
)
def test_whatever_else_happens_on_probation_is_durable(record: ChangeRecord, event: ChangeEvent) -> None:
    """Another anchor, the first answer ever, the end of a trouble, of probation, or the beginning of one."""
    assert not probation.is_quiet(record, advance(record, event))


@pytest.mark.parametrize("phase", Phase)
def test_what_can_be_confirmed_and_why_the_rest_cannot(phase: Phase) -> None:
    """On probation or final already; otherwise a sentence says what it is instead."""
    why = probation.unconfirmable(make.record(phase))

    assert (not why) == phase.activated
    assert not why or (why.startswith("The rotate c-1 is ") and why.endswith("."))
    assert "is being given up" in probation.unconfirmable(make.record(phase, condemned=REFUSED))
    assert probation.unconfirmable(None) == "Nothing is on probation."


@pytest.mark.parametrize(
    ("doubts", "apart"),
    [(0, 5 * SECOND), (1, 10 * SECOND), (5, 160 * SECOND), (6, 5 * MINUTE), (99, 5 * MINUTE)],
)
def test_proofs_after_doubts_are_ever_further_apart(doubts: int, apart: timedelta) -> None:
    """From five seconds to five minutes, counted from the proof before."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW, prove_at=None, doubts=doubts)
    assert probation.proof_on_doubt(record, NOW) == NOW + apart
    assert probation.proof_on_doubt(record, NOW + DAY) == NOW + DAY


def test_a_clock_that_was_set_back_puts_no_proof_off() -> None:
    """It waits no longer than two proofs are apart."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + DAY, prove_at=None, doubts=0)
    assert probation.proof_on_doubt(record, NOW) == NOW + 5 * SECOND


@pytest.mark.parametrize("kind", Kind)
def test_a_rollback_is_not_asked_about(kind: Kind) -> None:
    """It leads to a set that was used before."""
    within = probation.word_within(make.record(Phase.ACTIVE, kind=kind), Limits(confirm=MINUTE))
    assert within == (None if kind is Kind.ROLLBACK else MINUTE)


@pytest.mark.parametrize(("checked", "accepted"), [(None, False), (NOW, True)])
@pytest.mark.parametrize("phase", Phase)
def test_only_a_set_in_use_was_accepted(phase: Phase, checked: object, *, accepted: bool) -> None:
    """One that `import --unproven` put in use was not."""
    record = make.record(phase, checked_at=checked)
    assert probation.was_accepted(record) == (accepted and phase.activated)
