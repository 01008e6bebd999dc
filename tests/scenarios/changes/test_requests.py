"""What a request costs when a change ends by it, and certificates that were not registered in time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig


@pytest.mark.parametrize("effect", [Effect.REJECT, Effect.DENY, Effect.UNAUTHORISED])
def test_the_refusal_that_ends_a_change_costs_nothing_either(gateway: Rig, effect: Effect) -> None:
    """Nothing was issued, so nothing counts: an operator who mends a policy in five tries is not locked out a day."""
    gateway.fault(Operation.CREATE, effect, times=None)
    record = gateway.rotate(patience=timedelta(hours=1)).record

    assert record.phase is Phase.REJECTED
    assert record.requests == ()


def test_a_registration_that_never_arrived_within_the_hour_ends_the_change(gateway: Rig) -> None:
    """Whether it arrived is for the proof to say; when it did not, the old set stays and the next rotation works."""
    gateway.stop_at(Kind.ROTATE, Phase.ISSUED)
    gateway.clock.advance(hours=2)
    gateway.restart()

    assert gateway.follow().record.phase is Phase.REJECTED
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()
    assert gateway.rotate().record.phase is Phase.COMMITTED
