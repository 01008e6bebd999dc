from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.timekeeping import BUILD_TIME, FAR, TOLERANCE, ClockState, is_ahead, read
from support import make
from support.make import DAY, MINUTE, NOW, SECOND

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones


@pytest.mark.parametrize(
    "now", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=UTC), BUILD_TIME - TOLERANCE - SECOND]
)
@pytest.mark.parametrize("synchronised", [True, False])
def test_a_clock_before_the_build_is_implausible(now: datetime, *, synchronised: bool) -> None:
    """A clock that shows a time before this software was made is wrong, also when it is called synchronised."""
    clock = read(now, synchronised=synchronised, floors=())

    assert clock.state is ClockState.IMPLAUSIBLE
    assert not clock.believable
    assert clock.reference_time is None


@pytest.mark.parametrize(("after", "ahead"), [(-DAY, False), (DAY, False), (DAY + SECOND, True)])
def test_what_is_dated_more_than_a_day_to_come_was_dated_by_another_clock(after: timedelta, *, ahead: bool) -> None:
    """Within a day it may be a zone, or a clock that is put right; what has no date tells nothing."""
    assert is_ahead(NOW + after, NOW) is ahead
    assert not is_ahead(None, NOW)


def test_the_newest_floor_counts() -> None:
    """Of all instants that lie in the past the newest decides, and old ones do no harm."""
    floors = (NOW - 30 * DAY, NOW, datetime(1999, 1, 1, tzinfo=UTC))

    assert read(NOW - DAY, synchronised=True, floors=floors).floor == NOW
    assert read(NOW - DAY, synchronised=True, floors=floors).state is ClockState.IMPLAUSIBLE
    assert read(NOW - DAY, synchronised=True, floors=floors[:1]).state is ClockState.SYNCHRONISED


@pytest.mark.parametrize(("synchronised", "state"), [(True, ClockState.SYNCHRONISED), (False, ClockState.IMPLAUSIBLE)])
def test_what_a_clock_that_was_ahead_has_noted_makes_no_synchronised_one_impossible(
    state: ClockState, *, synchronised: bool
) -> None:
    """The clock was ahead for an hour; where it is only unsynchronised now, the note is the better witness."""
    reading = read(NOW, synchronised=synchronised, floors=(NOW - DAY,), notes=(NOW + 60 * DAY,))

    assert (reading.state, reading.certain) == (state, NOW - DAY)
    assert reading.floor == (NOW - DAY if synchronised else NOW + 60 * DAY)


@pytest.mark.parametrize(
    ("slow_by", "state"),
    [
        (timedelta(), ClockState.SYNCHRONISED),
        (TOLERANCE, ClockState.SYNCHRONISED),
        (TOLERANCE + SECOND, ClockState.IMPLAUSIBLE),
    ],
)
def test_a_clock_that_is_a_little_slow_is_believed(slow_by: timedelta, state: ClockState) -> None:
    """A certificate authority may be ahead of this clock by the tolerance, and no more."""
    assert read(NOW - slow_by, synchronised=True, floors=(NOW,)).state is state


def test_an_unsynchronised_clock_judges_no_validity() -> None:
    """An unsynchronised clock may be believed, but gives no time to judge a validity by."""
    clock = read(NOW, synchronised=False, floors=())

    assert clock.state is ClockState.UNSYNCHRONISED
    assert clock.believable
    assert clock.reference_time is None


def test_a_synchronised_clock_is_the_reference() -> None:
    """A synchronised and plausible clock is what validity is judged by."""
    assert read(NOW, synchronised=True, floors=()).reference_time == NOW


@make.FEW
@given(now=INSTANTS, synchronised=st.booleans(), floors=st.lists(INSTANTS, max_size=4).map(tuple))
def test_the_floor_decides_plausibility_alone(
    now: datetime, floors: tuple[datetime, ...], *, synchronised: bool
) -> None:
    """A reading keeps the clock's time, never has a floor below the build, and is implausible only below it."""
    clock = read(now, synchronised=synchronised, floors=floors)

    assert clock.now == now
    assert clock.floor == max([BUILD_TIME, *floors])
    assert clock.believable == (now >= clock.floor - 10 * MINUTE)
    assert (clock.state is ClockState.SYNCHRONISED) == (clock.believable and synchronised)


@pytest.mark.parametrize(
    ("synchronised", "after", "noted", "far"),
    [
        (False, FAR + DAY, 0 * DAY, True), (False, FAR - DAY, 0 * DAY, False), (True, 3 * FAR, 0 * DAY, False),
        (False, 3 * FAR, 2 * FAR + DAY, False), (False, -DAY, 0 * DAY, False),
    ],
)  # fmt: skip
def test_a_clock_that_no_service_keeps_may_have_run_away(
    after: timedelta, noted: timedelta, *, synchronised: bool, far: bool
) -> None:
    """It is told, and convicts nothing: a gateway may have lain in a store. What was noted shows that time went by."""
    found = read(BUILD_TIME + after, synchronised=synchronised, floors=(), notes=(BUILD_TIME + noted,))
    assert found.far_ahead is far
