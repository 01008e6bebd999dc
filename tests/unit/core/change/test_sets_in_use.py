"""A set that is in use and not final yet: doubts and proofs, condemnation, the word of an application, probation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.advance import IllegalTransitionError, advance
from agent.core.change.events import (
    ChangeEvent,
    Condemned,
    Confirmed,
    Deployed,
    Doubted,
    ProbationHeld,
    ProbationPassed,
    Proven,
    Rejected,
    Resumed,
    RolledBack,
    StepFailed,
)
from agent.core.change.lifecycle import Phase, waits_for_word
from agent.core.failure.failure import FailureClass
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.unit.core.changes import after, worn

if TYPE_CHECKING:
    from datetime import datetime


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_rollback_needs_a_condemnation(phase: Phase) -> None:
    """Nothing goes back to the base generation without the failure that condemned the new one."""
    with pytest.raises(IllegalTransitionError, match="needs the failure that condemned"):
        after(make.record(phase), RolledBack)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_only_a_decisive_failure_condemns(phase: Phase) -> None:
    """No network is not a refusal, whatever its class is called."""
    doubtful = make.failure(FailureClass.CREDENTIAL)

    with pytest.raises(IllegalTransitionError, match="only a decisive failure"):
        advance(make.record(phase), Condemned(at=NOW, failure=doubtful))


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
@pytest.mark.parametrize("base", [6, None])
def test_only_a_decisive_failure_ends_a_change_whose_set_is_in_use(phase: Phase, base: int | None) -> None:
    """A doubt never gives up what the gateway runs on."""
    record = make.record(phase, base=base)

    with pytest.raises(IllegalTransitionError, match="only a decisive failure ends a change whose set is in use"):
        advance(record, Rejected(at=NOW, failure=make.failure(FailureClass.CREDENTIAL)))
    assert after(record, Rejected).phase is Phase.REJECTED


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_condemned_set_with_nothing_whole_to_go_back_to_is_rejected(phase: Phase) -> None:
    """When the rollback finds no set the change ends with the failure that condemned its own."""
    condemned = after(make.record(phase), Condemned)
    assert condemned.condemned is not None
    record = advance(condemned, Rejected(at=NOW, failure=condemned.condemned))

    assert (record.phase, record.failure) == (Phase.REJECTED, condemned.condemned)
    assert record.issued is not None
    assert (record.issued.token, record.issued.certificate_pem) == ("", "")


def test_a_first_enrolment_cannot_be_condemned() -> None:
    """Without a base generation there is nothing to go back to."""
    with pytest.raises(IllegalTransitionError, match="no base generation"):
        after(make.record(Phase.DEPLOYED, base=None), Condemned)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_condemned_set_is_rolled_back_and_keeps_its_reason(phase: Phase) -> None:
    """A condemnation ends every delay, survives restarts and failures, and is the outcome's reason."""
    condemned = after(worn(phase), Condemned)
    assert condemned.phase is phase
    assert condemned.retry_at is None

    record = after(condemned, Resumed, StepFailed, Resumed, RolledBack)
    assert record.phase is Phase.ROLLED_BACK
    assert record.failure == condemned.condemned


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.ACTIVE, Deployed),
        (Phase.ACTIVE, ProbationHeld),
        (Phase.ACTIVE, Doubted),
        (Phase.DEPLOYED, Doubted),
        (Phase.ACTIVE, Confirmed),
        (Phase.DEPLOYED, Confirmed),
        (Phase.DEPLOYED, ProbationHeld),
        (Phase.DEPLOYED, ProbationPassed),
    ],
)
def test_a_condemned_set_is_never_deployed_or_committed(phase: Phase, kind: type[ChangeEvent]) -> None:
    """Success that comes after the condemnation does not undo it."""
    condemned = after(make.record(phase), Condemned)

    with pytest.raises(IllegalTransitionError, match="a condemned set is rolled back"):
        after(condemned, kind)


