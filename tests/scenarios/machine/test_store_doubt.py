"""Steps in doubt are taken again, and a change whose beginning is in doubt is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.errors import StoreInDoubtError
from support.simulated.troubled import IN_DOUBT

if TYPE_CHECKING:
    from support.simulated.rig import Rig


def test_a_generation_whose_last_sync_failed_is_synced_before_it_is_used(gateway: Rig) -> None:
    """`current` must not become durable before the generation's own name is: `prepare` in doubt is done again."""
    gateway.disk.fail("prepare", error=IN_DOUBT)
    assert gateway.rotate().record.phase is Phase.COMMITTED

    since_fixture = gateway.disk.calls.count("prepare") - 2
    assert since_fixture == 2


def test_a_change_whose_beginning_was_in_doubt_is_known_or_gone(gateway: Rig) -> None:
    """A person who was told that a command failed must not find it carried out by the next start."""
    gateway.disk.fail("save_change", error=IN_DOUBT)
    with pytest.raises(StoreInDoubtError):
        gateway.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert gateway.engine.change is not None or gateway.store.change() is None
