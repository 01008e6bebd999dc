from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from agent.core.change import verbs
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.verbs import UNTOLD, Meaning, OrderStep, Situation, Verb, gives_way, meaning
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.errors import RefusedError
from support import make
from support.make import MINUTE, NOW

F = FailureClass
GIVEN_UP = make.failure(F.OPERATOR, Code.GIVEN_UP, decisive=True)
REFUSED = make.failure(F.CREDENTIAL, "hung-up", decisive=True)
ALL = tuple(Verb)


def change(kind: Kind, phase: Phase = Phase.PREPARED, **changes: object) -> ChangeRecord:
    """Return a change of a technician's that entered its phase a minute ago."""
    base = make.record(phase, kind=kind, origin=Origin.TECHNICIAN, entered_at=NOW - MINUTE)
    return replace(base, **changes)  # type: ignore[arg-type]


ENROLLED = change(Kind.ENROLL, Phase.COMMITTED, id="first", generation=1, entered_at=NOW - 30 * UNTOLD)


def at(*history: ChangeRecord, flight: ChangeRecord | None = None, **changes: object) -> Situation:
    """Return a gateway that was enrolled, with generation 1 in use and what has happened since."""
    base = Situation(change=flight, history=(ENROLLED, *history), current=1, now=NOW)
    return replace(base, **changes)  # type: ignore[arg-type]


def step(verb: Verb, situation: Situation) -> OrderStep | str:
    """Return what is done about an order, or that it is refused."""
    try:
        return meaning(verb, situation).step
    except RefusedError:
        return "refused"


# -- nothing in flight ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "comes_to"),
    [
        (Verb.ENROLL, "refused"),
        (Verb.ROTATE, OrderStep.BEGIN),
        (Verb.ROLLBACK, OrderStep.BEGIN),
        (Verb.GIVE_UP, "refused"),
    ],
)
def test_on_a_gateway_at_rest(verb: Verb, comes_to: OrderStep | str) -> None:
    """What an order begins when nothing is in flight and nothing was left untold."""
    assert step(verb, at()) == comes_to


def test_a_gateway_without_a_set_enrols_or_climbs() -> None:
    """A rotation has nothing to start from there; the ladder finds out what has."""
    nothing = Situation(change=None, history=(), current=None, now=NOW)

    assert meaning(Verb.ENROLL, nothing) == Meaning(step=OrderStep.BEGIN, kind=Kind.ENROLL)
    assert step(Verb.ROTATE, nothing) == OrderStep.CLIMB
    assert step(Verb.ROTATE, at(current=None)) == OrderStep.CLIMB
    assert step(Verb.ENROLL, at(current=None)) == OrderStep.BEGIN


def test_a_first_set_that_was_refused_on_probation_does_not_count_as_enrolled() -> None:
    """It is still what `current` points at, since there is nothing to go back to."""
    refused = change(Kind.ENROLL, Phase.REJECTED, generation=1, failure=REFUSED)
    situation = Situation(change=None, history=(refused,), current=1, now=NOW)

    assert meaning(Verb.ENROLL, situation) == Meaning(step=OrderStep.BEGIN, kind=Kind.ENROLL)
    final = replace(refused, phase=Phase.COMMITTED, origin=Origin.SCHEDULE)
    assert step(Verb.ENROLL, replace(situation, history=(refused, final))) == "refused"


# -- a change in flight --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.PREPARED, Phase.DEPLOYED])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("verb", ALL)
def test_an_order_meets_a_change_in_flight(verb: Verb, kind: Kind, phase: Phase) -> None:
    """It joins one of its own kind; a rotation follows one that brings no certificate; a rollback ends the others."""
    found = meaning(verb, at(flight=change(kind, phase)))
    match verb:
        case Verb.ENROLL:
            assert found == Meaning(step=OrderStep.GO_ON)
        case Verb.ROTATE:
            assert found == Meaning(step=OrderStep.GO_ON, kind=None if kind.issues else Kind.ROTATE)
        case Verb.ROLLBACK:
            assert found == Meaning(step=OrderStep.GO_ON if kind is Kind.ROLLBACK else OrderStep.GIVE_UP)
        case _:
            assert found == Meaning(step=OrderStep.GIVE_UP)


def test_a_rollback_joins_a_change_that_is_being_rolled_back() -> None:
    """Giving it up once more would be a second order."""
    flight = change(Kind.ROTATE, Phase.DEPLOYED, condemned=GIVEN_UP)

    assert step(Verb.ROLLBACK, at(flight=flight)) is OrderStep.GO_ON


def test_a_rotation_follows_one_that_is_being_rolled_back() -> None:
    """It is not joined: what it comes to is the set before, and a new certificate is what is ordered."""
    flight = change(Kind.ROTATE, Phase.DEPLOYED, condemned=REFUSED)

    assert meaning(Verb.ROTATE, at(flight=flight)) == Meaning(step=OrderStep.GO_ON, kind=Kind.ROTATE)
    assert verbs.joins(Verb.ROTATE, flight) == ""
    assert verbs.joins(Verb.ROLLBACK, flight) == verbs.joins(Verb.ROTATE, change(Kind.ROTATE)) == flight.id
    assert verbs.joins(Verb.ROTATE, None) == ""


# -- typed again after its end ---------------------------------------------------------------------------------------

