"""When a set on probation is proven again: quiet, confirmed, waiting for a word, or doubted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from agent.core.change import decide, probation_events
from agent.core.change.advance import advance
from agent.core.change.decide import Wait, next_action
from agent.core.change.events import Condemned, Confirmed, Deployed, Doubted, ProbationHeld
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import Phase
from agent.core.text import duration
from agent.core.timekeeping import ClockState
from agent.core.values import Kind
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.shorthand.deciding import LIMITS, REFUSED, F, act, doubt, fails, waits

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.core.failure.failure import FailureClass


def test_probation_waits_for_the_next_proof() -> None:
    """Within probation the set is proven once a minute, and the agent says until when it lasts."""
    wait = waits(make.record(Phase.DEPLOYED), NOW + 20 * SECOND)

    assert (wait.code, wait.until) == ("probation", NOW + MINUTE)
    assert "generation 7" in wait.why
    assert "2027-03-01 12:10:00 UTC" in wait.why


@pytest.mark.parametrize("checked", [NOW, None])
def test_a_proof_is_due_a_minute_after_the_last_one(checked: datetime | None) -> None:
    """The minute counts from the last proof or, without one, from the phase's beginning."""
    record = make.record(Phase.DEPLOYED, checked_at=checked)

    assert type(act(record, NOW + MINUTE)) is decide.HoldProbation
    assert waits(record, NOW + MINUTE - SECOND).until == NOW + MINUTE


def test_the_last_wait_ends_with_probation() -> None:
    """No wait reaches beyond the end, at which the last proof is made."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + 10 * MINUTE - 20 * SECOND)

    assert waits(record, NOW + 10 * MINUTE - 10 * SECOND).until == NOW + 10 * MINUTE
    assert type(act(record, NOW + 10 * MINUTE)) is decide.EndProbation
    assert type(act(record, NOW + 400 * DAY)) is decide.EndProbation


def test_a_clock_that_was_set_back_far_does_not_prolong_probation() -> None:
    """An end that lies further ahead than a whole probation is not waited for; one more proof decides."""
    assert type(act(make.record(Phase.DEPLOYED), NOW - 30 * DAY)) is decide.EndProbation


def test_a_clock_that_was_set_back_within_probation_makes_the_next_proof_due() -> None:
    """A last proof that lies in the future says nothing, so the set is proven now."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + 5 * MINUTE)

    assert type(act(record, NOW + MINUTE)) is decide.HoldProbation


@pytest.mark.parametrize("back", [SECOND, MINUTE, 10 * MINUTE, 11 * MINUTE])
def test_a_small_step_back_does_not_end_probation(back: timedelta) -> None:
    """A clock that was set back by up to probation's length and a minute cuts nothing of it short."""
    record = make.record(Phase.DEPLOYED)

    assert not isinstance(act(record, NOW - back), decide.EndProbation)
    assert not isinstance(act(record, NOW - back + 5 * SECOND), decide.EndProbation)
    assert type(act(record, NOW - 11 * MINUTE - SECOND)) is decide.EndProbation


@pytest.mark.parametrize("back", [SECOND, MINUTE, 2 * MINUTE])
def test_a_small_step_back_makes_no_proof_due(back: timedelta) -> None:
    """The next proof stays where it was unless it has moved further away than a step of the clock explains."""
    record = make.record(Phase.DEPLOYED)

    assert waits(record, NOW - back).until == NOW + MINUTE
    assert type(act(record, NOW - 2 * MINUTE - SECOND)) is decide.HoldProbation


def test_probation_without_an_end_is_over() -> None:
    """A record that lost the end of its probation is not on probation for ever."""
    assert type(act(make.record(Phase.DEPLOYED, probation_until=None))) is decide.EndProbation


def test_a_proof_within_probation_that_fails_is_tried_again_and_keeps_the_set() -> None:
    """An outage within probation is waited out, and probation goes on afterwards."""
    record = make.record(Phase.DEPLOYED)
    record = advance(record, fails(record, make.failure(code="timeout"), NOW + MINUTE))
    assert record.retry_at is not None

    assert waits(record, NOW + MINUTE).code == "retry"
    assert type(act(record, record.retry_at)) is decide.HoldProbation


