from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.when.renewal import RenewalPolicy, RenewalWindow, renewal_window, splay
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

YEAR = 365 * DAY

STARTS = st.datetimes(datetime(2015, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones
LIFETIMES = st.one_of(
    st.timedeltas(SECOND, 10 * MINUTE), st.timedeltas(MINUTE, 90 * DAY), st.timedeltas(DAY, 30 * YEAR)
)
SPANS = st.one_of(st.timedeltas(SECOND, DAY), st.timedeltas(DAY, 60 * YEAR))
POLICIES = st.builds(
    RenewalPolicy,
    lifetime_fraction=st.floats(0.01, 0.99),
    before_expiry=SPANS,
    max_age=SPANS,
    window=st.timedeltas(timedelta(), YEAR),
    emergency_fraction=st.floats(0.0, 0.5),
)
SPLAYS = st.floats(0, 1, exclude_max=True)


def window(lifetime: timedelta, policy: RenewalPolicy | None = None) -> RenewalWindow:
    """Return the window of a certificate that is valid from NOW."""
    return renewal_window(NOW, NOW + lifetime, policy or RenewalPolicy())


@make.MANY
@given(start=STARTS, lifetime=LIFETIMES, policy=POLICIES)
def test_the_window_lies_in_order_inside_the_life(start: datetime, lifetime: timedelta, policy: RenewalPolicy) -> None:
    """The order start, opens, closes, emergency, end holds for every lifetime and every policy."""
    found = renewal_window(start, start + lifetime, policy)

    assert start <= found.opens_at <= found.closes_at <= found.emergency_at <= found.not_after == start + lifetime


@make.MANY
@given(lifetime=LIFETIMES, policy=POLICIES, place=SPLAYS)
def test_every_device_rotates_inside_the_window(lifetime: timedelta, policy: RenewalPolicy, place: float) -> None:
    """The chosen instant is never before the window opens and never after it closes."""
    found = window(lifetime, policy)

    assert found.opens_at <= found.renew_at(place) <= found.closes_at


@make.MANY
@given(lifetime=LIFETIMES, policy=POLICIES, low=SPLAYS, high=SPLAYS)
def test_a_later_place_rotates_no_earlier(lifetime: timedelta, policy: RenewalPolicy, low: float, high: float) -> None:
    """The order of the places is the order of the rotations."""
    low, high = sorted((low, high))
    found = window(lifetime, policy)

    assert found.renew_at(low) <= found.renew_at(high)


@make.MANY
@given(lifetime=LIFETIMES, policy=POLICIES, place=SPLAYS)
def test_a_fresh_certificate_is_never_due(lifetime: timedelta, policy: RenewalPolicy, place: float) -> None:
    """A certificate that was just issued is not acted on at once, or a rotation would follow on every rotation."""
    assert window(lifetime, policy).renew_at(place) > NOW


@make.MANY
@given(lifetime=LIFETIMES, policy=POLICIES)
def test_each_limit_is_a_latest_opening(lifetime: timedelta, policy: RenewalPolicy) -> None:
    """The window opens no later than the fraction of the lifetime and the maximum age say."""
    age = window(lifetime, policy).opens_at - NOW

    assert age <= policy.max_age
    assert age <= lifetime * policy.lifetime_fraction + SECOND


@make.MANY
@given(lifetime=LIFETIMES, policy=POLICIES, more=SPANS)
def test_more_patience_never_rotates_earlier(lifetime: timedelta, policy: RenewalPolicy, more: timedelta) -> None:
    """A larger maximum age opens no earlier, a longer time before expiry no later: no limit is inverted."""
    opens_at = window(lifetime, policy).opens_at

    assert window(lifetime, replace(policy, max_age=policy.max_age + more)).opens_at >= opens_at
    assert window(lifetime, replace(policy, before_expiry=policy.before_expiry + more)).opens_at <= opens_at


@make.MANY
@given(lifetime=LIFETIMES, policy=POLICIES)
def test_half_of_the_time_before_the_emergency_belongs_to_retries(lifetime: timedelta, policy: RenewalPolicy) -> None:
    """The spread takes at most its configured length, an eighth of the lifetime, and half of what is left."""
    found = window(lifetime, policy)
    length = found.closes_at - found.opens_at

    assert length <= policy.window
    assert length <= lifetime / 8 + timedelta(microseconds=1)
    assert length <= (found.emergency_at - found.opens_at) / 2 + timedelta(microseconds=1)


def test_the_certificate_of_aws_opens_at_the_maximum_age() -> None:
    """A certificate that runs to 2049 is rotated after a year, over thirty days."""
    found = renewal_window(NOW, datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), RenewalPolicy())

    assert found.opens_at == NOW + YEAR
    assert found.closes_at == NOW + YEAR + 30 * DAY


def test_a_certificate_of_a_year_opens_at_its_fraction() -> None:
    """Two thirds of a year come before thirty days before its end."""
    found = window(YEAR)

    assert abs(found.opens_at - (NOW + YEAR * 2 / 3)) < SECOND
    assert found.emergency_at == NOW + YEAR * 0.95


def test_a_certificate_of_two_months_opens_at_the_time_before_expiry() -> None:
    """Thirty days before its end come before two thirds of sixty days."""
    assert window(60 * DAY).opens_at == NOW + 30 * DAY


def test_a_certificate_of_a_day_outlives_an_outage_of_half_a_day_at_each_turn() -> None:
    """Thirteen hours are left at the last turn: twelve without a network, and one for the way back."""
    found = window(DAY)

    assert (found.opens_at - NOW, found.closes_at - NOW) == (8 * HOUR, 11 * HOUR)
    assert found.not_after - found.renew_at(1 - 2**-53) >= 13 * HOUR


@pytest.mark.parametrize("lifetime", [2 * MINUTE, HOUR, 7 * DAY, 29 * DAY])
def test_a_certificate_shorter_than_the_time_before_expiry_is_not_due_from_its_start(lifetime: timedelta) -> None:
    """A short-lived certificate has a window of some length in the middle of its life."""
    found = window(lifetime)

    assert NOW + lifetime / 4 < found.opens_at < found.closes_at < found.emergency_at < found.not_after


def test_no_span_is_too_long_for_the_calendar() -> None:
    """An operator who means "never" or "always" may write any span, and a fresh certificate still is not due."""
    never = RenewalPolicy(max_age=timedelta.max, window=timedelta.max)
    always = RenewalPolicy(before_expiry=timedelta.max)

    assert abs(window(30 * YEAR, never).opens_at - (NOW + 20 * YEAR)) < SECOND
    assert window(30 * YEAR, always).opens_at == NOW + YEAR / 2


def test_a_certificate_that_ends_before_it_begins_has_an_empty_window() -> None:
    """Nonsense in a certificate is an empty life, not an exception."""
    found = window(-DAY)

    assert found.opens_at == found.closes_at == found.emergency_at == found.not_after == NOW


@make.FEW
@given(thing=st.text(max_size=128), certificate=st.text(max_size=64))
def test_the_place_of_a_device_is_fixed_and_inside_the_window(thing: str, certificate: str) -> None:
    """The place depends on thing and certificate alone and is at least 0 and below 1."""
    place = splay(thing, certificate)

    assert 0 <= place < 1
    assert place == splay(thing, certificate)


def test_the_place_is_the_same_in_every_version() -> None:
    """An update of the agent must not draw again: the place of a known device is a known number."""
    assert splay("gw-0042", "ab" * 32) == pytest.approx(0.69081801, abs=1e-8)


def test_the_place_changes_with_thing_and_certificate() -> None:
    """Neither two devices nor two certificates of one device share a place."""
    places = {splay(thing, certificate) for thing in ("gw-1", "gw-2") for certificate in ("aa", "bb")}

    assert len(places) == 4


def test_a_fleet_is_spread_evenly() -> None:
    """Of 10,000 devices every tenth of the window gets a tenth, give or take a tenth of that."""
    shares = Counter(int(splay(f"gw-{number:05}", "ab" * 32) * 10) for number in range(10_000))

    assert sorted(shares) == list(range(10))
    assert all(900 <= share <= 1100 for share in shares.values())


def test_a_fleet_with_certificates_of_its_own_is_spread_evenly() -> None:
    """The same holds when each device has its own certificate, and for its next one."""
    for issue in ("first", "second"):
        shares = Counter(int(splay(f"gw-{number}", f"{issue}-{number}") * 10) for number in range(10_000))
        assert all(900 <= shares[tenth] <= 1100 for tenth in range(10))


def test_no_certificate_is_due_in_the_first_third_of_its_life_as_the_pages_say() -> None:
    """One of a day is shorter than the default `before_expiry`: it would be due from its start, again and again."""
    day = timedelta(days=1)
    start = datetime(2027, 3, 1, tzinfo=UTC)
    assert renewal_window(start, start + day, RenewalPolicy()).opens_at == start + day / 3
    for page in ("docs/daemon.md", "config/config.yaml", "packaging/man/iot-cert-agent.yaml.5"):
        assert "in the first third of" in (Path(__file__).parents[4] / page).read_text(), page
