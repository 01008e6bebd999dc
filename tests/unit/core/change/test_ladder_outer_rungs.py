"""Rungs that not every gateway has: a vending machine's token, and anchors other than a distrusted root."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import (
    NEVER_SOLD_REMEDY,
    OTHER_ANCHORS,
    REFUSED_FOR,
    VENDING_REMEDY,
    Attempt,
    Climb,
    Rung,
    climb,
    refused_before,
)
from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from support import make
from support.unit.core.climbs import (
    BUSY,
    GONE,
    HUNG_UP,
    NO_ROUTE,
    OTHER_SERVER,
    PATH,
    REFUSED,
    UNAUTHORISED,
    UNTRUSTED,
    F,
    decided,
)

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure

# -- a gateway that enrols by a vending machine ------------------------------------------------------------------------


TOKEN_REFUSED = make.failure(F.PROTOCOL, "token-refused", message="It is spent.")
UNHEARD = make.failure(code="vending-unheard", message="It does not answer.")

READMIT = "`iot-cert cloud readmit 0042 --for 24h`"


def bought(*failures: Failure | None) -> tuple[Attempt, ...]:
    """Return the attempts at the rungs of such a gateway, with what became of them."""
    rungs = (Rung.CURRENT, Rung.PREVIOUS, Rung.SALVAGED, Rung.VENDING)
    return tuple(Attempt(rung=rung, failure=failure) for rung, failure in zip(rungs, failures, strict=False))


def test_the_vending_machine_comes_last_and_no_claim_is_looked_for() -> None:
    """What can be salvaged goes before what costs a token."""
    for met, rung in (((), Rung.CURRENT), ((GONE,), Rung.PREVIOUS), ((GONE, REFUSED), Rung.SALVAGED)):
        assert decided(climb(bought(*met), readmit=READMIT)) == (rung, None)
    for salvaged in (GONE, *OTHER_SERVER):  # which other anchors are left there says nothing of the machine's address
        assert decided(climb(bought(HUNG_UP, REFUSED, salvaged), readmit=READMIT)) == (Rung.VENDING, None)
    move = climb(bought(HUNG_UP, REFUSED, GONE, None), readmit=READMIT)
    assert (decided(move), move.why) == ((None, Rung.VENDING), "the vending machine is ready")


@pytest.mark.parametrize("failure", PATH)
def test_a_failure_of_the_path_shows_no_token(failure: Failure) -> None:
    """On no rung before."""
    for before in ((), (GONE,), (HUNG_UP, GONE)):
        assert decided(climb(bought(*before, failure), readmit=READMIT)) == (None, None)


@pytest.mark.parametrize("failure", [GONE, TOKEN_REFUSED, UNHEARD, NO_ROUTE, UNTRUSTED, BUSY])
def test_what_keeps_the_vending_machine_away_hides_nothing(failure: Failure) -> None:
    """The sets were turned away all the same; a person is told of both, and of a token."""
    move = climb(bought(HUNG_UP, GONE, UNAUTHORISED, failure), readmit=READMIT)
    assert decided(move) == (None, Rung.TECHNICIAN)
    assert (failure.message.rstrip(".") in move.why) == (failure is not GONE)
    assert move.remedy == VENDING_REMEDY.format(readmit=READMIT)


def test_without_any_set_a_machine_that_does_not_answer_is_waited_for() -> None:
    """And one that refuses the token calls a person, as does none."""
    assert climb(bought(GONE, GONE, GONE, UNHEARD), readmit=READMIT) == Climb(why="It does not answer.")
    for failure in (GONE, TOKEN_REFUSED):
        move = climb(bought(GONE, GONE, GONE, failure), readmit=READMIT)
        assert (move.use, move.remedy) == (Rung.TECHNICIAN, NEVER_SOLD_REMEDY.format(readmit=READMIT))


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("laid", "later", "again"),
    [
        (-MINUTE, MINUTE, False), (None, MINUTE, False), (None, REFUSED_FOR, True), (-MINUTE, REFUSED_FOR, True),
        (MINUTE, MINUTE, True), (-MINUTE, -2 * REFUSED_FOR, True),
    ],
)  # fmt: skip
def test_a_refused_token_rests_for_an_hour_or_until_its_file_is_touched(
    laid: timedelta | None, later: timedelta, *, again: bool
) -> None:
    """A clock that was set back makes no year of the hour."""
    refused = make.finished(Phase.REJECTED, kind=Kind.ENROLL, failure=TOKEN_REFUSED)
    at = refused.entered_at
    found = refused_before((refused,), None if laid is None else at + laid, at + later)
    assert found == (None if again else TOKEN_REFUSED)


def test_other_ends_of_an_enrolment_say_nothing_of_a_token() -> None:
    """Nor does an older refusal, once another enrolment has ended otherwise."""
    refused = make.finished(Phase.REJECTED, kind=Kind.ENROLL, failure=TOKEN_REFUSED)
    other = make.finished(Phase.REJECTED, kind=Kind.ENROLL, failure=REFUSED)
    assert refused_before((), None, refused.entered_at) is None
    assert refused_before((refused, other), None, refused.entered_at) is None


# -- a distrusted root -------------------------------------------------------------------------------------------------


DOUBT = "the endpoint chains to X, which is distrusted: its keys were lost"
DOUBTED = Attempt(rung=Rung.CURRENT, distrusted=DOUBT)


def doubted(*met: Failure | str | None) -> Climb:
    """Return the move after the current set was accepted under a distrusted root, and what other anchors met."""
    tried = (
        Attempt(rung=rung, distrusted=found) if isinstance(found, str) else Attempt(rung=rung, failure=found)
        for rung, found in zip(OTHER_ANCHORS, met, strict=False)
    )
    return climb((DOUBTED, *tried))


def test_other_anchors_are_tried_where_a_distrusted_root_verifies_the_server() -> None:
    """In the ladder's order; anchors that lead to the same root, or to none, are no better."""
    assert decided(doubted()) == (Rung.PREVIOUS_ANCHORS, None)
    assert doubted().why == f"the current set is accepted, but {DOUBT}"
    for met in (GONE, UNTRUSTED, DOUBT):
        assert decided(doubted(met)) == (Rung.BAKED_ANCHORS, None)
        assert doubted(met).why.startswith("the previous anchors are no better: ")
        assert decided(doubted(met, None)) == (None, Rung.BAKED_ANCHORS)
    assert decided(doubted(None)) == (None, Rung.PREVIOUS_ANCHORS)


@pytest.mark.parametrize("met", [(GONE, UNTRUSTED), (UNTRUSTED, DOUBT), (HUNG_UP,), (NO_ROUTE,), (GONE, HUNG_UP)])
def test_a_set_that_connects_is_not_given_up_for_a_distrusted_root(met: tuple[Failure | str, ...]) -> None:
    """Where no other anchors do without it, and where nothing can be told of them now; no older set is put back."""
    assert decided(doubted(*met)) == (None, Rung.CURRENT)
    assert doubted(*met).why == f"the current set is accepted; {DOUBT}, and no other anchors do without it"


def test_a_distrusted_root_is_better_than_none() -> None:
    """Anchors that verify the server are used where those in use do not, whatever stands behind it."""
    before = Attempt(rung=Rung.CURRENT, failure=UNTRUSTED)
    move = climb((before, Attempt(rung=Rung.PREVIOUS_ANCHORS, distrusted=DOUBT)))
    assert decided(move) == (None, Rung.PREVIOUS_ANCHORS)