# -- probation, when a person confirms ---------------------------------------------------------------------------------


def test_a_confirmed_set_is_proven_once_more_and_then_final() -> None:
    """Nine minutes of probation are not waited for, but no word makes a set final that is refused."""
    record = advance(make.record(Phase.DEPLOYED), Confirmed(at=NOW + MINUTE))
    assert type(act(record, NOW + MINUTE)) is decide.EndProbation

    failed = advance(record, fails(record, make.failure(F.NETWORK), NOW + MINUTE))
    assert failed.retry_at is not None
    assert type(act(failed, failed.retry_at)) is decide.EndProbation
    refused = advance(record, fails(record, REFUSED, NOW + MINUTE, base_accepted=True))
    assert isinstance(fails(refused, REFUSED, NOW + 2 * MINUTE, base_accepted=True), Condemned)


def test_a_confirmation_comes_after_the_others_are_told() -> None:
    """In phase active they take the set up first."""
    assert type(act(advance(make.record(Phase.ACTIVE), Confirmed(at=NOW)))) is decide.Deploy


# -- probation, when the gateway's application is to confirm -----------------------------------------------------------


ASKED = make.record(Phase.DEPLOYED, confirm_until=NOW + 15 * MINUTE)


def test_a_word_that_is_waited_for_is_told_with_its_end_and_the_command() -> None:
    """Proofs go on meanwhile, beyond the end of probation too."""
    wait = waits(ASKED, NOW + 20 * SECOND)
    assert (wait.code, wait.until) == ("probation", NOW + MINUTE)
    assert wait.why.startswith(
        "generation 7 waits for confirmation until 2027-03-01 12:15:00 UTC: `iot-cert confirm`; "
    )

    late = replace(ASKED, checked_at=NOW + 12 * MINUTE)
    assert waits(late, NOW + 12 * MINUTE).until == NOW + 13 * MINUTE
    assert type(act(late, NOW + 13 * MINUTE)) is decide.HoldProbation
    assert waits(replace(late, checked_at=NOW + 14.5 * MINUTE), NOW + 14.5 * MINUTE).until == NOW + 15 * MINUTE


@pytest.mark.parametrize("within", [3 * MINUTE, 10 * MINUTE, 15 * MINUTE, HOUR])
def test_a_word_that_does_not_come_in_time_gives_the_set_up(within: timedelta) -> None:
    """Before probation ends or long after it; another program has failed, and the engine looks whether to go back."""
    record = make.record(Phase.DEPLOYED, confirm_until=NOW + within, checked_at=NOW + within - SECOND)
    assert isinstance(act(record, NOW + within - SECOND), Wait)
    action = act(record, NOW + within)

    assert isinstance(action, decide.Unconfirmed)
    assert (action.failure.kind, action.failure.code, action.failure.decisive) == (F.DEPENDANT, "not-confirmed", True)
    assert action.failure.message == f"Generation 7 was not confirmed within {duration(within)}."
    assert action.failure.remedy


def test_a_word_that_has_come_leaves_the_end_of_probation_where_it_is() -> None:
    """Whichever is later decides; a word after probation makes the set final with one more proof."""
    said = advance(ASKED, Confirmed(at=NOW + MINUTE, early=False))
    wait = waits(replace(said, checked_at=NOW + 2 * MINUTE), NOW + 2 * MINUTE)
    assert wait.why.startswith("generation 7 is on probation until 2027-03-01 12:10:00 UTC; ")
    assert type(act(said, NOW + 10 * MINUTE)) is decide.EndProbation
    assert type(act(advance(ASKED, Confirmed(at=NOW + 12 * MINUTE, early=False)), NOW + 12 * MINUTE)) is (
        decide.EndProbation
    )
    assert type(act(advance(ASKED, Confirmed(at=NOW + MINUTE)), NOW + MINUTE)) is decide.EndProbation


