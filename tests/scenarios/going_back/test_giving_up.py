"""What has ended cannot be given up, whenever the power was cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.errors import RefusedError
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig


@pytest.mark.parametrize(
    ("end", "effect"),
    [(Phase.COMMITTED, None), (Phase.REJECTED, Effect.NEVER_ACTIVE), (Phase.ROLLED_BACK, Effect.REVOKE)],
)
def test_a_change_that_has_ended_is_not_given_up(gateway: Rig, end: Phase, effect: Effect | None) -> None:
    """What has ended is filed or refused with a sentence; it is no defect in the caller."""
    if effect:
        gateway.fault(Operation.REGISTER, effect)
    gateway.stop_at(Kind.ROTATE, end)
    gateway.restart()

    with pytest.raises(RefusedError):
        gateway.engine.give_up("test")
    gateway.follow()
    assert gateway.at_rest
