"""Connections that the local IoT Core ends, and clients that behave badly."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import mqtt5
import pytest
from awscrt import mqtt5 as sdk

from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.service import LocalCloud
from support.running.front import (
    NO,
    OWN_TOPIC,
    PATIENCE,
    SHORT,
    THING,
    ConnAck,
    PubAck,
    Sdk,
    SubAck,
    Wire,
    client_context,
    device,
    publish,
    subscribe,
    wait_for_live,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# -- the cloud and who calls it ----------------------------------------------------------------------------------------


@pytest.fixture
def hasty(cloud: Cloud, tmp_path: Path) -> Iterator[LocalCloud]:
    """Run a local IoT Core that waits for no client."""
    with LocalCloud(cloud, tmp_path, patience=SHORT) as running:
        yield running
        assert running.front.log.defects == []


# -- the end of connections --------------------------------------------------------------------------------------------


def test_the_same_client_id_again_takes_the_session_over(local: LocalCloud, cloud: Cloud) -> None:
    """The older connection is told 0x8E and both its ends are gone; the newer one works."""
    identity = device(cloud)
    with Sdk(local, identity.pair, THING) as older:
        older.wait_connected()
        with Sdk(local, identity.pair, THING) as newer:
            newer.wait_connected()
            farewell = older.disconnected.get(timeout=PATIENCE)
            older.client.stop()
            wait_for_live(local, 1)
    assert farewell.disconnect_packet.reason_code == sdk.DisconnectReasonCode.SESSION_TAKEN_OVER


def test_a_client_that_vanishes_is_gone_at_the_broker_too(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """The broker publishes its will, so it has seen the end; the front remembers one client only."""
    identity = device(cloud)
    witness, victim = wire(identity), wire(identity)
    witness.connect()
    witness.send(subscribe(OWN_TOPIC))
    witness.receive()
    victim.connect(f"{THING}-cert-agent", will=mqtt5.Will(OWN_TOPIC, payload=b"gone"))
    victim.tls.close()
    message = witness.receive()
    assert isinstance(message, mqtt5.PublishPacket)
    assert message.payload == b"gone"
    wait_for_live(local, 1)


def test_revocation_cuts_a_live_connection_and_no_other(local: LocalCloud, cloud: Cloud) -> None:
    """The SDK sees an unexpected hang-up and cannot come back; the neighbour stays."""
    victim, neighbour = device(cloud), device(cloud, thing="gw-2")
    with Sdk(local, victim.pair, THING) as cut, Sdk(local, neighbour.pair, "gw-2") as stays:
        cut.wait_connected()
        stays.wait_connected()
        local.revoke(victim.certificate_id)
        assert cut.disconnected.get(timeout=PATIENCE).exception.name == "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
        assert cut.failed.get(timeout=PATIENCE).exception.name == "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
        assert [live.certificate_id for live in local.front.live] == [neighbour.certificate_id]


def test_a_revoked_certificate_may_do_nothing_even_before_it_is_cut(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """AWS takes minutes to cut, but judges each packet."""
    identity = device(cloud)
    client = wire(identity)
    client.connect()
    cloud.set_status(identity.certificate_id, Status.REVOKED)
    client.send(
        publish(OWN_TOPIC, packet_id=1), publish(f"$aws/things/{THING}/jobs/x/get", packet_id=2), subscribe(OWN_TOPIC)
    )
    one, two, three = client.receive(), client.receive(), client.receive()
    assert isinstance(one, mqtt5.PubAckPacket)
    assert isinstance(two, mqtt5.PubAckPacket)
    assert isinstance(three, mqtt5.SubAckPacket)
    assert (one.reason_code, two.reason_code) == (PubAck.NOT_AUTHORIZED, PubAck.NOT_AUTHORIZED)
    assert three.reason_codes == [SubAck.NOT_AUTHORIZED]


def test_an_endpoint_that_was_down_comes_back_on_the_same_ports(local: LocalCloud, cloud: Cloud) -> None:
    """While it is down clients are refused, and no other program gets them; the SDK comes back by itself."""
    with Sdk(local, device(cloud).pair, THING) as client:
        client.wait_connected()
        local.take_down()
        local.take_down()
        client.disconnected.get(timeout=PATIENCE)
        assert client.failed.get(timeout=PATIENCE).exception.name == "AWS_IO_SOCKET_CONNECTION_REFUSED"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", local.alpn_port))
        with socket.socket() as another, pytest.raises(OSError, match="in use"):
            another.bind(("127.0.0.1", local.alpn_port))
        local.bring_up()
        client.wait_connected()


def test_a_broker_that_died_is_a_server_that_is_unavailable(local: LocalCloud, wire: Callable[..., Wire]) -> None:
    """The front says so instead of leaving its client in the dark."""
    assert local.broker.pid is not None
    os.kill(local.broker.pid, signal.SIGKILL)
    answer = wire().connect()
    assert isinstance(answer, mqtt5.ConnAckPacket)
    assert answer.reason_code == ConnAck.SERVER_UNAVAILABLE


# -- bad clients -------------------------------------------------------------------------------------------------------


MORE_THAN_ANY_BUFFER = 30_000_000  # bytes
CONNECT = mqtt5.ConnectPacket(THING, clean_start=True).write()


GARBAGE = [
    b"GET / HTTP/1.1\r\n" + b"X-Padding: x\r\n" * 10,
    b"\x10\xff\xff\xff\xff\x01",  # a length of five bytes
    b"\x10\xff\xff\xff\x7f",  # 256 MiB
    mqtt5.PingReqPacket().write(),  # not a CONNECT
    publish(OWN_TOPIC).write(),
    CONNECT.replace(THING.encode(), b"g\xff-1"),  # not UTF-8, at which the packet library would panic
    CONNECT + CONNECT,
    CONNECT + publish(OWN_TOPIC).write().replace(b"data", b"\xc3\x28ta"),
    CONNECT + subscribe(OWN_TOPIC).write().replace(b"data", b"\xc3\x28ta"),
    CONNECT + b"\x82\x05\x00\x01\x00\x00\x09",  # a filter that ends too late
    CONNECT + b"\x32\x06\x00\x00\x00\x01\x00x",  # no topic
    CONNECT + b"\xff\x00",
]


def test_garbage_ends_its_own_connection_quietly(
    local: LocalCloud, wire: Callable[..., Wire], capfd: pytest.CaptureFixture[str]
) -> None:
    """No trace on any output, no other client disturbed."""
    neighbour = wire()
    neighbour.connect(f"{THING}-cert-agent")
    for garbage in GARBAGE:
        bad = wire()
        bad.send(garbage)
        assert not any(isinstance(packet, mqtt5.PubAckPacket | mqtt5.SubAckPacket) for packet in bad.rest()), garbage
        neighbour.send(publish(OWN_TOPIC))
        assert isinstance(neighbour.receive(), mqtt5.PubAckPacket)
        wait_for_live(local, 1)
    assert capfd.readouterr() == ("", "")


def test_bytes_that_are_no_tls_end_their_connection_quietly(
    local: LocalCloud, capfd: pytest.CaptureFixture[str]
) -> None:
    """A port scanner is one failed handshake."""
    with socket.create_connection(("127.0.0.1", local.port), timeout=PATIENCE) as raw:
        raw.sendall(b"hello\r\n\r\n" * 20)
        with suppress(ConnectionError):
            while raw.recv(1024):
                pass
    local.wait_until(lambda: local.front.log.handshake_failures == 1)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_never_shakes_hands_is_dropped(hasty: LocalCloud) -> None:
    """A connection without a handshake costs a socket for a bounded time only."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as raw, suppress(ConnectionError):
        assert raw.recv(1) == b""


