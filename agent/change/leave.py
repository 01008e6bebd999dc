"""Leave: what the operator's gates say to a step, before it is taken. When they are asked the core says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core import gates as rules
from agent.core.when.renewal import renewal_window
from agent.errors import AgentError, CloudError

if TYPE_CHECKING:
    from datetime import datetime

    from agent.change.sets import Sets
    from agent.change.world import Settings, World
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Leave


def have(leave: Leave, record: ChangeRecord, world: World, settings: Settings, sets: Sets) -> None:
    """Return when a step may be taken.

    Raises:
        CloudError: Not now, or not at all.
        StoreError: The set in use cannot be read.
    """
    limits, gates = settings.limits, world.gates
    if gates is None or not rules.is_asked(record, leave, _emergency(settings, sets), world.clock.now(), limits):
        return
    try:
        report = gates.ask(leave)
    except AgentError as error:
        raise CloudError(rules.held(f"The gates cannot be asked: {error}", limits)) from error
    failure = rules.answer(report, limits)
    if failure is not None:
        raise CloudError(failure)


def _emergency(settings: Settings, sets: Sets) -> datetime | None:
    current = sets.usable()
    if current is None:
        return None
    leaf = current.credential.leaf
    return renewal_window(leaf.not_before, leaf.not_after, settings.renewal).emergency_at
