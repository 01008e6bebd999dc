"""Another client under the gateway's client id: by what it is known, and how long it is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.failure import failures
from agent.core.failure.failure import Failure
from agent.core.failure.retry import CAP
from agent.core.when.reconnect import (
    BRIEF,
    PEACE,
    STEADY,
    NextConnect,
    ReconnectState,
    after_failure,
    after_loss,
    after_takeover,
)
from support import make
from support.unit.core.outages import ALMOST_ONE, ANY_FAILURE, CHANCE, DNS, ENDED, HUNG_UP, F


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
