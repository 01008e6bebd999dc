"""What a failure means for a change: tried again, given up, or gone back from.

* A failure that is not decisive ends nothing that has been prepared: the change is kept and tried again.
* Before a generation exists, refusals end the change once patience is used up: nothing was activated, nothing is lost.
* What a set starts from is refused as AWS IoT Core refuses: by hanging up, by an alert, or in words. An answer that
  never ends, or that is none, is the path's or the broker's trouble, whatever another set meets a moment later: the
  change waits, and the ladder finds out meanwhile whether the set in use still gets through.
* A refusal of a fresh credential is believed only after `Limits.refusal_patience`, "not authorised" only after
  `Limits.policy_patience`, because activation and policies need time to spread (developer guide, "AWS IoT Core
  policies": six to eight minutes). A set on probation that was accepted before is left sooner; see
  `agent.core.change.probation`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from agent.core.change import events, probation
from agent.core.change.decide import DAY, Facts, Limits, in_use
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.probation_events import deployed
from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import OF_THE_SET, RETRIES, SET_THE_CLOCK, WHEN_THE_CLOCK_IS_SET, Failure, FailureClass
from agent.core.failure.retry import Backoff, retry_delay, unhurried_delay
from agent.core.text import duration
from agent.core.values import Kind, Origin

# How long anchors that do not verify the endpoint are tried again while no others verify it either: a captive portal's
# log-in may take that long.
ANCHORS_PATIENCE = timedelta(minutes=10)

# After a first request that may have been carried out unheard; each further one waits four times as long.
LOST_REQUEST = timedelta(seconds=15)

# Between two times that gates are asked: each takes a worker.
HELD = Backoff(base=30, cap=300, floor=15)

_LEAST_DELAY = timedelta(seconds=1)  # AWS IoT Core takes one CONNECT a second for a client id

_NO_REFUSAL = "AWS IoT Core refuses no certificate in this way: nothing is given up for it."

_BEFORE_A_GENERATION = {Phase.PLANNED, Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED}


def after_failure(
    record: ChangeRecord, failure: Failure, facts: Facts, jitter: float, limits: Limits
) -> events.ChangeEvent:
    """Return the event that records `failure` of the present step.

    Args:
        record: The change.
        failure: What went wrong, already judged against a control where one was needed.
        facts: The same facts that chose the step.
        jitter: A number in [0, 1) for the retry delay.
        limits: Patience and budgets.
    """
    now = facts.clock.now
    if not facts.clock.believable:
        failure = _blame_clock(failure)
    if record.phase in _BEFORE_A_GENERATION and failure.decisive and _is_no_refusal(failure):
        failure = replace(failure, kind=FailureClass.NETWORK, decisive=False, remedy=_NO_REFUSAL, promise=RETRIES)
    if failure.code == Code.TOKEN_INVALID and record.phase is Phase.ISSUED:
        return _token_refused(record, facts)
    if failure.code == Code.KEY_LOST:
        retry_at = now + timedelta(seconds=retry_delay(failure.kind, 1, jitter))
        return events.KeyLost(at=now, failure=failure, retry_at=retry_at)
    lasted = _has_lasted(record, failure, facts, limits)
    if lasted and failure.kind is FailureClass.DEPENDANT and record.phase is Phase.ACTIVE and record.condemned is None:
        return _without_dependant(record, failure, now, limits)
    if _gives_up_at_once(record, failure, limits) or (lasted and _gives_up(record, failure, facts)):
        goes_back = record.phase.activated and record.base is not None
        return events.Condemned(at=now, failure=failure) if goes_back else events.Rejected(at=now, failure=failure)
    return _retried(record, _not_yet(record, failure, facts, limits), facts, jitter, limits)


def _is_no_refusal(failure: Failure) -> bool:
    found = traits(failure.code)
    return found.ambiguous and not found.turned_away


def _retried(record: ChangeRecord, failure: Failure, facts: Facts, jitter: float, limits: Limits) -> events.ChangeEvent:
    now = facts.clock.now
    delay = timedelta(seconds=_delay(record, failure, facts, jitter))
    retry_at = now + min(delay, max(_patience_left(record, failure, facts, limits), _LEAST_DELAY))
    if record.phase is Phase.REQUESTED and not traits(failure.code).nothing_issued:
        retry_at = max(retry_at, now + _spaced(record))
    if record.phase is Phase.REQUESTED:
        return events.RequestFailed(at=now, failure=failure, retry_at=retry_at)
    return events.StepFailed(at=now, failure=failure, retry_at=retry_at)


def _delay(record: ChangeRecord, failure: Failure, facts: Facts, jitter: float) -> float:
    attempt = _times_failed(record, failure) + 1
    if failure.code == Code.HELD:
        return HELD.delay(attempt, 0.5 + 0.5 * jitter)
    if failure.kind is FailureClass.NETWORK and record.unhurried and facts.ends is not None:
        return unhurried_delay(attempt, jitter, (facts.ends - facts.clock.now).total_seconds())
    return retry_delay(failure.kind, attempt, jitter)


def _patience_left(record: ChangeRecord, failure: Failure, facts: Facts, limits: Limits) -> timedelta:
    """Return after how long the failure counts: that is when the last try is due, however long delays have become."""
    patience, now = _patience(record, failure, facts, limits), facts.clock.now
    since = min(record.refused_since or now, now)
    left = patience - (now - since)
    return left if left > timedelta(0) else timedelta.max


def _times_failed(record: ChangeRecord, failure: Failure) -> int:
    """Return how often the step failed so far; in use a refusal counts alone, so that it is confirmed soon."""
    return record.refusals if record.phase.activated and failure.kind in OF_THE_SET else record.attempts


def _without_dependant(record: ChangeRecord, failure: Failure, now: datetime, limits: Limits) -> events.ChangeEvent:
    """Go back when the dependant's owner wants that and there is something to go back to; else go on and say so."""
    if failure.decisive and record.base is not None:
        return events.Condemned(at=now, failure=failure)
    return deployed(record, now, limits, replace(failure, decisive=False))


