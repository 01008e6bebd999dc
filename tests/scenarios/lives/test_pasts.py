"""A gateway with a past that was lived through before is the same gateway, and has everything to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE

if TYPE_CHECKING:
    from pathlib import Path

    from support.simulated.pasts import LivedPast
    from support.simulated.rig import Rig


def test_it_goes_on_where_its_past_ended(gateway: Rig) -> None:
    """Its cloud knows it, its clock is right, and its changes are counted on."""
    assert gateway.rotate().record.phase == "committed"
    assert gateway.history == [("enroll", "committed", 1), ("rotate", "committed", 2), ("rotate", "committed", 3)]
    assert gateway.asked(Operation.CREATE) == len(gateway.history)
    assert [record.id for record in gateway.store.history()] == ["change-1", "change-2", "change-3"]
    assert gateway.entry(3).created_at > gateway.entry(2).created_at


def test_nothing_of_it_is_another_gateways(third_year: LivedPast, gateway: Rig, tmp_path: Path) -> None:
    """What happens to one, to its cloud, its endpoint, its clock and its programs, happens to none besides."""
    before = third_year.begin(tmp_path / "before")
    gateway.rotate()
    gateway.fault(Operation.CONNECT, Effect.HANG_UP, times=None)
    gateway.endpoint.down = NO_ROUTE
    after = third_year.begin(tmp_path / "after")
    for other in (before, after):
        assert other.in_use() == (2, 1)
        assert other.connects()
        assert other.clock.now() < gateway.clock.now()
        assert other.programs.uses == 2
        assert other.asked(Operation.CREATE) == 2
        assert other.log.text != gateway.log.text
        other.close()


def test_its_parts_are_its_own(gateway: Rig) -> None:
    """Its cloud asks its clock, its endpoint serves its cloud, and its engine is given its claim."""
    gateway.clock.advance(days=400)
    assert gateway.cloud.now == gateway.clock.now()
    gateway.revoke(1, 2)
    gateway.readmit()
    assert gateway.heal().use == "claim"
    assert gateway.in_use()[0] == 3
