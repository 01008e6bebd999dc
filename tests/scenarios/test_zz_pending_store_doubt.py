"""PENDING: steps in doubt that are not taken again, and a change that begins although its command failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rig import IN_DOUBT

from agent.core.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.errors import StoreInDoubtError

if TYPE_CHECKING:
    from rig import Rig


def test_a_generation_whose_last_sync_failed_is_synced_before_it_is_used(gateway: Rig) -> None:
    """`current` must not become durable before the generation's own name is: `prepare` in doubt is done again."""
    gateway.disk.fail("prepare", error=IN_DOUBT)
    assert gateway.rotate().record.phase is Phase.COMMITTED

    # Now: one. Engine._prepare finds the generation whole and goes on without store.prepare, which would sync again.
    # A power cut may then undo the rename of generations/000003 under a durable `current`.
    since_fixture = gateway.disk.calls.count("prepare") - 2
    assert since_fixture == 2


def test_a_change_whose_beginning_was_in_doubt_is_known_or_gone(gateway: Rig) -> None:
    """Whoever was told that a command failed must not find it carried out by the next start."""
    gateway.disk.fail("save_change", error=IN_DOUBT)
    with pytest.raises(StoreInDoubtError):
        gateway.engine.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    # Now: "nothing was planned" (docstring of begin), but the record is on disk and the next start rolls back.
    assert gateway.engine.change is not None or gateway.store.change() is None
