"""MQTT 3.1.1 and MQTT 5, translated into each other packet by packet."""

from __future__ import annotations

from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox.network.older import inward, outward, speaks
from agent.sandbox.network.packets import MAX_PACKET, HangUpError
from support.unit.sandbox.mqtt_3_1_1 import (
    BYTES,
    EXACTLY,
    NO,
    ONCE,
    ConnAck,
    Disconnect,
    PubAck,
    SubAck,
    UnsubAck,
    frame,
    old_connect,
    old_publish,
    old_subscribe,
    old_unsubscribe,
    text,
)

NEVER = 0xFFFFFFFF  # when a session of MQTT 5 ends that is not clean in 3.1.1

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=100)
IDS = st.integers(1, 0xFFFF)

# Properties of no byte, of fewer than 128, and of more, whose length takes two bytes.
SIZES = pytest.mark.parametrize("size", [None, 0, 100, 119, 120, 121, 122, 127, 128, 300, 20_000])


def codes(kind: type[Any]) -> list[Any]:
    """Return all reason codes of a kind, in the order of their numbers; the library's enumerations do not iterate."""
    return sorted((code for name, code in vars(kind).items() if name.isupper()), key=int)


# -- packets of MQTT 3.1.1, as its specification has them --------------------------------------------------------------


def translated(old: bytes) -> mqtt5.Packet:
    """Return a client's packet as the library reads its translation, of which no byte may be left over."""
    new = inward(old)
    packet, size = mqtt5.read(memoryview(new))
    assert size == len(new)
    return packet


# -- who speaks it -----------------------------------------------------------------------------------------------------


def test_a_connect_of_level_4_speaks_it() -> None:
    """And one of MQTT 5 does not."""
    packet = mqtt5.ConnectPacket("gw-1", clean_start=True)
    assert speaks(old_connect(packet))
    assert not speaks(packet.write())


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"\x00",
        b"\x00\x04MQT",
        b"\x00\x04MQTT",  # ends in front of the level
        b"\x00\x04MQTT\x03",
        b"\x00\x04MQTT\x05",
        b"\x00\x04MQTT\x06",
        b"\x00\x04MQTT\x84",  # as a bridge of mosquitto says it
        b"\x00\x04mqtt\x04",
        b"\x00\x05MQTT\x04",
        b"\x00\x06MQIsdp\x03",
        b"\x00\x06MQIsdp\x04",
    ],
)
def test_other_levels_and_names_do_not(beginning: bytes) -> None:
    """Whether anything comes behind them or not."""
    assert not speaks(frame(0x10, beginning))
    assert not speaks(frame(0x10, beginning + b"\x02\x00\x3c\x00\x04gw-1"))


def test_no_other_packet_is_taken_for_a_connect() -> None:
    """Even one that has the same body."""
    body = old_connect(mqtt5.ConnectPacket("gw-1"))[2:]
    assert [first >> 4 for first in range(256) if speaks(frame(first, body))] == [1] * 16


# -- inward ------------------------------------------------------------------------------------------------------------


WILLS = [
    None,
    mqtt5.Will("gateways/gw-1/gone", payload=b""),
    mqtt5.Will("gateways/gw-1/gone", payload=b"x" * 200, qos=ONCE, retain=True),
]


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("will", WILLS)
@pytest.mark.parametrize(
    ("username", "password"), [(None, None), ("?SDK=PythonV2&Version=1", None), ("ann", b"\x00\xff"), ("", b"")]
)
def test_a_connect_says_the_same(
    will: mqtt5.Will | None, username: str | None, password: bytes | None, *, clean: bool
) -> None:
    """A session that is not clean lasts for ever, and the other one ends with its connection."""
    expected = mqtt5.ConnectPacket(
        "gw-1",
        clean_start=clean,
        session_expiry_interval=0 if clean else NEVER,
        keep_alive=1200,
        will=will,
        username=username,
        password=password,
    )
    assert translated(old_connect(expected)) == expected


