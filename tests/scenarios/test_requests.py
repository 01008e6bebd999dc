"""What a request costs when a change ends by it, and certificates that were not registered in time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.lifecycle import Phase
from agent.core.values import Kind
from agent.sandbox.faults import Effect, Operation

if TYPE_CHECKING:
    from rig import Rig


@pytest.mark.parametrize("effect", [Effect.REJECT, Effect.DENY, Effect.UNAUTHORISED])
def test_the_refusal_that_ends_a_change_costs_nothing_either(gateway: Rig, effect: Effect) -> None:
    """Nothing was issued, so nothing counts: an operator who mends a policy in five tries is not locked out a day."""
    gateway.fault(Operation.CREATE, effect, times=None)
    record = gateway.rotate(patience=timedelta(hours=1)).record

    assert record.phase is Phase.REJECTED
    assert record.requests == ()


def test_a_rotation_that_lay_for_two_hours_with_a_certificate_in_hand_gets_another(gateway: Rig) -> None:
    """The registration was never sent, the token is dead: a new key and a new certificate, in the same change."""
    gateway.stop_at(Kind.ROTATE, Phase.ISSUED)
    gateway.clock.advance(hours=2)
    gateway.restart()
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert len(outcome.record.requests) == 2


@pytest.mark.parametrize("effect", [Effect.IGNORE, Effect.SILENCE, Effect.UNAVAILABLE])
def test_a_registration_that_never_arrived_within_the_hour_gets_another(gateway: Rig, effect: Effect) -> None:
    """The same without a restart: an hour's outage of the provisioning service alone ends the rotation."""
    gateway.fault(Operation.REGISTER, effect, times=None)
    gateway.rotate(patience=timedelta(minutes=50))
    gateway.clock.advance(minutes=30)
    gateway.cloud.faults.clear()

    assert gateway.follow().record.phase is Phase.COMMITTED
