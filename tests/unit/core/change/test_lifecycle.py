from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import pytest

from agent.core.change.advance import IllegalTransitionError, advance
from agent.core.change.events import (
    Activated,
    CertificateIssued,
    ChangeEvent,
    Condemned,
    Confirmed,
    Deployed,
    Doubted,
    Dropped,
    GenerationPrepared,
    Hastened,
    KeyLost,
    KeyReady,
    ProbationHeld,
    ProbationPassed,
    Proven,
    Registered,
    Rejected,
    RequestBegun,
    RequestFailed,
    Resumed,
    Retired,
    RolledBack,
    StepFailed,
    TokenExpired,
)
from agent.core.change.lifecycle import MAX_PASSED, MAX_REQUESTS, TRANSITIONS, ChangeRecord, Phase, waits_for_word
from agent.core.failure.failure import FailureClass
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

if TYPE_CHECKING:
    from datetime import datetime

REFUSALS = {FailureClass.CREDENTIAL, FailureClass.POLICY, FailureClass.DEPENDANT}

ILLEGAL = [(phase, kind) for phase in Phase for kind in make.EVENTS if (phase, kind) not in TRANSITIONS]

HAPPY_PATH: list[tuple[type[ChangeEvent], Phase]] = [
    (KeyReady, Phase.KEY_READY),
    (RequestBegun, Phase.REQUESTED),
    (CertificateIssued, Phase.ISSUED),
    (Registered, Phase.REGISTERED),
    (GenerationPrepared, Phase.PREPARED),
    (Proven, Phase.PROVEN),
    (Activated, Phase.ACTIVE),
    (Deployed, Phase.DEPLOYED),
    (ProbationHeld, Phase.DEPLOYED),
    (ProbationPassed, Phase.COMMITTED),
    (Retired, Phase.RETIRED),
]


def after(record: ChangeRecord, *kinds: type[ChangeEvent]) -> ChangeRecord:
    """Return the record after events of these types."""
    return reduce(lambda last, kind: advance(last, make.event(kind)), kinds, record)


def worn(phase: Phase) -> ChangeRecord:
    """Return a record whose every counter has moved in the present phase."""
    return make.record(
        phase,
        attempts=3,
        resumes=2,
        retry_at=NOW + MINUTE,
        failure=make.failure(),
        refused_since=NOW - MINUTE,
    )


@pytest.mark.parametrize(("phase", "kind"), ILLEGAL)
def test_an_event_outside_the_table_is_refused_and_nothing_moves(phase: Phase, kind: type[ChangeEvent]) -> None:
    """A pair that is not in the table raises, names both, and leaves the record as it was."""
    record = make.record(phase)
    untouched = replace(record)

    with pytest.raises(IllegalTransitionError, match=rf"^{kind.__name__} cannot happen in phase {phase}$"):
        advance(record, make.event(kind))

    assert record == untouched


def test_the_table_refuses_more_than_it_allows() -> None:
    """The table is short: of all pairs of phase and event most are illegal."""
    assert len(ILLEGAL) + len(TRANSITIONS) == len(Phase) * len(make.EVENTS)
    assert len(ILLEGAL) > 3 * len(TRANSITIONS)


@pytest.mark.parametrize(("phase", "kind"), TRANSITIONS)
def test_every_pair_of_the_table_can_be_taken(phase: Phase, kind: type[ChangeEvent]) -> None:
    """A pair that is in the table leads to its phase, unless the record itself contradicts it."""
    condemned = make.failure(FailureClass.CREDENTIAL, decisive=True) if kind is RolledBack else None
    record = make.record(phase, condemned=condemned)

    assert advance(record, make.event(kind)).phase is TRANSITIONS[phase, kind]


def test_the_happy_path_leads_to_committed_and_retired() -> None:
    """A change without trouble passes every phase in order and remembers when."""
    record = make.record()
    for number, (kind, phase) in enumerate(HAPPY_PATH):
        record = advance(record, make.event(kind, NOW + number * MINUTE))
        assert record.phase is phase

    moves = [(phase, NOW + number * MINUTE) for number, (_, phase) in enumerate(HAPPY_PATH) if number != 8]
    assert record.passed == tuple(moves)
    assert record.entered_at == NOW + 10 * MINUTE
    assert record.requests == (NOW + MINUTE,)


