"""The daily limit of requests, over all changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change import decide
from agent.core.change.advance import advance
from agent.core.change.decide import Limits, Wait, next_action, requests_of
from agent.core.change.events import CertificateIssued, Hastened, KeyReady, RequestBegun, TokenExpired
from agent.core.change.lifecycle import Phase
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.shorthand.deciding import LIMITS, act, waits

if TYPE_CHECKING:
    from datetime import timedelta


@pytest.mark.parametrize("earlier", range(5))
def test_the_daily_limit_counts_over_changes(earlier: int) -> None:
    """Requests of earlier changes and of this one share a budget, whatever asked when."""
    times = tuple(NOW - number * HOUR for number in range(1, 5))
    record = make.record(Phase.KEY_READY, requests=times[earlier:])
    wait = waits(record, requests=times[:earlier])

    assert wait.code == "budget"
    assert wait.until == NOW + 20 * HOUR
    assert "4 certificates were asked for within 24 hours and the limit is 4" in wait.why
    assert "2027-03-02 08:00:00 UTC" in wait.why
    assert type(act(record, wait.until, requests=times[:earlier])) is decide.BeginRequest


def test_one_request_below_the_limit_may_be_made() -> None:
    """The budget is used up by the fourth request, not by the third."""
    assert type(act(make.record(Phase.KEY_READY, requests=(NOW - HOUR,) * 3))) is decide.BeginRequest
    assert waits(make.record(Phase.KEY_READY, requests=(NOW - HOUR,) * 4)).code == "budget"


def test_a_request_counts_for_a_day_to_the_second() -> None:
    """After 24 hours a request is forgotten, before it is not."""
    record = make.record(Phase.KEY_READY, requests=(NOW,) * 4)

    assert waits(record, NOW + DAY - SECOND).until == NOW + DAY
    assert type(act(record, NOW + DAY)) is decide.BeginRequest


def test_more_requests_than_the_limit_wait_for_the_right_one() -> None:
    """When a limit was lowered, the wait ends when so many are old that one more fits."""
    times = tuple(NOW - number * HOUR for number in range(1, 9))
    record = make.record(Phase.KEY_READY, requests=times)
    wait = waits(record)

    assert wait.until == NOW + 20 * HOUR
    assert type(act(record, wait.until)) is decide.BeginRequest


@pytest.mark.parametrize("ahead", [DAY, 2 * DAY, 3650 * DAY])
def test_requests_from_the_future_do_not_lock_out_for_ever(ahead: timedelta) -> None:
    """A clock that was years ahead when a certificate was asked for does not stop the next ten years."""
    record = make.record(Phase.KEY_READY, requests=(NOW + ahead,) * 4)

    assert type(act(record)) is decide.BeginRequest


def test_requests_from_the_near_future_count() -> None:
    """A clock that was set back a little is no way around the limit."""
    record = make.record(Phase.KEY_READY, requests=(NOW + HOUR,) * 4)

    assert waits(record).until == NOW + HOUR + DAY


def test_the_budget_is_asked_for_without_a_change_too() -> None:
    """The schedule, a rehearsal and a change in flight wait alike, for the same reason and as long."""
    times = tuple(NOW - number * HOUR for number in range(1, 5))
    wait = decide.budget_wait(iter(times), NOW, LIMITS)

    assert wait == waits(make.record(Phase.KEY_READY, requests=times))
    assert decide.budget_wait(times[1:], NOW, LIMITS) is None
    assert decide.budget_wait((), NOW, LIMITS) is None
    assert decide.budget_wait((NOW,), NOW, replace(LIMITS, daily_limit=1)) is not None


def test_a_change_that_was_told_to_stop_waits_for_nothing() -> None:
    """It goes on as soon as a process runs it again; nothing failed."""
    wait = decide.stopped(NOW)

    assert (wait.code, wait.until, wait.failure) == ("stopped", NOW, None)
    assert wait.why == "the agent was told to stop; the change goes on when it starts again"


@make.FEW
@given(
    ages=st.lists(st.timedeltas(-3 * DAY, 3 * DAY), max_size=12),
    split=st.integers(0, 12),
    limit=st.integers(1, 6),
)
def test_a_wait_for_the_budget_is_never_too_short(ages: list[timedelta], split: int, limit: int) -> None:
    """The agent waits exactly when the day's requests reach the limit, and afterwards they no longer do."""
    times = tuple(NOW - age for age in ages)
    record = make.record(Phase.KEY_READY, requests=times[split:])
    limits = Limits(daily_limit=limit)
    action = next_action(record, make.facts(requests=times[:split]), limits)
    within = sum(abs(age) < DAY for age in ages)

    assert isinstance(action, Wait) == (within >= limit)
    if isinstance(action, Wait):
        assert NOW < action.until < NOW + 2 * DAY
        still = sum(action.until - DAY < at < NOW + DAY for at in times)
        assert still < limit


def test_the_requests_of_several_changes_are_added_up() -> None:
    """The history gives the times of all its changes."""
    changes = [make.record(requests=(NOW, NOW + SECOND)), make.record(), make.record(requests=(NOW - DAY,))]

    assert requests_of(changes) == (NOW, NOW + SECOND, NOW - DAY)


# -- certificates that may have been registered unheard ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "pause"), [(1, MINUTE), (2, 6 * HOUR), (3, DAY), (4, DAY), (40, DAY)], ids=["1", "2", "3", "4", "40"]
)
def test_certificates_that_may_be_registered_unheard_are_asked_for_ever_less_often(
    asked: int, pause: timedelta
) -> None:
    """Each stays active in the account, and its thing is not known: the second follows soon, then one a day."""
    limits = replace(LIMITS, daily_limit=1_000)
    record = make.record(Phase.KEY_READY, unanswered=1, requests=(NOW - DAY,) * (asked - 1) + (NOW,))
    wait = next_action(record, make.facts(NOW + SECOND), limits)

    assert isinstance(wait, Wait)
    assert (wait.code, wait.until) == ("retry", NOW + pause)
    assert "may have been registered" in wait.why
    assert isinstance(next_action(record, make.facts(wait.until), limits), decide.BeginRequest)
    # Another clock, a person's word, and a certificate that was surely not registered: none waits.
    for other, now in (
        (record, NOW - 2 * SECOND),
        (advance(record, Hastened(at=NOW)), NOW + SECOND),
        (replace(record, unanswered=0), NOW + SECOND),
    ):
        assert isinstance(next_action(other, make.facts(now), limits), decide.BeginRequest)


def test_a_certificate_that_was_dropped_is_remembered_until_the_next_is_issued() -> None:
    """The token expired with a registration unanswered, and a new key was made: that says nothing of the old one."""
    record = make.record(Phase.ISSUED, unanswered=2, thing_name=None)
    for event in (TokenExpired(at=NOW), KeyReady(at=NOW)):
        record = advance(record, event)

    assert (record.phase, record.unanswered, record.issued) == (Phase.KEY_READY, 2, None)
    record = advance(advance(record, RequestBegun(at=NOW)), CertificateIssued(at=NOW, issued=make.issued()))
    assert record.unanswered == 0
