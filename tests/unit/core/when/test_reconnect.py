from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass, needs_control
from agent.core.failure.retry import CAP
from agent.core.when.reconnect import (
    BRIEF,
    OFTEN,
    PEACE,
    STEADY,
    NextConnect,
    ReconnectState,
    after_failure,
    after_loss,
    after_takeover,
    heals_with_network,
)
from support import make

AMBIGUOUS = make.codes("ambiguous")

F = FailureClass
ALMOST_ONE = 1 - 2**-53
CHANCE = st.floats(0, 1, exclude_max=True)
HOST = "abc-ats.iot.eu-west-1.amazonaws.com"

DNS = failures.name_not_found(HOST)
HUNG_UP = failures.hung_up()
THROTTLED = failures.connect_throttled("QUOTA_EXCEEDED")
UNTRUSTED = failures.server_certificate(HOST, Code.UNKNOWN_ROOT, "no anchor signs it")
ENDED = failures.lost("ADMINISTRATIVE_ACTION")
WRONG_CLOCK = make.failure(F.CLOCK, "server-certificate-expired")

FAILURES = [
    DNS,
    failures.unreachable(HOST, 8883, "no route to host"),
    failures.tls_interrupted(HOST, "closed by the other side"),
    UNTRUSTED,
    failures.certificate_alert("AWS_IO_TLS_ERROR_ALERT_RECEIVED"),
    HUNG_UP,
    failures.silent(),
    failures.not_authorised("connect"),
    THROTTLED,
    failures.broker_unavailable("SERVER_UNAVAILABLE"),
    failures.session_lost("AWS_ERROR_MQTT_UNEXPECTED_HANGUP"),
    ENDED,
    WRONG_CLOCK,
]
ANY_FAILURE = st.sampled_from(FAILURES)
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


# -- taken over --------------------------------------------------------------------------------------------------------


def test_the_delay_after_a_takeover_grows_from_half_a_minute_to_an_hour() -> None:
    """Two gateways with one client id would cut each other off for ever."""
    standing, least, most = ReconnectState(), [], []
    for _ in range(12):
        least.append(after_takeover(standing, 60.0, 0.0).delay)
        most.append(after_takeover(standing, 60.0, ALMOST_ONE).delay)
        standing = after_takeover(standing, 60.0, 0.5).standing

    assert least[:7] == [30, 60, 120, 240, 480, 960, 1800]
    assert most[:7] == pytest.approx([60, 120, 240, 480, 960, 1920, 3600])
    assert least[-1] == 1800
    assert most[-1] == pytest.approx(3600)
    assert standing == ReconnectState(takeovers=12)


@pytest.mark.parametrize(("lasted", "takeovers"), [(0.0, 6), (PEACE - 1, 6), (PEACE, 1), (PEACE * 10, 1)])
def test_a_takeover_is_forgotten_after_hours_of_peace_only(lasted: float, takeovers: int) -> None:
    """A rival that comes back every hour is still the same rival."""
    assert after_takeover(ReconnectState(takeovers=5), lasted, 0.5).standing.takeovers == takeovers


def test_a_takeover_is_no_failure_and_no_suspicion() -> None:
    """The certificate was accepted, and the network works."""
    verdict = after_takeover(ReconnectState(failures=9, suspicions=3), 10.0, 0.5)

    assert (verdict.standing, verdict.doubt) == (ReconnectState(takeovers=1), False)


# What happens to one attempt after the other: (how long it was up, or None when it did not come up; why it ended).
Attempts = list[tuple[float | None, Failure]]
SHORT, LONG = 3.0, 20.0
BRIEFLY = (SHORT, HUNG_UP)
REFUSED = (None, HUNG_UP)


def story(attempts: Attempts, standing: ReconnectState | None = None) -> list[NextConnect]:
    """Return the verdicts on attempts in a row."""
    verdicts, standing = [], standing or ReconnectState()
    for lasted, failure in attempts:
        if lasted is None:
            verdicts.append(after_failure(standing, failure, 0.5))
        else:
            verdicts.append(after_loss(standing, failure, lasted, 0.5))
        standing = verdicts[-1].standing
    return verdicts


