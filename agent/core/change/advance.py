"""What each event does to the record of a change; whether it may happen at all is the table's in `transitions`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.core.change import events
from agent.core.change.lifecycle import (
    MAX_PASSED,
    MAX_REQUESTS,
    ChangeRecord,
    Issued,
    Phase,
    waits_for_word,
)
from agent.core.change.transitions import TRANSITIONS
from agent.core.failure.codes import traits
from agent.core.failure.failure import OF_THE_SET, Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

# Asking, and asking again after a refusal, is one effort: going to and fro between the two is no progress.
_ASKING = {Phase.KEY_READY, Phase.REQUESTED}

_REFUSALS = OF_THE_SET | {FailureClass.DEPENDANT}


class IllegalTransitionError(RuntimeError):
    """An event that cannot happen in this phase: a defect in the caller."""


def advance(record: ChangeRecord, event: events.ChangeEvent) -> ChangeRecord:
    """Return the record after `event`.

    Raises:
        IllegalTransitionError: The event cannot happen in the record's phase; nothing moves.
    """
    target = TRANSITIONS.get((record.phase, type(event)))
    if target is None:
        raise IllegalTransitionError(f"{type(event).__name__} cannot happen in phase {record.phase}")
    _refuse_contradiction(record, event)
    entered = _enter(record, target, event.at)
    if isinstance(event, events.Rejected | events.RequestFailed | events.KeyLost) and record.phase is Phase.REQUESTED:
        entered = _uncounted(entered, event.failure)
    return _EFFECTS[type(event)](entered, event)


def _uncounted(record: ChangeRecord, failure: Failure) -> ChangeRecord:
    """Take back the last request when it is certain that nothing was issued for it."""
    return replace(record, requests=record.requests[:-1]) if traits(failure.code).nothing_issued else record


def _refuse_contradiction(record: ChangeRecord, event: events.ChangeEvent) -> None:
    if isinstance(event, events.RolledBack) and record.condemned is None:
        raise IllegalTransitionError("a rollback needs the failure that condemned the new set")
    if record.condemned is not None and isinstance(
        event, events.Doubted | events.Confirmed | events.Deployed | events.ProbationHeld | events.ProbationPassed
    ):
        raise IllegalTransitionError("a condemned set is rolled back, whatever else happens")
    if isinstance(event, events.ProbationPassed) and waits_for_word(record) and event.problem is None:
        raise IllegalTransitionError("a set that is to be confirmed is not final without a word about that")
    if isinstance(event, events.Condemned):
        if record.base is None:
            raise IllegalTransitionError("there is no base generation to roll back to")
        if not event.failure.decisive:
            raise IllegalTransitionError("only a decisive failure condemns an activated set")
    if isinstance(event, events.Rejected) and record.phase.activated and not event.failure.decisive:
        raise IllegalTransitionError("only a decisive failure ends a change whose set is in use")


def _enter(record: ChangeRecord, target: Phase, at: datetime) -> ChangeRecord:
    if target is record.phase:
        return record
    entered = replace(
        record, phase=target, entered_at=at, passed=(*record.passed, (target, at))[-MAX_PASSED:], retry_at=None
    )
    return entered if {record.phase, target} == _ASKING else _clear(entered)


def _resumed(record: ChangeRecord, event: events.Resumed) -> ChangeRecord:
    unanswered = record.unanswered + (record.phase is Phase.ISSUED)
    return replace(record, resumes=record.resumes + 1, resumed_at=event.at, unanswered=unanswered)


def _hastened(record: ChangeRecord, _event: events.Hastened) -> ChangeRecord:
    unanswered = 0 if record.phase is Phase.KEY_READY else record.unanswered
    return replace(record, retry_at=None, unanswered=unanswered)


def _doubted(record: ChangeRecord, event: events.Doubted) -> ChangeRecord:
    sooner = record.retry_at and min(record.retry_at, event.prove_at)
    return replace(record, prove_at=event.prove_at, doubts=record.doubts + 1, retry_at=sooner)


def _confirmed(record: ChangeRecord, event: events.Confirmed) -> ChangeRecord:
    confirmed = replace(record, confirmed_at=record.confirmed_at or event.at)
    return replace(confirmed, probation_until=event.at, retry_at=None) if event.early else confirmed


def _request_begun(record: ChangeRecord, event: events.RequestBegun) -> ChangeRecord:
    begun = replace(record, requests=(*record.requests, event.at)[-MAX_REQUESTS:])
    return replace(begun, degraded=event.problem or record.degraded)


def _registered(record: ChangeRecord, event: events.Registered) -> ChangeRecord:
    return replace(record, thing_name=event.thing_name, unanswered=record.unanswered if event.assumed else 0)


def _deployed(record: ChangeRecord, event: events.Deployed) -> ChangeRecord:
    lasts = event.probation if record.probation_until is None else timedelta()  # or it was confirmed meanwhile
    word = None if event.confirm is None else event.at + event.confirm
    told = event.problem or record.degraded
    return replace(record, probation_until=event.at + lasts, confirm_until=word, degraded=told)


def _proven(record: ChangeRecord, event: events.Proven) -> ChangeRecord:
    good_time = event.at if event.synchronised else record.good_time
    return _accepted(replace(record, checked_at=event.at, good_time=good_time, anchor=event.anchor or record.anchor))


def _passed(record: ChangeRecord, event: events.ProbationPassed) -> ChangeRecord:
    return replace(_proven(record, event), degraded=event.problem or record.degraded)


def _condemned(record: ChangeRecord, event: events.Condemned) -> ChangeRecord:
    return replace(record, failure=event.failure.final, condemned=event.failure.final, retry_at=None)


def _begun_again(record: ChangeRecord) -> ChangeRecord:
    return replace(record, issued=None, unanswered=0, thing_name=None)


def _failed(record: ChangeRecord, event: events.StepFailed | events.RequestFailed | events.KeyLost) -> ChangeRecord:
    failure, at = event.failure, event.at
    refused_since = record.refused_since
    if failure.kind in _REFUSALS:
        refused_since = min(refused_since or at, at)
    maybe_sent = record.phase is Phase.ISSUED and traits(failure.code).unanswered
    if record.phase.activated:
        record = _after_failed_proof(record, failure, at)
    # A failure that was recorded is no crash: `resumes` counts only starts that ended without a word.
    return replace(
        record,
        failure=failure,
        attempts=record.attempts + 1,
        resumes=0,
        retry_at=event.retry_at,
        refused_since=refused_since,
        unanswered=record.unanswered + maybe_sent,
    )


def _after_failed_proof(record: ChangeRecord, failure: Failure, at: datetime) -> ChangeRecord:
    """Note what a failure within probation means for the next proof: on probation it is due until one is accepted."""
    refused = failure.kind in OF_THE_SET
    if refused or record.phase is Phase.DEPLOYED:
        return replace(record, prove_at=at, refusals=record.refusals + refused)
    if failure.kind is FailureClass.DEPENDANT:
        return record
    return replace(record, prove_at=None)  # nothing speaks against the set, so the other programs are told meanwhile


def _accepted(record: ChangeRecord) -> ChangeRecord:
    cleared = _clear(replace(record, prove_at=None, doubts=0, refusals=0))
    if record.phase is not Phase.ACTIVE:
        return cleared
    return replace(cleared, refused_since=record.refused_since)  # the patience with other programs goes on


def _clear(record: ChangeRecord) -> ChangeRecord:
    return replace(record, attempts=0, resumes=0, retry_at=None, failure=None, refused_since=None)


def _spent(issued: Issued | None) -> Issued | None:
    return None if issued is None else replace(issued, token="", certificate_pem="")


# What happens to the record besides the phase, by event: each has its entry.
_EFFECTS: dict[type[events.ChangeEvent], Callable[[ChangeRecord, Any], ChangeRecord]] = {
    events.Resumed: _resumed,
    events.Hastened: _hastened,
    events.Doubted: _doubted,
    events.Confirmed: _confirmed,
    events.KeyReady: lambda record, _: record,
    events.KeyLost: lambda record, event: _failed(_begun_again(record), event),
    events.RequestBegun: _request_begun,
    events.RequestFailed: _failed,
    events.CertificateIssued: lambda record, event: replace(
        record, issued=event.issued, unanswered=0, anchor=event.anchor
    ),
    events.Registered: _registered,
    # What may have been registered spaces what is asked for next.
    events.TokenExpired: lambda record, _: replace(_begun_again(record), unanswered=record.unanswered),
    events.GenerationPrepared: lambda record, _: replace(record, issued=_spent(record.issued)),
    events.Proven: _proven,
    events.Activated: lambda record, event: replace(record, degraded=event.problem or record.degraded),
    events.Deployed: _deployed,
    events.ProbationHeld: _proven,
    events.ProbationPassed: _passed,
    events.StepFailed: _failed,
    events.Rejected: lambda record, event: replace(record, failure=event.failure.final, issued=_spent(record.issued)),
    events.Condemned: _condemned,
    events.RolledBack: lambda record, _: replace(record, failure=record.condemned),
    events.Retired: lambda record, event: replace(record, retired_at=event.at),
    events.Dropped: lambda record, event: replace(record, dropped_at=event.at),
}