@pytest.mark.parametrize("phase", make.UNFINISHED)
def test_a_change_goes_on_after_a_restart_in_any_phase(phase: Phase) -> None:
    """A restart is counted and dated, and moves nothing but an unanswered request."""
    record = advance(make.record(phase), Resumed(at=NOW + HOUR))

    assert record.phase is (Phase.KEY_READY if phase is Phase.REQUESTED else phase)
    assert (record.resumes, record.resumed_at) == (1, NOW + HOUR)


@pytest.mark.parametrize("phase", [phase for phase in make.UNFINISHED if phase is not Phase.REQUESTED])
def test_a_person_can_end_a_delay_and_nothing_else(phase: Phase) -> None:
    """Haste takes the delay away; what was counted and what has failed stays."""
    assert after(worn(phase), Hastened) == replace(worn(phase), retry_at=None)


def test_a_lost_request_goes_back_to_the_key_and_stays_counted() -> None:
    """A request whose reply went to a connection that is gone is asked again, but it has been asked."""
    record = after(make.record(Phase.KEY_READY), RequestBegun, Resumed)

    assert record.phase is Phase.KEY_READY
    assert record.requests == (NOW,)
    assert after(record, RequestBegun).requests == (NOW, NOW)


@pytest.mark.parametrize(
    "code", ["throttled", "denied", "request-refused", "not-authorised", "not-sent", "taken-over-unsent", "key-lost"]
)
def test_a_request_that_certainly_brought_nothing_does_not_count(code: str) -> None:
    """A request that was refused or never left issued no certificate, so only the earlier ones stay counted."""
    record = after(make.record(Phase.KEY_READY, requests=(NOW - HOUR,)), RequestBegun)
    record = advance(record, make.event(RequestFailed, failure=make.failure(code=code)))

    assert record.requests == (NOW - HOUR,)
    assert record.attempts == 1


@pytest.mark.parametrize(
    "code",
    ["no-reply", "session-lost", "taken-over", "garbled", "timeout", "certificate-unacceptable", "cloud-unavailable"],
)
def test_a_request_that_may_have_brought_a_certificate_counts(code: str) -> None:
    """A request is counted unless it is certain that nothing was issued."""
    record = after(make.record(Phase.KEY_READY, requests=(NOW - HOUR,)), RequestBegun)
    record = advance(record, make.event(RequestFailed, failure=make.failure(code=code)))

    assert record.requests == (NOW - HOUR, NOW)


NOTHING_CAME = ["throttled", "denied", "request-refused", "not-authorised", "not-sent", "key-lost"]


@pytest.mark.parametrize("kind", [RequestFailed, Rejected, KeyLost])
@pytest.mark.parametrize("code", [*NOTHING_CAME, "no-reply", "garbled", "crash-loop", "given-up", "tls-context"])
def test_however_a_request_ends_it_counts_unless_nothing_was_issued(kind: type[ChangeEvent], code: str) -> None:
    """A refusal that ends the change, or a key that is gone before it was sent, takes the last request back too."""
    record = after(make.record(Phase.KEY_READY, requests=(NOW - HOUR,)), RequestBegun)
    record = advance(record, make.event(kind, failure=make.failure(code=code)))

    assert record.requests == ((NOW - HOUR,) if code in NOTHING_CAME else (NOW - HOUR, NOW))


@pytest.mark.parametrize("kind", [Rejected, KeyLost])
@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.ISSUED, Phase.REGISTERED])
@pytest.mark.parametrize("code", NOTHING_CAME)
def test_only_a_request_under_way_is_taken_back(phase: Phase, kind: type[ChangeEvent], code: str) -> None:
    """Outside of requested the last request has been answered or lost, and stays counted."""
    record = make.record(phase, requests=(NOW - HOUR, NOW - MINUTE))
    record = advance(record, make.event(kind, failure=make.failure(code=code)))

    assert record.requests == (NOW - HOUR, NOW - MINUTE)