def test_a_doubt_brings_the_next_proof_forward_and_is_counted() -> None:
    """A delay that ends sooner stays, a longer one is cut; without one the proof has a time of its own."""
    quiet = make.record(Phase.DEPLOYED)
    doubted = advance(quiet, Doubted(at=NOW, prove_at=NOW + SECOND))
    assert doubted == replace(quiet, prove_at=NOW + SECOND, doubts=1)

    for retry_at in (NOW + SECOND, NOW + HOUR):
        late = replace(quiet, retry_at=retry_at, doubts=2)
        doubted = advance(late, Doubted(at=NOW, prove_at=NOW + MINUTE))
        assert (doubted.retry_at, doubted.prove_at, doubted.doubts) == (min(retry_at, NOW + MINUTE), NOW + MINUTE, 3)


@pytest.mark.parametrize("kind", FailureClass)
def test_a_proof_that_failed_on_probation_is_due_until_one_is_accepted(kind: FailureClass) -> None:
    """Whatever it failed with; only what the broker said about the set itself is counted as a refusal."""
    record = advance(make.record(Phase.DEPLOYED, doubts=2), make.event(StepFailed, failure=make.failure(kind)))
    refused = kind in {FailureClass.CREDENTIAL, FailureClass.POLICY}
    assert (record.prove_at, record.doubts, record.refusals) == (NOW, 2, int(refused))

    record = after(record, ProbationHeld)
    assert (record.prove_at, record.doubts, record.refusals) == (None, 0, 0)


@pytest.mark.parametrize(
    ("kind", "prove_at", "refusals"),
    [
        (FailureClass.CREDENTIAL, NOW, 1),
        (FailureClass.POLICY, NOW, 1),
        (FailureClass.DEPENDANT, NOW + SECOND, 0),
        (FailureClass.NETWORK, None, 0),
        (FailureClass.STORE, None, 0),
    ],
)
def test_a_proof_that_failed_before_the_others_are_told_holds_them_up_only_for_a_refusal(
    kind: FailureClass, prove_at: datetime | None, refusals: int
) -> None:
    """Nothing speaks against the set otherwise; a doubt that is still to come outlives another program's failure."""
    doubted = make.record(Phase.ACTIVE, prove_at=NOW + SECOND, doubts=1)
    record = advance(doubted, make.event(StepFailed, failure=make.failure(kind)))

    assert (record.prove_at, record.refusals) == (prove_at, refusals)


def test_a_proof_before_the_others_are_told_leaves_their_patience_as_it_was() -> None:
    """A network that flaps, with a set that is accepted each time, gives a dependant no more time."""
    record = advance(make.record(Phase.ACTIVE), make.event(StepFailed, failure=make.failure(FailureClass.DEPENDANT)))
    record = advance(record, make.event(Doubted, NOW + MINUTE))
    record = advance(record, make.event(ProbationHeld, NOW + MINUTE))

    assert (record.phase, record.checked_at, record.refused_since) == (Phase.ACTIVE, NOW + MINUTE, NOW)
    assert (record.failure, record.retry_at, record.attempts, record.prove_at) == (None, None, 0, None)


def test_a_doubt_and_a_refusal_outlast_the_telling_of_the_others() -> None:
    """What was held against the set is not forgotten because other programs took it up."""
    record = after(make.record(Phase.ACTIVE, prove_at=NOW, doubts=1, refusals=1), Deployed)

    assert (record.phase, record.prove_at, record.doubts, record.refusals) == (Phase.DEPLOYED, NOW, 1, 1)


def test_a_confirmation_ends_probation_and_every_delay() -> None:
    """It is dated once, and takes nothing away of what was counted or has failed."""
    record = worn(Phase.DEPLOYED)
    confirmed = advance(record, Confirmed(at=NOW + SECOND))
    assert confirmed == replace(record, confirmed_at=NOW + SECOND, probation_until=NOW + SECOND, retry_at=None)

    again = advance(confirmed, Confirmed(at=NOW + MINUTE))
    assert (again.confirmed_at, again.probation_until) == (NOW + SECOND, NOW + MINUTE)


def test_a_confirmation_before_the_others_are_told_ends_probation_as_it_begins() -> None:
    """A program that was just restarted may say so before the agent has seen it come up."""
    record = after(make.record(Phase.ACTIVE), Confirmed)
    record = advance(record, Deployed(at=NOW + MINUTE, probation=7 * MINUTE))

    assert (record.phase, record.confirmed_at, record.probation_until) == (Phase.DEPLOYED, NOW, NOW + MINUTE)