ENDS = {
    "enrolled": (Verb.ENROLL, change(Kind.ENROLL, Phase.COMMITTED)),
    "rotated": (Verb.ROTATE, change(Kind.ROTATE, Phase.COMMITTED)),
    "retired": (Verb.ROTATE, change(Kind.ROTATE, Phase.RETIRED)),
    "put back": (Verb.ROLLBACK, change(Kind.ROLLBACK, Phase.COMMITTED)),
    "given up": (Verb.ROLLBACK, change(Kind.ROTATE, Phase.REJECTED, failure=GIVEN_UP)),
    "taken back": (Verb.ROLLBACK, change(Kind.IMPORT, Phase.ROLLED_BACK, failure=GIVEN_UP)),
    "given up, the schedule's": (
        Verb.ROLLBACK,
        change(Kind.ROTATE, Phase.REJECTED, failure=GIVEN_UP, origin=Origin.SCHEDULE),
    ),
    "ended": (Verb.GIVE_UP, change(Kind.ROLLBACK, Phase.REJECTED, failure=GIVEN_UP)),
}


@pytest.mark.parametrize("case", ENDS)
def test_an_order_is_answered_with_an_end_that_was_not_told(case: str) -> None:
    """The command was killed after its last step: typed again it has done what it said, once."""
    verb, last = ENDS[case]

    assert meaning(verb, at(last)) == Meaning(step=OrderStep.DONE, done=last)


@pytest.mark.parametrize("case", [name for name, (verb, _) in ENDS.items() if verb is not Verb.GIVE_UP])
def test_an_end_that_was_told_or_is_long_past_answers_nothing(case: str) -> None:
    """Then a person means another one."""
    verb, last = ENDS[case]
    fresh = "refused" if verb is Verb.ENROLL else OrderStep.BEGIN

    assert step(verb, at(last, told=last.id)) == fresh
    assert step(verb, at(replace(last, entered_at=NOW - UNTOLD))) == fresh
    assert step(verb, at(replace(last, entered_at=NOW + UNTOLD))) == fresh  # the clock was set back meanwhile


@pytest.mark.parametrize(
    ("verb", "last"),
    [
        (Verb.ROTATE, change(Kind.ROTATE, Phase.REJECTED, failure=REFUSED)),
        (Verb.ROTATE, change(Kind.ROLLBACK, Phase.COMMITTED)),
        (Verb.ROTATE, change(Kind.ROTATE, Phase.COMMITTED, origin=Origin.SCHEDULE)),
        (Verb.ROLLBACK, change(Kind.ROTATE, Phase.COMMITTED)),
        (Verb.ROLLBACK, change(Kind.ROTATE, Phase.ROLLED_BACK, failure=REFUSED)),
        (Verb.ROLLBACK, change(Kind.ROLLBACK, Phase.COMMITTED, origin=Origin.LADDER)),
    ],
)
def test_the_end_of_another_order_answers_nothing(verb: Verb, last: ChangeRecord) -> None:
    """What failed is tried again, and what another origin did was no person's order here."""
    assert step(verb, at(last)) is OrderStep.BEGIN


# -- an order whose turn comes later ---------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK])
def test_an_order_that_was_to_join_a_change_gets_its_end(phase: Phase) -> None:
    """It ended, well or not, before the order's turn came: nothing more is begun."""
    ended = change(Kind.ROTATE, phase, id="joined", failure=REFUSED)

    assert meaning(Verb.ROTATE, at(ended, joins="joined", told="joined")) == Meaning(step=OrderStep.DONE, done=ended)


def test_a_rotation_that_waited_for_another_kind_of_change_is_begun_now() -> None:
    """Anchors came first; the certificate's turn is now."""
    ended = change(Kind.TRUST, Phase.COMMITTED, id="anchors")

    assert meaning(Verb.ROTATE, at(ended, joins="anchors")) == Meaning(step=OrderStep.BEGIN, kind=Kind.ROTATE)


def test_a_change_that_became_final_before_it_could_be_given_up_is_rolled_back() -> None:
    """What is wanted is the set before; where it failed by itself, that is in use already."""
    final = change(Kind.ROTATE, Phase.COMMITTED, id="joined")
    failed = change(Kind.ROTATE, Phase.REJECTED, id="joined", failure=REFUSED)

    assert step(Verb.ROLLBACK, at(final, joins="joined")) is OrderStep.BEGIN
    assert meaning(Verb.ROLLBACK, at(failed, joins="joined")).done == failed


def test_an_order_joins_the_change_it_saw_and_no_other() -> None:
    """As long as that is in flight, it goes on with it."""
    flight = change(Kind.ROTATE, id="joined")

    assert step(Verb.ROTATE, at(flight=flight, joins="joined")) is OrderStep.GO_ON


# -- a rescue ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.ended])
@pytest.mark.parametrize("kind", F)
def test_a_change_gives_way_unless_its_set_is_in_use_and_works(phase: Phase, kind: FailureClass) -> None:
    """A set on probation without a failure of its own stays; no network and no dependant says anything against it."""
    quiet, failing = make.record(phase), make.record(phase, failure=make.failure(kind))
    of_the_set = kind in {F.SERVER_TRUST, F.CREDENTIAL, F.POLICY}

    assert gives_way(quiet, in_use=phase.activated) == (not phase.activated)
    assert not gives_way(quiet, in_use=True)
    assert gives_way(failing, in_use=True) == of_the_set
    assert gives_way(failing, in_use=phase.activated) == (of_the_set or not phase.activated)


@pytest.mark.parametrize("code", ["hung-up", Code.LOCKED_OUT])
def test_a_set_in_use_that_is_turned_away_gives_way(code: str) -> None:
    """Whether it is the set or the path, a person who brings another one knows more."""
    assert gives_way(make.record(Phase.DEPLOYED, failure=make.failure(code=code)), in_use=True)


def test_an_hour_is_what_an_untold_end_answers_for() -> None:
    """Long enough for a person to type it again, too short for another intention."""
    assert timedelta(minutes=30) <= UNTOLD <= timedelta(hours=2)