@pytest.mark.parametrize("kind", [RequestFailed, Resumed])
def test_asking_again_is_no_progress(kind: type[ChangeEvent]) -> None:
    """Going to and fro between key-ready and requested resets no counter."""
    record = after(worn(Phase.KEY_READY), RequestBegun)
    assert (record.attempts, record.resumes, record.refused_since) == (3, 2, NOW - MINUTE)

    record = after(record, kind)
    assert record.attempts == (4 if kind is RequestFailed else 3)
    assert record.refused_since == NOW - MINUTE


def test_a_request_that_has_begun_is_not_held_back_by_an_old_delay() -> None:
    """The delay before a request is spent once the request has begun."""
    assert after(worn(Phase.KEY_READY), RequestBegun).retry_at is None


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.PLANNED, KeyReady),
        (Phase.REQUESTED, CertificateIssued),
        (Phase.ISSUED, Registered),
        (Phase.REGISTERED, GenerationPrepared),
        (Phase.PREPARED, Proven),
        (Phase.PROVEN, Activated),
        (Phase.ACTIVE, Deployed),
        (Phase.DEPLOYED, ProbationHeld),
        (Phase.DEPLOYED, ProbationPassed),
    ],
)
def test_progress_resets_the_counters(phase: Phase, kind: type[ChangeEvent]) -> None:
    """After a success nothing is held against the change any more."""
    record = after(worn(phase), kind)

    assert (record.attempts, record.resumes, record.retry_at) == (0, 0, None)
    assert (record.failure, record.refused_since) == (None, None)


@pytest.mark.parametrize("phase", [phase for phase in make.UNFINISHED if phase is not Phase.REQUESTED])
def test_a_failure_is_counted_and_is_no_crash(phase: Phase) -> None:
    """A failure that was recorded moves nothing, counts as an attempt and ends the count of crashes."""
    failure = make.failure(FailureClass.STORE, "no-space")
    record = advance(worn(phase), StepFailed(at=NOW, failure=failure, retry_at=NOW + HOUR))

    assert record.phase is phase
    assert (record.attempts, record.resumes) == (4, 0)
    assert (record.failure, record.retry_at) == (failure, NOW + HOUR)


@pytest.mark.parametrize("kind", sorted(REFUSALS))
def test_patience_is_counted_from_the_first_refusal(kind: FailureClass) -> None:
    """Later refusals, and other failures between them, do not begin the patience anew."""
    record = make.record(Phase.PREPARED)
    for minute, met in enumerate([FailureClass.NETWORK, kind, FailureClass.NETWORK, kind]):
        event = StepFailed(at=NOW + minute * MINUTE, failure=make.failure(met), retry_at=NOW + HOUR)
        record = advance(record, event)

    assert record.refused_since == NOW + MINUTE


@pytest.mark.parametrize("kind", sorted(REFUSALS))
def test_a_refusal_before_the_first_one_begins_the_patience_anew(kind: FailureClass) -> None:
    """When the clock was set back between two refusals, the earlier time is the one that can be counted from."""
    record = make.record(Phase.PREPARED)
    for at in (NOW, NOW - HOUR, NOW - MINUTE):
        record = advance(record, make.event(StepFailed, at, failure=make.failure(kind)))

    assert record.refused_since == NOW - HOUR


@pytest.mark.parametrize("kind", sorted(set(FailureClass) - REFUSALS))
def test_only_a_refusal_begins_the_patience(kind: FailureClass) -> None:
    """A failure of another class does not count as a refusal."""
    record = advance(make.record(Phase.PREPARED), make.event(StepFailed, failure=make.failure(kind)))

    assert record.refused_since is None