def test_the_word_of_an_application_leaves_probation_its_time() -> None:
    """It is dated, and nothing else is moved; a person's, given later, ends probation."""
    record = worn(Phase.DEPLOYED)
    confirmed = advance(record, Confirmed(at=NOW + SECOND, early=False))
    assert confirmed == replace(record, confirmed_at=NOW + SECOND)

    early = advance(confirmed, Confirmed(at=NOW + MINUTE))
    assert (early.confirmed_at, early.probation_until) == (NOW + SECOND, NOW + MINUTE)


def test_the_word_is_waited_for_from_when_the_others_were_told() -> None:
    """Where it is asked for, and until it has come, or the set is given up."""
    quiet = after(make.record(Phase.ACTIVE), Deployed)
    assert (quiet.confirm_until, waits_for_word(quiet)) == (None, False)

    record = advance(make.record(Phase.ACTIVE), make.event(Deployed, confirm=3 * MINUTE))
    assert (record.confirm_until, waits_for_word(record)) == (NOW + 3 * MINUTE, True)
    assert not waits_for_word(after(record, Confirmed))
    assert not waits_for_word(after(record, Condemned))
    assert not waits_for_word(after(record, Confirmed, ProbationPassed))


def test_a_set_without_its_word_is_final_only_with_a_word_about_that() -> None:
    """What it is final without goes where a dependant's failure goes: into history, exit code and answers."""
    record = make.record(Phase.DEPLOYED, confirm_until=NOW)
    with pytest.raises(IllegalTransitionError, match="is not final without a word about that"):
        after(record, ProbationPassed)

    missing = make.failure(FailureClass.DEPENDANT, "not-confirmed")
    final = advance(record, make.event(ProbationPassed, NOW + SECOND, problem=missing, synchronised=True))
    assert (final.phase, final.degraded, final.confirmed_at) == (Phase.COMMITTED, missing, None)
    assert (final.checked_at, final.good_time) == (NOW + SECOND, NOW + SECOND)
    assert after(replace(record, confirmed_at=NOW), ProbationPassed).degraded is None


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.ACTIVE, Phase.DEPLOYED}])
def test_nothing_but_a_set_in_use_on_probation_is_confirmed(phase: Phase) -> None:
    """What is not in use yet cannot work, and what is final needs no word."""
    with pytest.raises(IllegalTransitionError):
        after(make.record(phase), Confirmed)


def test_probation_counts_from_deployment() -> None:
    """Probation begins when the dependants use the new set."""
    record = advance(make.record(Phase.ACTIVE), Deployed(at=NOW, probation=7 * MINUTE))

    assert record.probation_until == NOW + 7 * MINUTE


@pytest.mark.parametrize(
    ("phase", "kind"),
    [(Phase.PREPARED, Proven), (Phase.DEPLOYED, ProbationHeld), (Phase.DEPLOYED, ProbationPassed)],
)
@pytest.mark.parametrize("synchronised", [True, False])
def test_only_a_proof_under_a_synchronised_clock_dates_the_past(
    phase: Phase, kind: type[ChangeEvent], *, synchronised: bool
) -> None:
    """Every proof is dated, but only a synchronised clock makes it a floor for later clocks."""
    earlier = NOW - DAY
    record = make.record(phase, good_time=earlier, checked_at=None)
    record = advance(record, make.event(kind, NOW + SECOND, synchronised=synchronised))

    assert record.checked_at == NOW + SECOND
    assert record.good_time == (NOW + SECOND if synchronised else earlier)


@pytest.mark.parametrize(
    ("phase", "kind"),
    [(Phase.PREPARED, Proven), (Phase.DEPLOYED, ProbationHeld), (Phase.DEPLOYED, ProbationPassed)],
)
@pytest.mark.parametrize(("told", "known"), [("", "aa" * 32), ("bb" * 32, "bb" * 32)])
def test_a_proof_that_cannot_tell_the_anchor_leaves_the_one_that_is_known(
    phase: Phase, kind: type[ChangeEvent], told: str, known: str
) -> None:
    """Another one takes its place."""
    record = make.record(phase, anchor="aa" * 32)
    assert advance(record, make.event(kind, anchor=told)).anchor == known
