"""What each event does to the record of a change; whether it may happen at all is the table's in `transitions`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

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
    return _apply(entered, event)


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


def _apply(record: ChangeRecord, event: events.ChangeEvent) -> ChangeRecord:
    match event:
        case events.Resumed():
            unanswered = record.unanswered + (record.phase is Phase.ISSUED)
            return replace(record, resumes=record.resumes + 1, resumed_at=event.at, unanswered=unanswered)
        case events.Hastened():
            unanswered = 0 if record.phase is Phase.KEY_READY else record.unanswered
            return replace(record, retry_at=None, unanswered=unanswered)
        case events.Doubted(prove_at=prove_at):
            sooner = record.retry_at and min(record.retry_at, prove_at)
            return replace(record, prove_at=prove_at, doubts=record.doubts + 1, retry_at=sooner)
        case events.Confirmed(early=early):
            confirmed = replace(record, confirmed_at=record.confirmed_at or event.at)
            return replace(confirmed, probation_until=event.at, retry_at=None) if early else confirmed
        case (
            events.StepFailed(failure=failure, retry_at=retry_at)
            | events.RequestFailed(failure=failure, retry_at=retry_at)
        ):
            return _failed(record, failure, retry_at, event.at)
        case events.RequestBegun(problem=problem):
            begun = replace(record, requests=(*record.requests, event.at)[-MAX_REQUESTS:])
            return replace(begun, degraded=problem or record.degraded)
        case events.CertificateIssued(issued=issued, anchor=anchor):
            return replace(record, issued=issued, unanswered=0, anchor=anchor)
        case events.Rejected(failure=failure):
            return replace(record, failure=failure.final, issued=_spent(record.issued))
        case events.Condemned(failure=failure):
            return replace(record, failure=failure.final, condemned=failure.final, retry_at=None)
        case _:
            return _apply_progress(record, event)


def _apply_progress(record: ChangeRecord, event: events.ChangeEvent) -> ChangeRecord:
    match event:
        case events.KeyLost(failure=failure, retry_at=retry_at):
            return _failed(_begun_again(record), failure, retry_at, event.at)
        case events.TokenExpired():
            return replace(_begun_again(record), unanswered=record.unanswered)  # spaces what is asked for next
        case events.Registered(thing_name=thing_name, assumed=assumed):
            return replace(record, thing_name=thing_name, unanswered=record.unanswered if assumed else 0)
        case events.GenerationPrepared():
            return replace(record, issued=_spent(record.issued))
        case events.Deployed(probation=probation, confirm=confirm, problem=problem):
            lasts = probation if record.probation_until is None else timedelta()  # or it was confirmed meanwhile
            word = None if confirm is None else event.at + confirm
            told = problem or record.degraded
            return replace(record, probation_until=event.at + lasts, confirm_until=word, degraded=told)
        case events.Activated(problem=problem):
            return replace(record, degraded=problem or record.degraded)
        case events.ProbationPassed(problem=Failure() as problem):
            return _apply_progress(replace(record, degraded=problem), replace(event, problem=None))
        case events.Proven(synchronised=synchronised, anchor=anchor):  # and the two that are proofs within probation
            good_time = event.at if synchronised else record.good_time
            proven = replace(record, checked_at=event.at, good_time=good_time, anchor=anchor or record.anchor)
            return _accepted(proven)
        case _:
            return _apply_end(record, event)


def _apply_end(record: ChangeRecord, event: events.ChangeEvent) -> ChangeRecord:
    match event:
        case events.RolledBack():
            return replace(record, failure=record.condemned)
        case events.Retired():
            return replace(record, retired_at=event.at)
        case events.Dropped():
            return replace(record, dropped_at=event.at)
        case _:
            return record


def _begun_again(record: ChangeRecord) -> ChangeRecord:
    return replace(record, issued=None, unanswered=0, thing_name=None)


def _failed(record: ChangeRecord, failure: Failure, retry_at: datetime, at: datetime) -> ChangeRecord:
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
        retry_at=retry_at,
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