@pytest.mark.parametrize("kind", [TokenExpired, KeyLost])
def test_a_worthless_certificate_is_forgotten(kind: type[ChangeEvent]) -> None:
    """Without its key or its token a certificate is given up and the change begins again, its requests counted."""
    record = after(make.record(Phase.ISSUED, unanswered=2), kind)

    assert record.phase is Phase.PLANNED
    assert (record.issued, record.unanswered, record.thing_name) == (None, 0, None)
    assert record.requests == (NOW - MINUTE,)


@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED])
def test_a_lost_key_is_told_and_waits(phase: Phase) -> None:
    """A key that is gone begins the change again with the reason and a delay, and counts as one failure."""
    failure = make.failure(FailureClass.STORE, "key-lost")
    record = advance(worn(phase), KeyLost(at=NOW, failure=failure, retry_at=NOW + HOUR))

    assert (record.phase, record.issued, record.thing_name) == (Phase.PLANNED, None, None)
    assert (record.failure, record.retry_at) == (failure, NOW + HOUR)
    assert (record.attempts, record.resumes, record.refused_since) == (1, 0, None)


def test_a_restart_while_registering_leaves_the_registration_in_doubt() -> None:
    """A start in phase issued may have cut off a registration; elsewhere there is none to cut off."""
    assert after(make.record(Phase.ISSUED), Resumed).unanswered == 1
    assert after(make.record(Phase.KEY_READY), Resumed).unanswered == 0


@pytest.mark.parametrize(
    ("code", "doubt"),
    [("no-reply", 1), ("session-lost", 1), ("taken-over", 1), ("taken-over-unsent", 0), ("timeout", 0)],
)
def test_only_an_unanswered_registration_is_in_doubt(code: str, doubt: int) -> None:
    """A failure before anything was sent leaves no doubt, a lost reply does."""
    record = advance(make.record(Phase.ISSUED), make.event(StepFailed, failure=make.failure(code=code)))

    assert record.unanswered == doubt


def test_a_new_certificate_has_no_doubtful_registration() -> None:
    """The doubt belongs to one token and ends with the next."""
    assert after(make.record(Phase.REQUESTED, unanswered=3), CertificateIssued).unanswered == 0


@pytest.mark.parametrize(("phase", "kind"), [(Phase.REGISTERED, GenerationPrepared), (Phase.ISSUED, Rejected)])
def test_token_and_certificate_do_not_outlive_their_use(phase: Phase, kind: type[ChangeEvent]) -> None:
    """Once the generation is written, or the change given up, only the certificate's id is kept."""
    issued = after(make.record(phase), kind).issued

    assert issued is not None
    assert (issued.token, issued.certificate_pem) == ("", "")
    assert issued.certificate_id == make.issued().certificate_id


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_rollback_needs_a_condemnation(phase: Phase) -> None:
    """Nothing goes back to the base generation without the failure that condemned the new one."""
    with pytest.raises(IllegalTransitionError, match="needs the failure that condemned"):
        after(make.record(phase), RolledBack)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_only_a_decisive_failure_condemns(phase: Phase) -> None:
    """No network is not a refusal, whatever its class is called."""
    doubtful = make.failure(FailureClass.CREDENTIAL)

    with pytest.raises(IllegalTransitionError, match="only a decisive failure"):
        advance(make.record(phase), Condemned(at=NOW, failure=doubtful))


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
@pytest.mark.parametrize("base", [6, None])
def test_only_a_decisive_failure_ends_a_change_whose_set_is_in_use(phase: Phase, base: int | None) -> None:
    """A doubt never gives up what the gateway runs on."""
    record = make.record(phase, base=base)

    with pytest.raises(IllegalTransitionError, match="only a decisive failure ends a change whose set is in use"):
        advance(record, Rejected(at=NOW, failure=make.failure(FailureClass.CREDENTIAL)))
    assert after(record, Rejected).phase is Phase.REJECTED


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_condemned_set_with_nothing_whole_to_go_back_to_is_rejected(phase: Phase) -> None:
    """When the rollback finds no set the change ends with the failure that condemned its own."""
    condemned = after(make.record(phase), Condemned)
    assert condemned.condemned is not None
    record = advance(condemned, Rejected(at=NOW, failure=condemned.condemned))

    assert (record.phase, record.failure) == (Phase.REJECTED, condemned.condemned)
    assert record.issued is not None
    assert (record.issued.token, record.issued.certificate_pem) == ("", "")


