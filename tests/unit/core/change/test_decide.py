from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change import decide, giving_up
from agent.core.change.advance import advance
from agent.core.change.decide import TOKEN_LIFETIME, Limits, Wait, next_action, requests_of
from agent.core.change.events import (
    Condemned,
    Confirmed,
    Deployed,
    Doubted,
    Event,
    KeyLost,
    KeyReady,
    ProbationHeld,
    ProbationPassed,
    Registered,
    Rejected,
    RequestFailed,
    StepFailed,
    TokenExpired,
)
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.codes import traits
from agent.core.failure.failure import Failure, FailureClass
from agent.core.failure.retry import BACKOFFS, LONGEST_DELAY
from agent.core.text import clock_time, duration
from agent.core.timekeeping import ClockState
from agent.core.values import Kind, Origin
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

F = FailureClass
LIMITS = Limits()
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)

PREPARED = [Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED]
NOT_PREPARED = [phase for phase in make.UNFINISHED if phase not in PREPARED]
REFUSED = make.failure(F.CREDENTIAL, "hung-up", decisive=True)
WITH_A_KEY = [Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED]
KEY_LOST = make.failure(F.STORE, "key-lost", message="The staged key is damaged.")
UNAUTHORISED = make.failure(F.POLICY, "not-authorised", decisive=True)


def act(record: ChangeRecord, now: datetime = NOW, **facts: Any) -> decide.Action:
    """Return the next action at a time."""
    return next_action(record, make.facts(now, **facts), LIMITS)


def waits(record: ChangeRecord, now: datetime = NOW, **facts: Any) -> Wait:
    """Return the next action, which must be to wait."""
    action = act(record, now, **facts)
    assert isinstance(action, Wait)
    assert action.until > now
    return action


def fails(record: ChangeRecord, failure: Failure, now: datetime = NOW, **facts: Any) -> Event:
    """Return the event of a failure at a time, with a jitter of a half."""
    return after_failure(record, failure, make.facts(now, **facts), 0.5, LIMITS)


# -- each phase has one step ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "action"),
    [
        (Phase.PLANNED, decide.GenerateKey),
        (Phase.KEY_READY, decide.BeginRequest),
        (Phase.REQUESTED, decide.RequestCertificate),
        (Phase.ISSUED, decide.RegisterThing),
        (Phase.REGISTERED, decide.PrepareGeneration),
        (Phase.PREPARED, decide.Prove),
        (Phase.PROVEN, decide.Activate),
        (Phase.ACTIVE, decide.Deploy),
        (Phase.DEPLOYED, Wait),
        (Phase.COMMITTED, decide.Finish),
        (Phase.RETIRED, decide.Finish),
        (Phase.REJECTED, decide.Finish),
        (Phase.ROLLED_BACK, decide.Finish),
    ],
)
def test_each_phase_has_one_next_step(phase: Phase, action: type[decide.Action]) -> None:
    """Without trouble the phase alone decides, and says why."""
    found = act(make.record(phase))

    assert type(found) is action
    assert found.why


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.ended])
@pytest.mark.parametrize("now", [NOW, YEAR_1970])
def test_a_change_that_has_ended_is_only_finished(phase: Phase, now: datetime) -> None:
    """Neither a delay, nor a crash loop, nor a wrong clock keeps the outcome from the history."""
    record = make.record(phase, retry_at=NOW + HOUR, resumes=99, condemned=REFUSED)

    assert type(act(record, now, state=ClockState.IMPLAUSIBLE)) is decide.Finish


# -- the clock -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", make.UNFINISHED)
@pytest.mark.parametrize("now", [YEAR_1970, NOW])
def test_an_unbelievable_clock_judges_nothing(phase: Phase, now: datetime) -> None:
    """Below the floor the agent only waits, looks again within a minute, and says what the clock shows."""
    record = make.record(phase, resumes=99, retry_at=NOW + MINUTE)
    wait = waits(record, now, state=ClockState.IMPLAUSIBLE)

    assert wait.code == "clock"
    assert wait.until <= now + MINUTE
    assert f"{now:%Y-%m-%d}" in wait.why


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_condemned_set_is_rolled_back_under_any_clock(phase: Phase) -> None:
    """The judgement was made under a clock that could be believed; carrying it out needs none."""
    record = make.record(phase, condemned=REFUSED, resumes=99)

    assert type(act(record)) is decide.RollBack
    assert type(act(record, YEAR_1970, state=ClockState.IMPLAUSIBLE)) is decide.RollBack
    assert REFUSED.message in act(record).why


@pytest.mark.parametrize("phase", make.UNFINISHED)
@pytest.mark.parametrize("now", [YEAR_1970, NOW])
@pytest.mark.parametrize("since", [None, NOW - 30 * DAY])
@pytest.mark.parametrize(
    "failure",
    [
        REFUSED,
        UNAUTHORISED,
        make.failure(F.STORE, "damaged", decisive=True),
        make.failure(F.SERVER_TRUST, decisive=True),
        make.failure(F.PROTOCOL, "request-refused"),
        make.failure(F.NETWORK, "no-reply"),
    ],
    ids=lambda failure: failure.code if isinstance(failure, Failure) else None,
)
def test_a_failure_under_an_unbelievable_clock_ends_and_condemns_nothing(
    phase: Phase, now: datetime, since: datetime | None, failure: Failure
) -> None:
    """Whatever the clock was lost in the middle of is blamed on the clock, keeps its name and is tried again."""
    record = make.record(phase, refused_since=since, requests=(NOW - HOUR,) * 50)
    found = fails(record, failure, now, state=ClockState.IMPLAUSIBLE)

    assert isinstance(found, RequestFailed if phase is Phase.REQUESTED else StepFailed)
    assert (found.failure.kind, found.failure.code, found.failure.decisive) == (F.CLOCK, failure.code, False)
    assert found.failure.message == failure.message
    assert "timedatectl" in found.failure.remedy
    assert found.failure.promise == "The agent goes on as soon as the clock is set."
    due = now + timedelta(seconds=BACKOFFS[F.CLOCK].delay(1, 0.5))
    spaced = phase is Phase.REQUESTED and not traits(failure.code).nothing_issued
    assert found.retry_at == (now + 64 * giving_up.LOST_REQUEST if spaced else due)
    after = advance(record, found)
    assert (after.refused_since, after.condemned) == (since, None)
    assert after.phase is (Phase.KEY_READY if phase is Phase.REQUESTED else phase)


@pytest.mark.parametrize(("code", "doubt"), [("no-reply", 1), ("session-lost", 1), ("timeout", 0)])
def test_a_registration_stays_in_doubt_when_the_clock_is_lost_meanwhile(code: str, doubt: int) -> None:
    """The clock takes the blame, and yet a registration that was sent and not answered may have got through."""
    record = make.record(Phase.ISSUED)
    record = advance(record, fails(record, make.failure(code=code), YEAR_1970, state=ClockState.IMPLAUSIBLE))

    assert record.unanswered == doubt
    later = act(record, NOW + HOUR)
    assert type(later) is (decide.AssumeRegistered if doubt else decide.DropCertificate)


@pytest.mark.parametrize(
    ("unanswered", "thing", "event"),
    [(0, make.THING, TokenExpired), (1, None, TokenExpired), (1, make.THING, Registered)],
)
@pytest.mark.parametrize("now", [YEAR_1970, NOW])
def test_a_refused_token_means_the_same_under_any_clock(
    now: datetime, unanswered: int, thing: str | None, event: type[Event]
) -> None:
    """What the service says of a token is not judged by this gateway's clock."""
    record = make.record(Phase.ISSUED, unanswered=unanswered, thing_name=None)
    failure = make.failure(F.PROTOCOL, "token-invalid")
    found = fails(record, failure, now, state=ClockState.IMPLAUSIBLE, expected_thing=thing)

    assert type(found) is event
    assert found.at == now


