"""By a clock that cannot be right, or may be wrong, nothing is begun that could wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent.core.text import clock_time
from agent.core.when.schedule import (
    AFTER_FAILURE,
    LONGEST_PAUSE,
    UNSYNCHRONISED_PATIENCE,
    Holds,
    Past,
    Pause,
    is_free,
)
from support.make import DAY, HOUR, NOW
from support.shorthand.scheduling import (
    AT,
    EMERGENCY,
    FAILED_ONCE,
    IMPLAUSIBLE,
    SUBJECT,
    TICK,
    UNFINISHED,
    UNSYNCHRONISED,
    WINDOW,
    YEAR,
    YEAR_1970,
    plan,
)


@pytest.mark.parametrize("now", [YEAR_1970, NOW, AT, EMERGENCY, SUBJECT.not_after + DAY])
@pytest.mark.parametrize("past", [Past(), UNFINISHED, FAILED_ONCE], ids=["nothing", "unfinished", "failed"])
def test_an_unbelievable_clock_plans_nothing(now: datetime, past: Past) -> None:
    """It may be decades off, so no instant can be named; what the clock shows is told."""
    found = plan(now, state=IMPLAUSIBLE, past=past)

    assert (found.due, found.code, found.at, found.window) == (False, "clock", None, WINDOW)
    assert found.why == f"the clock shows {clock_time(now)}, which cannot be; nothing is planned before it is set"


def test_a_clock_that_is_never_synchronised_costs_a_day_and_no_more() -> None:
    """A gateway without a time server still rotates."""
    assert plan(AT + UNSYNCHRONISED_PATIENCE - TICK, state=UNSYNCHRONISED).code == "clock"
    assert plan(AT + UNSYNCHRONISED_PATIENCE, state=UNSYNCHRONISED).due
    assert plan(AT + 3 * DAY, state=UNSYNCHRONISED).due


def test_a_clock_that_is_synchronised_at_last_is_waited_for_no_longer() -> None:
    """The hold ends with its reason."""
    assert plan(AT + HOUR, state=UNSYNCHRONISED).code == "clock"
    assert plan(AT + HOUR).due


def test_a_clock_set_forward_and_back_changes_nothing_but_the_moment() -> None:
    """Nothing is remembered: the plan for an instant is the same whatever was looked at before."""
    before = plan(AT - DAY)
    assert plan(AT + 20 * DAY).due

    assert plan(AT - DAY) == before


def test_a_failure_in_the_far_future_delays_nothing() -> None:
    """A change failed while the clock was years ahead: now that it is right, that year is not waited for."""
    ahead = Past(failures=3, failed_at=AT + 10 * YEAR, jitter=0.9)

    assert plan(AT, past=ahead).due


def test_a_failure_in_the_near_future_delays_no_longer_than_twice_the_longest_delay() -> None:
    """A clock that was set back by hours keeps the delay, and not for ever."""
    cap = timedelta(seconds=AFTER_FAILURE.cap)
    found = plan(AT, past=Past(failures=50, failed_at=AT + cap, jitter=0.999))

    assert found.code == "back-off"
    assert found.at is not None
    assert found.at - AT <= 2 * cap


@pytest.mark.parametrize("ahead", [DAY, YEAR])
def test_requests_from_the_future_use_up_no_budget(ahead: timedelta) -> None:
    """A certificate that was asked for under a clock which was ahead does not lock the gateway out."""
    assert plan(AT, past=Past(requests=(AT + ahead,) * 9)).due


def test_a_pause_that_a_clock_dated_ahead_does_not_hold_until_then() -> None:
    """None lasts longer than 90 days; one that seems to was begun under another clock."""
    holds = [Holds(pause=Pause(until=NOW + LONGEST_PAUSE + more, reason="harvest")) for more in (timedelta(), TICK)]

    assert [is_free(held, NOW) for held in holds] == [False, True]


def test_an_hours_pause_does_not_last_for_as_long_as_a_clock_was_ahead() -> None:
    """Where it was begun says so; a clock that was set back by hours ends no pause."""

    def free(ahead: timedelta) -> bool:
        begun = NOW + ahead
        return is_free(Holds(pause=Pause(until=begun + timedelta(hours=1), reason="visit", begun=begun)), NOW)

    assert [free(ahead) for ahead in (timedelta(), DAY, DAY + TICK, 20 * DAY)] == [False, False, True, True]


def test_footing_that_a_clock_dated_ahead_is_not_waited_for_until_then() -> None:
    """A clock that is not synchronised is waited for a day at most, wherever it was."""
    past = replace(UNFINISHED, unfinished_since=NOW + YEAR)

    assert plan(NOW + 2 * DAY, state=UNSYNCHRONISED, past=past).due
