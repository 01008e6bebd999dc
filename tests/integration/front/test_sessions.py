"""What the local IoT Core tells of connections that ended."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import mqtt5
import pytest

from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.network.sessions import ClientSession, gaps
from support.running.front import AGENT, OWN_TOPIC, THING, Wire, device, disconnect, publish, wait_for_live

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.sandbox.service import LocalCloud


@pytest.mark.parametrize(
    ("leave", "end"),
    [
        (disconnect, "closed"),
        (lambda client: client.tls.close(), "vanished"),
        (lambda client: client.send(publish(OWN_TOPIC, qos=mqtt5.QoS.EXACTLY_ONCE)), "hung-up"),
        (lambda client: client.send(b"\xff\x00"), "hung-up"),
    ],
)
def test_the_log_says_how_a_client_left(
    leave: Callable[[Wire], None], end: str, local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Well-mannered, without a word, or thrown out."""
    identity = device(cloud)
    client = wire(identity)
    client.connect()
    (session,) = local.front.log.sessions
    assert (session.client_id, session.certificate_id) == (THING, identity.certificate_id)
    assert (session.ended, session.end) == (None, "")
    leave(client)
    wait_for_live(local, 0)
    assert session.end == end
    assert session.ended is not None
    assert session.ended > session.began


def test_the_log_says_who_ended_a_session_from_this_side(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Another client with the id, a certificate that was revoked, an endpoint that went down, a broker that died."""
    identity, other = device(cloud), device(cloud)
    for who in (identity, identity):
        wire(who).connect()
    wait_for_live(local, 1)
    local.revoke(identity.certificate_id)
    wire(other).connect()
    local.take_down()
    local.bring_up()
    wire(other).connect()
    assert local.broker.pid is not None
    os.kill(local.broker.pid, signal.SIGKILL)
    wait_for_live(local, 0)
    assert [session.end for session in local.front.log.sessions] == ["taken-over", "cut", "down", "hung-up"]


def test_a_client_that_was_refused_has_no_session(local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """Only who was let in is in the log."""
    wire(device(cloud, status=Status.INACTIVE)).rest()
    wire().connect("another-client")
    wait_for_live(local, 0)
    assert local.front.log.sessions == []


def test_a_takeover_leaves_no_gap_and_a_reconnection_does(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """The gap is the time between the end of one session and the beginning of the next."""
    identity = device(cloud)
    first, second = wire(identity), wire(identity)
    first.connect()
    second.connect()
    wait_for_live(local, 1)
    assert local.front.log.gaps(THING) == []
    disconnect(second)
    wait_for_live(local, 0)
    wire(identity).connect()
    _, before, after = local.front.log.sessions
    assert before.ended is not None
    assert local.front.log.gaps(THING) == [after.began - before.ended]
    assert local.front.log.gaps(AGENT) == []


def spans(*times: tuple[float, float | None], client_id: str = THING) -> list[ClientSession]:
    """Return sessions with these beginnings and ends."""
    return [ClientSession(client_id=client_id, certificate_id="", began=began, ended=ended) for began, ended in times]


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ([], []),
        (spans((1, 2)), []),
        (spans((1, None)), []),
        (spans((1, 2), (2, 3)), []),
        (spans((1, 3), (2, 4), (4.5, None)), [0.5]),
        (spans((1, 9), (2, 3), (5, 6), (10, 11)), [1]),
        (spans((1, 2), (4, 5), (9, 10)), [2, 4]),
        (spans((9, 10), (1, 2)), [7]),
        (spans((1, None), (3, 4), (6, 7)), []),
        (spans((1, 2), (4, 5)) + spans((2, 4), client_id=AGENT), [2]),
    ],
    ids=str,
)
def test_gaps_are_the_times_without_any_session(sessions: list[ClientSession], expected: list[float]) -> None:
    """Sessions of the one client only, in any order; what overlaps leaves none, and one that lasts covers the rest."""
    assert gaps(sessions, THING) == expected
