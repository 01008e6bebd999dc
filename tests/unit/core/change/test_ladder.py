"""The ladder of sets, stated over all climbs: which rung is tried, and what is made of what each met."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import OTHER_ANCHORS, Attempt, Climb, Rung, climb, missing
from agent.core.failure.failure import LOCKED_OUT_REMEDY, NEVER_IN_REMEDY, Failure, FailureClass
from support import make
from support.unit.core.climbs import (
    EXPIRED,
    GONE,
    HUNG_UP,
    OTHER_SERVER,
    PATH,
    REFUSED,
    STRANGER,
    UNAUTHORISED,
    UNTRUSTED,
    F,
    Met,
    decided,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

AMBIGUOUS = make.codes("ambiguous")
TURNED_AWAY = make.codes("turned_away")

SETS = (Rung.CURRENT, Rung.PREVIOUS, Rung.CLAIM, Rung.SALVAGED)
LADDER = (Rung.CURRENT, Rung.PREVIOUS_ANCHORS, Rung.BAKED_ANCHORS, Rung.PREVIOUS, Rung.CLAIM, Rung.SALVAGED)
REFUSALS: tuple[Met, ...] = (HUNG_UP, REFUSED, UNAUTHORISED)
ANYTHING: tuple[Met, ...] = (None, *REFUSALS, *OTHER_SERVER, *PATH, GONE)


def attempts(*failures: Failure | None) -> tuple[Attempt, ...]:
    """Return the attempts at the sets in order, none of which met an untrusted server, with what became of them."""
    return tuple(Attempt(rung=rung, failure=failure) for rung, failure in zip(SETS, failures, strict=False))


def story(*failures: Failure | None) -> tuple[Attempt, ...]:
    """Return the attempts at the rungs that the ladder itself asks for, with what became of them."""
    tried: tuple[Attempt, ...] = ()
    for failure in failures:
        rung = climb(tried).try_next
        assert rung is not None
        tried = (*tried, Attempt(rung=rung, failure=failure))
    return tried


def climbs(tried: tuple[Attempt, ...] = ()) -> Iterator[tuple[tuple[Attempt, ...], Climb]]:
    """Return every climb that there can be, with its end."""
    move = climb(tried)
    if move.try_next is None:
        yield tried, move
        return
    assert move.use is None
    assert len(tried) < len(LADDER)
    for met in ANYTHING:
        yield from climbs((*tried, Attempt(rung=move.try_next, failure=met)))


@cache
def all_climbs() -> tuple[tuple[tuple[Attempt, ...], Climb], ...]:
    """Return them, for whichever tests a process is given; the others need not wait for them."""
    return tuple(climbs())


def test_the_current_set_is_tried_first() -> None:
    """The ladder begins with what is in use."""
    assert decided(climb(())) == (Rung.CURRENT, None)


@pytest.mark.parametrize("refused", range(4))
def test_the_first_set_that_is_accepted_is_used(refused: int) -> None:
    """A rung that works ends the climb, however many failed before it."""
    move = climb(attempts(*[HUNG_UP] * refused, None))

    assert decided(move) == (None, SETS[refused])
    assert move.why == f"the {SETS[refused]} set is accepted"


@pytest.mark.parametrize("failure", [HUNG_UP, REFUSED, UNAUTHORISED, GONE])
@pytest.mark.parametrize("rung", [0, 1, 2])
def test_a_set_that_is_refused_or_missing_leads_to_the_next_set(rung: int, failure: Failure) -> None:
    """A failure that may be due to the set is reason to try another, in order, and none to try other anchors."""
    move = climb(attempts(*[HUNG_UP] * rung, failure))

    assert decided(move) == (SETS[rung + 1], None)
    assert failure.message in move.why


@pytest.mark.parametrize("kind", [F.NETWORK, F.CLOCK, F.THROTTLED])
@pytest.mark.parametrize("rung", range(4))
def test_a_failure_of_the_path_ends_the_climb_and_waits(rung: int, kind: FailureClass) -> None:
    """No network, a wrong clock and throttling would meet the next rung just the same, so the agent waits."""
    failure = make.failure(kind, "timeout", message="It is not the set.")
    move = climb(attempts(*[HUNG_UP] * rung, failure))

    assert decided(move) == (None, None)
    assert move.why == "It is not the set."


# -- a server that is not trusted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", OTHER_SERVER)
def test_a_server_that_the_current_anchors_do_not_verify_leads_to_other_anchors(failure: Failure) -> None:
    """The previous anchors, then the baked ones, with the certificate kept."""
    second = climb(story(failure))
    third = climb(story(failure, UNTRUSTED))

    assert decided(second) == (Rung.PREVIOUS_ANCHORS, None)
    assert second.why == f"the current set is not accepted: {failure.message}"
    assert decided(third) == (Rung.BAKED_ANCHORS, None)
    assert third.why == "the previous anchors are not accepted: No anchor signs it."


@pytest.mark.parametrize("before", [(), (UNTRUSTED,), (EXPIRED,), (GONE,)], ids=len)
def test_anchors_that_verify_the_server_are_used_with_the_certificate(before: tuple[Failure, ...]) -> None:
    """The first of them, and no older certificate is looked at."""
    move = climb(story(UNTRUSTED, *before, None))

    assert decided(move) == (None, OTHER_ANCHORS[len(before)])
    assert move.why == f"the {OTHER_ANCHORS[len(before)]} are accepted"


def test_another_server_at_the_address_is_waited_for() -> None:
    """Other anchors would not make it the right one, and no gateway downgrades to find out."""
    move = climb(story(STRANGER))

    assert decided(move) == (None, None)
    assert move.why == "It is another's."


@pytest.mark.parametrize("last", [UNTRUSTED, EXPIRED, GONE])
def test_a_server_that_no_anchors_verify_is_waited_for(last: Failure) -> None:
    """An unverified server is no reason to go back to an older certificate, to enrol anew or to call a technician."""
    move = climb(story(UNTRUSTED, UNTRUSTED, last))

    assert decided(move) == (None, None)
    assert move.why == (last.message if last is not GONE else "No anchor signs it.")


@pytest.mark.parametrize("before", [(), (UNTRUSTED,), (GONE,)], ids=len)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_anchors_that_verify_a_server_which_refuses_the_certificate_lead_to_the_previous_set(
    before: tuple[Failure, ...], refusal: Failure
) -> None:
    """Then it is the certificate as well, and the rungs with others follow."""
    assert decided(climb(story(UNTRUSTED, *before, refusal))) == (Rung.PREVIOUS, None)


@pytest.mark.parametrize("failure", OTHER_SERVER)
@pytest.mark.parametrize("before", [(HUNG_UP,), (UNTRUSTED, HUNG_UP), (UNTRUSTED, UNTRUSTED, UNAUTHORISED)], ids=len)
def test_a_previous_set_that_does_not_know_a_verified_server_leads_to_the_claim(
    before: tuple[Failure, ...], failure: Failure
) -> None:
    """Some anchors of this gateway verified that server, so the previous set is merely too old for it."""
    assert decided(climb(story(*before, failure))) == (Rung.CLAIM, None)


def test_without_any_verified_server_the_claim_is_left_alone() -> None:
    """The current set is damaged and the previous one does not know the server: nothing vouches for it."""
    move = climb(story(GONE, UNTRUSTED))

    assert decided(move) == (None, None)
    assert move.why == "No anchor signs it."


@pytest.mark.parametrize("failure", OTHER_SERVER)
@pytest.mark.parametrize("before", [(HUNG_UP, HUNG_UP), (HUNG_UP, UNTRUSTED), (GONE, GONE)], ids=len)
def test_a_claim_whose_anchors_do_not_know_the_server_leads_to_what_can_be_salvaged(
    before: tuple[Failure, ...], failure: Failure
) -> None:
    """The claim is tried with the baked anchors, which may be older than those beside a key that is left."""
    move = climb(story(*before, failure))

    assert decided(move) == (Rung.SALVAGED, None)
    assert decided(climb(story(*before, failure, None))) == (None, Rung.SALVAGED)


def test_a_claim_whose_server_no_anchors_know_is_waited_for() -> None:
    """Where all other sets are missing, nothing was turned away, and no person is called."""
    for last in (GONE, UNTRUSTED):
        move = climb(story(GONE, GONE, UNTRUSTED, last))
        assert decided(move) == (None, None)
        assert move.why == "No anchor signs it."


# -- the end of the ladder ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(AMBIGUOUS))
def test_a_hang_up_may_be_a_refusal(code: str) -> None:
    """What a refused credential and a broken path share is reason to try the next set."""
    assert climb(attempts(make.failure(code=code))).try_next is Rung.PREVIOUS


@pytest.mark.parametrize("last", [UNAUTHORISED, GONE, HUNG_UP, REFUSED])
@pytest.mark.parametrize("first", [UNAUTHORISED, HUNG_UP, REFUSED])
def test_a_technician_is_called_when_a_verified_server_turns_every_set_away(first: Failure, last: Failure) -> None:
    """Whatever there was has been tried and was not accepted: a person must know, and know what helps."""
    move = climb(attempts(first, GONE, HUNG_UP, last))

    assert decided(move) == (None, Rung.TECHNICIAN)
    assert "accepts no set of this gateway" in move.why
    assert first.message.rstrip(".") in move.why
    assert "It is gone" not in move.why
    assert move.remedy == LOCKED_OUT_REMEDY


@pytest.mark.parametrize(
    "tried",
    [(HUNG_UP, GONE, UNTRUSTED, GONE), (HUNG_UP, UNTRUSTED, REFUSED, EXPIRED), (UNTRUSTED, HUNG_UP, GONE, GONE, GONE)],
)
def test_anchors_that_do_not_know_the_server_hide_no_refusal(tried: tuple[Failure, ...]) -> None:
    """A verified server turned the others away, and nothing is left: a person must know, of these anchors as well."""
    move = climb(story(*tried))

    assert decided(move) == (None, Rung.TECHNICIAN)
    assert "The broker hung up" in move.why
    assert any(met.message.rstrip(".") in move.why for met in OTHER_SERVER if met)
    assert move.remedy == LOCKED_OUT_REMEDY


def test_a_technician_is_called_when_there_is_nothing_to_try() -> None:
    """No rung has a set on it."""
    move = climb(attempts(GONE, GONE, GONE, GONE))

    assert decided(move) == (None, Rung.TECHNICIAN)
    assert move.why == "there is no set on this gateway that could be tried"
    assert move.remedy == NEVER_IN_REMEDY


@pytest.mark.parametrize("claim", [HUNG_UP, REFUSED, UNAUTHORISED])
def test_where_the_claim_alone_was_refused_no_certificate_is_to_be_activated_again(claim: Failure) -> None:
    """A gateway that never had one of its own has none that AWS could take back."""
    move = climb(attempts(GONE, GONE, claim, GONE))

    assert decided(move) == (None, Rung.TECHNICIAN)
    assert move.remedy == NEVER_IN_REMEDY


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("code", sorted(AMBIGUOUS - TURNED_AWAY))
def test_one_set_that_was_not_turned_away_is_reason_to_try_again(place: int, code: str) -> None:
    """A server that falls silent on one of the sets has not refused them all."""
    failures = [UNAUTHORISED, HUNG_UP, HUNG_UP, HUNG_UP]
    failures[place] = make.failure(code=code)

    move = climb(attempts(*failures))

    assert decided(move) == (None, None)
    assert move.why == "no set on this gateway gets through, and nothing says that it is the sets"
    assert not move.remedy


def test_a_missing_set_says_why_and_is_decisive() -> None:
    """A rung with nothing on it counts as a failed attempt, which no control has to confirm."""
    attempt = missing(Rung.PREVIOUS, "There is no previous set.")

    assert attempt.rung is Rung.PREVIOUS
    assert attempt.failure is not None
    assert attempt.failure.message == "There is no previous set."
    assert attempt.failure.decisive


@pytest.mark.parametrize("said", ["There is no current set.", "Generation 3 is damaged."])
def test_what_is_missing_was_not_refused(said: str) -> None:
    """Nothing was shown to the endpoint, so nothing was "not accepted"."""
    move = climb((missing(Rung.CURRENT, said),))

    assert decided(move) == (Rung.PREVIOUS, None)
    assert move.why == said


# -- every climb that there can be -------------------------------------------------------------------------------------


def test_every_climb_ends_after_each_rung_was_tried_once_at_most_and_in_order() -> None:
    """Whatever the rungs meet; there are some hundreds of climbs."""
    assert len(all_climbs()) > 500
    for tried, move in all_climbs():
        places = [LADDER.index(attempt.rung) for attempt in tried]
        assert all(first < second for first, second in pairwise(places)), tried
        assert move.why
    assert {attempt.rung for tried, _ in all_climbs() for attempt in tried} == set(LADDER)


def test_every_climb_ends_at_what_was_accepted_last_or_at_nothing() -> None:
    """What is used was accepted at that very moment; a technician is called for refusals by a verified broker alone."""
    for tried, move in all_climbs():
        last = tried[-1]
        if last.failure is None:
            assert move.use is last.rung
        elif move.use is not None:
            assert move.use is Rung.TECHNICIAN
            assert all(attempt.failure in (*REFUSALS, *OTHER_SERVER, GONE) for attempt in tried)
            assert move.remedy


def test_no_climb_goes_on_after_a_failure_that_the_next_rung_would_share() -> None:
    """Nor past a set that works."""
    for tried, _ in all_climbs():
        for attempt in tried[:-1]:
            assert attempt.failure is not None
            assert attempt.failure not in PATH


def test_other_anchors_are_for_an_untrusted_server_alone() -> None:
    """A refused certificate is not shown around with anchors that were not in use."""
    for tried, _ in all_climbs():
        if any(attempt.rung in OTHER_ANCHORS for attempt in tried):
            first = tried[0].failure
            assert first is not None
            assert first.code in make.codes("other_anchors")
            assert first.kind is F.SERVER_TRUST


def test_a_certificate_is_given_up_for_another_only_after_a_refusal() -> None:
    """The previous set and the claim come after one that is missing or was refused, never after distrust alone."""
    for tried, _ in all_climbs():
        for place, attempt in enumerate(tried):
            if attempt.rung in {Rung.PREVIOUS, Rung.CLAIM}:
                before = [earlier.failure for earlier in tried[:place]]
                assert any(failure in {HUNG_UP, REFUSED, UNAUTHORISED} for failure in before) or before[0] is GONE
