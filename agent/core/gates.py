"""Whether the operator's gates are asked before a step, and what their answer means for the change.

Rules:

* A rotation is held before its certificate is asked for and before its set is put in use; a change of anchors before
  the latter. What leads a gateway back on line is never held: an enrolment, a rollback, an import, the ladder's.
* In the emergency window nothing waits. Nor does a change that was held in its present phase for as long as
  `Limits.gates_patience`: a gate that is broken, or forgotten, must not let a certificate run out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.dependants import Leave
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.text import duration
from agent.core.values import Kind, Origin

if TYPE_CHECKING:
    from datetime import datetime

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
    step = next((step for step in report.problems), None)
    if step is None:
        return None
    if step.goes_back:
        message = f"The {step.name} does not let this change go on: it ended with its veto."
        remedy = "Ask its owner; `iot-cert rotate` begins again."
        return Failure(kind=FailureClass.OPERATOR, code=Code.VETOED, message=message, remedy=remedy, decisive=True)
    return held(f"The {step.name} holds this change: {step.problem.rstrip('.')}.", limits)


def held(message: str, limits: Limits) -> Failure:
    """Return the failure of a step that is not taken yet for want of leave."""
    patience = duration(limits.gates_patience)
    promise = f"It is asked again; after {patience}, or near expiry, the change goes on without it."
    return Failure(kind=FailureClass.OPERATOR, code=Code.HELD, message=message, promise=promise)