STORIES: dict[str, tuple[Attempts, list[int], list[int]]] = {
    # name: attempts, which of them are taken for a takeover, which raise doubt; both counted from 1
    "a rival": ([BRIEFLY] * 9, [3, 4, 5, 6, 7, 8, 9], [2, 4, 8]),
    "hung up on twice": ([BRIEFLY] * 2, [], [2]),
    "a certificate that is deactivated": ([BRIEFLY, REFUSED, REFUSED, REFUSED], [], [2, 4]),
    "one that is let in by chance now and then": ([BRIEFLY, BRIEFLY, REFUSED] * 3, [], [2, 4, 8, 9]),
    "one that is deactivated while a rival is there": ([BRIEFLY] * 3 + [REFUSED] * 2, [3], [2, 4]),
    "one that is deactivated after a long fight": (
        [BRIEFLY] * 9 + [REFUSED] * 2,
        [3, 4, 5, 6, 7, 8, 9],
        [2, 4, 8, 10, 11],
    ),
    "not authorised in between": ([BRIEFLY, BRIEFLY, (None, failures.not_authorised("connect")), BRIEFLY], [], [2, 4]),
    "no network in between": ([BRIEFLY, BRIEFLY, (None, DNS), BRIEFLY, BRIEFLY], [], [2, 5]),
    "a broker with a reason": ([(SHORT, ENDED)] * 5, [], []),
    "a busy broker": ([(SHORT, failures.lost("QUOTA_EXCEEDED"))] * 5, [], []),
    "one that lasts longer in between": ([BRIEFLY, BRIEFLY, (LONG, HUNG_UP), BRIEFLY], [], [2, 4]),
    "one that is steady in between": ([BRIEFLY, BRIEFLY, (STEADY, HUNG_UP), BRIEFLY, BRIEFLY], [], [2, 4]),
    "not so brief": ([(BRIEF, HUNG_UP)] * 5, [], [2, 4]),
}


@pytest.mark.parametrize("name", STORIES)
def test_three_brief_connections_in_a_row_are_taken_for_another_client(name: str) -> None:
    """Unless anything speaks for a refused certificate; and the ladder is asked either way, as before."""
    attempts, taken_over, doubts = STORIES[name]
    verdicts = story(attempts)

    assert [number for number, verdict in enumerate(verdicts, 1) if verdict.taken_over] == taken_over
    assert [number for number, verdict in enumerate(verdicts, 1) if verdict.doubt] == doubts


def test_what_is_taken_for_a_rival_is_left_alone_like_one_but_for_minutes() -> None:
    """The delays are those after a takeover that the broker tells of, as long as a path may be what is wrong."""
    delays = [verdict.delay for verdict in story([BRIEFLY] * 12) if verdict.taken_over]

    assert delays[:3] == [after_takeover(ReconnectState(takeovers=number), SHORT, 0.5).delay for number in range(3)]
    assert delays == sorted(delays)
    assert max(delays) == 0.75 * CAP


@make.MANY
@given(attempts=st.lists(st.tuples(st.none() | st.floats(0, 2 * STEADY), ANY_FAILURE), max_size=40), chance=CHANCE)
def test_only_a_broker_s_own_word_keeps_it_away_beyond_the_promise(attempts: Attempts, chance: float) -> None:
    """That there is no room, or that another client is there: whatever else was met, it tries within minutes."""
    standing = ReconnectState(takeovers=9)
    for lasted, failure in attempts:
        verdict = (
            after_failure(standing, failure, chance)
            if lasted is None
            else after_loss(standing, failure, lasted, chance)
        )
        assert verdict.delay <= CAP or failure.kind is F.THROTTLED
        standing = verdict.standing


@make.MANY
@given(attempts=st.lists(st.tuples(st.none() | st.floats(0, 2 * STEADY), ANY_FAILURE), max_size=40))
def test_a_refused_set_is_never_left_for_long_because_of_a_rival(attempts: Attempts) -> None:
    """Whatever was met before, two refusals in a row raise doubt, or the next few do, each within minutes."""
    standing = story(attempts)[-1].standing if attempts else ReconnectState()
    refusals = story([REFUSED] * 4, standing)

    assert any(verdict.doubt for verdict in refusals)
    assert not any(verdict.taken_over for verdict in refusals)
    assert all(verdict.delay <= CAP for verdict in refusals)


def test_a_takeover_that_the_broker_tells_of_needs_no_second() -> None:
    """It is no suspicion either."""
    verdict = after_takeover(ReconnectState(), SHORT, 0.5)

    assert (verdict.taken_over, verdict.doubt, verdict.standing.suspicions) == (True, False, 0)


def test_a_lost_connection_does_not_make_a_rival_be_forgotten() -> None:
    """Only peace does: a hang-up between two takeovers leaves their count as it is."""
    standing = after_takeover(ReconnectState(takeovers=3), 60.0, 0.5).standing
    standing = after_loss(standing, ENDED, 600.0, 0.5).standing

    assert standing.takeovers == 4
    assert after_takeover(standing, 60.0, 0.0).delay == 480


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