@pytest.mark.parametrize("phase", WITH_A_KEY)
@pytest.mark.parametrize("now", [YEAR_1970, NOW])
def test_a_lost_key_is_lost_under_any_clock(phase: Phase, now: datetime) -> None:
    """No clock brings a key back, so the change begins again, after the delay of a wrong clock."""
    record = make.record(phase)
    found = fails(record, KEY_LOST, now, state=ClockState.IMPLAUSIBLE)

    assert isinstance(found, KeyLost)
    assert (found.failure.kind, found.failure.code, found.failure.decisive) == (F.CLOCK, "key-lost", False)
    assert found.retry_at == now + timedelta(seconds=BACKOFFS[F.CLOCK].delay(1, 0.5))
    assert advance(record, found).phase is Phase.PLANNED


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
@pytest.mark.parametrize("base", [6, None])
@pytest.mark.parametrize("failure", [REFUSED, UNAUTHORISED, make.failure(F.STORE, "damaged", decisive=True)])
def test_what_is_condemned_is_not_condemned_again(phase: Phase, failure: Failure, base: int | None) -> None:
    """A rollback that fails, however decisively, is tried again after a delay, for the reason it had."""
    record = make.record(phase, base=base, condemned=REFUSED, refused_since=NOW - 30 * DAY)
    found = fails(record, failure)

    assert isinstance(found, StepFailed)
    assert not found.failure.decisive
    assert found.retry_at == NOW + timedelta(seconds=BACKOFFS[failure.kind].delay(1, 0.5))
    record = advance(record, found)
    assert record.condemned == REFUSED
    assert waits(record).code == "retry"
    assert type(act(record, found.retry_at)) is decide.RollBack


def test_a_rollback_that_failed_waits_before_it_is_tried_again() -> None:
    """A disk that refuses the rollback is not hammered."""
    record = make.record(Phase.DEPLOYED, condemned=REFUSED)
    record = advance(record, fails(record, make.failure(F.STORE)))

    assert waits(record).code == "retry"
    assert record.retry_at is not None
    assert type(act(record, record.retry_at)) is decide.RollBack


@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_an_unsynchronised_clock_holds_nothing_up(phase: Phase) -> None:
    """A gateway whose clock is never synchronised still rotates."""
    record = make.record(phase)

    assert type(act(record, state=ClockState.UNSYNCHRONISED)) is type(act(record))


# -- delays --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_a_failed_step_waits_for_its_time_and_no_longer(phase: Phase) -> None:
    """Until the persisted time the agent waits, with the reason; from then on it acts."""
    failure = make.failure(message="Nothing answers.")
    record = make.record(phase, retry_at=NOW + 10 * SECOND, failure=failure)
    wait = waits(record)

    assert (wait.code, wait.until, wait.failure) == ("retry", NOW + 10 * SECOND, failure)
    assert wait.why == "Nothing answers. Next try at 2027-03-01 12:00:10 UTC."
    later = act(record, NOW + 10 * SECOND)
    assert not isinstance(later, Wait) or later.code != "retry"


def test_a_clock_that_was_set_back_does_not_turn_a_delay_into_years() -> None:
    """A time that lies further ahead than any delay can is not waited for."""
    record = make.record(Phase.PREPARED, retry_at=NOW)
    longest = timedelta(seconds=LONGEST_DELAY)

    assert waits(record, NOW - longest).until == NOW
    assert type(act(record, NOW - longest - SECOND)) is decide.Prove


def test_a_delay_without_a_reason_still_says_something() -> None:
    """A record that lost its failure explains the wait nevertheless."""
    assert "the last try failed" in waits(make.record(Phase.PREPARED, retry_at=NOW + SECOND)).why


# -- the daily limit -----------------------------------------------------------------------------------------------


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


# -- the ownership token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unanswered", [0, 1])
@pytest.mark.parametrize("elapsed", [timedelta(), TOKEN_LIFETIME - SECOND, -TOKEN_LIFETIME + SECOND])
def test_a_certificate_is_registered_while_its_token_lives(elapsed: timedelta, unanswered: int) -> None:
    """Up to 55 minutes after its arrival the token is used, again and again if need be."""
    record = make.record(Phase.ISSUED, unanswered=unanswered)

    assert type(act(record, NOW + elapsed)) is decide.RegisterThing


@pytest.mark.parametrize("elapsed", [TOKEN_LIFETIME, HOUR, 400 * DAY, -TOKEN_LIFETIME])
@pytest.mark.parametrize(
    ("unanswered", "thing", "action"),
    [
        (0, make.THING, decide.DropCertificate),
        (0, None, decide.DropCertificate),
        (1, None, decide.DropCertificate),
        (1, make.THING, decide.AssumeRegistered),
        (5, make.THING, decide.AssumeRegistered),
    ],
)
def test_a_dead_token_is_judged_by_what_may_have_been_registered(
    elapsed: timedelta, unanswered: int, thing: str | None, action: type[decide.Action]
) -> None:
    """An unanswered registration of a known thing is left to the proof; any other certificate is dropped."""
    record = make.record(Phase.ISSUED, unanswered=unanswered)

    assert type(act(record, NOW + elapsed, expected_thing=thing)) is action


def test_the_token_is_given_up_before_aws_deletes_the_certificate() -> None:
    """AWS deletes an unregistered certificate after an hour; minutes are left for two clocks that differ."""
    assert HOUR - 10 * MINUTE <= TOKEN_LIFETIME < HOUR


@pytest.mark.parametrize("decisive", [True, False])
@pytest.mark.parametrize(
    ("unanswered", "thing", "event"),
    [
        (0, make.THING, TokenExpired),
        (1, None, TokenExpired),
        (1, make.THING, Registered),
    ],
)
def test_a_refused_token_ends_no_change(
    unanswered: int, thing: str | None, event: type[Event], *, decisive: bool
) -> None:
    """A token refused after an unanswered registration was spent by it; any other is dead, so a new key is made."""
    record = make.record(Phase.ISSUED, unanswered=unanswered, thing_name=None)
    found = fails(record, make.failure(F.PROTOCOL, "token-invalid", decisive=decisive), expected_thing=thing)

    assert type(found) is event
    after = advance(record, found)
    assert after.phase is (Phase.REGISTERED if event is Registered else Phase.PLANNED)
    assert after.thing_name == (make.THING if event is Registered else None)


@pytest.mark.parametrize("phase", [phase for phase in make.UNFINISHED if phase is not Phase.ISSUED])
def test_a_refused_token_means_something_in_its_phase_only(phase: Phase) -> None:
    """Outside of registration the code is a failure like any other."""
    found = fails(make.record(phase), make.failure(F.NETWORK, "token-invalid"))

    assert isinstance(found, StepFailed | RequestFailed)


# -- what a failure means ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [F.NETWORK, F.CLOCK, F.THROTTLED, F.STORE, F.SERVER_TRUST, F.CREDENTIAL])
@pytest.mark.parametrize("phase", make.UNFINISHED)
@pytest.mark.parametrize("since", [None, NOW - 30 * DAY])
def test_what_is_not_decisive_ends_nothing(phase: Phase, kind: FailureClass, since: datetime | None) -> None:
    """No network, clock, throttling, disk or unverified server ends a change, however long it lasts."""
    record = make.record(phase, refused_since=since, attempts=10**6, requests=(NOW - HOUR,) * 50)
    failure = make.failure(kind)
    found = fails(record, failure)

    assert isinstance(found, RequestFailed if phase is Phase.REQUESTED else StepFailed)
    assert found.failure == failure
    assert not advance(record, found).phase.ended


