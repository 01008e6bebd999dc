"""A set on probation that was accepted and then is refused: when it is left, and what does no harm."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.advance import advance
from agent.core.change.decide import Limits
from agent.core.change.events import Condemned, ProbationHeld, Rejected, StepFailed
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.retry import BACKOFFS
from agent.core.values import Kind
from support import make
from support.make import HOUR, MINUTE, NOW, SECOND
from support.shorthand.deciding import LIMITS, REFUSED, UNAUTHORISED, F, fails

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure

ACCEPTED = make.record(Phase.DEPLOYED, checked_at=NOW - MINUTE)


def test_a_set_that_was_accepted_before_is_left_at_the_second_refusal() -> None:
    """No spreading explains it, and the base is accepted over the same path: going back cuts no gateway off."""
    first = fails(ACCEPTED, REFUSED, base_accepted=True)
    assert isinstance(first, StepFailed)
    assert not first.failure.decisive
    assert first.failure.promise == "It was accepted before; refused again, it is left for generation 6."
    assert first.retry_at <= NOW + 4 * SECOND

    record = advance(ACCEPTED, first)
    assert fails(record, REFUSED, first.retry_at, base_accepted=True) == Condemned(at=first.retry_at, failure=REFUSED)


@pytest.mark.parametrize("failure", [REFUSED, UNAUTHORISED])
@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_refusal_in_use_is_confirmed_soon_whatever_else_failed_for_long(phase: Phase, failure: Failure) -> None:
    """A long outage, or another program, made the delays long; the first refusal is tried again like a first one."""
    found = fails(make.record(phase, attempts=20), failure)

    assert isinstance(found, StepFailed)
    assert found.retry_at == NOW + timedelta(seconds=BACKOFFS[failure.kind].delay(1, 0.5))


def test_a_stray_refusal_of_a_set_on_probation_does_no_harm() -> None:
    """Accepted again, it counts as never refused: the next refusal is the first."""
    record = advance(ACCEPTED, fails(ACCEPTED, REFUSED, base_accepted=True))
    record = advance(record, make.event(ProbationHeld, NOW + 3 * SECOND))

    assert isinstance(fails(record, REFUSED, NOW + MINUTE, base_accepted=True), StepFailed)


def test_an_outage_between_two_refusals_does_not_hide_the_first() -> None:
    """What counts is that the set was not accepted in between."""
    record = advance(ACCEPTED, fails(ACCEPTED, REFUSED, base_accepted=True))
    record = advance(record, fails(record, make.failure(F.NETWORK, "dns"), NOW + 3 * SECOND))

    assert isinstance(fails(record, REFUSED, NOW + 9 * SECOND, base_accepted=True), Condemned)


@pytest.mark.parametrize(
    ("record", "base_accepted"),
    [
        (ACCEPTED, False),  # another control spoke against it; whether the base works is not known
        (replace(ACCEPTED, kind=Kind.ENROLL, base=None), False),
        (replace(ACCEPTED, kind=Kind.IMPORT, unproven=True, checked_at=None), True),
    ],
    ids=["the claim was the control", "no base", "never accepted"],
)
def test_a_refusal_has_to_last_where_going_back_is_not_known_to_help(
    record: ChangeRecord, *, base_accepted: bool
) -> None:
    """Activation needs time to spread, and a gateway without a base that works has only this set."""
    record = advance(record, fails(record, REFUSED, base_accepted=base_accepted))
    early = fails(record, REFUSED, NOW + MINUTE - SECOND, base_accepted=base_accepted)
    assert isinstance(early, StepFailed)
    assert "after 60 s" in early.failure.promise
    ended = fails(record, REFUSED, NOW + MINUTE, base_accepted=base_accepted)
    assert isinstance(ended, Rejected if record.base is None else Condemned)


@pytest.mark.parametrize("limits", [LIMITS, Limits(refusal_patience=HOUR, policy_patience=MINUTE)])
def test_not_authorised_after_an_answered_request_lasts_a_minute(limits: Limits) -> None:
    """An operator may be changing the policy; but ten minutes off line are for a set that was never answered."""
    facts = make.facts(base_accepted=True)
    first = after_failure(ACCEPTED, UNAUTHORISED, facts, 0.5, limits)
    assert isinstance(first, StepFailed)
    assert first.failure.promise == "It was accepted before; refused again after 60 s, it is left for generation 6."

    record = advance(ACCEPTED, first)
    early = make.facts(NOW + MINUTE - SECOND, base_accepted=True)
    assert isinstance(after_failure(record, UNAUTHORISED, early, 0.5, limits), StepFailed)
    late = make.facts(NOW + MINUTE, base_accepted=True)
    assert isinstance(after_failure(record, UNAUTHORISED, late, 0.5, limits), Condemned)


@pytest.mark.parametrize("failure", [REFUSED, UNAUTHORISED])
def test_a_dependant_that_failed_for_long_lends_its_time_to_no_refusal(failure: Failure) -> None:
    """The first refusal is the first, however long another program has kept the change waiting."""
    record = make.record(Phase.ACTIVE, checked_at=NOW, refused_since=NOW - HOUR, failure=make.failure(F.DEPENDANT))

    assert isinstance(fails(record, failure), StepFailed)
    assert isinstance(fails(record, failure, base_accepted=True), StepFailed)