@pytest.mark.parametrize("kind", Kind)
def test_the_word_is_asked_for_by_every_change_but_a_rollback(kind: Kind) -> None:
    """A rollback leads to what was used before, and a person or the ladder has decided so."""
    record, limits = make.record(Phase.ACTIVE, kind=kind), replace(LIMITS, confirm=3 * MINUTE)
    problem = make.failure(F.DEPENDANT)
    event = probation_events.deployed(record, NOW, limits, problem)

    assert event == Deployed(
        at=NOW, probation=10 * MINUTE, confirm=None if kind is Kind.ROLLBACK else 3 * MINUTE, problem=problem
    )
    failing = replace(record, refused_since=NOW - HOUR)
    assert after_failure(failing, problem, make.facts(), 0.5, limits) == event
    assert probation_events.deployed(record, NOW, LIMITS).confirm is None


def test_a_configuration_that_changes_meanwhile_changes_no_wait() -> None:
    """What a set has to wait for is settled when it is put in use."""
    asked = replace(LIMITS, confirm=HOUR)

    assert next_action(ASKED, make.facts(NOW + 20 * SECOND), asked) == act(ASKED, NOW + 20 * SECOND)
    assert type(next_action(make.record(Phase.DEPLOYED), make.facts(NOW + 10 * MINUTE), asked)) is decide.EndProbation


def test_a_clock_that_was_set_back_far_does_not_wait_for_years_for_a_word() -> None:
    """A small step costs nothing of the time; a large one ends it, and what connects is decided by the engine."""
    assert isinstance(act(ASKED, NOW - 15 * MINUTE), Wait | decide.HoldProbation)
    assert isinstance(act(ASKED, NOW - 30 * DAY), decide.Unconfirmed)


def test_a_set_that_waits_for_its_word_may_be_refused_meanwhile() -> None:
    """The last word is the broker's."""
    refused = advance(ASKED, fails(ASKED, REFUSED, base_accepted=True))

    assert isinstance(fails(refused, REFUSED, NOW + 3 * SECOND, base_accepted=True), Condemned)


def test_a_first_doubt_in_a_quiet_probation_makes_a_proof_due_at_once() -> None:
    """The session was lost long before the set's turn: it is proven now, and until it is accepted."""
    record, now = make.record(Phase.DEPLOYED), NOW + 20 * SECOND
    assert isinstance(act(record, now), Wait)
    found = doubt(record, now)
    assert found == Doubted(at=now, prove_at=now)

    record = advance(record, found)
    assert type(act(record, now)) is decide.HoldProbation
    accepted = advance(record, make.event(ProbationHeld, now))
    assert waits(accepted, now).until == now + MINUTE


def test_a_doubt_right_after_a_proof_waits_its_turn() -> None:
    """Five seconds lie between two proofs, though the second is doubted for."""
    record = make.record(Phase.DEPLOYED)
    found = doubt(record, NOW + SECOND)
    assert found is not None
    assert found.prove_at == NOW + 5 * SECOND

    record = advance(record, found)
    assert waits(record, NOW + SECOND).until == NOW + 5 * SECOND
    assert type(act(record, NOW + 5 * SECOND)) is decide.HoldProbation
    assert doubt(record, NOW + 2 * SECOND) is None, "it is due already"


