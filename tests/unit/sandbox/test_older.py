from __future__ import annotations

import random
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sandbox.older import inward, outward, speaks
from agent.sandbox.packets import MAX_PACKET, HangUpError, decode
from support.pace import bounded_work

MUTATIONS = 20_000
NEVER = 0xFFFFFFFF  # when a session of MQTT 5 ends that is not clean in 3.1.1

ConnAck, PubAck, SubAck = mqtt5.ConnAckReasonCode, mqtt5.PubAckReasonCode, mqtt5.SubAckReasonCode
UnsubAck, Disconnect = mqtt5.UnsubAckReasonCode, mqtt5.DisconnectReasonCode
NO, ONCE, EXACTLY = mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=100)
BYTES = st.binary(max_size=300)
IDS = st.integers(1, 0xFFFF)

# Properties of no byte, of fewer than 128, and of more, whose length takes two bytes.
SIZES = pytest.mark.parametrize("size", [None, 0, 100, 119, 120, 121, 122, 127, 128, 300, 20_000])


def codes(kind: type[Any]) -> list[Any]:
    """Return all reason codes of a kind, in the order of their numbers; the library's enumerations do not iterate."""
    return sorted((code for name, code in vars(kind).items() if name.isupper()), key=int)


# -- packets of MQTT 3.1.1, as its specification has them --------------------------------------------------------------


def length(number: int) -> bytes:
    """Return the remaining length in front of a body."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def frame(first: int, body: bytes) -> bytes:
    """Return a packet."""
    return bytes([first]) + length(len(body)) + body


def binary(data: bytes) -> bytes:
    """Return bytes behind their length."""
    return len(data).to_bytes(2, "big") + data


def text(value: str) -> bytes:
    """Return a text behind its length."""
    return binary(value.encode())


def old_connect(packet: mqtt5.ConnectPacket) -> bytes:
    """Return a CONNECT of MQTT 3.1.1 that says what one of MQTT 5 does."""
    flags, payload = packet.clean_start << 1, text(packet.client_id)
    if packet.will:
        flags |= 0x04 | int(packet.will.qos) << 3 | packet.will.retain << 5
        payload += text(packet.will.topic) + binary(packet.will.payload or b"")
    if packet.username is not None:
        flags |= 0x80
        payload += text(packet.username)
    if packet.password is not None:
        flags |= 0x40
        payload += binary(packet.password)
    return frame(0x10, text("MQTT") + bytes([4, flags]) + packet.keep_alive.to_bytes(2, "big") + payload)


def old_publish(packet: mqtt5.PublishPacket) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1 that says what one of MQTT 5 does."""
    packet_id = b"" if packet.packet_id is None else packet.packet_id.to_bytes(2, "big")
    first = 0x30 | packet.duplicate << 3 | int(packet.qos) << 1 | packet.retain
    return frame(first, text(packet.topic) + packet_id + packet.payload)


def old_subscribe(packet_id: int, *filters: tuple[str, int]) -> bytes:
    """Return a SUBSCRIBE of MQTT 3.1.1: filters with the byte behind each."""
    return frame(0x82, packet_id.to_bytes(2, "big") + b"".join(text(name) + bytes([qos]) for name, qos in filters))


def old_unsubscribe(packet_id: int, *filters: str) -> bytes:
    """Return an UNSUBSCRIBE of MQTT 3.1.1."""
    return frame(0xA2, packet_id.to_bytes(2, "big") + b"".join(map(text, filters)))


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
