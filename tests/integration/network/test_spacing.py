"""One CONNECT a second for a client id, as the broker counts: also over a link on which handshakes take their time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.config.reader import load
from agent.core.aws.endpoints import Proxy
from agent.core.values import Candidate
from agent.iotcore.broker import Broker
from agent.iotcore.client_options import Connector, Timeouts
from agent.store.store import Store
from support.network.tunnels import tunnelling_proxy

if TYPE_CHECKING:
    from support.running.gateway import Gateway

THING = "gw-0042"
SLOW = 0.7  # seconds


def test_a_connect_that_was_late_counts_from_when_it_arrived(enrolled: Gateway) -> None:
    """Each attempt is two connections, the look at the server and the SDK's own; that of the first one is slow."""
    config = load(enrolled.config)
    with Store(enrolled.state) as store:
        found = store.generation(store.current() or 0)
    candidate = Candidate(
        name="the application", credential=found.credential, trust=found.trust, client_id=THING, thing_name=THING
    )
    with tunnelling_proxy(delays=[0.0, SLOW]) as (port, asked):
        through = replace(config.target, proxy=Proxy(host="127.0.0.1", port=port))
        broker = Broker(lambda: Connector(through, Timeouts()))
        for _ in range(3):
            broker.connect(candidate).close()
    assert len(asked) == 6
    assert THING not in enrolled.service.front.log.rushed
