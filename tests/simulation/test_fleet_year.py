"""A fleet over a year: no gateway misses an expiry or asks too often, and they do not all ask at once."""

from __future__ import annotations

from collections import defaultdict
from datetime import time, timedelta
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.when.maintenance import MaintenanceWindow
from agent.core.when.renewal import RenewalPolicy, renewal_window
from support.suite import campaigns
from support.years.fleetpeaks import LONGEST_DELAY, Peaks, peaks
from support.years.fleetyear import (
    CONNECTIONS,
    CONNECTS_PER_SECOND,
    DAY,
    HOUR,
    START,
    FleetStory,
    Record,
    Year,
    busiest_minute,
    most_in_a_day,
)

if TYPE_CHECKING:
    from datetime import datetime

# A fleet that was enrolled on one day has its first window from day 60 of 90 to day 71; the first outage falls into it.
LONG = (200 * DAY, 3 * DAY)
OUTAGES = ((63 * DAY, 6 * HOUR), (131 * DAY, 12 * HOUR), LONG, (300 * DAY + 7 * HOUR, 6 * HOUR))
GATEWAYS = len(campaigns.places(500, 6))
STORY = FleetStory(gateways=GATEWAYS, outages=OUTAGES, offline=GATEWAYS * 2 // 25, mishaps=0.08, seed=2028)


@pytest.fixture(scope="module")
def year() -> Record:
    """Return what happened in the year."""
    return Year(STORY).run()


def soon_after(at: datetime, story: FleetStory = STORY, margin: timedelta = HOUR) -> bool:
    """Whether an instant lies in the aftermath of an outage."""
    return any(START + begin <= at < START + begin + length + margin for begin, length in story.outages)


# -- what each gateway must come to --------------------------------------------------------------------------------


def test_no_gateway_misses_the_end_of_its_certificate(year: Record) -> None:
    """Through outages, two weeks without power and failing requests the new one is always in use in time."""
    assert min(year.slack) > DAY
    assert min(year.left) > DAY


def test_every_gateway_rotates_as_often_as_its_certificate_wants(year: Record) -> None:
    """A year has five windows of certificates of ninety days, and no gateway rotates much more often than that."""
    assert len(year.rotations) == STORY.gateways
    assert set(year.rotations.values()) <= {4, 5, 6}
    assert sum(year.rotations.values()) == len(year.slack)


def test_every_gateway_keeps_its_daily_budget(year: Record) -> None:
    """However much fails, no gateway asks for more certificates in a day than it may."""
    asked: dict[int, list[datetime]] = defaultdict(list)
    for gateway, at in year.counted:
        asked[gateway].append(at)

    assert max(most_in_a_day(times) for times in asked.values()) <= Limits().daily_limit


def test_enough_went_wrong_to_prove_anything(year: Record) -> None:
    """Changes failed and were begun again, requests were lost, and more than the rotations needed were made."""
    assert year.failed > GATEWAYS / 25
    assert len(year.counted) > sum(year.rotations.values()) + GATEWAYS / 25
    assert len(year.requests) > len(year.counted)


# -- what the account must bear ------------------------------------------------------------------------------------


def test_the_fleet_does_not_ask_all_at_once(year: Record) -> None:
    """Outside of outages at most a handful asks in one minute, though all were enrolled within one hour."""
    calm = [at for _, at in year.requests if not soon_after(at)]
    window = renewal_window(START, START + STORY.lifetime, RenewalPolicy())
    even = STORY.gateways / ((window.closes_at - window.opens_at).total_seconds() / 60)

    assert even == pytest.approx(0.031 * GATEWAYS / 500, rel=0.04)
    assert len(calm) > 4 * GATEWAYS
    assert busiest_minute(calm) <= 5


def test_after_an_outage_the_requests_come_back_spread_out(year: Record) -> None:
    """Of a fleet of which a fifth was due meanwhile less than a tenth asks in the same minute."""
    aftermath = [at for _, at in year.requests if soon_after(at, margin=3 * HOUR)]

    assert len(aftermath) > GATEWAYS / 5
    assert busiest_minute(aftermath) <= STORY.gateways * 0.1


def test_after_an_outage_the_connections_come_back_within_minutes_and_not_at_once(year: Record) -> None:
    """Every gateway that was not switched off is back by then, and no minute is more than its share of the delay."""
    assert timedelta(minutes=5) > LONGEST_DELAY
    for begin, length in OUTAGES:
        end = START + begin + length
        back = [at for at in year.connects if end <= at < end + LONGEST_DELAY]
        assert len(back) >= STORY.gateways - STORY.offline
        assert busiest_minute(back) <= STORY.gateways * 0.4


def test_the_closed_form_is_what_the_gateways_do(year: Record) -> None:
    """The time until a gateway is back after a long outage has the mean of the renewal process that `peaks` assumes."""
    end, longest = START + LONG[0] + LONG[1], LONGEST_DELAY.total_seconds()
    back = [(at - end).total_seconds() for at in year.connects if end <= at < end + LONGEST_DELAY]
    mean_square = (longest**3 - (longest / 2) ** 3) / 3 / (longest / 2)  # half of a delay is certain, half is chance

    assert len(back) > 0.8 * GATEWAYS
    assert fmean(back) == pytest.approx(mean_square / (2 * 0.75 * longest), rel=max(0.13, 1.7 / GATEWAYS**0.5))


# -- other stories -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", campaigns.take([1, 2, 3], 3))
def test_a_quiet_year_has_no_failed_change_and_no_connection_lost(seed: int) -> None:
    """Where nothing goes wrong every request brings a certificate, and no gateway connects twice."""
    record = Year(FleetStory(gateways=len(campaigns.places(50, 3)), seed=seed)).run()

    assert (record.failed, record.connects) == (0, [])
    assert len(record.requests) == len(record.counted) == sum(record.rotations.values()) >= 4 * len(record.rotations)
    assert min(record.slack) > 90 * DAY * 0.19


def test_a_year_of_misfortune_is_survived_too() -> None:
    """A third of all steps fails, day after day: budgets are kept and nothing expires."""
    gateways = len(campaigns.places(60, 6))
    story = FleetStory(gateways=gateways, outages=OUTAGES, mishaps=0.33, seed=5)
    record = Year(story).run()
    asked: dict[int, list[datetime]] = defaultdict(list)
    for gateway, at in record.counted:
        asked[gateway].append(at)

    assert record.failed > gateways / 4
    assert len(record.rotations) == gateways
    assert min(*record.slack, *record.left) > DAY
    assert max(most_in_a_day(times) for times in asked.values()) <= Limits().daily_limit


def test_a_fleet_with_maintenance_windows_does_not_begin_when_they_open() -> None:
    """All turns of a day wait for the same two hours of the night, and are spread over them again."""
    night = MaintenanceWindow(start=time(2), end=time(4))
    gateways = len(campaigns.places(300, 20))
    record = Year(FleetStory(gateways=gateways, windows=(night,), seed=11)).run()

    assert set(record.rotations.values()) <= {4, 5}
    assert len(record.rotations) == gateways
    assert {at.hour for _, at in record.requests} == {2, 3}
    assert busiest_minute(at for _, at in record.requests) <= 6


def test_short_lived_certificates_are_rotated_in_time() -> None:
    """Certificates of a day, of which each of two outages takes a quarter."""
    outages = ((10 * DAY, 6 * HOUR), (31 * DAY + 3 * HOUR, 6 * HOUR))
    gateways = len(campaigns.places(20, 7))
    story = FleetStory(gateways=gateways, length=40 * DAY, lifetime=DAY, outages=outages, mishaps=0.05, seed=9)
    record = Year(story).run()

    assert min(*record.slack, *record.left) > timedelta()
    assert all(count >= 40 for count in record.rotations.values())
    assert len(record.rotations) == gateways


# -- a large fleet -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet() -> Peaks:
    """Return the peaks of a hundred thousand gateways."""
    return peaks(100_000, 7)


def test_a_hundred_thousand_gateways_rotate_a_few_in_a_second(fleet: Peaks) -> None:
    """Their certificates are of the same instant, and yet the busiest second of thirty days has a handful."""
    assert fleet.window == 30 * DAY
    assert fleet.even == pytest.approx(0.0386, abs=0.0001)
    assert 2 <= fleet.turns <= 6


@pytest.mark.whole
def test_ninety_thousand_gateways_are_back_within_minutes_of_an_outage() -> None:
    """That many connect as often in a second as an account may by default, and no more than a few are told to wait."""
    found = peaks(85_000, 7)

    assert 20 < found.connects < 1.2 * CONNECTS_PER_SECOND
    assert found.again < 20


def test_a_hundred_thousand_gateways_come_back_within_the_hour(fleet: Peaks) -> None:
    """A few more than an account takes at first; those are told so, and are few in any second of the hour after."""
    assert 20 < fleet.connects < 1.4 * CONNECTS_PER_SECOND
    assert fleet.again < 50
    assert fleet.back <= LONGEST_DELAY.total_seconds() + 3600


def test_what_was_due_in_the_outage_is_asked_for_in_small_portions(fleet: Peaks) -> None:
    """A hundred and twentieth of the fleet had its turn meanwhile."""
    assert fleet.due == pytest.approx(100_000 / 120, rel=0.15)
    assert 1 <= fleet.requests <= 5
    assert 1 <= fleet.refused <= 15


def test_an_account_that_is_full_takes_its_gateways_back_within_its_quota() -> None:
    """Half a million gateways are six times too many at first: once the broker has said so, it hears 500 a second.

    A sample has a quarter of them, which are too many as well.
    """
    gateways = len(campaigns.places(CONNECTIONS, 4))
    found = peaks(gateways, 3)

    assert found.connects > 5 * CONNECTS_PER_SECOND * gateways / CONNECTIONS > CONNECTS_PER_SECOND
    assert found.again <= CONNECTS_PER_SECOND
    assert found.back <= LONGEST_DELAY.total_seconds() + 3600


def test_the_figures_are_the_same_in_each_run_and_grow_with_the_fleet() -> None:
    """A seed tells one story; ten times the fleet has more at once, and no more than ten times as many."""
    small = peaks(1_000, 1)

    assert peaks(1_000, 1) == small
    assert peaks(1_000, 2) != small
    assert 2 * small.connects < peaks(10_000, 1).connects <= 10 * small.connects
