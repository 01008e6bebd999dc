"""What to try when the current set does not connect.

::

    current → (other anchors: previous → baked) → previous → claim → salvaged → a technician

Rules:

* Other anchors are tried, with the certificate kept, when the server is not trusted: that is no fault of the
  certificate, and going back to an older one, which may be retired already, would not mend it. Nothing is weakened:
  each is a set of anchors that this gateway was given and that must verify the live endpoint all by itself.

* A rung is left only when its set is missing, damaged or refused, never for lack of network: a failure that any path
  may have (no route, a wrong clock) would meet the next rung just the same.
* The first rung that is accepted is the control that makes the refusals before it decisive.
* The last rung is what can be salvaged: another generation on the disk, or a damaged one whose key and certificate
  belong together. It comes after the claim because a new certificate is worth more than one from a damaged generation.
* What follows is one ordinary change, so that it is proven, recorded and undone like any other: the previous set is
  put back, its anchors are, the claim certificate enrols the gateway anew, or the salvaged set is imported.
* When a verified server turns every set away, that is the conclusion: a person must act. It is concluded anew at each
  climb, so it holds nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import LOCKED_OUT_REMEDY, Failure, FailureClass


class Rung(StrEnum):
    """One way to get back to the cloud, in the order of trying."""

    CURRENT = "current"
    PREVIOUS_ANCHORS = "previous anchors"
    BAKED_ANCHORS = "baked anchors"
    PREVIOUS = "previous"
    CLAIM = "claim"
    SALVAGED = "salvaged"
    TECHNICIAN = "technician"


# Rungs that keep the certificate.
OTHER_ANCHORS = (Rung.PREVIOUS_ANCHORS, Rung.BAKED_ANCHORS)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What became of a rung: accepted when there is no failure.

    Attributes:
        rung: What was tried.
        failure: Why it did not work.
    """

    rung: Rung
    failure: Failure | None = None


def missing(rung: Rung, why: str) -> Attempt:
    """Return the attempt at a rung on which there is nothing to try."""
    failure = Failure(kind=FailureClass.CREDENTIAL, code=Code.NO_SET, message=why, decisive=True)
    return Attempt(rung=rung, failure=failure)


@dataclass(frozen=True, kw_only=True)
class Climb:
    """What to do after the attempts so far: exactly one of `try_next` and `use`, or neither, to wait.

    Attributes:
        try_next: The rung to try now.
        use: The rung that works, or TECHNICIAN when none is left.
        why: A sentence for people.
        remedy: What a person can do about it, as a sentence; empty where the agent helps itself.
    """

    why: str
    try_next: Rung | None = None
    use: Rung | None = None
    remedy: str = ""


def climb(attempts: tuple[Attempt, ...]) -> Climb:
    """Decide the next move of the ladder from the attempts so far, in order."""
    if not attempts:
        return Climb(try_next=Rung.CURRENT, why="the current set is tried first")
    last = attempts[-1]
    name = _name(last.rung)
    if last.failure is None:
        return Climb(use=last.rung, why=f"{name} accepted")
    following = _following(attempts)
    if following is None:
        at_the_end = last.rung is Rung.SALVAGED and _may_be_the_certificate(last.failure)
        return _top(attempts) if at_the_end else Climb(why=_reason(attempts))
    return Climb(try_next=following, why=f"{name} not accepted: {last.failure.message}")


def _name(rung: Rung) -> str:
    return f"the {rung} are" if rung in OTHER_ANCHORS else f"the {rung} set is"


def _reason(attempts: tuple[Attempt, ...]) -> str:
    """Return what was met last; that something is missing is no reason."""
    met = [attempt.failure for attempt in attempts if attempt.failure and attempt.failure.code != Code.NO_SET]
    return met[-1].message if met else "there is no set on this gateway"


def _following(attempts: tuple[Attempt, ...]) -> Rung | None:
    """Return the rung that may fare better than all before, or None."""
    last, failure = attempts[-1], attempts[-1].failure
    refused = failure is not None and _may_be_the_certificate(failure)
    untrusted = (
        failure is not None
        and failure.kind is FailureClass.SERVER_TRUST  # under a wrong clock any server looks expired
        and traits(failure.code).other_anchors
    )
    match last.rung:
        case Rung.CURRENT:
            return Rung.PREVIOUS_ANCHORS if untrusted else (Rung.PREVIOUS if refused else None)
        case Rung.PREVIOUS_ANCHORS | Rung.BAKED_ANCHORS if refused and not _is_missing(last):
            return Rung.PREVIOUS
        case Rung.PREVIOUS_ANCHORS:
            return Rung.BAKED_ANCHORS if refused or untrusted else None
        case Rung.PREVIOUS:
            return Rung.CLAIM if refused or (untrusted and _server_was_verified(attempts)) else None
        case Rung.CLAIM if refused:
            return Rung.SALVAGED
        case _:
            return None


def _is_missing(attempt: Attempt) -> bool:
    return attempt.failure is not None and attempt.failure.code == Code.NO_SET


def _may_be_the_certificate(failure: Failure) -> bool:
    return failure.kind in {FailureClass.CREDENTIAL, FailureClass.POLICY} or (
        failure.kind is FailureClass.NETWORK and traits(failure.code).ambiguous
    )


def _server_was_verified(attempts: tuple[Attempt, ...]) -> bool:
    """Whether some anchors verified the server: only after that can a set be refused."""
    return any(
        attempt.failure is not None and _may_be_the_certificate(attempt.failure) and not _is_missing(attempt)
        for attempt in attempts
    )


def _top(attempts: tuple[Attempt, ...]) -> Climb:
    met = [attempt for attempt in attempts if attempt.failure and not _is_missing(attempt)]
    if not met:
        why = "there is no set on this gateway that could be tried"
        return Climb(use=Rung.TECHNICIAN, why=why, remedy=LOCKED_OUT_REMEDY)
    if all(attempt.failure and _turned_away(attempt.failure) for attempt in met):
        names = ", ".join(f"{attempt.rung}: {_without_stop(attempt)}" for attempt in met)
        why = f"the endpoint accepts no set of this gateway ({names})"
        return Climb(use=Rung.TECHNICIAN, why=why, remedy=LOCKED_OUT_REMEDY)
    why = "no set on this gateway gets through, and nothing says that it is the sets"
    return Climb(why=why)


def _turned_away(failure: Failure) -> bool:
    return failure.kind in {FailureClass.CREDENTIAL, FailureClass.POLICY} or traits(failure.code).turned_away


def _without_stop(attempt: Attempt) -> str:
    return attempt.failure.message.rstrip(".") if attempt.failure else ""