def test_a_client_that_sends_no_whole_connect_is_dropped(hasty: LocalCloud, cloud: Cloud, tmp_path: Path) -> None:
    """So does half a packet."""
    context = client_context(hasty, device(cloud), tmp_path)
    with ExitStack() as stack:
        beginnings = (b"", b"\x10", CONNECT[:8], b"GET / HTTP/1.1\r\n\r\n")
        quiet = [stack.enter_context(Wire(hasty, context)) for _ in beginnings]
        for wire, beginning in zip(quiet, beginnings, strict=True):
            wire.send(beginning)
        assert [wire.rest() for wire in quiet] == [[]] * len(beginnings)


def flood(wire: Wire, message: bytes) -> None:
    """Send more than any buffer holds, without reading."""
    for _ in range(MORE_THAN_ANY_BUFFER // len(message)):
        wire.send(message)


def test_a_client_that_does_not_read_is_dropped(hasty: LocalCloud, cloud: Cloud, tmp_path: Path) -> None:
    """What waits for it is bounded, and so is the time."""
    with Wire(hasty, client_context(hasty, device(cloud), tmp_path)) as deaf:
        deaf.connect()
        deaf.send(subscribe(OWN_TOPIC))
        message = publish(OWN_TOPIC, b"x" * 100_000, qos=NO).write()
        with suppress(ConnectionError, ssl.SSLError):  # it may be dropped before it has sent all
            flood(deaf, message)
        wait_for_live(hasty, 0)
        with pytest.raises((ConnectionError, ssl.SSLError)):
            flood(deaf, message)
