from __future__ import annotations

import make
import pytest

from agent.core.failure import AMBIGUOUS, Failure, FailureClass
from agent.core.ladder import Attempt, Climb, Rung, climb, missing

F = FailureClass
HUNG_UP = make.failure(code="hung-up", message="The broker hung up.")
REFUSED = make.failure(F.CREDENTIAL, "refused", decisive=True)
UNAUTHORISED = make.failure(F.POLICY, "not-authorised")
UNTRUSTED = make.failure(F.SERVER_TRUST, "unknown-root", message="No anchor signs it.")
NO_ROUTE = make.failure(code="timeout", message="Nothing answers.")
RUNGS = (Rung.CURRENT, Rung.PREVIOUS, Rung.CLAIM)


def attempts(*failures: Failure | None) -> tuple[Attempt, ...]:
    """Return the attempts at the first rungs in order, with what became of them."""
    return tuple(Attempt(rung=rung, failure=failure) for rung, failure in zip(RUNGS, failures, strict=False))


def decided(move: Climb) -> tuple[Rung | None, Rung | None]:
    """Return what is tried next and what is used."""
    return move.try_next, move.use


def test_the_current_set_is_tried_first() -> None:
    """The ladder begins with what is in use."""
    assert decided(climb(())) == (Rung.CURRENT, None)


@pytest.mark.parametrize("refused", range(3))
def test_the_first_set_that_is_accepted_is_used(refused: int) -> None:
    """A rung that works ends the climb, however many failed before it."""
    move = climb(attempts(*[HUNG_UP] * refused, None))

    assert decided(move) == (None, RUNGS[refused])


@pytest.mark.parametrize("failure", [HUNG_UP, REFUSED, UNAUTHORISED, missing(Rung.CURRENT, "It is gone.").failure])
@pytest.mark.parametrize("rung", [0, 1])
def test_a_set_that_is_refused_or_missing_leads_to_the_next_rung(rung: int, failure: Failure) -> None:
    """A failure that may be due to the set is reason to try another, in order."""
    move = climb(attempts(*[HUNG_UP] * rung, failure))

    assert decided(move) == (RUNGS[rung + 1], None)
    assert failure.message in move.why


@pytest.mark.parametrize("kind", [F.NETWORK, F.CLOCK, F.THROTTLED])
@pytest.mark.parametrize("rung", range(3))
def test_a_failure_of_the_path_ends_the_climb_and_waits(rung: int, kind: FailureClass) -> None:
    """No network, a wrong clock and throttling would meet the next rung just the same, so the agent waits."""
    failure = make.failure(kind, "timeout", message="It is not the set.")
    move = climb(attempts(*[HUNG_UP] * rung, failure))

    assert decided(move) == (None, None)
    assert move.why == "It is not the set."


def test_a_server_that_the_current_anchors_do_not_verify_leads_to_the_previous_set() -> None:
    """The previous set has anchors of its own, which may verify the server."""
    move = climb(attempts(UNTRUSTED))

    assert decided(move) == (Rung.PREVIOUS, None)
    assert "No anchor signs it." in move.why
    assert decided(climb(attempts(UNTRUSTED, None))) == (None, Rung.PREVIOUS)


@pytest.mark.parametrize("before", [[UNTRUSTED], [HUNG_UP], [UNTRUSTED, HUNG_UP]])
def test_a_server_that_no_set_before_the_claim_verifies_is_waited_for(before: list[Failure]) -> None:
    """Below the current rung an unverified server is no reason to enrol anew, and never one to call a technician."""
    move = climb(attempts(*before, UNTRUSTED))

    assert decided(move) == (None, None)
    assert move.why == "No anchor signs it."


@pytest.mark.parametrize("code", sorted(AMBIGUOUS))
def test_a_hang_up_may_be_a_refusal(code: str) -> None:
    """What a refused credential and a broken path share is reason to try the next set."""
    assert climb(attempts(make.failure(code=code))).try_next is Rung.PREVIOUS


@pytest.mark.parametrize("last", [UNAUTHORISED, missing(Rung.CLAIM, "It is gone.").failure])
def test_a_technician_is_called_when_every_set_is_missing_or_unauthorised(last: Failure) -> None:
    """When the broker itself has refused whatever there was, nothing is left to try."""
    nothing = missing(Rung.PREVIOUS, "There is none.").failure

    assert decided(climb(attempts(UNAUTHORISED, nothing, last))) == (None, Rung.TECHNICIAN)


@pytest.mark.parametrize("place", range(3))
def test_one_hang_up_among_the_refusals_is_reason_to_try_again(place: int) -> None:
    """A bad path hangs up on every set alike, so a hang-up never calls a technician."""
    failures = [UNAUTHORISED] * 3
    failures[place] = HUNG_UP

    move = climb(attempts(*failures))

    assert decided(move) == (None, None)
    assert move.why == (
        "no set on this gateway gets through, and nothing says that it is the sets; the agent tries again"
    )


def test_a_missing_set_says_why_and_is_decisive() -> None:
    """A rung with nothing on it counts as a failed attempt, which no control has to confirm."""
    attempt = missing(Rung.PREVIOUS, "There is no previous set.")

    assert attempt.rung is Rung.PREVIOUS
    assert attempt.failure is not None
    assert attempt.failure.message == "There is no previous set."
    assert attempt.failure.decisive


def test_every_climb_ends() -> None:
    """Whatever the rungs meet, the ladder asks for each at most once and in order."""
    for failure in (HUNG_UP, REFUSED, UNAUTHORISED, UNTRUSTED, NO_ROUTE, None):
        tried: tuple[Attempt, ...] = ()
        while (rung := climb(tried).try_next) is not None:
            tried = (*tried, Attempt(rung=rung, failure=failure))
            assert [attempt.rung for attempt in tried] == list(RUNGS[: len(tried)])