def test_a_first_enrolment_cannot_be_condemned() -> None:
    """Without a base generation there is nothing to go back to."""
    with pytest.raises(IllegalTransitionError, match="no base generation"):
        after(make.record(Phase.DEPLOYED, base=None), Condemned)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_condemned_set_is_rolled_back_and_keeps_its_reason(phase: Phase) -> None:
    """A condemnation ends every delay, survives restarts and failures, and is the outcome's reason."""
    condemned = after(worn(phase), Condemned)
    assert condemned.phase is phase
    assert condemned.retry_at is None

    record = after(condemned, Resumed, StepFailed, Resumed, RolledBack)
    assert record.phase is Phase.ROLLED_BACK
    assert record.failure == condemned.condemned


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        (Phase.ACTIVE, Deployed),
        (Phase.ACTIVE, ProbationHeld),
        (Phase.ACTIVE, Doubted),
        (Phase.DEPLOYED, Doubted),
        (Phase.ACTIVE, Confirmed),
        (Phase.DEPLOYED, Confirmed),
        (Phase.DEPLOYED, ProbationHeld),
        (Phase.DEPLOYED, ProbationPassed),
    ],
)
def test_a_condemned_set_is_never_deployed_or_committed(phase: Phase, kind: type[ChangeEvent]) -> None:
    """Success that comes after the condemnation does not undo it."""
    condemned = after(make.record(phase), Condemned)

    with pytest.raises(IllegalTransitionError, match="a condemned set is rolled back"):
        after(condemned, kind)


def test_a_doubt_brings_the_next_proof_forward_and_is_counted() -> None:
    """A delay that ends sooner stays, a longer one is cut; without one the proof has a time of its own."""
    quiet = make.record(Phase.DEPLOYED)
    doubted = advance(quiet, Doubted(at=NOW, prove_at=NOW + SECOND))
    assert doubted == replace(quiet, prove_at=NOW + SECOND, doubts=1)

    for retry_at in (NOW + SECOND, NOW + HOUR):
        late = replace(quiet, retry_at=retry_at, doubts=2)
        doubted = advance(late, Doubted(at=NOW, prove_at=NOW + MINUTE))
        assert (doubted.retry_at, doubted.prove_at, doubted.doubts) == (min(retry_at, NOW + MINUTE), NOW + MINUTE, 3)


@pytest.mark.parametrize("kind", FailureClass)
def test_a_proof_that_failed_on_probation_is_due_until_one_is_accepted(kind: FailureClass) -> None:
    """Whatever it failed with; only what the broker said about the set itself is counted as a refusal."""
    record = advance(make.record(Phase.DEPLOYED, doubts=2), make.event(StepFailed, failure=make.failure(kind)))
    refused = kind in {FailureClass.CREDENTIAL, FailureClass.POLICY}
    assert (record.prove_at, record.doubts, record.refusals) == (NOW, 2, int(refused))

    record = after(record, ProbationHeld)
    assert (record.prove_at, record.doubts, record.refusals) == (None, 0, 0)


@pytest.mark.parametrize(
    ("kind", "prove_at", "refusals"),
    [
        (FailureClass.CREDENTIAL, NOW, 1),
        (FailureClass.POLICY, NOW, 1),
        (FailureClass.DEPENDANT, NOW + SECOND, 0),
        (FailureClass.NETWORK, None, 0),
        (FailureClass.STORE, None, 0),
    ],
)
def test_a_proof_that_failed_before_the_others_are_told_holds_them_up_only_for_a_refusal(
    kind: FailureClass, prove_at: datetime | None, refusals: int
) -> None:
    """Nothing speaks against the set otherwise; a doubt that is still to come outlives another program's failure."""
    doubted = make.record(Phase.ACTIVE, prove_at=NOW + SECOND, doubts=1)
    record = advance(doubted, make.event(StepFailed, failure=make.failure(kind)))

    assert (record.prove_at, record.refusals) == (prove_at, refusals)


