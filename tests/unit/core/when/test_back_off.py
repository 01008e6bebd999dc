"""After failures: later and later up to a day, sooner where a certificate ends, and the budget over all of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.text import clock_time
from agent.core.when.schedule import AFTER_FAILURE, EMERGENCY_FLOOR, EMERGENCY_PART, Past, past_of
from support import make
from support.make import DAY, HOUR, MINUTE
from support.shorthand.scheduling import AT, EMERGENCY, SUBJECT, USED_UP, YEAR, plan


def test_the_budget_holds_in_the_emergency_window_too() -> None:
    """A gateway that has asked for its share is not let loose on the account because it is in need."""
    requests = tuple(EMERGENCY - number * HOUR for number in range(4))
    found = plan(EMERGENCY, past=Past(requests=requests))

    assert (found.code, found.emergency, found.at) == ("budget", True, EMERGENCY + 21 * HOUR)
    assert plan(EMERGENCY + 21 * HOUR, past=Past(requests=requests)).due


def test_the_budget_is_the_configured_one() -> None:
    """One request uses up a limit of one, and four do not use up a limit of five."""
    assert plan(AT, past=Past(requests=(AT - HOUR,)), limits=Limits(daily_limit=1)).at == AT + 23 * HOUR
    assert plan(AT, past=USED_UP, limits=Limits(daily_limit=5)).due


def held_for(failures: int, jitter: float = 0.9) -> timedelta:
    """Return how long a change that is due is held after so many failures."""
    found = plan(AT, past=Past(failures=failures, failed_at=AT, jitter=jitter))
    assert found.code == "back-off"
    assert found.at is not None
    return found.at - AT


def test_each_failure_waits_no_shorter_than_the_one_before_up_to_a_day() -> None:
    """The delays double from an hour to a day; drawn anew each time they would be monotone for one jitter only."""
    delays = [held_for(failures) for failures in range(1, 20)]

    assert delays[:4] == [timedelta(seconds=0.9 * 3600 * 2**number) for number in range(4)]
    assert delays == sorted(delays)
    assert delays[-1] == timedelta(seconds=0.9 * 86400)
    assert all(delay <= DAY for delay in delays)


@pytest.mark.parametrize("failures", [1, 2, 100, 10**9])
def test_no_failure_is_followed_by_a_change_within_the_minute(failures: int) -> None:
    """Whatever the jitter, there is a least delay."""
    assert held_for(failures, 0.0) == timedelta(seconds=AFTER_FAILURE.floor) == MINUTE


def test_the_back_off_is_the_same_at_each_look() -> None:
    """The jitter is in the record: looking again does not draw again."""
    past = past_of([make.finished(Phase.REJECTED, AT, id="8f3a11c2")])
    first = plan(AT + MINUTE, past=past)
    assert first.code == "back-off"
    assert first.at is not None
    looks = [plan(AT + part * (first.at - AT) / 10, past=past) for part in range(10)]

    assert {look.at for look in looks} == {first.at}
    assert {look.why for look in looks} == {first.why}


def test_several_failures_are_counted_in_the_sentence() -> None:
    """The reader learns how often it went wrong."""
    found = plan(AT, past=Past(failures=3, failed_at=AT, jitter=0.5))

    assert found.why == f"the last 3 changes failed; the next is begun at {clock_time(AT + 2 * HOUR)}"


def test_in_the_emergency_window_the_back_off_shrinks_with_what_is_left() -> None:
    """An eighth of the time that is left is the most that is waited, and at the end a minute."""
    for left in (4 * DAY, DAY, HOUR, 10 * MINUTE):
        now = SUBJECT.not_after - left
        past = Past(failures=9, failed_at=now, jitter=0.999)
        found = plan(now, past=past)
        assert (found.code, found.emergency) == ("back-off", True)
        assert found.at == now + max(EMERGENCY_FLOOR, left / EMERGENCY_PART)
        assert plan(found.at, past=past).due


@pytest.mark.parametrize("late", [timedelta(), DAY, YEAR])
def test_after_the_end_a_change_is_tried_every_minute(late: timedelta) -> None:
    """There is nothing left to lose."""
    now = SUBJECT.not_after + late
    past = Past(failures=9, failed_at=now, jitter=0.999)

    assert plan(now, past=past).at == now + MINUTE
    assert plan(now + MINUTE, past=past).due
