"""When a session ends with its look, and when it is there again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.when.looks import Looks, rest, stay, wakes

LOOKS = Looks(every=timedelta(hours=6), lasts=timedelta(minutes=1))


@pytest.mark.parametrize(("idle", "left"), [(0, 60), (59, 1), (60, 0), (3600, 0)])
def test_a_look_lasts_as_long_as_asked_for(idle: float, left: float) -> None:
    """Counted from the last moment at which there was something to stay for."""
    assert stay(LOOKS, idle) == left


@given(
    every=st.timedeltas(min_value=timedelta(minutes=10), max_value=timedelta(days=7)),
    chance=st.floats(min_value=0, max_value=1),
)
def test_the_next_look_is_never_late_and_a_fleet_is_spread(every: timedelta, chance: float) -> None:
    """At most `every` after the one before, and a quarter of that is chance."""
    whole = every.total_seconds()
    assert 0.75 * whole <= rest(Looks(every=every), chance) <= whole
    assert rest(Looks(every=every), 0.0) < rest(Looks(every=every), 0.9)


@pytest.mark.parametrize(
    ("looks", "rested", "needed", "expected"),
    [
        (LOOKS, 60, False, False),
        (LOOKS, 60, True, True),
        (None, 60, False, True),  # the configuration was changed to always
        (LOOKS, 6 * 3600, False, True),  # the machine was suspended, and its timer with it
        (Looks(every=timedelta(minutes=10)), 700, False, True),  # the configuration was changed to more often
    ],
)
def test_a_rest_ends_with_what_is_due(looks: Looks | None, rested: float, *, needed: bool, expected: bool) -> None:
    """Before its time, where there is a reason."""
    assert wakes(looks, rested, needed=needed) is expected