def test_a_proof_before_the_others_are_told_leaves_their_patience_as_it_was() -> None:
    """A network that flaps, with a set that is accepted each time, gives a dependant no more time."""
    record = advance(make.record(Phase.ACTIVE), make.event(StepFailed, failure=make.failure(FailureClass.DEPENDANT)))
    record = advance(record, make.event(Doubted, NOW + MINUTE))
    record = advance(record, make.event(ProbationHeld, NOW + MINUTE))

    assert (record.phase, record.checked_at, record.refused_since) == (Phase.ACTIVE, NOW + MINUTE, NOW)
    assert (record.failure, record.retry_at, record.attempts, record.prove_at) == (None, None, 0, None)


def test_a_doubt_and_a_refusal_outlast_the_telling_of_the_others() -> None:
    """What was held against the set is not forgotten because other programs took it up."""
    record = after(make.record(Phase.ACTIVE, prove_at=NOW, doubts=1, refusals=1), Deployed)

    assert (record.phase, record.prove_at, record.doubts, record.refusals) == (Phase.DEPLOYED, NOW, 1, 1)


def test_a_confirmation_ends_probation_and_every_delay() -> None:
    """It is dated once, and takes nothing away of what was counted or has failed."""
    record = worn(Phase.DEPLOYED)
    confirmed = advance(record, Confirmed(at=NOW + SECOND))
    assert confirmed == replace(record, confirmed_at=NOW + SECOND, probation_until=NOW + SECOND, retry_at=None)

    again = advance(confirmed, Confirmed(at=NOW + MINUTE))
    assert (again.confirmed_at, again.probation_until) == (NOW + SECOND, NOW + MINUTE)


def test_a_confirmation_before_the_others_are_told_ends_probation_as_it_begins() -> None:
    """A program that was just restarted may say so before the agent has seen it come up."""
    record = after(make.record(Phase.ACTIVE), Confirmed)
    record = advance(record, Deployed(at=NOW + MINUTE, probation=7 * MINUTE))

    assert (record.phase, record.confirmed_at, record.probation_until) == (Phase.DEPLOYED, NOW, NOW + MINUTE)


def test_the_word_of_an_application_leaves_probation_its_time() -> None:
    """It is dated, and nothing else is moved; a person's, given later, ends probation."""
    record = worn(Phase.DEPLOYED)
    confirmed = advance(record, Confirmed(at=NOW + SECOND, early=False))
    assert confirmed == replace(record, confirmed_at=NOW + SECOND)

    early = advance(confirmed, Confirmed(at=NOW + MINUTE))
    assert (early.confirmed_at, early.probation_until) == (NOW + SECOND, NOW + MINUTE)


def test_the_word_is_waited_for_from_when_the_others_were_told() -> None:
    """Where it is asked for, and until it has come, or the set is given up."""
    quiet = after(make.record(Phase.ACTIVE), Deployed)
    assert (quiet.confirm_until, waits_for_word(quiet)) == (None, False)

    record = advance(make.record(Phase.ACTIVE), make.event(Deployed, confirm=3 * MINUTE))
    assert (record.confirm_until, waits_for_word(record)) == (NOW + 3 * MINUTE, True)
    assert not waits_for_word(after(record, Confirmed))
    assert not waits_for_word(after(record, Condemned))
    assert not waits_for_word(after(record, Confirmed, ProbationPassed))


