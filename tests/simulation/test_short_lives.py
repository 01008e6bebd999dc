"""Certificates that live a day: an outage of half a day needs no person, a longer one has the way back of the page."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from agent.core.change.decide import Limits
from support.suite import campaigns
from support.years.fleetpeaks import LONGEST_DELAY
from support.years.fleetyear import DAY, HOUR, FleetStory, Year
from support.years.shortlives import Fleet, ShortLivesToll, story

SAMPLE = Fleet(gateways=len(campaigns.places(50, 2)), away=10)


@pytest.fixture(name="told", scope="module")
def _told() -> ShortLivesToll:
    return story(SAMPLE)


def test_outages_of_half_a_day_need_no_person(told: ShortLivesToll) -> None:
    """In need of one are only gateways that were off for a month without the operator's knowledge."""
    assert set(told.people) == {number for number in range(SAMPLE.away) if number % 2}
    assert timedelta(minutes=30) < told.least < SAMPLE.lifetime - SAMPLE.longest


def test_who_is_off_for_a_month_comes_back_as_the_page_promises(told: ShortLivesToll) -> None:
    """By an enrolment that was opened beforehand within minutes, and otherwise once a person has opened it."""
    assert set(told.armed) == {number for number in range(SAMPLE.away) if number % 2 == 0}
    assert timedelta(minutes=5) > LONGEST_DELAY
    assert told.longest < SAMPLE.reaction + 2 * HOUR
    assert set(told.certificates) == set(range(SAMPLE.gateways))


def test_longer_outages_do_need_one() -> None:
    """The figures tell what happens: after an outage as long as a life most gateways are off line."""
    told = story(Fleet(gateways=10, length=120 * DAY, away=0, longest=DAY, seed=3))

    assert len(told.people) > 5


def test_it_is_no_better_than_the_gateways_followed_step_by_step() -> None:
    """The same two outages: about as many certificates, no more time left than there, a day's budget kept."""
    length, gateways = 24 * DAY, 8
    common = (6 * DAY, 15 * DAY + 3 * HOUR)
    fleet = Fleet(gateways=gateways, length=length, outages=0, away=0, common=common)
    outages = tuple((after, fleet.longest) for after in common)
    record = Year(FleetStory(gateways=gateways, length=length, lifetime=DAY, outages=outages)).run()
    told = story(fleet)

    assert not told.people
    assert min(record.slack) >= told.least - timedelta(minutes=5) > timedelta()
    assert sum(told.certificates.values()) == pytest.approx(len(record.requests), rel=0.05)
    asked = Counter((gateway, at.date()) for gateway, at in record.requests)
    assert max(asked.values()) < Limits().daily_limit
