"""The table of a change, stated over all its phases and events: what may happen, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.change.advance import IllegalTransitionError, advance
from agent.core.change.events import (
    Activated,
    CertificateIssued,
    ChangeEvent,
    Deployed,
    Dropped,
    GenerationPrepared,
    Hastened,
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
)
from agent.core.change.lifecycle import MAX_PASSED, Phase
from agent.core.change.transitions import TRANSITIONS
from agent.core.failure.failure import FailureClass
from support import make
from support.make import DAY, HOUR, MINUTE, NOW
from support.unit.core.changes import after, worn

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


def test_the_list_of_passed_phases_stays_bounded() -> None:
    """A change that is refused for ever keeps the latest phases and forgets the oldest."""
    record = make.record(Phase.KEY_READY)
    for _ in range(MAX_PASSED):
        record = after(record, RequestBegun, RequestFailed)

    assert len(record.passed) == MAX_PASSED
    assert record.passed[-1][0] is Phase.KEY_READY


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