def _spaced(record: ChangeRecord) -> timedelta:
    """Space requests that may each have cost a certificate, so that a bad minute does not use up the day's budget."""
    factor: int = 4 ** min(max(len(record.requests) - 1, 0), 3)
    return LOST_REQUEST * factor


def _blame_clock(failure: Failure) -> Failure:
    """An unbelievable clock judges nothing: whatever failed under it is tried again once the clock is set."""
    return replace(
        failure, kind=FailureClass.CLOCK, remedy=SET_THE_CLOCK, promise=WHEN_THE_CLOCK_IS_SET, decisive=False
    )


def _token_refused(record: ChangeRecord, facts: Facts) -> events.ChangeEvent:
    """A token is refused when it is dead, or when an earlier registration with it got through unanswered."""
    if record.unanswered and facts.expected_thing is not None:
        return events.Registered(at=facts.clock.now, thing_name=facts.expected_thing, assumed=True)
    return events.TokenExpired(at=facts.clock.now)


def _has_lasted(record: ChangeRecord, failure: Failure, facts: Facts, limits: Limits) -> bool:
    """Whether there was time enough: for a fresh certificate or policy to spread, for a dependant to come up."""
    if record.phase.activated and failure.kind in OF_THE_SET and not record.refusals:
        return False  # one refusal may be a stray; and the patience may have begun with a dependant
    since = min(record.refused_since or facts.clock.now, facts.clock.now)
    # A clock that was set back begins the wait anew.
    return facts.clock.now - since >= _patience(record, failure, facts, limits)


