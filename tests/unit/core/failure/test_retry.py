from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.failure.failure import FailureClass
from agent.core.failure.retry import BACKOFFS, CAP, LONGEST_DELAY, Backoff, retry_delay, unhurried_delay
from support import make

JITTER = st.floats(0, 1, exclude_max=True)
ALMOST_ONE = 1 - 2**-53
BACKOFF = st.builds(Backoff, base=st.floats(0.1, 1e4), cap=st.floats(0.1, 1e5), floor=st.floats(0, 100))


@make.MANY
@given(backoff=BACKOFF, attempt=st.integers(-5, 10**9), jitter=JITTER)
def test_a_delay_stays_within_its_bounds(backoff: Backoff, attempt: int, jitter: float) -> None:
    """A delay is never below the floor, and never above the cap or the floor if that is larger."""
    assert backoff.floor <= backoff.delay(attempt, jitter) <= max(backoff.floor, backoff.cap)


@make.MANY
@given(backoff=BACKOFF, attempt=st.integers(1, 100))
def test_the_upper_bound_never_shrinks(backoff: Backoff, attempt: int) -> None:
    """The longest delay after one more failure is at least as long, and twice as long until the cap."""
    now, later = backoff.delay(attempt, ALMOST_ONE), backoff.delay(attempt + 1, ALMOST_ONE)

    assert now <= later
    assert later == pytest.approx(max(backoff.floor, min(backoff.cap, backoff.base * 2.0 ** min(attempt, 32))))


@make.FEW
@given(kind=st.sampled_from(FailureClass), attempt=st.integers(1, 100), low=JITTER, high=JITTER)
def test_a_larger_jitter_waits_no_shorter(kind: FailureClass, attempt: int, low: float, high: float) -> None:
    """Jitter spreads the delay from the floor to the upper bound, in order."""
    low, high = sorted((low, high))

    assert retry_delay(kind, attempt, low) <= retry_delay(kind, attempt, high)


@pytest.mark.parametrize("kind", FailureClass)
def test_every_class_has_a_backoff_that_neither_hammers_nor_hangs(kind: FailureClass) -> None:
    """Every class waits at least a second, at most an hour, and no longer than what counts as a waiting time."""
    assert retry_delay(kind, 1, 0.0) >= 1
    assert retry_delay(kind, 10**18, ALMOST_ONE) <= 3600 < LONGEST_DELAY


@pytest.mark.parametrize("attempt", [10**9, 10**100])
def test_a_huge_number_of_attempts_does_not_overflow(attempt: int) -> None:
    """A counter that has run for years, or was damaged, still gives the cap."""
    assert Backoff(base=4, cap=3600).delay(attempt, 0.5) == 1800


def test_the_first_delays_of_a_bad_network_double_from_its_base() -> None:
    """At the middle of the jitter the delays are half of 4, 8, 16 seconds and so on up to the cap of four minutes."""
    delays = [retry_delay(FailureClass.NETWORK, attempt, 0.5) for attempt in (1, 2, 3, 7, 8, 50)]

    assert delays == [2, 4, 8, 120, 120, 120]


@pytest.mark.parametrize(
    "kind",
    [
        FailureClass.NETWORK, FailureClass.CLOCK, FailureClass.SERVER_TRUST, FailureClass.CREDENTIAL,
        FailureClass.POLICY, FailureClass.STORE,
    ],
)  # fmt: skip
def test_what_only_the_surroundings_hold_up_goes_on_within_five_minutes(kind: FailureClass) -> None:
    """With a minute for the attempt: nothing is won by waiting longer than it takes to notice that all is well."""
    assert retry_delay(kind, 10**6, ALMOST_ONE) <= CAP <= 240


def test_a_cloud_that_asks_for_patience_is_given_an_hour() -> None:
    """Its quota is shared by a whole fleet."""
    assert retry_delay(FailureClass.THROTTLED, 10**6, ALMOST_ONE) == pytest.approx(3600)


def test_a_fleet_that_failed_together_does_not_come_back_together() -> None:
    """Jitter is full: delays reach from the floor to the cap, so a thousand devices spread over all of it."""
    delays = [retry_delay(FailureClass.THROTTLED, 20, number / 1000) for number in range(1000)]

    assert sum(delay < 900 for delay in delays) == 250
    assert sum(delay >= 2700 for delay in delays) == 250


def test_throttling_is_answered_with_more_patience_than_a_bad_network() -> None:
    """A service that asks for less is left alone for longer, from the first failure on."""
    network, throttled = BACKOFFS[FailureClass.NETWORK], BACKOFFS[FailureClass.THROTTLED]

    assert throttled.floor > network.floor
    assert throttled.base > network.base


HOUR, DAY = 3600.0, 86400.0


def test_what_has_time_waits_for_the_network_up_to_two_hours() -> None:
    """As many gateways as have their turn in six hours of outage then ask less than ten times a second."""
    assert unhurried_delay(40, ALMOST_ONE, 300 * DAY) == pytest.approx(2 * HOUR)
    assert unhurried_delay(40, 0.0, 300 * DAY) == HOUR


@make.MANY
@given(attempt=st.integers(1, 100), jitter=JITTER, left=st.floats(-DAY, 1e9))
def test_what_has_time_waits_for_no_more_than_a_fiftieth_of_it(attempt: int, jitter: float, left: float) -> None:
    """Where little is left, it comes as often as anything that waits for the network."""
    usual = BACKOFFS[FailureClass.NETWORK].cap
    assert 1 <= unhurried_delay(attempt, jitter, left) <= min(max(usual, left / 50), LONGEST_DELAY)


def test_a_short_outage_delays_what_has_time_by_seconds() -> None:
    """The first delays are those of everything else."""
    assert [unhurried_delay(attempt, ALMOST_ONE, 300 * DAY) for attempt in (1, 2, 3)] == pytest.approx([4, 8, 16])