def test_a_set_without_its_word_is_final_only_with_a_word_about_that() -> None:
    """What it is final without goes where a dependant's failure goes: into history, exit code and answers."""
    record = make.record(Phase.DEPLOYED, confirm_until=NOW)
    with pytest.raises(IllegalTransitionError, match="is not final without a word about that"):
        after(record, ProbationPassed)

    missing = make.failure(FailureClass.DEPENDANT, "not-confirmed")
    final = advance(record, make.event(ProbationPassed, NOW + SECOND, problem=missing, synchronised=True))
    assert (final.phase, final.degraded, final.confirmed_at) == (Phase.COMMITTED, missing, None)
    assert (final.checked_at, final.good_time) == (NOW + SECOND, NOW + SECOND)
    assert after(replace(record, confirmed_at=NOW), ProbationPassed).degraded is None


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.ACTIVE, Phase.DEPLOYED}])
def test_nothing_but_a_set_in_use_on_probation_is_confirmed(phase: Phase) -> None:
    """What is not in use yet cannot work, and what is final needs no word."""
    with pytest.raises(IllegalTransitionError):
        after(make.record(phase), Confirmed)


def test_probation_counts_from_deployment() -> None:
    """The trial period begins when the dependants use the new set."""
    record = advance(make.record(Phase.ACTIVE), Deployed(at=NOW, probation=7 * MINUTE))

    assert record.probation_until == NOW + 7 * MINUTE


@pytest.mark.parametrize(
    ("phase", "kind"),
    [(Phase.PREPARED, Proven), (Phase.DEPLOYED, ProbationHeld), (Phase.DEPLOYED, ProbationPassed)],
)
@pytest.mark.parametrize("synchronised", [True, False])
def test_only_a_proof_under_a_synchronised_clock_dates_the_past(
    phase: Phase, kind: type[ChangeEvent], *, synchronised: bool
) -> None:
    """Every proof is dated, but only a synchronised clock makes it a floor for later clocks."""
    earlier = NOW - DAY
    record = make.record(phase, good_time=earlier, checked_at=None)
    record = advance(record, make.event(kind, NOW + SECOND, synchronised=synchronised))

    assert record.checked_at == NOW + SECOND
    assert record.good_time == (NOW + SECOND if synchronised else earlier)


@pytest.mark.parametrize(
    ("phase", "kind"),
    [(Phase.PREPARED, Proven), (Phase.DEPLOYED, ProbationHeld), (Phase.DEPLOYED, ProbationPassed)],
)
@pytest.mark.parametrize(("told", "known"), [("", "aa" * 32), ("bb" * 32, "bb" * 32)])
def test_a_proof_that_cannot_tell_the_anchor_leaves_the_one_that_is_known(
    phase: Phase, kind: type[ChangeEvent], told: str, known: str
) -> None:
    """Another one takes its place."""
    record = make.record(phase, anchor="aa" * 32)
    assert advance(record, make.event(kind, anchor=told)).anchor == known


def test_the_list_of_passed_phases_stays_bounded() -> None:
    """A change that is refused for ever keeps the latest phases and forgets the oldest."""
    record = make.record(Phase.KEY_READY)
    for _ in range(MAX_PASSED):
        record = after(record, RequestBegun, RequestFailed)

    assert len(record.passed) == MAX_PASSED
    assert record.passed[-1][0] is Phase.KEY_READY


def test_the_list_of_requests_stays_bounded() -> None:
    """A change that asks for ever keeps the latest requests, as many as any daily limit needs."""
    earlier = tuple(NOW - DAY + number * SECOND for number in range(MAX_REQUESTS))
    record = after(make.record(Phase.KEY_READY, requests=earlier), RequestBegun)

    assert len(record.requests) == MAX_REQUESTS
    assert record.requests == (*earlier[1:], NOW)


def test_current_moves_only_after_a_proof() -> None:
    """The table has one way to active, from proven, and one way to proven, by a proof of what is prepared."""
    assert _ways_to(Phase.ACTIVE) == {(Phase.PROVEN, Activated)}
    assert _ways_to(Phase.PROVEN) == {(Phase.PREPARED, Proven)}


def test_only_what_is_active_is_rolled_back_and_anything_unfinished_can_be_rejected() -> None:
    """Before activation a change can only be rejected; after it that is the end with nothing to go back to."""
    assert _ways_to(Phase.REJECTED) == {(phase, Rejected) for phase in make.UNFINISHED}
    assert _ways_to(Phase.ROLLED_BACK) == {(Phase.ACTIVE, RolledBack), (Phase.DEPLOYED, RolledBack)}


