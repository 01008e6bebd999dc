"""What a person's order means now: the only place that says so, for the command and for the daemon's worker alike.

Rules:

* An order that finds a change of its own kind in flight joins it. So a command that was interrupted and is typed again
  goes on with what it began.
* An order whose change has ended is answered with that end as long as nothing says that the end was told. So a command
  that was killed after its last step does not do the same twice.
* An order that finds another change in flight has that one carried on first, unless the two contradict each other.
* A rescue, which is a set or anchors that a person brings, goes before a change that waits and has put nothing in use,
  and before one whose set in use fails.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass, needs_control
from agent.core.frozen import frozen
from agent.core.values import Kind, Origin
from agent.errors import RefusedError

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord

# For how long an end that was not told answers the same order. After that a person means another one.
UNTOLD = timedelta(hours=1)


class Verb(StrEnum):
    """What a person may order about the credential set."""

    ENROLL = "enroll"
    ROTATE = "rotate"
    ROLLBACK = "rollback"
    GIVE_UP = "give-up"


class OrderStep(StrEnum):
    """What is done about an order."""

    BEGIN = "begin"  # a change of `Meaning.kind`
    GO_ON = "go-on"  # with the change in flight; then a change of `Meaning.kind`, if there is one
    GIVE_UP = "give-up"  # the change in flight
    CLIMB = "climb"  # the ladder, since there is no set to begin from
    DONE = "done"  # nothing: `Meaning.done` did it


@frozen
class Situation:
    """What the meaning of an order depends on.

    Attributes:
        change: The change in flight.
        history: The finished changes, oldest first.
        current: The generation in use, if it is whole.
        now: The wall clock.
        told: The id of the last change whose end was told to the person who ordered it.
        joins: The change that was in flight when the order was given, or empty.
    """

    change: ChangeRecord | None
    history: tuple[ChangeRecord, ...]
    current: int | None
    now: datetime
    told: str = ""
    joins: str = ""

    @property
    def last(self) -> ChangeRecord | None:
        """The last finished change."""
        return self.history[-1] if self.history else None

    @property
    def final(self) -> bool:
        """Whether there is a set in use, and not one whose only probation ended in a refusal."""
        ends = [record for record in self.history if record.generation == self.current]
        return self.current is not None and not (ends and ends[-1].phase is Phase.REJECTED)


@frozen
class Meaning:
    """What an order comes to.

    Attributes:
        step: What to do.
        kind: The change to begin, at once or after the one in flight has succeeded.
        done: The finished change that did what is ordered.
    """

    step: OrderStep
    kind: Kind | None = None
    done: ChangeRecord | None = None


def meaning(verb: Verb, situation: Situation) -> Meaning:
    """Return what an order means.

    Raises:
        RefusedError: This gateway is in no state for it.
    """
    joined = _joined(verb, situation)
    if joined is not None:
        return Meaning(step=OrderStep.DONE, done=joined)
    match verb:
        case Verb.ENROLL:
            return _enroll(situation)
        case Verb.ROTATE:
            return _rotate(situation)
        case Verb.ROLLBACK:
            return _rollback(situation)
        case _:
            return _give_up(situation)


def joins(verb: Verb, change: ChangeRecord | None) -> str:
    """Return the id of the change in flight that an order is to join, or nothing; see `Situation.joins`."""
    if change is None or (verb is Verb.ROTATE and change.condemned is not None):
        return ""
    return change.id


def _joined(verb: Verb, situation: Situation) -> ChangeRecord | None:
    """Return the change that was in flight when the order was given, if its end is what the order asked for."""
    if not situation.joins or (situation.change is not None and situation.change.id == situation.joins):
        return None
    ended = next((record for record in reversed(situation.history) if record.id == situation.joins), None)
    if ended is None or (verb is Verb.ROTATE and not ended.kind.issues):
        return None
    if verb is Verb.ROLLBACK and ended.phase.succeeded and ended.kind is not Kind.ROLLBACK:
        return None  # it became final before it could be given up: what is wanted is the set before
    return ended


def _untold(situation: Situation) -> ChangeRecord | None:
    """Return the last finished change if it ended lately and nothing says that its end was told."""
    last = situation.last
    if last is None or last.id == situation.told or last.origin is not Origin.TECHNICIAN:
        return None
    return last if abs(situation.now - last.entered_at) < UNTOLD else None


def _enroll(situation: Situation) -> Meaning:
    if situation.change is not None:
        return Meaning(step=OrderStep.GO_ON)
    untold = _untold(situation)
    if untold is not None and untold.kind is Kind.ENROLL and untold.phase.succeeded:
        return Meaning(step=OrderStep.DONE, done=untold)
    if situation.final:
        text = f"This gateway is enrolled already, with generation {situation.current}."
        raise RefusedError(text, hint="`iot-cert rotate` gets a new certificate.")
    return Meaning(step=OrderStep.BEGIN, kind=Kind.ENROLL)


def _rotate(situation: Situation) -> Meaning:
    change, untold = situation.change, _untold(situation)
    if change is not None:
        brings_one = change.kind.issues and change.condemned is None
        return Meaning(step=OrderStep.GO_ON, kind=None if brings_one else Kind.ROTATE)
    if untold is not None and untold.kind is Kind.ROTATE and untold.phase.succeeded:
        return Meaning(step=OrderStep.DONE, done=untold)
    if situation.current is not None:
        return Meaning(step=OrderStep.BEGIN, kind=Kind.ROTATE)
    return Meaning(step=OrderStep.CLIMB)


def _rollback(situation: Situation) -> Meaning:
    change, untold = situation.change, _untold_return(situation)
    if change is not None:
        return Meaning(step=OrderStep.GO_ON if goes_back(change) else OrderStep.GIVE_UP)
    if untold is not None:
        return Meaning(step=OrderStep.DONE, done=untold)
    return Meaning(step=OrderStep.BEGIN, kind=Kind.ROLLBACK)


def goes_back(change: ChangeRecord) -> bool:
    """Whether a change in flight leads back already."""
    return change.kind is Kind.ROLLBACK or change.condemned is not None


def _untold_return(situation: Situation) -> ChangeRecord | None:
    """Return the last change if a person's word took the gateway back by it, or ended it, and that was not told.

    What was given up may have been begun by anything: the schedule, a job, the ladder.
    """
    last = situation.last
    if last is not None and _was_given_up(last) and last.id != situation.told:
        return last if abs(situation.now - last.entered_at) < UNTOLD else None
    untold = _untold(situation)
    return untold if untold is not None and untold.kind is Kind.ROLLBACK and untold.phase.succeeded else None


def _was_given_up(record: ChangeRecord) -> bool:
    failure = record.failure
    return failure is not None and failure.kind is FailureClass.OPERATOR and failure.code == Code.GIVEN_UP


def _give_up(situation: Situation) -> Meaning:
    if situation.change is not None:
        return Meaning(step=OrderStep.GIVE_UP)
    last = situation.last
    if last is not None and _was_given_up(last):
        return Meaning(step=OrderStep.DONE, done=last)
    raise RefusedError("No change is in flight.", hint="`iot-cert history` shows how the last one ended.")


def comes_first(
    record: ChangeRecord, hint: str = "Try again when it has ended; `iot-cert status` shows how far it is."
) -> RefusedError:
    """Return the refusal of an order that is for no change in flight, or for another one than this."""
    return RefusedError(f"Change {record.id} ({record.kind}) is in flight; it comes first.", hint=hint)


def gives_way(record: ChangeRecord, *, in_use: bool) -> bool:
    """Whether a change that waits gives way to a rescue by a person.

    Args:
        record: The change, which has gone as far as it can now.
        in_use: Whether `current` points at its generation.
    """
    if not (in_use or record.phase.activated):
        return True
    failure = record.failure  # a network that is down says nothing against the set, nor does a dependant
    return failure is not None and (needs_control(failure) or failure.code == Code.LOCKED_OUT)