@pytest.mark.parametrize("kind", FailureClass)
@pytest.mark.parametrize("phase", PREPARED)
def test_a_prepared_generation_outlives_every_failure_that_is_not_decisive(phase: Phase, kind: FailureClass) -> None:
    """Once a generation is prepared no class of failure ends the change without being decisive."""
    record = make.record(phase, refused_since=NOW - 30 * DAY, requests=(NOW - HOUR,) * 50)
    goes_on = Deployed if (phase, kind) == (Phase.ACTIVE, F.DEPENDANT) else StepFailed

    assert isinstance(fails(record, make.failure(kind, "request-refused")), goes_on)


DEPENDANTS_PATIENCE = Limits().dependants_patience


@pytest.mark.parametrize("decisive", [False, True])
@pytest.mark.parametrize("since", [None, NOW, NOW - DEPENDANTS_PATIENCE + timedelta(seconds=1)])
def test_a_dependant_is_given_time_to_come_up(since: datetime | None, *, decisive: bool) -> None:
    """Within its patience it is tried again, whatever its owner wants of a failure that lasts."""
    found = fails(make.record(Phase.ACTIVE, refused_since=since), make.failure(F.DEPENDANT, decisive=decisive))

    assert isinstance(found, StepFailed)
    assert not found.failure.decisive
    assert found.retry_at <= NOW + timedelta(seconds=30)
    assert ("after 2 min" in found.failure.promise) == decisive


@pytest.mark.parametrize(
    ("tried_for", "seconds"), [(0, 6), (3, 3), (5, 1), (5.5, 1)], ids=["fresh", "half", "nearly", "less than a second"]
)
def test_a_dependant_is_tried_last_when_its_patience_is_over(tried_for: float, seconds: float) -> None:
    """However long the delay between two tries has become: six seconds are six seconds."""
    limits = Limits(dependants_patience=timedelta(seconds=6))
    since = NOW - timedelta(seconds=tried_for)
    record = make.record(Phase.ACTIVE, refused_since=since, attempts=5)
    found = giving_up.after_failure(record, make.failure(F.DEPENDANT), make.facts(), 0.99, limits)

    assert isinstance(found, StepFailed)
    assert found.retry_at == NOW + timedelta(seconds=seconds)


def test_a_change_goes_on_without_a_dependant_that_fails_for_long() -> None:
    """It says so in its record, which is what the history, the exit code and the job's answer are made of."""
    record = make.record(Phase.ACTIVE, refused_since=NOW - DEPENDANTS_PATIENCE)
    failure = make.failure(F.DEPENDANT)
    event = fails(record, failure)
    after = advance(record, event)

    assert (after.phase, after.degraded, after.probation_until) == (
        Phase.DEPLOYED, failure, NOW + Limits().probation,
    )  # fmt: skip
    assert advance(after, make.event(ProbationPassed)).degraded == failure


def test_a_change_goes_back_for_a_dependant_whose_owner_wants_that() -> None:
    """Once its patience is over, and never twice."""
    record = make.record(Phase.ACTIVE, refused_since=NOW - DEPENDANTS_PATIENCE)
    failure = make.failure(F.DEPENDANT, decisive=True)
    condemned = advance(record, fails(record, failure))

    assert condemned.condemned == failure
    assert isinstance(act(condemned), decide.RollBack)
    assert isinstance(fails(replace(condemned, refused_since=NOW - DAY), failure), StepFailed)


def test_a_first_certificate_stays_though_a_dependant_fails() -> None:
    """There is nothing to go back to, and a gateway that connects is worth more than what else runs on it."""
    record = make.record(Phase.ACTIVE, kind=Kind.ENROLL, base=None, refused_since=NOW - DAY)
    found = fails(record, make.failure(F.DEPENDANT, decisive=True))

    assert isinstance(found, Deployed)
    assert found.problem is not None
    assert not found.problem.decisive


@pytest.mark.parametrize(("asked", "factor"), [(1, 1), (2, 4), (3, 16), (4, 64), (9, 64)])
@pytest.mark.parametrize("code", ["no-reply", "session-lost", "throttled"])
def test_requests_that_may_have_cost_a_certificate_are_spaced(asked: int, factor: int, code: str) -> None:
    """A bad minute must not use up the day's budget; what certainly cost nothing goes by its class alone."""
    record = make.record(Phase.REQUESTED, requests=(NOW,) * asked)
    found = fails(record, make.failure(code=code))

    assert isinstance(found, RequestFailed)
    least = timedelta() if traits(code).nothing_issued else factor * giving_up.LOST_REQUEST
    assert found.retry_at == max(NOW + timedelta(seconds=BACKOFFS[F.NETWORK].delay(1, 0.5)), NOW + least)


@pytest.mark.parametrize("kind", FailureClass)
@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_a_failure_is_retried_by_the_backoff_of_its_class(phase: Phase, kind: FailureClass) -> None:
    """The delay follows from class, attempts and jitter alone, and counts from the present."""
    record = make.record(phase, attempts=3, refusals=3)
    found = fails(record, make.failure(kind))

    assert isinstance(found, StepFailed | RequestFailed)
    assert found.at == NOW
    delay = timedelta(seconds=BACKOFFS[kind].delay(4, 0.5))
    assert found.retry_at == NOW + (max(delay, giving_up.LOST_REQUEST) if phase is Phase.REQUESTED else delay)


@pytest.mark.parametrize(
    ("failure", "patience"), [(REFUSED, MINUTE), (UNAUTHORISED, 10 * MINUTE)], ids=["refused", "not authorised"]
)
@pytest.mark.parametrize(
    ("phase", "end"),
    [(Phase.PREPARED, Rejected), (Phase.PROVEN, Rejected), (Phase.ACTIVE, Condemned), (Phase.DEPLOYED, Condemned)],
)
def test_a_refusal_is_believed_once_it_has_lasted(
    phase: Phase, end: type[Event], failure: Failure, patience: timedelta
) -> None:
    """A fresh certificate or policy gets the time to spread in the cloud; a refusal that lasts is a verdict."""
    record = make.record(phase)
    first = fails(record, failure)
    assert isinstance(first, StepFailed)
    assert not first.failure.decisive
    assert duration(patience) in first.failure.promise

    record = advance(record, first)
    assert isinstance(fails(record, failure, NOW + patience - SECOND), StepFailed)
    last = fails(record, failure, NOW + patience)
    assert last == end(at=NOW + patience, failure=failure)  # type: ignore[call-arg]
    assert advance(record, last).failure == failure


@pytest.mark.parametrize(
    ("failure", "patience"), [(REFUSED, MINUTE), (UNAUTHORISED, 10 * MINUTE)], ids=["refused", "not authorised"]
)
@pytest.mark.parametrize("phase", PREPARED)
@pytest.mark.parametrize("back", [SECOND, HOUR, 30 * DAY])
def test_a_clock_that_was_set_back_begins_the_patience_anew(
    phase: Phase, back: timedelta, failure: Failure, patience: timedelta
) -> None:
    """A first refusal that lies in the future says nothing about how long the refusal has lasted."""
    record = make.record(phase, refused_since=NOW)
    again = NOW - back
    found = fails(record, failure, again)
    assert isinstance(found, StepFailed)

    record = advance(record, found)
    assert record.refused_since == again
    assert isinstance(fails(record, failure, again + patience - SECOND), StepFailed)
    assert isinstance(fails(record, failure, again + patience), Condemned if phase.activated else Rejected)


