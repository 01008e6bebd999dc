"""MQTT 5 packets as they come in: framed, bounded, and checked before the library sees them.

It reads what the front must understand and refuses everything else by `HangUpError`: the connection ends, quietly.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import mqtt5

if TYPE_CHECKING:
    import asyncio

MAX_PACKET = 1_048_576
_VARIABLE_INTEGER = 4  # bytes at most
_MORE, _SEVEN_BITS = 0x80, 0x7F

P = TypeVar("P", mqtt5.ConnectPacket, mqtt5.PublishPacket, mqtt5.SubscribePacket, mqtt5.UnsubscribePacket)


class PacketKind(IntEnum):
    """The packets that are told apart."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGRESP = 13
    DISCONNECT = 14


class HangUpError(Exception):
    """This connection ends now."""


def kind_of(frame: bytes) -> int:
    """Return the type of a packet."""
    return frame[0] >> 4


async def read(reader: asyncio.StreamReader) -> bytes:
    """Return the next whole packet.

    Raises:
        HangUpError: It is larger than allowed, or has no sound length.
    """
    header = bytearray(await reader.readexactly(1))
    length = 0
    for place in range(_VARIABLE_INTEGER):
        header += await reader.readexactly(1)
        length |= (header[-1] & _SEVEN_BITS) << (7 * place)
        if header[-1] < _MORE:
            break
    else:
        raise HangUpError
    if length > MAX_PACKET:
        raise HangUpError
    return bytes(header) + await reader.readexactly(length)


def variable_integer(data: bytes, at: int) -> tuple[int, int]:
    """Return the variable byte integer at a place, and where it ends.

    Raises:
        IndexError: The data end before it does, or it has more bytes than MQTT allows.
    """
    value = shift = 0
    data = data[: at + _VARIABLE_INTEGER]
    while data[at] & _MORE:
        value |= (data[at] & _SEVEN_BITS) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1


def decode(frame: bytes, packet_type: type[P]) -> P:
    """Return a whole packet as the library reads it.

    Raises:
        HangUpError: It is not sound, or of another type.
    """
    try:
        _check_texts(frame)
        packet, _ = mqtt5.read(memoryview(frame))
    except (ValueError, IndexError) as error:
        raise HangUpError from error
    if not isinstance(packet, packet_type):
        raise HangUpError
    return packet


# The library (mqtt5 0.8) panics, with a message on stderr, at a text that is not UTF-8. What follows walks over a
# packet's texts before the library does.

_FIXED = dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1)
_FIXED |= dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2)
_FIXED |= dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4)
_SUBSCRIPTION_ID = 0x0B
_BINARIES = (0x09, 0x16)
_USER_PROPERTY = 0x26

_WILL, _PASSWORD, _USER_NAME = 0x04, 0x40, 0x80
_QOS = 0x06


def _check_texts(frame: bytes) -> None:
    """Raise ValueError or IndexError unless all texts in a packet are whole and UTF-8."""
    walk = _Walk(frame)
    walk.skip(1)
    walk.number()
    match kind_of(frame):
        case PacketKind.CONNECT:
            walk.connect()
        case PacketKind.PUBLISH:
            walk.publish(has_id=bool(frame[0] & _QOS))
        case PacketKind.SUBSCRIBE:
            walk.filters(options=1)
        case PacketKind.UNSUBSCRIBE:
            walk.filters(options=0)
        case _:
            raise ValueError("not a packet that is read here")


class _Walk:
    """A place in a packet, which moves on as fields are read."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame
        self._at = 0

    def skip(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._frame):
            raise IndexError
        return self._frame[start : self._at]

    def number(self) -> int:
        value, self._at = variable_integer(self._frame, self._at)
        return value

    def binary(self) -> bytes:
        return self.skip(int.from_bytes(self.skip(2), "big"))

    def text(self) -> None:
        self.binary().decode()

    def properties(self) -> None:
        end = self.number()
        end += self._at
        while self._at < end:
            self._property(self.skip(1)[0])

    def _property(self, identifier: int) -> None:
        if identifier in _FIXED:
            self.skip(_FIXED[identifier])
        elif identifier == _SUBSCRIPTION_ID:
            self.number()
        elif identifier in _BINARIES:
            self.binary()
        else:
            self.text()
            if identifier == _USER_PROPERTY:
                self.text()

    def connect(self) -> None:
        self.text()
        flags = self.skip(2)[1]
        self.skip(2)
        self.properties()
        self.text()
        if flags & _WILL:
            self.properties()
            self.text()
            self.binary()
        if flags & _USER_NAME:
            self.text()
        if flags & _PASSWORD:
            self.binary()

    def publish(self, *, has_id: bool) -> None:
        self.text()
        self.skip(2 if has_id else 0)
        self.properties()

    def filters(self, *, options: int) -> None:
        self.skip(2)
        self.properties()
        while self._at < len(self._frame):
            self.text()
            self.skip(options)
