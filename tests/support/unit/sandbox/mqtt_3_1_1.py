"""Packets of MQTT 3.1.1, as its specification has them."""

from __future__ import annotations

import mqtt5
from hypothesis import strategies as st

ConnAck, PubAck, SubAck = mqtt5.ConnAckReasonCode, mqtt5.PubAckReasonCode, mqtt5.SubAckReasonCode
UnsubAck, Disconnect = mqtt5.UnsubAckReasonCode, mqtt5.DisconnectReasonCode
NO, ONCE, EXACTLY = mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE
BYTES = st.binary(max_size=300)


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
