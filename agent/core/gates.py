"""Whether the operator's gates are asked before a step, and what their answer means for the change.

Rules:

* A rotation is held before its certificate is asked for and before its set is put in use; a change of anchors before
  the latter. What leads a gateway back on line is never held: an enrolment, a rollback, an import, the ladder's.
* In the emergency window nothing waits. Nor does a change that was held in its present phase for as long as
  `Limits.gates_patience`: a gate that is forgotten must not let a certificate run out.
* A gate that cannot be run has said nothing, so it is no operator's hold: it is told as the trouble that it is, and the
  change goes on without it, and says so to its end. At once where only a person can mend the gate, which is told long
  before a change; after `Limits.dependants_patience` where it may come up by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.dependants import TOLD, Leave
from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import Failure, FailureClass
from agent.core.text import duration
from agent.core.values import Kind, Origin

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from agent.core.change.decide import Limits
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Report

_HELD = {Leave.REQUEST: {Kind.ROTATE}, Leave.ACTIVATION: {Kind.ROTATE, Kind.TRUST}}


def is_asked(record: ChangeRecord, leave: Leave, emergency_at: datetime | None, now: datetime, limits: Limits) -> bool:
    """Whether gates are asked.

    Args:
        record: The change.
        leave: Before which step.
        emergency_at: When the emergency window of the set in use opens; None where no whole set is in use.
        now: The wall clock.
        limits: Patience.
    """
    held = record.kind in _HELD[leave] and record.origin is not Origin.LADDER and record.base is not None
    hurried = emergency_at is None or now >= emergency_at
    # A clock that was set back must not hold a change for longer.
    waited = abs(now - record.entered_at) >= limits.gates_patience
    return held and not hurried and not waited


def answer(report: Report, limits: Limits) -> Failure | None:
    """Return what the gates have said, as a failure of the step; None where all let it go on."""
    step = next((step for step in report.problems if not step.untried), None)
    if step is None:
        told = [f"The {step.name} is not asked: {step.problem}" for step in report.problems[:TOLD]]
        return unasked(" ".join(told), limits, lasting=True) if told else None
    if step.goes_back:
        message = f"The {step.name} does not let this change go on: it ended with its veto."
        remedy = "Ask its owner; `iot-cert rotate` begins again."
        return Failure(kind=FailureClass.OPERATOR, code=Code.VETOED, message=message, remedy=remedy, decisive=True)
    message = f"The {step.name} holds this change: {step.problem.rstrip('.')}."
    return Failure(
        kind=FailureClass.OPERATOR, code=Code.HELD, message=message, promise=_asked_again(limits.gates_patience)
    )


def unasked(message: str, limits: Limits, remedy: str = "", *, lasting: bool) -> Failure:
    """Return the failure of gates that could not be asked; `lasting` says whether only a person can change that."""
    return Failure(
        kind=FailureClass.DEPENDANT,
        code=Code.UNASKED if lasting else Code.DEPENDANT,
        message=message,
        remedy=remedy or "Put it right for the next change; `iot-cert check configuration` says when it is.",
        promise="" if lasting else _asked_again(limits.dependants_patience),
    )


def holds(failure: Failure, record: ChangeRecord, now: datetime, limits: Limits) -> bool:
    """Whether what `answer` or `unasked` returned keeps the step from being taken now."""
    if failure.kind is FailureClass.OPERATOR:
        return True
    since = min(record.refused_since or now, now)  # a clock that was set back begins the wait anew
    return not traits(failure.code).final and now - since < limits.dependants_patience


def _asked_again(patience: timedelta) -> str:
    return f"It is asked again; after {duration(patience)}, or near expiry, the change goes on without it."
