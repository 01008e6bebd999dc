"""The simulator refuses the same replies as the real adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig


@pytest.mark.parametrize(
    "payload",
    [
        b'{"certificatePem":1,"certificateId":"x","certificateOwnershipToken":"t"}',
        b'{"certificatePem":null,"certificateId":"x","certificateOwnershipToken":"t"}',
        b'{"certificatePem":"A","certificateId":"x","certificateOwnershipToken":[]}',
        b'{"certificatePem":"\\ud800","certificateId":"x","certificateOwnershipToken":"t"}',
    ],
)
def test_a_reply_with_fields_of_another_type_is_garbled(gateway: Rig, payload: bytes) -> None:
    """The port raises CloudError and nothing else, and the change is tried again."""
    gateway.fault(Operation.CREATE, Effect.HOSTILE, payload=payload)

    assert gateway.rotate().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("name", ["", "G" * 5000, "\\ud800"])
def test_a_thing_name_beyond_the_limits_is_garbled(rig: Rig, name: str) -> None:
    """As with the real adapter: the reply is refused, and the gateway asks again."""
    rig.fault(Operation.REGISTER, Effect.HOSTILE, payload=b'{"thingName":"%s"}' % name.encode())

    assert rig.enroll().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("effect", [Effect.DENY, Effect.THROTTLE])
def test_a_shadow_that_refuses_is_a_refusal(gateway: Rig, effect: Effect) -> None:
    """As with the real adapter, which raises for 401, 403 and 429: a refused request is no proof."""
    gateway.fault(Operation.ASK, effect, times=None)

    assert gateway.rotate().record.phase is not Phase.COMMITTED
