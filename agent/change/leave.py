"""Leave: what the operator's gates say to a step, before it is taken. When they are asked the core says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core import gates as rules
from agent.core.failure.codes import Code, traits
from agent.core.when.renewal import renewal_window
from agent.errors import AgentError, CloudError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.change.sets import Sets
    from agent.change.world import Settings, World
    from agent.core.change.decide import Limits
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Leave
    from agent.core.failure.failure import Failure
    from agent.ports import Gates


def have(
    leave: Leave,
    record: ChangeRecord,
    world: World,
    settings: Settings,
    sets: Sets,
    tell: Callable[[str, str, str], None],
) -> Failure | None:
    """Return when a step may be taken: why gates were not asked for it, told once, or None.

    Raises:
        CloudError: Not now, or not at all.
        StoreError: The set in use cannot be read.
    """
    limits, gates, now = settings.limits, world.gates, world.clock.now()
    if gates is None or not rules.is_asked(record, leave, _emergency(settings, sets), now, limits):
        return None
    failure = _answer(gates, leave, limits)
    if failure is None:
        return None
    if rules.holds(failure, record, now, limits):
        raise CloudError(failure)
    without = replace(failure.final, code=Code.UNASKED)
    if without != record.degraded:
        tell("trouble", f"The change goes on without this: {without.message}", without.kind)
    return without


def _answer(gates: Gates, leave: Leave, limits: Limits) -> Failure | None:
    try:
        return rules.answer(gates.ask(leave), limits)
    except AgentError as error:
        lasting = isinstance(error, CloudError) and traits(error.failure.code).final
        return rules.unasked(f"The gates cannot be asked: {error}", limits, error.hint, lasting=lasting)


def _emergency(settings: Settings, sets: Sets) -> datetime | None:
    current = sets.usable()
    if current is None:
        return None
    leaf = current.credential.leaf
    return renewal_window(leaf.not_before, leaf.not_after, settings.renewal).emergency_at
