"""What a failure of each step means for a change: tried again, given up, begun anew, or gone back from."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change import decide, giving_up
from agent.core.change.advance import advance
from agent.core.change.decide import Limits
from agent.core.change.events import (
    ChangeEvent,
    Condemned,
    Deployed,
    KeyLost,
    KeyReady,
    ProbationPassed,
    Rejected,
    RequestFailed,
    StepFailed,
)
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import Phase
from agent.core.dependants import Report, Step, failure_of
from agent.core.failure.codes import traits
from agent.core.failure.failure import Failure, FailureClass
from agent.core.failure.retry import BACKOFFS, LONGEST_DELAY
from agent.core.text import duration
from agent.core.values import Kind, Origin
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.shorthand.deciding import KEY_LOST, LIMITS, REFUSED, UNAUTHORISED, WITH_A_KEY, F, act, fails, waits

PREPARED = [Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED]
NOT_PREPARED = [phase for phase in make.UNFINISHED if phase not in PREPARED]


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


def test_nothing_is_waited_for_where_no_dependant_was_tried() -> None:
    """A hook that is not executable is so until a person changes that; one that also failed otherwise may come up."""
    untried, failed = Step(name="hook a", problem="It is not executable.", untried=True), Step(name="b", problem="No.")
    for steps, goes_on in (((untried,), True), ((untried, failed), False)):
        failure = failure_of(Report(at=NOW, generation=8, set="", steps=steps))
        assert failure is not None
        after = advance(make.record(Phase.ACTIVE), fails(make.record(Phase.ACTIVE), failure))
        assert (after.phase is Phase.DEPLOYED, after.degraded is not None) == (goes_on, goes_on)


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
    phase: Phase, end: type[ChangeEvent], failure: Failure, patience: timedelta
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
    found = fails(record, failure, linked=7)

    assert isinstance(found, StepFailed)
    assert not found.failure.decisive
    # Only what may need time to spread is told to.
    assert ("may need time to spread" in found.failure.promise) == (failure.kind is not F.STORE)
    assert (found.failure.remedy == failure.remedy) == (failure.kind is F.STORE)
    assert isinstance(fails(record, failure, linked=6), Rejected)
    assert isinstance(fails(record, failure, linked=None), Rejected)


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
@pytest.mark.parametrize("code", sorted(make.codes("ambiguous") - make.codes("turned_away")))
@pytest.mark.parametrize("kind", [F.NETWORK, F.CREDENTIAL])
def test_what_is_no_way_to_refuse_ends_no_early_change_however_long_it_lasts(phase: Phase, code: str, kind: F) -> None:
    """An endless answer to the set in use, or one that is no MQTT: another set that gets through says nothing here."""
    failure = make.failure(kind, code, decisive=True)
    found = fails(make.record(phase, refused_since=NOW), failure, NOW + DAY)

    assert isinstance(found, StepFailed | RequestFailed)
    assert (found.failure.kind, found.failure.decisive) == (F.NETWORK, False)
    assert "is given up" in found.failure.remedy
    assert NOW + DAY < found.retry_at <= NOW + DAY + timedelta(minutes=5)


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
