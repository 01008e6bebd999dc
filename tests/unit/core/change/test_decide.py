from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.core.change import decide, giving_up
from agent.core.change.advance import advance
from agent.core.change.decide import TOKEN_LIFETIME, Limits, Wait, next_action
from agent.core.change.events import ChangeEvent, KeyLost, Registered, Rejected, RequestFailed, StepFailed, TokenExpired
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.codes import traits
from agent.core.failure.failure import Failure
from agent.core.failure.retry import BACKOFFS, CAP, LONGEST_DELAY
from agent.core.timekeeping import ClockState
from agent.core.values import Kind, Origin
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.shorthand.deciding import KEY_LOST, REFUSED, UNAUTHORISED, WITH_A_KEY, F, act, fails, waits

YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)


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
    now: datetime, unanswered: int, thing: str | None, event: type[ChangeEvent]
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
    unanswered: int, thing: str | None, event: type[ChangeEvent], *, decisive: bool
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
    assert waited == pytest.approx(7200 if patient else CAP, rel=1e-3)


def test_what_the_fleet_wants_does_not_wait_where_time_is_short_or_there_is_no_set() -> None:
    """Nothing is gained by patience when the certificate ends before."""
    record = make.record(Phase.PLANNED, kind=Kind.ROTATE, origin=Origin.SCHEDULE, base=1)
    assert delayed(record, NOW + HOUR) == pytest.approx(CAP, rel=1e-3)
    assert delayed(record, NOW - HOUR) == pytest.approx(CAP, rel=1e-3)
    assert delayed(record, NOW + timedelta(hours=50)) == pytest.approx(3600, rel=1e-3)
    assert delayed(record, None) == pytest.approx(CAP, rel=1e-3)
    assert delayed(replace(record, base=None), NOW + 300 * DAY) == pytest.approx(CAP, rel=1e-3)