@pytest.mark.parametrize("failure", [REFUSED, UNAUTHORISED, make.failure(F.STORE, "damaged", decisive=True)])
def test_a_generation_that_may_be_in_use_is_not_rejected(failure: Failure) -> None:
    """After a power cut within the activation `current` tells that the proven set is in use, and the change goes on."""
    record = make.record(Phase.PROVEN, refused_since=NOW - 30 * DAY)
    found = fails(record, failure, current=7)

    assert isinstance(found, StepFailed)
    assert not found.failure.decisive
    # Only what may need time to spread is told to.
    assert ("may need time to spread" in found.failure.promise) == (failure.kind is not F.STORE)
    assert (found.failure.remedy == failure.remedy) == (failure.kind is F.STORE)
    assert isinstance(fails(record, failure, current=6), Rejected)
    assert isinstance(fails(record, failure, current=None), Rejected)


@pytest.mark.parametrize("phase", PREPARED)
@pytest.mark.parametrize("kind", [F.SERVER_TRUST, F.OPERATOR, F.STORE])
@pytest.mark.parametrize("since", [None, NOW - DAY, NOW, NOW + SECOND, NOW + 30 * DAY])
def test_what_needs_no_time_to_spread_is_believed_at_once(
    phase: Phase, kind: FailureClass, since: datetime | None
) -> None:
    """A decisive failure that is no refusal has nothing to wait for, whenever a refusal was first met."""
    found = fails(make.record(phase, refused_since=since), make.failure(kind, decisive=True))

    assert isinstance(found, Condemned if phase.activated else Rejected)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
@pytest.mark.parametrize(
    ("failure", "patience"),
    [
        (REFUSED, MINUTE),
        (UNAUTHORISED, 10 * MINUTE),
        (make.failure(F.SERVER_TRUST, decisive=True), timedelta()),
    ],
)
def test_a_first_enrolment_that_is_refused_ends_so_that_the_ladder_goes_on(
    phase: Phase, failure: Failure, patience: timedelta
) -> None:
    """Without a base generation there is nothing to go back to: past the patience the change ends where it is."""
    record = make.record(phase, kind=Kind.ENROLL, base=None, refused_since=NOW, refusals=1)
    if patience:
        early = fails(record, failure, NOW + patience - SECOND)
        assert isinstance(early, StepFailed)
        assert not early.failure.decisive
        assert advance(record, early).phase is phase
    found = fails(record, failure, NOW + patience)

    assert found == Rejected(at=NOW + patience, failure=failure)
    ended = advance(record, found)
    assert (ended.phase, ended.failure, ended.condemned) == (Phase.REJECTED, failure, None)
    assert fails(replace(record, base=6), failure, NOW + patience) == Condemned(at=NOW + patience, failure=failure)


@pytest.mark.parametrize("phase", NOT_PREPARED)
@pytest.mark.parametrize("since", [None, NOW, NOW + DAY])
def test_a_refused_source_ends_a_change_that_has_prepared_nothing_at_once(phase: Phase, since: datetime | None) -> None:
    """The certificate that a change starts from is not fresh, so it needs no time to spread."""
    assert fails(make.record(phase, refused_since=since), REFUSED) == Rejected(at=NOW, failure=REFUSED)


@pytest.mark.parametrize("phase", NOT_PREPARED)
@pytest.mark.parametrize("decisive", [True, False])
def test_not_authorised_ends_an_early_change_when_policies_have_had_their_time(phase: Phase, *, decisive: bool) -> None:
    """Ten minutes after the first such answer the last one ends the change, whatever a control met."""
    failure = make.failure(F.POLICY, "not-authorised", decisive=decisive)
    record = make.record(phase, refused_since=NOW)

    assert isinstance(fails(make.record(phase), failure), StepFailed | RequestFailed)
    assert isinstance(fails(record, failure, NOW + 10 * MINUTE - SECOND), StepFailed | RequestFailed)
    assert isinstance(fails(record, failure, NOW + 10 * MINUTE), Rejected)


@pytest.mark.parametrize("code", sorted(make.codes("of_the_account")))
@pytest.mark.parametrize(("origin", "patience"), [(Origin.TECHNICIAN, MINUTE), (Origin.SCHEDULE, 10 * MINUTE)])
def test_what_the_account_says_keeps_a_person_waiting_for_a_minute(
    code: str, origin: Origin, patience: timedelta
) -> None:
    """No policy has to spread for it. A daemon gives the account's people longer, with the same certificate."""
    record = make.record(Phase.ISSUED, origin=origin, refused_since=NOW)
    failure = make.failure(F.POLICY, code)

    assert isinstance(fails(record, failure, NOW + patience - SECOND), StepFailed)
    assert isinstance(fails(record, failure, NOW + patience), Rejected)


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.PREPARED, Phase.DEPLOYED])
def test_what_ends_a_change_promises_no_further_try(phase: Phase) -> None:
    """Where nothing is tried again, a person who reads that it is would wait for it. What helps stays as it is."""
    failure = replace(REFUSED, remedy="Check that it is tried; the agent retries.", promise="The agent retries.")
    record = make.record(phase)

    for end in (Rejected(at=NOW, failure=failure), Condemned(at=NOW, failure=failure)):
        if isinstance(end, Condemned) == phase.activated:
            ended = advance(record, end)
            assert ended.failure == replace(failure, promise="")
            assert ended.condemned == (ended.failure if phase.activated else None)
    kept = advance(record, StepFailed(at=NOW, failure=failure, retry_at=NOW + MINUTE))
    assert kept.failure == failure


@pytest.mark.parametrize("asked", range(1, 5))
def test_a_bad_reply_is_asked_for_again_a_bounded_number_of_times(asked: int) -> None:
    """A certificate that fails acceptance is asked for three times by one change, then the change ends."""
    record = make.record(Phase.REQUESTED, requests=(NOW - HOUR,) * asked)
    found = fails(record, make.failure(F.PROTOCOL, "certificate-unacceptable"))

    assert isinstance(found, RequestFailed if asked < 3 else Rejected)


@pytest.mark.parametrize("code", sorted(make.codes("final")))
@pytest.mark.parametrize("phase", [Phase.REQUESTED, Phase.ISSUED])
def test_an_answer_that_asking_again_cannot_change_ends_the_change(phase: Phase, code: str) -> None:
    """The first such answer is the last."""
    assert isinstance(fails(make.record(phase), make.failure(F.PROTOCOL, code)), Rejected)


