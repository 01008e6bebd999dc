"""What is told when a change moves: each event is a sentence, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.change.announcements import announcement
from agent.core.change.advance import advance
from agent.core.change.events import (
    Condemned,
    Confirmed,
    Deployed,
    Doubted,
    Hastened,
    ProbationHeld,
    Resumed,
    RolledBack,
    StepFailed,
)
from agent.core.change.lifecycle import Phase
from agent.core.change.transitions import TRANSITIONS
from agent.core.failure.failure import FailureClass
from support import make
from support.make import MINUTE, NOW

if TYPE_CHECKING:
    from agent.core.change.events import ChangeEvent


def _told(phase: Phase, event: ChangeEvent) -> tuple[str, str, str | None] | None:
    before = make.record(phase)
    found = announcement(before, advance(before, event), event)
    return None if found is None else (found.code, found.text, found.failure)


@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.ISSUED, Phase.PROVEN])
def test_a_change_that_is_found_again_is_named(phase: Phase) -> None:
    """By its id and by where it was found."""
    told = _told(phase, Resumed(at=NOW))
    assert told is not None
    assert told[0] == "note"
    assert f"{make.record(phase).id} was found in phase {phase}" in told[1]


def test_a_word_says_what_it_leads_to() -> None:
    """One that ends probation, and one that only makes its end final."""
    early, late = _told(Phase.DEPLOYED, Confirmed(at=NOW)), _told(Phase.DEPLOYED, Confirmed(at=NOW, early=False))
    assert early is not None
    assert late is not None
    assert early[1].endswith("one more proof makes it final.")
    assert late[1].endswith("it is final once probation is over.")


def test_a_doubt_says_that_the_set_is_proven() -> None:
    """And why."""
    told = _told(Phase.DEPLOYED, Doubted(at=NOW, prove_at=NOW))
    assert told is not None
    assert told[0] == "note"
    assert "is proven now" in told[1]


def test_a_failure_is_told_once_with_its_class() -> None:
    """With its remedy, and not again by the event that leaves it in the record."""
    failure = make.failure(promise="The agent retries.")
    told = _told(Phase.PREPARED, StepFailed(at=NOW, failure=failure, retry_at=NOW + MINUTE))
    assert told == ("trouble", f"{failure} Look into it. The agent retries.", failure.kind)
    failed = replace(make.record(Phase.PREPARED), failure=failure, retry_at=NOW + MINUTE)
    assert announcement(failed, advance(failed, Hastened(at=NOW)), Hastened(at=NOW)) is None


def test_why_a_set_is_rolled_back_is_told_once() -> None:
    """When it is condemned. The rollback adds nothing: the outcome, which follows, says which set is in use."""
    failure = make.failure(FailureClass.CREDENTIAL, decisive=True)
    active = make.record(Phase.DEPLOYED)
    condemned = advance(active, Condemned(at=NOW, failure=failure))
    told = announcement(active, condemned, Condemned(at=NOW, failure=failure))
    assert told is not None
    assert told.code == "trouble"
    assert announcement(condemned, advance(condemned, RolledBack(at=NOW)), RolledBack(at=NOW)) is None


def test_what_a_change_goes_on_without_is_told() -> None:
    """Instead of the phase that it enters."""
    problem = make.failure()
    told = _told(Phase.ACTIVE, Deployed(at=NOW, probation=MINUTE, problem=problem))
    assert told == ("trouble", f"The change goes on without this: {problem.message}", problem.kind)


def test_a_proof_within_probation_is_not_told() -> None:
    """There is one each minute."""
    assert _told(Phase.DEPLOYED, ProbationHeld(at=NOW)) is None


@pytest.mark.parametrize("phase", sorted({target for (before, _), target in TRANSITIONS.items() if target != before}))
def test_each_phase_that_is_entered_has_a_sentence(phase: Phase) -> None:
    """A whole one, for people."""
    before = next(source for (source, _), target in TRANSITIONS.items() if target is phase and source is not phase)
    entered = replace(make.record(before), phase=phase, probation_until=NOW)
    found = announcement(make.record(before), entered, Hastened(at=NOW))
    assert found is not None
    assert found.code == phase
    assert found.text.endswith(".")
