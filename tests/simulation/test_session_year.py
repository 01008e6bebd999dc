"""A year in each session mode: never without a usable set, refusals seen at the next look, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest

from agent.core.change.decide import Limits
from support.suite import campaigns
from support.years.fleetpeaks import LONGEST_DELAY
from support.years.fleetyear import DAY, HOUR, YEAR
from support.years.sessionyear import CLOCKLESS, MODES, REVOCATIONS, STORY, YearVisited, line, visited

GATEWAYS = len(campaigns.places(8, 4))
SOON = timedelta(minutes=1)  # two attempts after the first


@cache
def year(mode: str) -> YearVisited:
    """Return what the year comes to."""
    return visited(MODES[mode], replace(STORY, gateways=GATEWAYS))


@pytest.mark.parametrize("mode", MODES)
def test_every_deactivation_is_noticed_and_mended(mode: str) -> None:
    """At the next look, which comes within `every` and the look that may have just begun; then without a person."""
    told, looks = year(mode), MODES[mode]
    assert len(told.noticed) == len(told.mended) == GATEWAYS * len(REVOCATIONS)
    longest = looks.every + looks.lasts if looks else timedelta(0)
    assert max(told.noticed) <= longest + LONGEST_DELAY + SOON
    without_clock = max(length for _, length in CLOCKLESS)
    assert max(told.mended) <= max(told.noticed) + max(HOUR, without_clock)


@pytest.mark.parametrize("mode", MODES)
def test_no_certificate_comes_near_its_end(mode: str) -> None:
    """Outages and boots without a clock or not; a rotation does not wait for a look."""
    assert year(mode).least > DAY


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_asks_for_more_certificates(mode: str) -> None:
    """One for each set that came into use, but for failures; the budget of each day is the state machine's."""
    told = year(mode)
    assert told.rotations <= told.requests <= 2 * told.rotations
    assert told.requests / GATEWAYS < 365 * Limits.daily_limit
    assert told.requests == pytest.approx(year("always").requests, rel=0.25)


def test_the_fewer_looks_the_less_is_paid_for_connections() -> None:
    """A look of a minute every six hours is connected for less than a hundredth of the year."""
    minutes = [year(mode).minutes / GATEWAYS for mode in MODES]
    assert minutes == sorted(minutes, reverse=True)
    assert minutes[0] > 0.97 * YEAR.total_seconds() / 60
    assert year("every 6h for 1m").minutes / GATEWAYS < 0.01 * YEAR.total_seconds() / 60
    assert year("every 6h for 1m").cost < 0.5 * year("always").cost
    assert "USD" in line("always", year("always"))