@given(TEXTS, TEXTS, BYTES, IDS)
def test_any_texts_come_through_a_connect(client_id: str, topic: str, payload: bytes, keep_alive: int) -> None:
    """Of any length and script."""
    will = mqtt5.Will(topic, payload=payload)
    packet = mqtt5.ConnectPacket(client_id, clean_start=True, keep_alive=keep_alive, will=will, username=topic)
    assert translated(old_connect(packet)) == packet


@given(TEXTS, BYTES, IDS, st.sampled_from([NO, ONCE, EXACTLY]), st.tuples(st.booleans(), st.booleans()))
def test_a_publish_says_the_same_both_ways(
    topic: str, payload: bytes, packet_id: int, qos: mqtt5.QoS, flags: tuple[bool, bool]
) -> None:
    """With every QoS and flag; what came in goes out as the bytes that it was."""
    retain, again = flags
    own_id, duplicate = (None, False) if qos == NO else (packet_id, again)
    packet = mqtt5.PublishPacket(topic, payload, qos=qos, retain=retain, packet_id=own_id, duplicate=duplicate)
    old = old_publish(packet)
    assert translated(old) == packet
    assert outward(inward(old)) == outward(packet.write()) == old


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 117, b"x" * 118, b"x" * 119, b"x" * 16_370, b"x" * 16_377])
def test_a_packet_that_needs_a_longer_length_gets_it(payload: bytes) -> None:
    """One byte more may cross 127 or 16,383."""
    packet = mqtt5.PublishPacket("a/b", payload, qos=ONCE, packet_id=1)
    assert translated(old_publish(packet)) == packet
    assert outward(packet.write()) == old_publish(packet)


def test_a_packet_that_would_become_too_large_ends_the_connection() -> None:
    """Otherwise the broker would pass on what the front does not read, and others would lose their connections."""
    largest = frame(0x30, text("a/b") + b"x" * (MAX_PACKET - 6))
    assert len(inward(largest)) == 1 + 3 + MAX_PACKET
    with pytest.raises(HangUpError):
        inward(frame(0x30, text("a/b") + b"x" * (MAX_PACKET - 5)))


def test_a_subscribe_says_the_same() -> None:
    """The options of MQTT 5 are as a broker of 3.1.1 behaves."""
    old = old_subscribe(7, ("a/+", 0), ("b/#", 1), ("ü" * 100, 2))
    expected = [
        mqtt5.TopicFilter("a/+", max_qos=NO, retain_as_published=False),
        mqtt5.TopicFilter("b/#", max_qos=ONCE, retain_as_published=False),
        mqtt5.TopicFilter("ü" * 100, max_qos=EXACTLY, retain_as_published=False),
    ]
    assert translated(old) == mqtt5.SubscribePacket(7, expected)


@pytest.mark.parametrize("options", [0x03, 0x04, 0x05, 0x08, 0x10, 0x20, 0x2D, 0x40, 0x80, 0xFF])
def test_a_reserved_bit_behind_a_filter_ends_the_connection(options: int) -> None:
    """MQTT 3.1.1 wants that (MQTT-3.8.3-4), and MQTT 5 would take it for an option."""
    with pytest.raises(HangUpError):
        inward(old_subscribe(7, ("a/b", 1), ("c/d", options)))
    with pytest.raises(HangUpError):
        inward(old_subscribe(7, ("a/b", options), ("c/d", 1)))


def test_an_unsubscribe_says_the_same() -> None:
    """With one filter and with several."""
    for filters in (["a/b"], ["a/+", "b/#", "ü" * 100]):
        assert translated(old_unsubscribe(9, *filters)) == mqtt5.UnsubscribePacket(9, filters)


@pytest.mark.parametrize(
    "packet",
    [
        mqtt5.PubAckPacket(7),
        mqtt5.PubRecPacket(7),
        mqtt5.PubRelPacket(7),
        mqtt5.PubCompPacket(7),
        mqtt5.PingReqPacket(),
        mqtt5.PingRespPacket(),
        mqtt5.DisconnectPacket(),
    ],
)
def test_what_is_the_same_in_both_is_left_alone(packet: mqtt5.Packet) -> None:
    """Acknowledgements without a reason, pings and the client's farewell."""
    old = frame(packet.write()[0], b"" if len(packet.write()) == 2 else b"\x00\x07")
    assert inward(old) == old
    assert translated(old) == packet


