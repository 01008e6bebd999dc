"""What to try when the current set does not connect: current → previous → claim → a technician.

Rules:

* A rung is left only when its set is missing, damaged or refused, never for lack of network: a failure that any path
  may have (no route, a wrong clock) would meet the next rung just the same. A server that the current anchors do not
  verify may verify with the previous set's own.
* The first rung that is accepted is the control that makes the refusals before it decisive.
* What follows is one ordinary change, so that it is proven, recorded and undone like any other: the previous set is
  put back, or the claim certificate enrols the gateway anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.core.failure import AMBIGUOUS, Failure, FailureClass


class Rung(StrEnum):
    """One way to get back to the cloud, in the order of trying."""

    CURRENT = "current"
    PREVIOUS = "previous"
    CLAIM = "claim"
    TECHNICIAN = "technician"


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
    failure = Failure(kind=FailureClass.CREDENTIAL, code="missing", message=why, decisive=True)
    return Attempt(rung=rung, failure=failure)


@dataclass(frozen=True, kw_only=True)
class Climb:
    """What to do after the attempts so far: exactly one of `try_next` and `use`, or neither, to wait.

    Attributes:
        try_next: The rung to try now.
        use: The rung that works, or TECHNICIAN when none is left.
        why: A sentence for people.
    """

    why: str
    try_next: Rung | None = None
    use: Rung | None = None


def climb(attempts: tuple[Attempt, ...]) -> Climb:
    """Decide the next move of the ladder from the attempts so far, in order."""
    if not attempts:
        return Climb(try_next=Rung.CURRENT, why="the current set is tried first")
    last = attempts[-1]
    if last.failure is None:
        return Climb(use=last.rung, why=f"the {last.rung} set is accepted")
    if not _may_differ_below(last):
        return Climb(why=last.failure.message)
    if last.rung is not Rung.CLAIM:
        following = list(Rung)[list(Rung).index(last.rung) + 1]
        return Climb(try_next=following, why=f"the {last.rung} set does not work: {last.failure.message}")
    return _top(attempts)


def _top(attempts: tuple[Attempt, ...]) -> Climb:
    refusals = [attempt.failure for attempt in attempts if attempt.failure]
    if all(failure.code == "missing" or failure.kind is FailureClass.POLICY for failure in refusals):
        why = "there is no set left on this gateway that the broker accepts"
        return Climb(use=Rung.TECHNICIAN, why=why)
    why = "no set on this gateway gets through, and nothing says that it is the sets; the agent tries again"
    return Climb(why=why)


def _may_differ_below(attempt: Attempt) -> bool:
    """Whether another rung may fare better: the failure may be due to the credential, or to this set's own anchors."""
    failure = attempt.failure
    if failure is None:
        return False
    if failure.kind is FailureClass.SERVER_TRUST:
        return attempt.rung is Rung.CURRENT  # the previous set has the anchors it was proven with
    return failure.kind in {FailureClass.CREDENTIAL, FailureClass.POLICY} or (
        failure.kind is FailureClass.NETWORK and failure.code in AMBIGUOUS
    )