def test_a_proof_that_is_due_anyway_needs_no_doubt() -> None:
    """Neither at its turn, nor shortly before it, nor when a failed one is tried again sooner."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND)
    soon = make.record(Phase.DEPLOYED, prove_at=NOW, retry_at=NOW + 4 * SECOND, failure=REFUSED)

    assert doubt(make.record(Phase.DEPLOYED), NOW + MINUTE) is None
    assert doubt(make.record(Phase.DEPLOYED), NOW + 10 * MINUTE) is None
    assert doubt(record) is not None
    assert doubt(make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND, prove_at=NOW + SECOND)) is None
    assert doubt(soon, NOW + SECOND) is None


def test_a_doubt_ends_a_long_wait_for_the_network() -> None:
    """Proofs failed for an hour and wait for another; the session is refused, so there is a network again."""
    down = make.failure(F.NETWORK, "unreachable")
    record = make.record(Phase.DEPLOYED, prove_at=NOW - HOUR, retry_at=NOW + HOUR, failure=down, attempts=20)
    found = doubt(record)

    assert found == Doubted(at=NOW, prove_at=NOW)
    assert type(act(advance(record, found))) is decide.HoldProbation


@pytest.mark.parametrize("kind", [F.THROTTLED, F.CLOCK, F.STORE])
def test_a_doubt_does_not_end_a_wait_for_something_else(kind: FailureClass) -> None:
    """The cloud asked for patience, or the disk is full: a session that is lost changes nothing about that."""
    record = make.record(Phase.DEPLOYED, prove_at=NOW - HOUR, retry_at=NOW + HOUR, failure=make.failure(kind))

    assert doubt(record) is None


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.ACTIVE, Phase.DEPLOYED}])
def test_what_is_not_on_probation_is_not_proven_for_a_doubt(phase: Phase) -> None:
    """Nor is a set that is condemned already, or in a crash loop, or under a clock that cannot be."""
    assert doubt(make.record(phase, retry_at=NOW + HOUR)) is None
    assert doubt(make.record(Phase.DEPLOYED, condemned=REFUSED, retry_at=NOW + MINUTE)) is None
    assert doubt(make.record(Phase.DEPLOYED, resumes=11, resumed_at=NOW)) is None
    assert doubt(make.record(Phase.DEPLOYED), state=ClockState.IMPLAUSIBLE) is None


def test_a_doubt_while_other_programs_are_told_has_the_set_proven_first() -> None:
    """One of them fails, perhaps because the certificate is refused; once it is accepted they have their turn again."""
    waiting = make.record(Phase.ACTIVE, checked_at=NOW - MINUTE, retry_at=NOW + 20 * SECOND)
    record = replace(waiting, failure=make.failure(F.DEPENDANT), refused_since=NOW)
    found = doubt(record)
    assert found == Doubted(at=NOW, prove_at=NOW)

    record = advance(record, found)
    assert type(act(record)) is decide.HoldProbation
    refused = advance(record, fails(record, REFUSED))
    assert refused.retry_at is not None
    assert type(act(refused, refused.retry_at)) is decide.HoldProbation
    lost = advance(record, fails(record, make.failure(F.NETWORK)))
    assert lost.retry_at is not None
    assert type(act(lost, lost.retry_at)) is decide.Deploy
    assert type(act(advance(record, make.event(ProbationHeld)))) is decide.Deploy


@pytest.mark.parametrize("accepted", [True, False])
def test_a_network_that_flaps_costs_few_proofs(*, accepted: bool) -> None:
    """A doubt a second for half an hour: proofs are five seconds apart, and ever further while they fail."""
    record, proofs = make.record(Phase.DEPLOYED, probation_until=NOW + HOUR), [NOW]
    limits = replace(LIMITS, probation=HOUR)
    for second in range(1, 1800):
        facts = make.facts(NOW + second * SECOND)
        found = probation_events.doubted(record, facts, limits)
        record = record if found is None else advance(record, found)
        if isinstance(decide.next_action(record, facts, limits), decide.HoldProbation):
            proofs.append(facts.clock.now)
            down = after_failure(record, make.failure(F.NETWORK, "hung-up"), facts, 0.999, limits)
            record = advance(record, make.event(ProbationHeld, facts.clock.now) if accepted else down)

    apart = [later - at for at, later in pairwise(proofs)]
    # One that failed is tried again by the backoff of its class, which is short at first.
    assert min(apart) >= (5 * SECOND if accepted else 3 * SECOND)
    assert len(proofs) <= (1800 / 5 + 1 if accepted else 20)
    assert apart[-1] <= (5 * SECOND if accepted else 5 * MINUTE)


def test_a_clock_that_was_set_back_puts_no_doubted_proof_off() -> None:
    """A last proof that lies in the future says nothing; it is five seconds at most."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + 50 * SECOND)
    found = doubt(record)

    assert found is not None
    assert found.prove_at == NOW + 5 * SECOND
