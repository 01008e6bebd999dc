"""How probation begins, and how the set is doubted: two events that follow from what `decide` says.

They stand apart since the daemon decides by the same rules and makes no event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change import decide, probation
from agent.core.change.events import Deployed, Doubted

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.change.decide import Facts, Limits
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.failure.failure import Failure


def deployed(record: ChangeRecord, now: datetime, limits: Limits, problem: Failure | None = None) -> Deployed:
    """Return the event of dependants that use the new set, as far as they can: probation begins."""
    confirm = probation.word_within(record, limits)
    return Deployed(at=now, probation=limits.probation, confirm=confirm, problem=problem)


def doubted(record: ChangeRecord, facts: Facts, limits: Limits) -> Doubted | None:
    """Return the event of a doubt about the set on probation, or None when that brings no proof forward."""
    prove_at = decide.brought_forward_to(record, facts, limits)
    return None if prove_at is None else Doubted(at=facts.clock.now, prove_at=prove_at)
