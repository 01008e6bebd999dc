"""Packets of MQTT 3.1.1 that are cut short, changed or made up: they end a connection, and nothing else."""

from __future__ import annotations

import random

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox.network.older import inward, outward, speaks
from agent.sandbox.network.packets import MAX_PACKET, HangUpError, decode
from support.suite.pace import bounded_work
from support.unit.sandbox.mqtt_3_1_1 import (
    BYTES,
    ONCE,
    Disconnect,
    PubAck,
    SubAck,
    UnsubAck,
    frame,
    old_connect,
    old_publish,
    old_subscribe,
    old_unsubscribe,
)

MUTATIONS = 20_000


# -- bad packets -------------------------------------------------------------------------------------------------------


WILL = mqtt5.Will("gateways/gw-1/gone", payload=b"gone", qos=ONCE)
OLD = {
    "connect": old_connect(mqtt5.ConnectPacket("gw-1", clean_start=True, keep_alive=60)),
    "connect with all": old_connect(mqtt5.ConnectPacket("gw-1", will=WILL, username="ann", password=b"secret")),
    "publish": old_publish(mqtt5.PublishPacket("gateways/gw-1/data", b"{}")),
    "publish with an id": old_publish(mqtt5.PublishPacket("gateways/gw-1/data", b"{}", qos=ONCE, packet_id=1)),
    "large publish": old_publish(mqtt5.PublishPacket("gateways/gw-1/data", b"{}" * 100, qos=ONCE, packet_id=1)),
    "subscribe": old_subscribe(7, ("gateways/gw-1/#", 1), ("gateways/gw-1/data", 0)),
    "unsubscribe": old_unsubscribe(7, "gateways/gw-1/#", "gateways/gw-1/data"),
    "puback": b"\x40\x02\x00\x01",
    "disconnect": b"\xe0\x00",
}
NEW = {
    "connack": mqtt5.ConnAckPacket(reason_str="r" * 20, receive_max=20).write(),
    "publish": mqtt5.PublishPacket("a/b", b"{}", content_type="c" * 20).write(),
    "publish with an id": mqtt5.PublishPacket("a/b", b"{}", qos=ONCE, packet_id=1, content_type="c" * 200).write(),
    "puback": mqtt5.PubAckPacket(1, reason_code=PubAck.NOT_AUTHORIZED, reason_str="r").write(),
    "suback": mqtt5.SubAckPacket(1, [SubAck.NOT_AUTHORIZED] * 3, reason_str="r" * 200).write(),
    "unsuback": mqtt5.UnsubAckPacket(1, [UnsubAck.SUCCESS] * 3, reason_str="r" * 20).write(),
    "disconnect": mqtt5.DisconnectPacket(reason_code=Disconnect.SESSION_TAKEN_OVER, reason_str="r").write(),
    "pingresp": mqtt5.PingRespPacket().write(),
}
READ = {1: mqtt5.ConnectPacket, 3: mqtt5.PublishPacket, 8: mqtt5.SubscribePacket, 10: mqtt5.UnsubscribePacket}


def body_of(packet: bytes) -> bytes:
    """Return what comes behind the length."""
    return packet[2:] if packet[1] < 0x80 else packet[3:]


def come_in(packet: bytes) -> bool:
    """Do with a client's packet what a connection does; whether it was taken."""
    try:
        new = inward(packet)
        if new[0] >> 4 == 1 and not speaks(packet):
            return False
        if new[0] >> 4 in READ:
            decode(new, READ[new[0] >> 4])
    except HangUpError:
        return False
    assert len(packet) <= len(new) <= len(packet) + 10
    return True


def go_out(packet: bytes) -> bool:
    """Translate a server's packet; whether it was taken."""
    try:
        assert len(outward(packet)) <= max(len(packet), 4)
    except HangUpError:
        return False
    return True


def mutate(chance: random.Random, packet: bytes) -> bytes:
    """Return a packet with up to four bytes changed, removed, doubled or cut off at the end."""
    mutant = bytearray(packet)
    for _ in range(chance.randint(1, 4)):
        if not mutant:
            break
        at = chance.randrange(len(mutant))
        match chance.randrange(5):
            case 0:
                mutant[at] = chance.choice([0x00, 0x01, 0x7F, 0x80, 0xFF])
            case 1:
                mutant[at] ^= 1 << chance.randrange(8)
            case 2:
                del mutant[at : at + chance.randint(1, 8)]
            case 3:
                mutant[at:at] = mutant[at : at + chance.randint(1, 8)]
            case _:
                del mutant[at:]
    return bytes(mutant)


@pytest.mark.parametrize("kind", OLD)
def test_a_client_packet_cut_short_is_no_defect(kind: str) -> None:
    """Neither with the length of the whole nor with its own; that of a CONNECT or of filters is never taken."""
    whole, body = OLD[kind], body_of(OLD[kind])
    assert come_in(whole)
    for end in range(len(whole)):
        come_in(whole[:end])
    taken = [end for end in range(len(body)) if come_in(frame(whole[0], body[:end]))]
    if kind.startswith("connect"):
        assert taken == []


@pytest.mark.parametrize("kind", NEW)
def test_a_server_packet_cut_short_is_no_defect(kind: str) -> None:
    """Neither with the length of the whole nor with its own."""
    whole, body = NEW[kind], body_of(NEW[kind])
    assert go_out(whole)
    for end in range(len(whole)):
        go_out(whole[:end])
    for end in range(len(body)):
        go_out(frame(whole[0], body[:end]))


def test_an_empty_packet_of_any_kind_is_no_defect() -> None:
    """Those that must have a body end the connection."""
    for first in range(256):
        for body in (b"", b"\x00", b"\x00\x00"):
            come_in(frame(first, body))
            go_out(frame(first, body))
        assert not (first >> 4 in READ and come_in(frame(first, b"")))
        assert not (first >> 4 in {2, 3, 9} and go_out(frame(first, b"")))


def test_mutated_packets_end_the_connection_or_are_taken(capfd: pytest.CaptureFixture[str]) -> None:
    """No other error, and not one line on any output."""
    chance = random.Random(311)  # noqa: S311 - the same mutants every time
    old, new = [*OLD.values()], [*NEW.values()]
    taken = 0
    for _ in range(MUTATIONS):
        inner, outer = chance.choice(old), chance.choice(new)
        if chance.random() < 0.2:
            taken += come_in(mutate(chance, inner))
            go_out(mutate(chance, outer))
        else:  # with a sound length, as the front reads them
            taken += come_in(frame(inner[0], mutate(chance, body_of(inner))))
            go_out(frame(outer[0], mutate(chance, body_of(outer))))
    assert MUTATIONS / 10 < taken < MUTATIONS * 9 / 10
    assert capfd.readouterr() == ("", "")


@given(st.integers(0, 255), BYTES)
def test_any_bytes_end_the_connection_or_are_taken(first: int, body: bytes) -> None:
    """From either side."""
    come_in(frame(first, body))
    go_out(frame(first, body))


@pytest.mark.parametrize("filling", [b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"])
@pytest.mark.parametrize("first", [0x10, 0x20, 0x30, 0x32, 0x40, 0x82, 0x90, 0xA2, 0xB0, 0xE0])
def test_large_packets_do_not_take_long(first: int, filling: bytes) -> None:
    """Whatever they are full of: if each byte had the rest copied, one of the greatest size would take a minute."""
    body = (b"\x00\x04MQTT\x04" if first == 0x10 else b"\x00\x01") + filling * (MAX_PACKET - 8)
    with bounded_work(20):
        come_in(frame(first, body))
        go_out(frame(first, body))
