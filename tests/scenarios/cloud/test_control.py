"""The claim certificate asks for nothing, so it is no control for what only asking can show."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig

# Beyond every patience that the agent has with a refusal. It tries again each minute: twelve hours would tell no more.
OUTAGE = timedelta(hours=2)


@pytest.mark.parametrize("effect", [Effect.HANG_UP, Effect.UNAUTHORISED])
@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.DEPLOYED])
def test_a_request_that_no_set_gets_answered_speaks_against_none(gateway: Rig, phase: Phase, effect: Effect) -> None:
    """Old and new set connect and neither gets its request answered: kept, as in every outage of the cloud."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.clock.advance(minutes=2)
    in_use = gateway.in_use()
    gateway.fault(Operation.ASK, effect, times=None)
    outcome = gateway.follow(patience=OUTAGE)

    assert outcome.record.phase is phase
    assert gateway.in_use() == in_use
    gateway.cloud.faults.clear()
    assert gateway.follow().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.DEPLOYED])
def test_a_policy_that_fails_all_devices_speaks_against_no_certificate(gateway: Rig, phase: Phase) -> None:
    """Old and new set may not connect by their common policy; the claim's own policy says nothing about that."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.clock.advance(minutes=2)
    in_use, policies = gateway.in_use(), {}
    for entry in gateway.cloud.certificates_of("gw-0042"):
        policies[entry.certificate_id], entry.policies = entry.policies, []
    outcome = gateway.follow(patience=OUTAGE)

    assert outcome.record.phase is phase
    assert gateway.in_use() == in_use
    for entry in gateway.cloud.certificates_of("gw-0042"):
        entry.policies = policies[entry.certificate_id]
    assert gateway.follow().record.phase is Phase.COMMITTED