@make.MANY
@given(
    kind=st.sampled_from(F),
    phase=st.sampled_from(make.UNFINISHED),
    decisive=st.booleans(),
    since=st.none() | st.timedeltas(timedelta(), 30 * DAY),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_every_failure_of_every_step_has_an_event_that_the_record_takes(
    kind: FailureClass, phase: Phase, since: timedelta | None, jitter: float, *, decisive: bool
) -> None:
    """No failure is without an answer: the record advances, waits at most an hour, or ends, with the failure told."""
    record = make.record(phase, refused_since=None if since is None else NOW - since)
    failure = make.failure(kind, "hung-up", decisive=decisive)
    event = after_failure(record, failure, make.facts(), jitter, LIMITS)
    after = advance(record, event)

    goes_on = isinstance(event, Deployed)  # without a dependant
    told = after.degraded if goes_on else after.failure
    assert told is not None
    assert told.message == failure.message
    waiting = after.retry_at is not None
    assert waiting != (goes_on or after.phase.ended or after.condemned is not None)
    if after.retry_at is not None:
        assert NOW + SECOND <= after.retry_at <= NOW + timedelta(seconds=LONGEST_DELAY)


# -- a lost key ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", WITH_A_KEY)
def test_a_lost_key_begins_the_change_again_after_a_delay(phase: Phase) -> None:
    """A certificate for a key that is gone is worthless, so another key is made, with the reason and not at once."""
    record = make.record(phase, attempts=5)
    found = fails(record, KEY_LOST)

    assert found == KeyLost(at=NOW, failure=KEY_LOST, retry_at=NOW + timedelta(seconds=BACKOFFS[F.STORE].delay(1, 0.5)))
    record = advance(record, found)
    wait = waits(record)
    assert (record.phase, wait.code, wait.failure) == (Phase.PLANNED, "retry", KEY_LOST)
    assert type(act(record, wait.until)) is decide.GenerateKey


def test_a_key_that_is_lost_again_and_again_never_makes_the_agent_spin() -> None:
    """Between any two keys there is a delay of at least the class's shortest."""
    record, now = make.record(Phase.KEY_READY), NOW
    for _ in range(50):
        record = advance(record, after_failure(record, KEY_LOST, make.facts(now), 0, LIMITS))
        wait = waits(record, now)
        assert wait.until - now >= timedelta(seconds=BACKOFFS[F.STORE].floor)
        now = wait.until
        record = advance(record, KeyReady(at=now))


# -- probation -----------------------------------------------------------------------------------------------------


def test_probation_waits_for_the_next_proof() -> None:
    """Within the trial period the set is proven once a minute, and the agent says until when it lasts."""
    wait = waits(make.record(Phase.DEPLOYED), NOW + 20 * SECOND)

    assert (wait.code, wait.until) == ("probation", NOW + MINUTE)
    assert "generation 7" in wait.why
    assert "2027-03-01 12:10:00 UTC" in wait.why


@pytest.mark.parametrize("checked", [NOW, None])
def test_a_proof_is_due_a_minute_after_the_last_one(checked: datetime | None) -> None:
    """The minute counts from the last proof or, without one, from the phase's beginning."""
    record = make.record(Phase.DEPLOYED, checked_at=checked)

    assert type(act(record, NOW + MINUTE)) is decide.HoldProbation
    assert waits(record, NOW + MINUTE - SECOND).until == NOW + MINUTE


def test_the_last_wait_ends_with_probation() -> None:
    """No wait reaches beyond the end, at which the last proof is made."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + 10 * MINUTE - 20 * SECOND)

    assert waits(record, NOW + 10 * MINUTE - 10 * SECOND).until == NOW + 10 * MINUTE
    assert type(act(record, NOW + 10 * MINUTE)) is decide.EndProbation
    assert type(act(record, NOW + 400 * DAY)) is decide.EndProbation


def test_a_clock_that_was_set_back_far_does_not_prolong_probation() -> None:
    """An end that lies further ahead than a whole trial period is not waited for; one more proof decides."""
    assert type(act(make.record(Phase.DEPLOYED), NOW - 30 * DAY)) is decide.EndProbation


def test_a_clock_that_was_set_back_within_probation_makes_the_next_proof_due() -> None:
    """A last proof that lies in the future says nothing, so the set is proven now."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + 5 * MINUTE)

    assert type(act(record, NOW + MINUTE)) is decide.HoldProbation


@pytest.mark.parametrize("back", [SECOND, MINUTE, 10 * MINUTE, 11 * MINUTE])
def test_a_small_step_back_does_not_end_probation(back: timedelta) -> None:
    """A clock that was set back by up to the trial period and a minute cuts nothing of the trial short."""
    record = make.record(Phase.DEPLOYED)

    assert not isinstance(act(record, NOW - back), decide.EndProbation)
    assert not isinstance(act(record, NOW - back + 5 * SECOND), decide.EndProbation)
    assert type(act(record, NOW - 11 * MINUTE - SECOND)) is decide.EndProbation


@pytest.mark.parametrize("back", [SECOND, MINUTE, 2 * MINUTE])
def test_a_small_step_back_makes_no_proof_due(back: timedelta) -> None:
    """The next proof stays where it was unless it has moved further away than a step of the clock explains."""
    record = make.record(Phase.DEPLOYED)

    assert waits(record, NOW - back).until == NOW + MINUTE
    assert type(act(record, NOW - 2 * MINUTE - SECOND)) is decide.HoldProbation


def test_probation_without_an_end_is_over() -> None:
    """A record that lost the end of its probation is not on probation for ever."""
    assert type(act(make.record(Phase.DEPLOYED, probation_until=None))) is decide.EndProbation


def test_a_proof_within_probation_that_fails_is_tried_again_and_keeps_the_set() -> None:
    """An outage within the trial period is waited out, and probation goes on afterwards."""
    record = make.record(Phase.DEPLOYED)
    record = advance(record, fails(record, make.failure(code="timeout"), NOW + MINUTE))
    assert record.retry_at is not None

    assert waits(record, NOW + MINUTE).code == "retry"
    assert type(act(record, record.retry_at)) is decide.HoldProbation


# -- probation, when a person confirms ---------------------------------------------------------------------------------


def test_a_confirmed_set_is_proven_once_more_and_then_final() -> None:
    """Nine minutes of probation are not waited for, but no word makes a set final that is refused."""
    record = advance(make.record(Phase.DEPLOYED), Confirmed(at=NOW + MINUTE))
    assert type(act(record, NOW + MINUTE)) is decide.EndProbation

    failed = advance(record, fails(record, make.failure(F.NETWORK), NOW + MINUTE))
    assert failed.retry_at is not None
    assert type(act(failed, failed.retry_at)) is decide.EndProbation
    refused = advance(record, fails(record, REFUSED, NOW + MINUTE, base_accepted=True))
    assert isinstance(fails(refused, REFUSED, NOW + 2 * MINUTE, base_accepted=True), Condemned)


def test_a_confirmation_comes_after_the_others_are_told() -> None:
    """In phase active they take the set up first."""
    assert type(act(advance(make.record(Phase.ACTIVE), Confirmed(at=NOW)))) is decide.Deploy


# -- probation, when the gateway's application is to confirm -----------------------------------------------------------


ASKED = make.record(Phase.DEPLOYED, confirm_until=NOW + 15 * MINUTE)


def test_a_word_that_is_waited_for_is_told_with_its_end_and_the_command() -> None:
    """Proofs go on meanwhile, beyond the end of probation too."""
    wait = waits(ASKED, NOW + 20 * SECOND)
    assert (wait.code, wait.until) == ("probation", NOW + MINUTE)
    assert wait.why.startswith(
        "generation 7 waits for confirmation until 2027-03-01 12:15:00 UTC: `iot-cert confirm`; "
    )

    late = replace(ASKED, checked_at=NOW + 12 * MINUTE)
    assert waits(late, NOW + 12 * MINUTE).until == NOW + 13 * MINUTE
    assert type(act(late, NOW + 13 * MINUTE)) is decide.HoldProbation
    assert waits(replace(late, checked_at=NOW + 14.5 * MINUTE), NOW + 14.5 * MINUTE).until == NOW + 15 * MINUTE


@pytest.mark.parametrize("within", [3 * MINUTE, 10 * MINUTE, 15 * MINUTE, HOUR])
def test_a_word_that_does_not_come_in_time_gives_the_set_up(within: timedelta) -> None:
    """Before probation ends or long after it; another program has failed, and the engine looks whether to go back."""
    record = make.record(Phase.DEPLOYED, confirm_until=NOW + within, checked_at=NOW + within - SECOND)
    assert isinstance(act(record, NOW + within - SECOND), Wait)
    action = act(record, NOW + within)

    assert isinstance(action, decide.Unconfirmed)
    assert (action.failure.kind, action.failure.code, action.failure.decisive) == (F.DEPENDANT, "not-confirmed", True)
    assert action.failure.message == f"Generation 7 was not confirmed within {duration(within)}."
    assert action.failure.remedy


def test_a_word_that_has_come_leaves_the_end_of_probation_where_it_is() -> None:
    """Whichever is later decides; a word after probation makes the set final with one more proof."""
    said = advance(ASKED, Confirmed(at=NOW + MINUTE, early=False))
    wait = waits(replace(said, checked_at=NOW + 2 * MINUTE), NOW + 2 * MINUTE)
    assert wait.why.startswith("generation 7 is on probation until 2027-03-01 12:10:00 UTC; ")
    assert type(act(said, NOW + 10 * MINUTE)) is decide.EndProbation
    assert type(act(advance(ASKED, Confirmed(at=NOW + 12 * MINUTE, early=False)), NOW + 12 * MINUTE)) is (
        decide.EndProbation
    )
    assert type(act(advance(ASKED, Confirmed(at=NOW + MINUTE)), NOW + MINUTE)) is decide.EndProbation


@pytest.mark.parametrize("kind", Kind)
def test_the_word_is_asked_for_by_every_change_but_a_rollback(kind: Kind) -> None:
    """A rollback leads to what was used before, and a person or the ladder has decided so."""
    record, limits = make.record(Phase.ACTIVE, kind=kind), replace(LIMITS, confirm=3 * MINUTE)
    problem = make.failure(F.DEPENDANT)
    event = decide.deployed(record, NOW, limits, problem)

    assert event == Deployed(
        at=NOW, probation=10 * MINUTE, confirm=None if kind is Kind.ROLLBACK else 3 * MINUTE, problem=problem
    )
    failing = replace(record, refused_since=NOW - HOUR)
    assert after_failure(failing, problem, make.facts(), 0.5, limits) == event
    assert decide.deployed(record, NOW, LIMITS).confirm is None


def test_a_configuration_that_changes_meanwhile_changes_no_wait() -> None:
    """What a set has to wait for is settled when it is put in use."""
    asked = replace(LIMITS, confirm=HOUR)

    assert next_action(ASKED, make.facts(NOW + 20 * SECOND), asked) == act(ASKED, NOW + 20 * SECOND)
    assert type(next_action(make.record(Phase.DEPLOYED), make.facts(NOW + 10 * MINUTE), asked)) is decide.EndProbation


def test_a_clock_that_was_set_back_far_does_not_wait_for_years_for_a_word() -> None:
    """A small step costs nothing of the time; a large one ends it, and what connects is decided by the engine."""
    assert isinstance(act(ASKED, NOW - 15 * MINUTE), Wait | decide.HoldProbation)
    assert isinstance(act(ASKED, NOW - 30 * DAY), decide.Unconfirmed)


def test_a_set_that_waits_for_its_word_may_be_refused_meanwhile() -> None:
    """The last word is the broker's."""
    refused = advance(ASKED, fails(ASKED, REFUSED, base_accepted=True))

    assert isinstance(fails(refused, REFUSED, NOW + 3 * SECOND, base_accepted=True), Condemned)


# -- probation, when the set is doubted --------------------------------------------------------------------------------


def doubt(record: ChangeRecord, now: datetime = NOW, **facts: Any) -> Doubted | None:
    """Return the event of a doubt at a time."""
    return decide.doubted(record, make.facts(now, **facts), LIMITS)


def test_a_first_doubt_in_a_quiet_probation_makes_a_proof_due_at_once() -> None:
    """The session was lost long before the set's turn: it is proven now, and until it is accepted."""
    record, now = make.record(Phase.DEPLOYED), NOW + 20 * SECOND
    assert isinstance(act(record, now), Wait)
    found = doubt(record, now)
    assert found == Doubted(at=now, prove_at=now)

    record = advance(record, found)
    assert type(act(record, now)) is decide.HoldProbation
    accepted = advance(record, make.event(ProbationHeld, now))
    assert waits(accepted, now).until == now + MINUTE


def test_a_doubt_right_after_a_proof_waits_its_turn() -> None:
    """Five seconds lie between two proofs, though the second is doubted for."""
    record = make.record(Phase.DEPLOYED)
    found = doubt(record, NOW + SECOND)
    assert found is not None
    assert found.prove_at == NOW + 5 * SECOND

    record = advance(record, found)
    assert waits(record, NOW + SECOND).until == NOW + 5 * SECOND
    assert type(act(record, NOW + 5 * SECOND)) is decide.HoldProbation
    assert doubt(record, NOW + 2 * SECOND) is None, "it is due already"


def test_a_proof_that_is_due_anyway_needs_no_doubt() -> None:
    """Neither at its turn, nor shortly before it, nor when a failed one is tried again sooner."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND)
    soon = make.record(Phase.DEPLOYED, prove_at=NOW, retry_at=NOW + 4 * SECOND, failure=REFUSED)

    assert doubt(make.record(Phase.DEPLOYED), NOW + MINUTE) is None
    assert doubt(make.record(Phase.DEPLOYED), NOW + 10 * MINUTE) is None
    assert doubt(record) is not None
    assert doubt(make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND, prove_at=NOW + SECOND)) is None
    assert doubt(soon, NOW + SECOND) is None


def test_a_doubt_ends_a_long_wait_for_the_network() -> None:
    """Proofs failed for an hour and wait for another; the session is refused, so there is a network again."""
    down = make.failure(F.NETWORK, "unreachable")
    record = make.record(Phase.DEPLOYED, prove_at=NOW - HOUR, retry_at=NOW + HOUR, failure=down, attempts=20)
    found = doubt(record)

    assert found == Doubted(at=NOW, prove_at=NOW)
    assert type(act(advance(record, found))) is decide.HoldProbation


@pytest.mark.parametrize("kind", [F.THROTTLED, F.CLOCK, F.STORE])
def test_a_doubt_does_not_end_a_wait_for_something_else(kind: FailureClass) -> None:
    """The cloud asked for patience, or the disk is full: a session that is lost changes nothing about that."""
    record = make.record(Phase.DEPLOYED, prove_at=NOW - HOUR, retry_at=NOW + HOUR, failure=make.failure(kind))

    assert doubt(record) is None


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.ACTIVE, Phase.DEPLOYED}])
def test_what_is_not_on_probation_is_not_proven_for_a_doubt(phase: Phase) -> None:
    """Nor is a set that is condemned already, or in a crash loop, or under a clock that cannot be."""
    assert doubt(make.record(phase, retry_at=NOW + HOUR)) is None
    assert doubt(make.record(Phase.DEPLOYED, condemned=REFUSED, retry_at=NOW + MINUTE)) is None
    assert doubt(make.record(Phase.DEPLOYED, resumes=11, resumed_at=NOW)) is None
    assert doubt(make.record(Phase.DEPLOYED), state=ClockState.IMPLAUSIBLE) is None


def test_a_doubt_while_other_programs_are_told_has_the_set_proven_first() -> None:
    """One of them fails, perhaps because the certificate is refused; once it is accepted they have their turn again."""
    waiting = make.record(Phase.ACTIVE, checked_at=NOW - MINUTE, retry_at=NOW + 20 * SECOND)
    record = replace(waiting, failure=make.failure(F.DEPENDANT), refused_since=NOW)
    found = doubt(record)
    assert found == Doubted(at=NOW, prove_at=NOW)

    record = advance(record, found)
    assert type(act(record)) is decide.HoldProbation
    refused = advance(record, fails(record, REFUSED))
    assert refused.retry_at is not None
    assert type(act(refused, refused.retry_at)) is decide.HoldProbation
    lost = advance(record, fails(record, make.failure(F.NETWORK)))
    assert lost.retry_at is not None
    assert type(act(lost, lost.retry_at)) is decide.Deploy
    assert type(act(advance(record, make.event(ProbationHeld)))) is decide.Deploy


@pytest.mark.parametrize("accepted", [True, False])
def test_a_network_that_flaps_costs_few_proofs(*, accepted: bool) -> None:
    """A doubt a second for half an hour: proofs are five seconds apart, and ever further while they fail."""
    record, proofs = make.record(Phase.DEPLOYED, probation_until=NOW + HOUR), [NOW]
    limits = replace(LIMITS, probation=HOUR)
    for second in range(1, 1800):
        facts = make.facts(NOW + second * SECOND)
        found = decide.doubted(record, facts, limits)
        record = record if found is None else advance(record, found)
        if isinstance(decide.next_action(record, facts, limits), decide.HoldProbation):
            proofs.append(facts.clock.now)
            down = after_failure(record, make.failure(F.NETWORK, "hung-up"), facts, 0.999, limits)
            record = advance(record, make.event(ProbationHeld, facts.clock.now) if accepted else down)

    apart = [later - at for at, later in pairwise(proofs)]
    # One that failed is tried again by the backoff of its class, which is short at first.
    assert min(apart) >= (5 * SECOND if accepted else 3 * SECOND)
    assert len(proofs) <= (1800 / 5 + 1 if accepted else 20)
    assert apart[-1] <= (5 * SECOND if accepted else 5 * MINUTE)


def test_a_clock_that_was_set_back_puts_no_doubted_proof_off() -> None:
    """A last proof that lies in the future says nothing; it is five seconds at most."""
    record = make.record(Phase.DEPLOYED, checked_at=NOW + 50 * SECOND)
    found = doubt(record)

    assert found is not None
    assert found.prove_at == NOW + 5 * SECOND


# -- probation, when a set that was accepted is refused ----------------------------------------------------------------


ACCEPTED = make.record(Phase.DEPLOYED, checked_at=NOW - MINUTE)


def test_a_set_that_was_accepted_before_is_left_at_the_second_refusal() -> None:
    """No spreading explains it, and the base is accepted over the same path: going back cuts no gateway off."""
    first = fails(ACCEPTED, REFUSED, base_accepted=True)
    assert isinstance(first, StepFailed)
    assert not first.failure.decisive
    assert first.failure.promise == "It was accepted before; refused again, it is left for generation 6."
    assert first.retry_at <= NOW + 4 * SECOND

    record = advance(ACCEPTED, first)
    assert fails(record, REFUSED, first.retry_at, base_accepted=True) == Condemned(at=first.retry_at, failure=REFUSED)


@pytest.mark.parametrize("failure", [REFUSED, UNAUTHORISED])
@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_refusal_in_use_is_confirmed_soon_whatever_else_failed_for_long(phase: Phase, failure: Failure) -> None:
    """A long outage, or another program, made the delays long; the first refusal is tried again like a first one."""
    found = fails(make.record(phase, attempts=20), failure)

    assert isinstance(found, StepFailed)
    assert found.retry_at == NOW + timedelta(seconds=BACKOFFS[failure.kind].delay(1, 0.5))


def test_a_stray_refusal_of_a_set_on_probation_does_no_harm() -> None:
    """Accepted again, it counts as never refused: the next refusal is the first."""
    record = advance(ACCEPTED, fails(ACCEPTED, REFUSED, base_accepted=True))
    record = advance(record, make.event(ProbationHeld, NOW + 3 * SECOND))

    assert isinstance(fails(record, REFUSED, NOW + MINUTE, base_accepted=True), StepFailed)


def test_an_outage_between_two_refusals_does_not_hide_the_first() -> None:
    """What counts is that the set was not accepted in between."""
    record = advance(ACCEPTED, fails(ACCEPTED, REFUSED, base_accepted=True))
    record = advance(record, fails(record, make.failure(F.NETWORK, "dns"), NOW + 3 * SECOND))

    assert isinstance(fails(record, REFUSED, NOW + 9 * SECOND, base_accepted=True), Condemned)


@pytest.mark.parametrize(
    ("record", "base_accepted"),
    [
        (ACCEPTED, False),  # another control spoke against it; whether the base works is not known
        (replace(ACCEPTED, kind=Kind.ENROLL, base=None), False),
        (replace(ACCEPTED, kind=Kind.IMPORT, unproven=True, checked_at=None), True),
    ],
    ids=["the claim was the control", "no base", "never accepted"],
)
def test_a_refusal_has_to_last_where_going_back_is_not_known_to_help(
    record: ChangeRecord, *, base_accepted: bool
) -> None:
    """Activation needs time to spread, and a gateway without a base that works has only this set."""
    record = advance(record, fails(record, REFUSED, base_accepted=base_accepted))
    early = fails(record, REFUSED, NOW + MINUTE - SECOND, base_accepted=base_accepted)
    assert isinstance(early, StepFailed)
    assert "after 60 s" in early.failure.promise
    ended = fails(record, REFUSED, NOW + MINUTE, base_accepted=base_accepted)
    assert isinstance(ended, Rejected if record.base is None else Condemned)


@pytest.mark.parametrize("limits", [LIMITS, Limits(refusal_patience=HOUR, policy_patience=MINUTE)])
def test_not_authorised_after_an_answered_request_lasts_a_minute(limits: Limits) -> None:
    """An operator may be changing the policy; but ten minutes off line are for a set that was never answered."""
    facts = make.facts(base_accepted=True)
    first = after_failure(ACCEPTED, UNAUTHORISED, facts, 0.5, limits)
    assert isinstance(first, StepFailed)
    assert first.failure.promise == "It was accepted before; refused again after 60 s, it is left for generation 6."

    record = advance(ACCEPTED, first)
    early = make.facts(NOW + MINUTE - SECOND, base_accepted=True)
    assert isinstance(after_failure(record, UNAUTHORISED, early, 0.5, limits), StepFailed)
    late = make.facts(NOW + MINUTE, base_accepted=True)
    assert isinstance(after_failure(record, UNAUTHORISED, late, 0.5, limits), Condemned)


@pytest.mark.parametrize("failure", [REFUSED, UNAUTHORISED])
def test_a_dependant_that_failed_for_long_lends_its_time_to_no_refusal(failure: Failure) -> None:
    """The first refusal is the first, however long another program has kept the change waiting."""
    record = make.record(Phase.ACTIVE, checked_at=NOW, refused_since=NOW - HOUR, failure=make.failure(F.DEPENDANT))

    assert isinstance(fails(record, failure), StepFailed)
    assert isinstance(fails(record, failure, base_accepted=True), StepFailed)


# -- crash loops ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", make.BEFORE_ACTIVATION)
def test_too_many_starts_without_progress_end_a_change_before_activation(phase: Phase) -> None:
    """The eleventh start is one too many, and the reason names the phase and the number."""
    assert not isinstance(act(make.record(phase, resumes=10)), decide.Reject)
    action = act(make.record(phase, resumes=11))

    assert isinstance(action, decide.Reject)
    assert action.failure.code == "crash-loop"
    assert f"stopped 11 times in phase {phase} " in action.failure.message
    assert action.failure.remedy


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_too_many_starts_after_activation_slow_the_change_down(phase: Phase) -> None:
    """After activation a crash says nothing against the set, so it stays and is tried after a rest."""
    record = make.record(phase, resumes=11, resumed_at=NOW - timedelta(seconds=10), checked_at=NOW - HOUR)
    wait = waits(record)

    assert (wait.code, wait.until) == ("crash-loop", NOW + timedelta(seconds=20))
    assert "stopped 11 times" in wait.why
    assert type(act(record, wait.until)) in {decide.Deploy, decide.HoldProbation, decide.EndProbation}


@pytest.mark.parametrize(("resumes", "seconds"), [(11, 30), (12, 60), (15, 150), (16, 180), (1_000, 180)])
def test_no_crash_loop_keeps_a_set_in_use_for_longer_than_minutes(resumes: int, seconds: int) -> None:
    """It may be a set that the cloud refuses, which only the next try finds out."""
    wait = waits(make.record(Phase.DEPLOYED, resumes=resumes, resumed_at=NOW))

    assert (wait.code, wait.until) == ("crash-loop", NOW + timedelta(seconds=seconds))


def test_a_crash_loop_of_a_generation_that_may_be_in_use_slows_down() -> None:
    """A proven set that `current` points at already is tried after a rest and not set aside."""
    record = make.record(Phase.PROVEN, resumes=11, resumed_at=NOW)
    wait = waits(record, current=7)

    assert (wait.code, wait.until) == ("crash-loop", NOW + decide.CRASH_PAUSE)
    assert type(act(record, NOW + decide.CRASH_PAUSE, current=7)) is decide.Activate
    assert type(act(record, current=6)) is decide.Reject
    assert type(act(make.record(Phase.PREPARED, resumes=11), current=7)) is decide.Reject


def test_a_clock_that_was_set_back_does_not_prolong_the_wait_of_a_crash_loop() -> None:
    """A start that lies in the future is no reason to wait longer than the rest itself."""
    record = make.record(Phase.ACTIVE, resumes=11, resumed_at=NOW + 30 * DAY)

    assert type(act(record)) is decide.Deploy


def test_a_crash_loop_after_activation_without_a_time_rests_from_now_on() -> None:
    """A record that lost the time of its last start."""
    assert waits(make.record(Phase.ACTIVE, resumes=11)).until == NOW + decide.CRASH_PAUSE


# -- what a rotation starts from -------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.KEY_READY])
def test_a_rotation_ends_when_its_base_is_damaged(phase: Phase) -> None:
    """From a set that is not whole it can never ask, so it waits for nothing: not even for a delay or the budget."""
    used_up = (NOW,) * 4
    record = make.record(phase, retry_at=NOW + HOUR, failure=make.failure())
    action = act(record, base_whole=False, requests=used_up)

    assert type(action) is decide.Reject
    assert (action.failure.kind, action.failure.code, action.failure.decisive) == (F.CREDENTIAL, "source-lost", True)


@pytest.mark.parametrize("phase", [Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED, Phase.PREPARED, Phase.DEPLOYED])
def test_a_rotation_that_has_asked_goes_on_without_its_base(phase: Phase) -> None:
    """It may have a session open, and from REGISTERED on it needs the base no more."""
    assert type(act(make.record(phase), base_whole=False)) is not decide.Reject


@pytest.mark.parametrize("kind", [Kind.ENROLL, Kind.IMPORT, Kind.TRUST, Kind.ROLLBACK])
def test_what_does_not_ask_with_the_base_does_not_need_it(kind: Kind) -> None:
    """An enrolment asks with the claim; the others bring a generation of their own."""
    phase = Phase.KEY_READY if kind is Kind.ENROLL else Phase.PREPARED

    assert type(act(make.record(phase, kind=kind), base_whole=False)) is not decide.Reject


def test_a_failure_that_was_told_is_no_crash() -> None:
    """A step that fails for ever with a reason is never taken for a crash loop."""
    record, now = make.record(Phase.PREPARED, resumes=10), NOW
    for _ in range(50):
        record = advance(record, fails(record, make.failure(), now))
        assert record.retry_at is not None
        now = record.retry_at
        assert type(act(record, now)) is decide.Prove


# -- limits of one's own -------------------------------------------------------------------------------------------


def test_every_limit_can_be_chosen() -> None:
    """Patience, budgets and probation follow the limits that are given and not the defaults."""
    limits = Limits(
        daily_limit=1,
        requests_per_change=1,
        resumes=1,
        refusal_patience=HOUR,
        policy_patience=DAY,
        probation=HOUR,
        check_every=5 * MINUTE,
    )
    facts = make.facts(NOW + 30 * MINUTE)
    refused = make.record(Phase.PREPARED, refused_since=NOW)
    bad = make.failure(F.PROTOCOL)

    assert isinstance(next_action(make.record(Phase.KEY_READY, requests=(NOW,)), facts, limits), Wait)
    assert isinstance(next_action(make.record(resumes=2), facts, limits), decide.Reject)
    assert isinstance(after_failure(refused, REFUSED, facts, 0.5, limits), StepFailed)
    assert isinstance(after_failure(refused, UNAUTHORISED, make.facts(NOW + 23 * HOUR), 0.5, limits), StepFailed)
    assert isinstance(after_failure(make.record(Phase.REQUESTED, requests=(NOW,)), bad, facts, 0.5, limits), Rejected)
    deployed = make.record(Phase.DEPLOYED, probation_until=NOW + HOUR)
    wait = next_action(deployed, make.facts(NOW + 2 * MINUTE), limits)
    assert isinstance(wait, Wait)
    assert wait.until == NOW + 5 * MINUTE


# -- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0 s"),
        (timedelta(milliseconds=500), "0.5 s"),
        (90 * SECOND, "90 s"),
        (119 * SECOND, "119 s"),
        (2 * MINUTE, "2 min"),
        (10 * MINUTE, "10 min"),
        (2 * HOUR - MINUTE, "119 min"),
        (2 * HOUR, "2 h"),
        (5 * HOUR, "5 h"),
        (47 * HOUR, "47 h"),
        (2 * DAY, "2 d"),
        (30 * DAY, "30 d"),
        (365 * DAY, "365 d"),
    ],
)
def test_a_span_is_told_in_the_unit_that_people_use(span: timedelta, text: str) -> None:
    """Seconds up to two minutes, minutes up to two hours, hours up to two days, then days."""
    assert duration(span) == text


def test_an_instant_is_told_in_utc_to_the_second() -> None:
    """People read the same time in every journal."""
    assert clock_time(NOW + timedelta(microseconds=999_999)) == "2027-03-01 12:00:00 UTC"


@pytest.mark.parametrize("hours", [-11, 2, 14])
def test_an_instant_of_another_zone_is_told_in_utc_too(hours: int) -> None:
    """The text says UTC, so the time is converted and not only labelled."""
    assert clock_time(NOW.astimezone(timezone(timedelta(hours=hours)))) == "2027-03-01 12:00:00 UTC"


# -- what has time -----------------------------------------------------------------------------------------------------

WITHOUT_A_PATH = make.failure(F.NETWORK, "unreachable")
BY_THE_FLEET = [Origin.SCHEDULE, Origin.JOB, Origin.SHADOW]


def delayed(record: ChangeRecord, ends: datetime | None) -> float:
    """Return how long the change waits for the network at most, after many attempts."""
    record = replace(record, attempts=40)
    found = after_failure(record, WITHOUT_A_PATH, make.facts(ends=ends), 0.9999999, Limits())
    assert isinstance(found, StepFailed)
    return (found.retry_at - NOW).total_seconds()


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.KEY_READY, Phase.ISSUED, Phase.PREPARED])
def test_what_the_fleet_wants_waits_longer_before_it_asks_for_a_certificate(origin: Origin, phase: Phase) -> None:
    """A person's order and a way back go on within minutes, and so does what has a certificate in hand."""
    patient = origin in BY_THE_FLEET and phase in {Phase.PLANNED, Phase.KEY_READY}
    waited = delayed(make.record(phase, kind=Kind.ROTATE, origin=origin, base=1), NOW + 300 * DAY)
    assert waited == pytest.approx(7200 if patient else 300, rel=1e-3)


def test_what_the_fleet_wants_does_not_wait_where_time_is_short_or_there_is_no_set() -> None:
    """Nothing is gained by patience when the certificate ends before."""
    record = make.record(Phase.PLANNED, kind=Kind.ROTATE, origin=Origin.SCHEDULE, base=1)
    assert delayed(record, NOW + HOUR) == pytest.approx(300, rel=1e-3)
    assert delayed(record, NOW - HOUR) == pytest.approx(300, rel=1e-3)
    assert delayed(record, NOW + timedelta(hours=50)) == pytest.approx(3600, rel=1e-3)
    assert delayed(record, None) == pytest.approx(300, rel=1e-3)
    assert delayed(replace(record, base=None), NOW + 300 * DAY) == pytest.approx(300, rel=1e-3)