def test_an_ended_change_stays_ended() -> None:
    """After its end a change moves no more, but for the retirement of what it replaced."""
    left = {(phase, kind) for (phase, kind), target in TRANSITIONS.items() if phase.ended and target is not phase}

    assert left == {(Phase.COMMITTED, Retired)}


@pytest.mark.parametrize("phase", Phase)
def test_a_change_has_succeeded_when_its_set_became_final(phase: Phase) -> None:
    """Retired is said of what was replaced, so it is a success; whatever has succeeded has ended."""
    assert phase.succeeded == (phase in {Phase.COMMITTED, Phase.RETIRED})
    assert phase.ended or not phase.succeeded


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK])
def test_a_retirement_is_dated_and_takes_nothing_else_away(phase: Phase) -> None:
    """Why a change failed, and when one became final, is known for ever after."""
    failure = None if phase is Phase.COMMITTED else make.failure(FailureClass.CREDENTIAL, decisive=True)
    record = make.finished(phase, failure=failure, replaces="cd" * 32, order="job:j-1:1")
    retired = advance(record, Retired(at=NOW + DAY))

    assert retired.retired_at == NOW + DAY
    assert retired.phase is (Phase.RETIRED if phase is Phase.COMMITTED else phase)
    assert (retired.failure, retired.committed_at) == (failure, record.committed_at)
    assert (retired.replaces, retired.order, retired.issued) == (record.replaces, record.order, record.issued)
    assert retired.phase.succeeded == record.phase.succeeded


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK])
def test_what_is_not_asked_for_any_more_is_dated_and_changes_nothing_else(phase: Phase) -> None:
    """A change that succeeded is not said to have retired anything."""
    record = make.finished(phase, replaces="cd" * 32, failure=None if phase is Phase.COMMITTED else make.failure())

    assert advance(record, Dropped(at=NOW + DAY)) == replace(record, dropped_at=NOW + DAY)


def test_what_was_retired_is_not_dropped() -> None:
    """There is nothing left to be asked for."""
    with pytest.raises(IllegalTransitionError):
        after(make.finished(), Retired, Dropped)


def test_a_certificate_is_retired_once() -> None:
    """The table knows no second retirement of a change that succeeded."""
    retired = after(make.finished(), Retired)

    with pytest.raises(IllegalTransitionError, match="Retired cannot happen in phase retired"):
        after(retired, Retired)


def test_order_and_predecessor_are_kept_to_the_end() -> None:
    """No step of a change forgets whom it answers to, or what it replaces."""
    record = after(make.record(order="job:j-1:1", replaces="cd" * 32), *(kind for kind, _ in HAPPY_PATH))

    assert (record.phase, record.order, record.replaces) == (Phase.RETIRED, "job:j-1:1", "cd" * 32)


def test_a_record_shows_no_secret() -> None:
    """Neither the ownership token nor the certificate's text shows when a record or its event is printed."""
    record = make.record(Phase.ISSUED)
    shown = f"{record!r} {record.issued!r} {make.event(CertificateIssued)!r} {record}"

    assert make.issued().certificate_id in shown
    assert make.TOKEN not in shown
    assert "BEGIN CERTIFICATE" not in shown
    assert make.PEM.splitlines()[1] not in shown


def _ways_to(target: Phase) -> set[tuple[Phase, type[ChangeEvent]]]:
    ways = {(phase, kind) for (phase, kind), end in TRANSITIONS.items() if end is target}
    return {(phase, kind) for phase, kind in ways if phase is not target}


def test_a_change_may_lead_back_once_its_set_is_in_use_or_it_is_given_up() -> None:
    """What is written of an ordinary change until then can wait for room on a disk, and nothing after that can."""
    leading = {phase for phase in Phase if make.record(phase).leads_back}

    assert leading == {
        *(Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED, Phase.RETIRED),
        *(Phase.REJECTED, Phase.ROLLED_BACK),
    }
