"""Gates: which step of which change they are asked before, and what their answer comes to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.core import gates
from agent.core.change.decide import Limits
from agent.core.dependants import Leave, Report, Step
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from support import make
from support.make import DAY, HOUR, NOW

LIMITS = Limits()
LATER = NOW + 100 * DAY


@pytest.mark.parametrize("origin", [origin for origin in Origin if origin is not Origin.LADDER])
@pytest.mark.parametrize(
    ("leave", "kinds"),
    [(Leave.REQUEST, {Kind.ROTATE}), (Leave.ACTIVATION, {Kind.ROTATE, Kind.TRUST})],
)
def test_what_brings_something_new_into_use_is_asked_for(origin: Origin, leave: Leave, kinds: set[Kind]) -> None:
    """Whatever ordered it."""
    records = {kind: make.record(kind=kind, origin=origin, base=6, entered_at=NOW) for kind in Kind}
    asked = {kind for kind, record in records.items() if gates.is_asked(record, leave, LATER, NOW, LIMITS)}
    assert asked == kinds


@pytest.mark.parametrize("leave", list(Leave))
def test_what_leads_back_on_line_is_not(leave: Leave) -> None:
    """What the ladder begins, and what has no set before it."""
    ladder = make.record(kind=Kind.ROTATE, origin=Origin.LADDER, base=6, entered_at=NOW)
    first = make.record(kind=Kind.ROTATE, base=None, entered_at=NOW)
    assert not any(gates.is_asked(record, leave, LATER, NOW, LIMITS) for record in (ladder, first))


@pytest.mark.parametrize(
    ("emergency", "waited", "asked"),
    [
        (timedelta(seconds=1), timedelta(), True),
        (timedelta(), timedelta(), False),
        (-DAY, timedelta(), False),
        (None, timedelta(), False),  # no whole set is in use
        (10 * DAY, DAY - timedelta(seconds=1), True),
        (10 * DAY, DAY, False),
        (10 * DAY, -DAY, False),  # the clock was set back since
        (10 * DAY, -HOUR, True),
    ],
)
def test_neither_near_expiry_nor_after_its_patience(
    emergency: timedelta | None, waited: timedelta, *, asked: bool
) -> None:
    """A gate that is broken, or forgotten, must not let a certificate run out."""
    record = make.record(kind=Kind.ROTATE, base=6, entered_at=NOW - waited)
    at = None if emergency is None else NOW + emergency
    assert gates.is_asked(record, Leave.REQUEST, at, NOW, LIMITS) == asked


def said(*steps: Step) -> Report:
    """Return what gates have said."""
    return Report(at=NOW, generation=7, set="ab", steps=steps)


def test_all_that_let_it_go_on_are_no_failure() -> None:
    """Nor are none."""
    assert gates.answer(said(), LIMITS) is None
    assert gates.answer(said(Step(name="gate a"), Step(name="gate b")), LIMITS) is None


@pytest.mark.parametrize(("veto", "code"), [(False, Code.HELD), (True, Code.VETOED)])
def test_a_hold_and_a_veto_are_the_operators_word(*, veto: bool, code: Code) -> None:
    """Only a veto is decisive; both name the gate, and a hold says when it ends."""
    found = gates.answer(said(Step(name="gate a"), Step(name="gate b", problem="it failed", goes_back=veto)), LIMITS)
    assert found is not None
    assert (found.kind, found.code, found.decisive) == (FailureClass.OPERATOR, code, veto)
    assert "gate b" in found.message
    assert ("24 h" in found.promise) == (not veto)


def test_a_gate_that_cannot_be_run_has_said_nothing() -> None:
    """It is trouble and no operator's hold; each is named with its remedy, and there is nothing to wait for."""
    broken = [Step(name=f"gate {name}", problem=f"/{name} is not executable.", untried=True) for name in "ab"]
    found = gates.answer(said(*broken, Step(name="gate c")), LIMITS)
    assert found is not None
    assert (found.kind, found.code, found.decisive) == (FailureClass.DEPENDANT, Code.UNASKED, False)
    assert found.message == (
        "The gate a is not asked: /a is not executable. The gate b is not asked: /b is not executable."
    )
    assert (found.remedy != "", found.promise) == (True, "")


@pytest.mark.parametrize(("veto", "code"), [(False, Code.HELD), (True, Code.VETOED)])
def test_beside_one_that_cannot_be_run_the_others_have_their_say(*, veto: bool, code: Code) -> None:
    """A broken gate opens no other."""
    steps = (Step(name="gate a", problem="gone", untried=True), Step(name="gate b", problem="no", goes_back=veto))
    found = gates.answer(said(*steps), LIMITS)
    assert found is not None
    assert (found.code, "gate b" in found.message) == (code, True)


@pytest.mark.parametrize(
    ("lasting", "since", "held"),
    [
        (True, None, False),
        (False, None, True),
        (False, timedelta(seconds=119), True),
        (False, timedelta(seconds=120), False),
        (False, -HOUR, True),  # the clock was set back since
    ],
)
def test_what_may_come_up_is_waited_for_as_other_programs_are(
    since: timedelta | None, *, lasting: bool, held: bool
) -> None:
    """For two minutes, and what only a person can mend is not."""
    failure = gates.unasked("The helper does not answer.", LIMITS, lasting=lasting)
    record = make.record(refused_since=None if since is None else NOW - since)
    assert gates.holds(failure, record, NOW, LIMITS) == held
    assert ("after 2 min" in failure.promise) == (not lasting)


def test_an_operators_hold_is_one_for_as_long_as_gates_are_asked() -> None:
    """See `is_asked`."""
    held = gates.answer(said(Step(name="gate a", problem="it ended with exit code 75")), LIMITS)
    assert held is not None
    assert gates.holds(held, make.record(refused_since=NOW - DAY), NOW, LIMITS)
