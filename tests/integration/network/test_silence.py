"""A broker that takes a CONNECT and never ends its answer is told of as that, however short the patience is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.config.reader import load
from agent.core.change.lifecycle import Phase
from agent.core.values import Candidate
from agent.errors import CloudError
from agent.iotcore.broker import Broker
from agent.iotcore.client_options import Connector, timeouts_of
from agent.sandbox.replies.faults import Effect, Fault, Operation
from agent.store.store import Store

if TYPE_CHECKING:
    from support.running.gateway import Gateway

THING = "gw-0042"
BEGUN = b"\x20\xff\xff\xff\x7f\x00\x00"  # of a CONNACK that goes on for 256 MB
ENDLESS = b"\x20\x80\x80\x80\x01" + bytes(4 << 20)  # a CONNACK of 2 MB, and then no end


@pytest.mark.parametrize("answer", [b"", BEGUN])
def test_no_answer_within_a_short_patience_is_no_session_that_broke(enrolled: Gateway, answer: bytes) -> None:
    """The patience ends before the SDK's own does; what the SDK says of being stopped then is not the reason."""
    with Store(enrolled.state) as store:
        found = store.generation(store.current() or 0)
    candidate = Candidate(
        name="the application", credential=found.credential, trust=found.trust, client_id=THING, thing_name=THING
    )
    enrolled.cloud.faults.add(Fault(operation=Operation.CONNECT, effect=Effect.HOSTILE, payload=answer))
    patience = timeouts_of(timedelta(seconds=1), timedelta(seconds=1))
    with pytest.raises(CloudError) as caught:
        Broker(lambda: Connector(load(enrolled.config).target, patience)).connect(candidate)
    assert caught.value.failure.code == "connack-timeout"


@pytest.mark.parametrize("answer", [ENDLESS, b"\x20\x03\xff\xff\xff", b"\xd0\x00"])
def test_an_answer_that_is_none_to_the_set_in_use_only_puts_a_rotation_off(enrolled: Gateway, answer: bytes) -> None:
    """The claim gets through a moment later, and says nothing against the set: AWS IoT Core refuses in other ways."""
    enrolled.cloud.faults.add(Fault(operation=Operation.CONNECT, effect=Effect.HOSTILE, payload=answer))
    said = enrolled.run("rotate", expect=0).out
    assert "broke the rules of MQTT" in said
    assert "nothing is given up for it" in said
    assert [record.phase for record in enrolled.history()] == [Phase.COMMITTED, Phase.COMMITTED]
