"""Following a change in the foreground: what a person is told who waits, and for what it is worth to wait."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.cli.carrying.follow import THROUGH_DAEMON, Patience, is_used_unproven, told_as, waiting, worth_waiting
from agent.core.change.decide import Limits, Wait, next_action
from agent.core.change.lifecycle import Phase
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from support import make
from support.make import MINUTE, NOW

NOTHING = (None, None)


def on_probation(minutes: int) -> str:
    """Return what is said so many minutes into a probation of ten minutes, of which each minute proves the set anew."""
    now = NOW + minutes * MINUTE
    record = make.record(Phase.DEPLOYED, checked_at=now)
    wait = next_action(record, make.facts(now, linked=record.generation), Limits(check_every=MINUTE))
    assert isinstance(wait, Wait)
    return waiting(wait.code, wait.why, wait.until - now, tried=False, goes_on=THROUGH_DAEMON)


def test_a_probation_of_ten_minutes_is_one_line() -> None:
    """It is in use, until when it is on probation, what there is to fall back on, that leaving is harmless and why."""
    final = (NOW + 10 * MINUTE).strftime("%Y-%m-%d %H:%M:%S UTC")
    line = (
        f"Generation 7 is on probation until {final}; the previous set is kept ready. "
        "The new set is in use; leaving with Ctrl-C is harmless: the daemon goes on."
    )
    assert {on_probation(minutes) for minutes in range(10)} == {line}


def test_another_wait_says_how_long_it_is() -> None:
    """And a failure that is waited out was told already."""
    assert waiting("busy", "a gate holds it", 2 * MINUTE, tried=False, goes_on="") == "A gate holds it (2 min)."
    assert waiting("retry", "the network is down", 2 * MINUTE, tried=True, goes_on="") == "Trying again in 2 min."


def test_a_wait_for_the_clock_is_one_line_that_says_how_it_ends() -> None:
    """No hour of a clock that cannot be right, and the same line while it shows another one."""
    shown = [waiting("clock", f"the clock shows {n}", MINUTE, tried=False, goes_on=THROUGH_DAEMON) for n in (1, 2)]
    assert shown[0] == (
        "The clock shows 1. Check time synchronisation (`timedatectl`). It goes on by itself then; leaving with Ctrl-C "
        "is harmless: the daemon goes on."
    )
    assert told_as("clock", shown[0]) == told_as("clock", shown[1]) != told_as("retry", shown[0])


def test_a_clock_that_is_set_uses_up_no_patience() -> None:
    """Years pass by it in which no person waited; what is waited for after it has its whole time."""
    then = NOW - timedelta(days=2000)
    patience = Patience(None, then, "planned")
    assert patience.lasts("planned", "clock", NOTHING, then + MINUTE, then)
    assert patience.lasts("planned", "retry", NOTHING, NOW + MINUTE, NOW)
    assert not patience.lasts("planned", "retry", NOTHING, NOW + 3 * MINUTE, NOW + 2 * MINUTE)
    assert patience.lasts("requested", "retry", NOTHING, NOW + 3 * MINUTE, NOW + 2 * MINUTE), "the phase was passed"


def test_a_clock_that_is_not_set_is_waited_for_for_two_minutes() -> None:
    """Though each wait for it is half a minute."""
    patience = Patience(None, NOW, "planned")
    assert patience.lasts("planned", "clock", NOTHING, NOW + 2 * MINUTE, NOW + MINUTE)
    assert not patience.lasts("planned", "clock", NOTHING, NOW + 3 * MINUTE, NOW + 2 * MINUTE)


@pytest.mark.parametrize(
    ("code", "kind", "asked", "stays"),
    [
        ("retry", FailureClass.NETWORK, None, False),
        ("clock", None, None, False),
        ("probation", None, None, True),
        ("retry", FailureClass.NETWORK, 2 * MINUTE, True),
        ("retry", FailureClass.CREDENTIAL, None, True),
        ("retry", FailureClass.POLICY, None, True),
        ("retry", FailureClass.DEPENDANT, None, True),
    ],
)
def test_no_person_waits_for_the_proof_of_what_is_in_use(
    code: str, kind: FailureClass | None, asked: timedelta | None, *, stays: bool
) -> None:
    """What may still go wrong with it is waited for, and what was asked for is."""
    patience = Patience(asked, NOW, Phase.DEPLOYED)
    assert patience.lasts(Phase.DEPLOYED, code, (kind, None), NOW + MINUTE, NOW, used=True) is stays
    assert patience.lasts(Phase.DEPLOYED, code, (kind, None), NOW + MINUTE, NOW)


@pytest.mark.parametrize(("phase", "used"), [(Phase.PROVEN, False), (Phase.ACTIVE, True), (Phase.DEPLOYED, True)])
def test_it_is_in_use_once_it_is_active(phase: Phase, *, used: bool) -> None:
    """And what was proven before is no such change."""
    assert is_used_unproven(make.record(phase, unproven=True)) is used
    assert not is_used_unproven(make.record(phase))


@pytest.mark.parametrize(
    ("code", "failure", "span", "patience", "worth"),
    [
        ("probation", NOTHING, timedelta(days=1), timedelta(), True),
        ("retry", NOTHING, 2 * MINUTE, None, True),
        ("retry", NOTHING, 3 * MINUTE, None, False),
        ("retry", NOTHING, 3 * MINUTE, 3 * MINUTE, True),
        ("retry", (FailureClass.POLICY, None), 20 * MINUTE, None, True),
        ("retry", (FailureClass.DEPENDANT, None), 21 * MINUTE, None, False),
        ("retry", (FailureClass.CREDENTIAL, Code.LOCKED_OUT), MINUTE, None, False),
        (
            "retry",
            (FailureClass.STORE, Code.STORE),
            MINUTE,
            None,
            False,
        ),  # only a person changes an attribute or a mount
        ("retry", (FailureClass.STORE, Code.STORE), MINUTE / 4, None, True),
        ("retry", (FailureClass.STORE, Code.STORE), MINUTE, MINUTE, True),
    ],
)
def test_it_is_worth_waiting_for(
    code: str, failure: tuple[str | None, str | None], span: timedelta, patience: timedelta | None, *, worth: bool
) -> None:
    """The end of a probation always; for a failure as long as it may need, or as long as the person said."""
    assert worth_waiting(code, failure, span, patience) is worth