# -- outward -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("present", [True, False])
@SIZES
def test_a_connack_says_whether_there_was_a_session(size: int | None, *, present: bool) -> None:
    """Whatever the broker says about itself is left out."""
    packet = mqtt5.ConnAckPacket(
        session_present=present,
        receive_max=20,
        server_keep_alive=60,
        reason_str=None if size is None else "r" * size,
    )
    assert outward(packet.write()) == bytes([0x20, 2, present, 0])


@pytest.mark.parametrize("code", codes(ConnAck))
def test_a_refusal_has_a_return_code(code: mqtt5.ConnAckReasonCode) -> None:
    """That of 3.1.1 where there is one; everything else is a server that is unavailable."""
    told = [
        ConnAck.SUCCESS,
        ConnAck.UNSUPPORTED_PROTOCOL_VERSION,
        ConnAck.CLIENT_ID_NOT_VALID,
        ConnAck.SERVER_UNAVAILABLE,
        ConnAck.BAD_USER_NAME_OR_PASSWORD,
        ConnAck.NOT_AUTHORIZED,
    ]
    expected = told.index(code) if code in told else 3
    for reason in (None, "r" * 200):
        packet = mqtt5.ConnAckPacket(reason_code=code, reason_str=reason)
        assert outward(packet.write()) == bytes([0x20, 2, 0, expected])


@pytest.mark.parametrize("qos", [NO, ONCE, EXACTLY])
@SIZES
def test_a_publish_loses_its_properties(size: int | None, qos: mqtt5.QoS) -> None:
    """And nothing else."""
    options: dict[str, Any] = {"qos": qos, "retain": True, "packet_id": None if qos == NO else 0x1234}
    plain = full = mqtt5.PublishPacket("gateways/gw-1/data", b"\x00\x80{}", **options)
    if size is not None:
        options |= {"message_expiry_interval": 60, "subscription_ids": [1, 300], "user_properties": [("k", "v")] * 2}
        full = mqtt5.PublishPacket("gateways/gw-1/data", b"\x00\x80{}", content_type="c" * size, **options)
    assert outward(full.write()) == old_publish(plain)


def test_an_empty_publish_stays_empty() -> None:
    """As one that deletes a retained message."""
    packet = mqtt5.PublishPacket("a", b"", retain=True, content_type="x" * 200)
    assert outward(packet.write()) == b"\x31\x03\x00\x01a"


@SIZES
def test_a_puback_is_its_packet_id(size: int | None) -> None:
    """It has no reason codes."""
    for code in codes(PubAck):
        packet = mqtt5.PubAckPacket(0x1234, reason_code=code, reason_str=None if size is None else "r" * size)
        assert outward(packet.write()) == b"\x40\x02\x12\x34"


@SIZES
def test_a_suback_has_its_codes_in_order(size: int | None) -> None:
    """What was granted as it is, and 0x80 for all that was not."""
    reason, granted_or_not = None if size is None else "r" * size, codes(SubAck)
    packet = mqtt5.SubAckPacket(0x1234, [*granted_or_not, *reversed(granted_or_not)], reason_str=reason)
    expected = bytes([0, 1, 2, *[0x80] * (len(granted_or_not) - 3)])
    assert outward(packet.write()) == frame(0x90, b"\x12\x34" + expected + expected[::-1])


@SIZES
def test_an_unsuback_is_its_packet_id(size: int | None) -> None:
    """However many filters it is about."""
    reason = None if size is None else "r" * size
    packet = mqtt5.UnsubAckPacket(0x1234, codes(UnsubAck), reason_str=reason)
    assert outward(packet.write()) == b"\xb0\x02\x12\x34"


@SIZES
def test_a_servers_farewell_is_not_said(size: int | None) -> None:
    """MQTT 3.1.1 has no word for it."""
    for code in codes(Disconnect):
        packet = mqtt5.DisconnectPacket(reason_code=code, reason_str=None if size is None else "r" * size)
        assert outward(packet.write()) == b""


def test_a_ping_is_answered() -> None:
    """By the same two bytes."""
    assert outward(mqtt5.PingRespPacket().write()) == b"\xd0\x00"
