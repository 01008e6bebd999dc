"""When a connection that was lost is tried again, and when its certificate is doubted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.failure.failure import Failure, needs_control
from agent.core.failure.retry import CAP
from agent.core.when.reconnect import (
    OFTEN,
    STEADY,
    NextConnect,
    ReconnectState,
    after_failure,
    after_loss,
    after_takeover,
    heals_with_network,
)
from support import make
from support.unit.core.outages import (
    ALMOST_ONE,
    ANY_FAILURE,
    CHANCE,
    DNS,
    ENDED,
    FAILURES,
    HUNG_UP,
    THROTTLED,
    UNTRUSTED,
    WRONG_CLOCK,
    F,
)

AMBIGUOUS = make.codes("ambiguous")
STANDINGS = st.builds(
    ReconnectState, failures=st.integers(0, 10**6), suspicions=st.integers(0, 10**6), takeovers=st.integers(0, 10**6)
)


def fail(
    times: int, failure: Failure, chance: float = 0.5, standing: ReconnectState | None = None
) -> list[NextConnect]:
    """Return the verdicts on so many failed attempts in a row."""
    verdicts = []
    standing = standing or ReconnectState()
    for _ in range(times):
        verdicts.append(after_failure(standing, failure, chance))
        standing = verdicts[-1].standing
    return verdicts


# -- delays ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "least", "most"),
    [
        (DNS, [1.1, 2, 4, 8], [2, 4, 8, 16]),
        (HUNG_UP, [1.1, 2, 4, 8], [2, 4, 8, 16]),
        (UNTRUSTED, [15, 30, 60, 120], [30, 60, 120, 240]),
        (WRONG_CLOCK, [5, 10, 20, 40], [10, 20, 40, 80]),
    ],
    ids=["dns", "hung-up", "untrusted", "clock"],
)
def test_the_first_delays_double_and_half_of_each_is_chance(
    failure: Failure, least: list[float], most: list[float]
) -> None:
    """Without luck the first half is waited, at most all of it."""
    assert [verdict.delay for verdict in fail(4, failure, 0.0)] == least
    assert [verdict.delay for verdict in fail(4, failure, ALMOST_ONE)] == pytest.approx(most)


def test_a_broker_without_room_is_tried_again_at_any_moment_of_a_growing_time() -> None:
    """Half a million are told so at once, and need all of an hour to come back one after the other."""
    assert [verdict.delay for verdict in fail(9, THROTTLED, 0.0)] == [10] * 9
    assert [verdict.delay for verdict in fail(4, THROTTLED, ALMOST_ONE)] == pytest.approx([30, 60, 120, 240])
    assert fail(40, THROTTLED, ALMOST_ONE)[-1].delay == pytest.approx(3600)


@pytest.mark.parametrize(("failure", "cap"), [(DNS, CAP), (UNTRUSTED, CAP), (WRONG_CLOCK, CAP)])
def test_a_connection_is_tried_for_ever_at_a_bounded_pace(failure: Failure, cap: float) -> None:
    """After a long outage the pace is the cap or half of it, and never slower."""
    assert fail(40, failure, 0.0)[-1].delay == cap / 2
    assert fail(40, failure, ALMOST_ONE)[-1].delay == pytest.approx(cap)


@make.MANY
@given(standing=STANDINGS, failure=ANY_FAILURE, chance=CHANCE)
def test_no_delay_is_shorter_than_aws_allows_nor_longer_than_the_gateway_may_be_away(
    standing: ReconnectState, failure: Failure, chance: float
) -> None:
    """AWS IoT Core takes one CONNECT a second for a client id; only what asks for patience is left alone for longer."""
    longest = 3600 if failure is THROTTLED else CAP

    assert 1 < after_failure(standing, failure, chance).delay <= longest
    assert 1 < after_loss(standing, failure, STEADY, chance).delay <= longest
    assert 1 < after_takeover(standing, 0.0, chance).delay <= 3600


@pytest.mark.parametrize("failure", [item for item in FAILURES if item is not THROTTLED], ids=lambda item: item.code)
def test_a_gateway_is_back_within_five_minutes_of_the_moment_at_which_it_is_accepted(failure: Failure) -> None:
    """However long it lasted, and at whatever moment it ends: the next attempt is no further away than that."""
    assert max(verdict.delay for verdict in fail(500, failure, ALMOST_ONE)) < 5 * 60 - 30  # which an attempt may take


@make.MANY
@given(failure=ANY_FAILURE, failures=st.integers(0, 50), chance=CHANCE)
def test_one_more_failure_waits_no_shorter(failure: Failure, failures: int, chance: float) -> None:
    """With the same luck the delays only grow."""
    now = after_failure(ReconnectState(failures=failures), failure, chance)
    later = after_failure(now.standing, failure, chance)

    assert now.standing.failures == failures + 1
    assert now.delay <= later.delay


@make.MANY
@given(failure=ANY_FAILURE, failures=st.integers(0, 50), low=CHANCE, high=CHANCE)
def test_more_luck_waits_no_longer(failure: Failure, failures: int, low: float, high: float) -> None:
    """Chance spreads the delays in order, and half of the longest is always waited."""
    low, high = sorted((low, high))
    standing = ReconnectState(failures=failures)
    shorter, longer = after_failure(standing, failure, low).delay, after_failure(standing, failure, high).delay

    assert shorter <= longer
    if failure is not THROTTLED:
        assert longer <= max(2 * shorter, 2)


@pytest.mark.parametrize("chance", [-1.0, 1.0, 2.0])
def test_chance_outside_of_its_range_breaks_no_bound(chance: float) -> None:
    """A defect of the caller does not make the gateway hammer."""
    assert CAP / 2 <= after_failure(ReconnectState(failures=30), DNS, chance).delay <= CAP


def test_a_fleet_that_lost_the_broker_together_comes_back_spread_out() -> None:
    """After many failures the delays of a thousand gateways fill the upper half of the cap evenly."""
    standing = ReconnectState(failures=30)
    delays = [after_failure(standing, HUNG_UP, number / 1000).delay for number in range(1000)]
    tenths = Counter(int(10 * delay / CAP) for delay in delays)

    assert sorted(tenths) == [5, 6, 7, 8, 9]
    assert all(count == 200 for count in tenths.values())


# -- doubt -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_a_first_failure_is_a_suspicion_where_a_refused_certificate_could_explain_it(failure: Failure) -> None:
    """Lost or never made, and long before there is enough of it to climb the ladder."""
    suspected = needs_control(failure)

    assert [verdict.suspicion for verdict in fail(9, failure)] == [suspected] * 9
    assert after_loss(ReconnectState(), failure, STEADY, 0.5).suspicion == suspected
    assert not after_takeover(ReconnectState(suspicions=5), 0.0, 0.5).suspicion


def test_the_certificate_is_doubted_at_two_four_eight_and_each_time_after_that() -> None:
    """One hang-up proves nothing; one that lasts is looked into whenever it is met, since any rung may work by now."""
    verdicts = fail(300, HUNG_UP)

    assert [number for number, verdict in enumerate(verdicts, 1) if verdict.doubt] == [2, 4, 8, *range(9, 301)]
    assert OFTEN == 8


@pytest.mark.parametrize("failure", [item for item in FAILURES if needs_control(item)], ids=lambda item: item.code)
def test_the_ladder_is_asked_within_five_minutes_and_no_oftener_than_every_two(failure: Failure) -> None:
    """From the ninth suspicion on, by the shortest and by the longest delays."""
    for chance, least, most in ((0.0, CAP / 2, CAP / 2), (ALMOST_ONE, CAP - 1, CAP)):
        later = fail(300, failure, chance)[OFTEN:]
        assert all(verdict.doubt and least <= verdict.delay <= most for verdict in later)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_only_what_a_refused_certificate_could_explain_raises_doubt(failure: Failure) -> None:
    """A name that cannot be resolved or a busy broker says nothing against the certificate."""
    assert any(verdict.doubt for verdict in fail(8, failure)) == needs_control(failure)


@pytest.mark.parametrize("other", [DNS, THROTTLED, ENDED], ids=lambda failure: failure.code)
def test_another_failure_between_ends_the_suspicion(other: Failure) -> None:
    """Two in a row are needed; the delays go on growing all the same."""
    first = fail(1, HUNG_UP)[-1]
    between = after_failure(first.standing, other, 0.5)
    again = after_failure(between.standing, HUNG_UP, 0.5)

    assert [first.doubt, between.doubt, again.doubt] == [False, False, False]
    assert (between.standing.suspicions, again.standing.suspicions) == (0, 1)
    assert again.standing.failures == 3
    assert after_failure(again.standing, HUNG_UP, 0.5).doubt


@make.MANY
@given(failures=st.lists(ANY_FAILURE, max_size=40))
def test_doubt_counts_the_suspicions_in_a_row(failures: list[Failure]) -> None:
    """Whatever is met, doubt is raised where the run of suspicions is a power of two above one, or above eight."""
    standing, run = ReconnectState(), 0
    for failure in failures:
        verdict = after_failure(standing, failure, 0.5)
        run = run + 1 if needs_control(failure) else 0
        assert verdict.doubt == (run in {2, 4, 8} or run > 8)
        standing = verdict.standing


# -- connections that were lost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lasted", [STEADY, 3600.0])
def test_a_connection_that_was_steady_is_a_fresh_start(lasted: float) -> None:
    """What went before it is forgotten: the first delay is the shortest again, and suspicion begins anew."""
    worn = ReconnectState(failures=20, suspicions=7, takeovers=2)
    verdict = after_loss(worn, HUNG_UP, lasted, 0.0)

    assert verdict.standing == ReconnectState(failures=1, suspicions=1, takeovers=2)
    assert (verdict.delay, verdict.doubt) == (1.1, False)


@pytest.mark.parametrize("lasted", [0.0, 1.0, STEADY - 0.001])
def test_a_connection_that_did_not_last_is_one_more_failure(lasted: float) -> None:
    """A broker that takes a connection and hangs up at once is not hammered, and raises doubt."""
    worn = ReconnectState(failures=20, suspicions=7, takeovers=2)
    verdict = after_loss(worn, HUNG_UP, lasted, 0.0)

    assert replace(verdict.standing, brief=0) == after_failure(worn, HUNG_UP, 0.0).standing
    assert (verdict.delay, verdict.doubt, verdict.taken_over) == (CAP / 2, True, False)


# -- what heals with the network ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_what_kept_a_connection_from_being_made_heals_with_the_network(failure: Failure) -> None:
    """What failed for want of a path is tried as soon as there is one; what may have cost a certificate is not."""
    healed = {"dns", "unreachable", "tls-interrupted", "hung-up", "connack-timeout", "disconnected"}

    assert heals_with_network(failure) == (failure.code in healed)


@pytest.mark.parametrize("code", ["no-reply", "session-lost", "not-sent", "garbled", "cloud-unavailable"])
def test_a_request_that_was_under_way_does_not_heal_with_the_network(code: str) -> None:
    """It may have been carried out, so its delay stands."""
    assert not heals_with_network(make.failure(F.NETWORK, code))


def test_without_a_failure_nothing_heals() -> None:
    """A change that waits for another reason is left waiting."""
    assert not heals_with_network(None)
    assert not heals_with_network(make.failure(F.STORE, "dns"))


def test_some_of_what_heals_needs_a_control_as_well() -> None:
    """A broken path and a refused set look the same."""
    healed = [failure.code for failure in FAILURES if heals_with_network(failure)]

    assert AMBIGUOUS & set(healed) == {"hung-up", "connack-timeout"}
