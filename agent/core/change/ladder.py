"""What to try when the current set does not connect.

::

    current → (other anchors: previous → baked) → previous → claim → salvaged → a technician
    current → (other anchors: previous → baked) → previous → salvaged → vending machine → a technician

Rules:

* Other anchors are tried, with the certificate kept, when the server is not trusted: that is no fault of the
  certificate, and going back to an older one, which may be retired already, would not mend it. Nothing is weakened:
  each is a set of anchors that this gateway was given and that must verify the live endpoint all by itself.
* The previous anchors are also those of newer sets that are damaged, where they are as they were written: recovery may
  have gone to a set that is older than the endpoint's last move.
* The claim and the vending machine are asked by whichever anchors of this gateway know the endpoint: the baked copy's,
  which may be older than what came since, or lost; else those of its sets.
* Other anchors are tried, too, where the server is verified by a root that the public programmes have withdrawn trust
  from: a certificate that such a root stands behind may be any attacker's. Where no other anchors do without it, the
  current set stays in use: a gateway that connects is not cut off.
* A rung is left only when its set is missing, damaged or refused, never for lack of network: a failure that any path
  may have (no route, a wrong clock) would meet the next rung just the same. The claim and what is salvaged are left as
  well where their anchors do not know the server: the rung after each has anchors, or a server, of its own.
* The first rung that is accepted is the control that makes the refusals before it decisive.
* The last rung is what can be salvaged: another generation on the disk, or a damaged one whose key and certificate
  belong together; each by its own anchors or by others that know the endpoint, and the previous set by others. It comes
  after the claim because a new certificate is worth more than one from a damaged generation.
* The vending machine, where a gateway enrols with that, comes in the claim's place and after what can be salvaged: what
  its token is worth shows by asking for a certificate, which may be done five times, and no set is proven by it. So it
  is asked when nothing else is left. What keeps it from being asked says nothing about the sets, and hides nothing that
  they met. A token that was refused is not shown again before its file is touched, or an hour is over.
* What follows is one ordinary change, so that it is proven, recorded and undone like any other: the previous set is
  put back, its anchors are, the claim or the vending machine enrols the gateway anew, or the salvaged set is imported.
* When a verified server turns every set away, that is the conclusion: a person must act. It is concluded anew at each
  climb, so it holds nothing back.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import LOCKED_OUT_REMEDY, NEVER_IN_REMEDY, Failure, FailureClass
from agent.core.frozen import frozen
from agent.core.values import Kind, LongText

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agent.core.change.lifecycle import ChangeRecord


class Rung(StrEnum):
    """One way to get back to the cloud, in the order of trying."""

    CURRENT = "current"
    PREVIOUS_ANCHORS = "previous anchors"
    BAKED_ANCHORS = "baked anchors"
    PREVIOUS = "previous"
    CLAIM = "claim"
    SALVAGED = "salvaged"
    VENDING = "vending machine"
    TECHNICIAN = "technician"


# Rungs that keep the certificate.
OTHER_ANCHORS = (Rung.PREVIOUS_ANCHORS, Rung.BAKED_ANCHORS)

# How long a token that was refused is not shown again by itself; the vending machine counts such tries by the hour.
REFUSED_FOR = timedelta(hours=1)

VENDING_REMEDY = (
    "Activate a certificate of this gateway again in AWS IoT Core, put a new token of {readmit} into the file that "
    "`enrollment.token` names, or bring a set with `iot-cert import --from DIR`."
)
NEVER_SOLD_REMEDY = (
    "Put a new token of {readmit} into the file that `enrollment.token` names, or bring a set with "
    "`iot-cert import --from DIR`."
)


@frozen
class Attempt:
    """What became of a rung: accepted when there is no failure.

    Attributes:
        rung: What was tried.
        failure: Why it did not work.
        distrusted: A clause that says that a distrusted root verifies the server which accepted it, or empty.
    """

    rung: Rung
    failure: Failure | None = None
    distrusted: str = ""


def missing(rung: Rung, why: str) -> Attempt:
    """Return the attempt at a rung on which there is nothing to try."""
    failure = Failure(kind=FailureClass.CREDENTIAL, code=Code.NO_SET, message=why, decisive=True)
    return Attempt(rung=rung, failure=failure)


@frozen
class Climb:
    """What to do after the attempts so far: `try_next`, or `use`, or to wait where both are None.

    Attributes:
        try_next: The rung to try now.
        use: The rung that works, or TECHNICIAN when none is left.
        why: A sentence for people.
        remedy: What a person can do about it, as a sentence; empty where the agent helps itself.
    """

    why: LongText
    try_next: Rung | None = None
    use: Rung | None = None
    remedy: LongText = ""


def refused_before(history: Sequence[ChangeRecord], laid: datetime | None, now: datetime) -> Failure | None:
    """Return why the token was refused that was shown last, for as long as it is not to be shown again; else None.

    Args:
        history: The finished changes, oldest first.
        laid: When the token's file was touched last, or None when that is not known.
        now: The present time.
    """
    last = next((record for record in reversed(history) if record.kind is Kind.ENROLL), None)
    if last is None or last.failure is None or last.failure.code != Code.TOKEN_REFUSED:
        return None
    another = laid is not None and laid > last.entered_at
    recent = abs(now - last.entered_at) < REFUSED_FOR
    return last.failure if recent and not another else None


def climb(attempts: tuple[Attempt, ...], *, readmit: str | None = None) -> Climb:
    """Decide the next move of the ladder.

    Args:
        attempts: The attempts so far, in order.
        readmit: The command by which the operator gets another token for the vending machine; None for a gateway that
            enrols by a claim certificate.
    """
    if not attempts:
        return Climb(try_next=Rung.CURRENT, why="the current set is tried first")
    last = attempts[-1]
    name = _name(last.rung)
    if attempts[0].distrusted:
        return _without_the_root(attempts)
    if last.failure is None:
        return Climb(use=last.rung, why=f"{name} {'ready' if last.rung is Rung.VENDING else 'accepted'}")
    following = _following(attempts, Rung.CLAIM if readmit is None else Rung.SALVAGED)
    nothing_saved = last.rung is Rung.SALVAGED and _is_of_the_set(last.failure)
    if readmit is not None and nothing_saved:
        following = Rung.VENDING
    if following is None:
        at_the_end = nothing_saved or last.rung is Rung.VENDING
        return _top(attempts, readmit) if at_the_end else Climb(why=_reason(attempts))
    met = last.failure.message
    return Climb(try_next=following, why=met if _is_missing(last) else f"{name} not accepted: {met}")


def _without_the_root(attempts: tuple[Attempt, ...]) -> Climb:
    """Decide the next move where the current set is accepted, by a distrusted root."""
    last, why = attempts[-1], attempts[0].distrusted
    if last.failure is None and not last.distrusted:
        return Climb(use=last.rung, why=f"{why}, and {_name(last.rung)} accepted without it")
    left = {Rung.CURRENT: Rung.PREVIOUS_ANCHORS, Rung.PREVIOUS_ANCHORS: Rung.BAKED_ANCHORS}.get(last.rung)
    if left is None or not _is_of_the_anchors(last):
        return Climb(use=Rung.CURRENT, why=f"the current set is accepted; {why}, and no other anchors do without it")
    if last.rung is Rung.CURRENT:
        return Climb(try_next=left, why=f"the current set is accepted, but {why}")
    said = last.failure.message if last.failure else last.distrusted
    return Climb(try_next=left, why=f"{_name(last.rung)} no better: {said}")


def _is_of_the_anchors(attempt: Attempt) -> bool:
    """Whether an attempt tells of its anchors, so that others may fare better."""
    failure = attempt.failure
    return failure is None or failure.kind is FailureClass.SERVER_TRUST or _is_missing(attempt)


def _name(rung: Rung) -> str:
    if rung is Rung.VENDING:
        return f"the {rung} is"
    return f"the {rung} are" if rung in OTHER_ANCHORS else f"the {rung} set is"


def _reason(attempts: tuple[Attempt, ...]) -> str:
    """Return what was met last; that something is missing is no reason."""
    met = [attempt.failure for attempt in attempts if attempt.failure and attempt.failure.code != Code.NO_SET]
    return met[-1].message if met else "there is no set on this gateway"


def _following(attempts: tuple[Attempt, ...], after_the_previous: Rung) -> Rung | None:
    """Return the rung that may fare better than all before, or None."""
    last, failure = attempts[-1], attempts[-1].failure
    refused = failure is not None and _may_be_the_certificate(failure)
    untrusted = may_be_the_anchors(failure)
    match last.rung:
        case Rung.CURRENT:
            return Rung.PREVIOUS_ANCHORS if untrusted else (Rung.PREVIOUS if refused else None)
        case Rung.PREVIOUS_ANCHORS | Rung.BAKED_ANCHORS if refused and not _is_missing(last):
            return Rung.PREVIOUS
        case Rung.PREVIOUS_ANCHORS:
            return Rung.BAKED_ANCHORS if refused or untrusted else None
        case Rung.PREVIOUS:
            return after_the_previous if refused or (untrusted and _server_was_verified(attempts)) else None
        case Rung.CLAIM if refused or untrusted:  # what is salvaged has anchors of its own
            return Rung.SALVAGED
        case _:
            return None


def _is_missing(attempt: Attempt) -> bool:
    return attempt.failure is not None and attempt.failure.code == Code.NO_SET


def _may_be_the_certificate(failure: Failure) -> bool:
    return failure.kind in {FailureClass.CREDENTIAL, FailureClass.POLICY} or (
        failure.kind is FailureClass.NETWORK and traits(failure.code).ambiguous
    )


def may_be_the_anchors(failure: Failure | None) -> bool:
    """Whether other anchors may fare better at the same server."""
    if failure is None or failure.kind is not FailureClass.SERVER_TRUST:
        return False  # under a wrong clock, which has a class of its own, any server looks expired
    return traits(failure.code).other_anchors


def _is_of_the_set(failure: Failure) -> bool:
    """Whether another set may fare better, by its certificate or by its anchors."""
    return _may_be_the_certificate(failure) or may_be_the_anchors(failure)


def _server_was_verified(attempts: tuple[Attempt, ...]) -> bool:
    """Whether some anchors verified the server: only after that can a set be refused."""
    return any(
        attempt.failure is not None and _may_be_the_certificate(attempt.failure) and not _is_missing(attempt)
        for attempt in attempts
    )


def _top(attempts: tuple[Attempt, ...], readmit: str | None) -> Climb:
    met = [attempt for attempt in attempts if attempt.failure and not _is_missing(attempt)]
    # Anchors that do not know the server say nothing of what it would have said to the certificate beside them.
    sets = [item for item in met if item.rung is not Rung.VENDING and not may_be_the_anchors(item.failure)]
    remedy = _remedy(met, attempts[-1].rung, readmit)
    names = ", ".join(f"{attempt.rung}: {_without_stop(attempt)}" for attempt in met)
    if not sets:
        if met and met[-1].failure and met[-1].failure.code != Code.TOKEN_REFUSED:
            return Climb(why=_reason(attempts))  # the vending machine may be asked later
        why = "there is no set on this gateway that could be tried" + (f" ({names})" if met else "")
        return Climb(use=Rung.TECHNICIAN, why=why, remedy=remedy)
    if all(attempt.failure and _turned_away(attempt.failure) for attempt in sets):
        return Climb(use=Rung.TECHNICIAN, why=f"the endpoint accepts no set of this gateway ({names})", remedy=remedy)
    why = "no set on this gateway gets through, and nothing says that it is the sets"
    return Climb(why=why)


def _remedy(met: Sequence[Attempt], last: Rung, readmit: str | None) -> str:
    """Return what a person can do; a certificate of the gateway's own can be activated again where one was tried."""
    own = any(attempt.rung not in {Rung.CLAIM, Rung.VENDING} for attempt in met)
    if last is Rung.VENDING:
        return (VENDING_REMEDY if own else NEVER_SOLD_REMEDY).format(readmit=readmit)
    return LOCKED_OUT_REMEDY if own else NEVER_IN_REMEDY


def _turned_away(failure: Failure) -> bool:
    return failure.kind in {FailureClass.CREDENTIAL, FailureClass.POLICY} or traits(failure.code).turned_away


def _without_stop(attempt: Attempt) -> str:
    return attempt.failure.message.rstrip(".") if attempt.failure else ""