def _is_withdrawn(record: ChangeRecord, failure: Failure, facts: Facts) -> bool:
    """Whether a set in use that was accepted before is refused where the base is accepted: no spreading explains it."""
    return failure.kind in OF_THE_SET and facts.base_accepted and probation.was_accepted(record)


def _patience(record: ChangeRecord, failure: Failure, facts: Facts, limits: Limits) -> timedelta:
    if _is_withdrawn(record, failure, facts):
        return probation.patience(failure, limits)
    match failure.kind:
        case FailureClass.POLICY if _said_to_a_person(record, failure):
            return min(limits.refusal_patience, limits.policy_patience)  # a person waits for it, and can ask again
        case FailureClass.POLICY:
            return limits.policy_patience
        case FailureClass.CREDENTIAL:
            return limits.refusal_patience
        case FailureClass.DEPENDANT:
            return timedelta() if traits(failure.code).final else limits.dependants_patience
        case _:
            return timedelta()


def _said_to_a_person(record: ChangeRecord, failure: Failure) -> bool:
    """Whether a person is to be told what the account says of a registration, for which nothing has to spread."""
    account = traits(failure.code).of_the_account and record.phase is Phase.ISSUED
    return account and record.origin is Origin.TECHNICIAN


def _not_yet(record: ChangeRecord, failure: Failure, facts: Facts, limits: Limits) -> Failure:
    if not failure.decisive:
        return failure
    patience = _patience(record, failure, facts, limits)
    if _is_withdrawn(record, failure, facts):
        lasts = f" after {duration(patience)}" if patience else ""
        promise = f"It was accepted before; refused again{lasts}, it is left for generation {record.base}."
        return replace(failure, decisive=False, remedy="", promise=promise)
    if not patience:
        return replace(failure, decisive=False)
    if failure.kind is FailureClass.DEPENDANT:
        promise = f"It is tried again; after {duration(patience)} the change goes back."
        return replace(failure, decisive=False, promise=promise)
    lasts = duration(patience)
    promise = f"A fresh certificate may need time to spread in the cloud; it counts as refused after {lasts}."
    return replace(failure, decisive=False, remedy="", promise=promise)


def _gives_up(record: ChangeRecord, failure: Failure, facts: Facts) -> bool:
    """Whether a failure that has lasted ends the change, or condemns the activated set."""
    if _unproven(record, failure, facts):
        return True
    if record.phase in _BEFORE_A_GENERATION:
        return failure.decisive or failure.kind is FailureClass.POLICY
    if record.phase.activated:
        # What is condemned already goes back, however long that takes.
        return failure.decisive and record.condemned is None
    # A power cut may have come between moving the link and saying so: what is in use is not rejected.
    return failure.decisive and not in_use(record, facts.linked)


def _unproven(record: ChangeRecord, failure: Failure, facts: Facts) -> bool:
    """Whether no anchors have verified the endpoint for so long that other changes should have their turn.

    Nothing is refused by that; but a change that waits for ever would keep the ladder, and the bundle that mends it,
    away.
    """
    patience = ANCHORS_PATIENCE if record.kind is Kind.TRUST else DAY
    waited = abs(facts.clock.now - record.entered_at)  # a clock that was set back must not turn hours into years
    return failure.kind is FailureClass.SERVER_TRUST and waited >= patience and not in_use(record, facts.linked)


def _gives_up_at_once(record: ChangeRecord, failure: Failure, limits: Limits) -> bool:
    """Whether a failure ends the change however new it is: the source is refused, or the answer is final.

    Only a fresh certificate needs time to spread; the one a change starts from does not.
    """
    if record.phase not in _BEFORE_A_GENERATION:
        return False
    if failure.kind is FailureClass.PROTOCOL:
        return _asked_enough(record, failure, limits)
    return failure.decisive and failure.kind is not FailureClass.POLICY


def _asked_enough(record: ChangeRecord, failure: Failure, limits: Limits) -> bool:
    return traits(failure.code).final or len(record.requests) >= limits.requests_per_change
