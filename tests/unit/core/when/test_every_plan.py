"""What holds of every plan, of whichever gateway, at whichever time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.core.timekeeping import ClockState
from agent.core.when.maintenance import MaintenanceWindow
from agent.core.when.renewal import RenewalPolicy, renewal_window
from agent.core.when.schedule import Holds, Past, Pause, Subject, Wishes, plan_rotation
from support import make
from support.make import DAY, HOUR, MINUTE, NOW
from support.shorthand.scheduling import AT, YEAR, plan, suggest

PLACES = st.floats(0, 1, exclude_max=True)
LIFETIMES = st.one_of(st.timedeltas(10 * MINUTE, DAY), st.timedeltas(DAY, 90 * DAY), st.timedeltas(90 * DAY, 30 * YEAR))
SUBJECTS = st.builds(
    lambda lifetime, place: Subject(not_before=NOW, not_after=NOW + lifetime, splay=place), LIFETIMES, PLACES
)
POLICIES = st.builds(
    RenewalPolicy,
    before_expiry=st.timedeltas(MINUTE, YEAR),
    max_age=st.timedeltas(HOUR, 3 * YEAR),
    window=st.timedeltas(timedelta(), 60 * DAY),
)
PARTS = st.floats(0, 1.1)  # of a lifetime
HOURS = st.integers(0, 23).map(time)
WINDOWS = st.builds(MaintenanceWindow, start=HOURS, end=HOURS, days=st.frozensets(st.integers(0, 6)))


@st.composite
def gateways(draw: st.DrawFn) -> tuple[Subject, Wishes, Past, datetime]:
    """Return any gateway at any time of its certificate's life, with a past that does lie in the past."""
    subject = draw(SUBJECTS)
    lifetime = subject.not_after - subject.not_before

    def instant() -> datetime:
        return subject.not_before + lifetime * draw(PARTS)

    now = instant()
    pause = Pause(until=instant(), reason="why not") if draw(st.booleans()) else None
    suggestion = suggest(instant(), instant()) if draw(st.booleans()) else None
    failures = draw(st.integers(0, 12))
    failed_at = now - draw(st.timedeltas(timedelta(), 2 * DAY)) if failures else None
    requests = tuple(now - ago for ago in draw(st.lists(st.timedeltas(timedelta(), 2 * DAY), max_size=6)))
    holds = Holds(
        pause=pause, inhibited_by=draw(st.sampled_from(["", "/run/busy"])), windows=tuple(draw(st.lists(WINDOWS)))
    )
    past = Past(
        failures=failures,
        failed_at=failed_at,
        jitter=draw(PLACES),
        committed_at=now - draw(st.timedeltas(timedelta(), 2 * HOUR)) if draw(st.booleans()) else None,
        unfinished=draw(st.booleans()),
        requests=requests,
    )
    return subject, Wishes(policy=draw(POLICIES), holds=holds, suggestion=suggestion), past, now


STATES = st.sampled_from([ClockState.SYNCHRONISED, ClockState.UNSYNCHRONISED])


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_the_turn_lies_in_the_window_or_before_the_emergency(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState
) -> None:
    """A turn by the policy lies inside of its window, a suggested one never past the emergency."""
    subject, wishes, _, now = gateway
    assume(now < subject.not_after)
    found = plan_rotation(subject, wishes, Past(), make.reading(now, state))
    assert found.window is not None
    if found.code == "scheduled":
        assert found.at is not None
        assert now < found.at <= found.window.emergency_at
    always = replace(wishes, suggestion=None, holds=replace(wishes.holds, windows=()))
    plain = plan_rotation(subject, always, Past(), make.reading(NOW))
    assert plain.at is not None
    assert found.window.opens_at <= plain.at <= found.window.closes_at


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_a_plan_says_when_it_is_looked_at_again(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState
) -> None:
    """What is due has its turn behind it; any other instant lies ahead, and there always is one."""
    subject, wishes, past, now = gateway
    found = plan_rotation(subject, wishes, past, make.reading(now, state))

    assert found.due == (found.code == "due")
    assert found.why
    if found.due:
        assert found.at is not None
        assert found.at <= now
    else:
        assert found.at is not None
        assert found.at > now


@make.MANY
@given(gateway=gateways(), state=STATES, later=st.timedeltas(timedelta(), YEAR))
def test_what_is_due_stays_due_until_something_changes(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState, later: timedelta
) -> None:
    """Time alone never takes a turn away, apart from the hours of the maintenance windows."""
    subject, wishes, past, now = gateway
    wishes = replace(wishes, holds=replace(wishes.holds, windows=()))
    assume(plan_rotation(subject, wishes, past, make.reading(now, state)).due)

    assert plan_rotation(subject, wishes, past, make.reading(now + later, state)).due


@make.MANY
@given(gateway=gateways(), state=STATES, late=st.timedeltas(timedelta(), 2 * YEAR))
def test_no_hold_lasts_into_the_emergency_but_budget_and_back_off(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState, late: timedelta
) -> None:
    """Whatever people want, the certificate is replaced while there is time."""
    subject, wishes, past, _ = gateway
    window = renewal_window(subject.not_before, subject.not_after, wishes.policy)
    found = plan_rotation(subject, wishes, past, make.reading(window.emergency_at + late, state))

    assert found.emergency
    assert found.code in {"due", "budget", "back-off"}


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_nothing_is_begun_before_its_turn(gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState) -> None:
    """A change that is due without an unfinished one before it has reached the turn that was told."""
    subject, wishes, past, now = gateway
    found = plan_rotation(subject, wishes, replace(past, unfinished=False), make.reading(now, state))
    turn = plan_rotation(subject, wishes, Past(), make.reading(subject.not_before - DAY)).at
    assert turn is not None

    assert not found.due or now >= turn


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_a_gateway_that_follows_the_plan_rotates_before_the_end(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState
) -> None:
    """Looking again when the plan says leads to a change, however many holds there are, in a few dozen looks."""
    subject, wishes, past, now = gateway
    window = renewal_window(subject.not_before, subject.not_after, wishes.policy)
    for _ in range(60):
        found = plan_rotation(subject, wishes, past, make.reading(now, state))
        if found.due:
            break
        now = found.at or max(window.emergency_at, now)
    else:
        pytest.fail(f"nothing was due after 60 looks: {found}")

    assert now <= max(window.emergency_at, subject.not_before) + 2 * DAY + 2 * 1.1 * (
        subject.not_after - subject.not_before
    )


@make.MANY
@given(failures=st.integers(0, 40), jitter=PLACES, ago=st.timedeltas(timedelta(), 2 * DAY))
def test_the_back_off_never_exceeds_its_cap(failures: int, jitter: float, ago: timedelta) -> None:
    """A day after the last failure nothing is held for it any more, and a minute after it everything is."""
    past = Past(failures=failures, failed_at=AT if failures else None, jitter=jitter)
    found = plan(AT + ago, past=past)

    if not failures or ago >= DAY:
        assert found.due
    elif ago < MINUTE:
        assert found.code == "back-off"
