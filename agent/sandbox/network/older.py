"""MQTT 3.1.1 at the front's edge, which AWS IoT Core takes too: made MQTT 5 on its way in, and 3.1.1 on its way out.

So everything behind it, the broker too, meets MQTT 5 alone. Rules:

* A packet differs by the properties that 3.1.1 lacks, by its reason codes, and by packets that 3.1.1 does not have.
* What a server says of its own accord is not said to a client of 3.1.1: it is hung up on.
"""

from __future__ import annotations

from agent.sandbox.network.packets import MAX_PACKET, HangUpError, PacketKind, kind_of, variable_integer

_BEGINNING, _LEVEL_5 = b"\x00\x04MQTT\x04", 5
_LEVEL_AT = 6  # behind the name, which is MQTT in both
_FLAGS_AT, _PROPERTIES_AT = 7, 10
_CLEAN, _WILL = 0x02, 0x04
_FOR_EVER = b"\x05\x11\xff\xff\xff\xff"  # what a session that is not clean is in 3.1.1
_NONE = b"\x00"
_QOS, _HIGHEST_QOS = 0x06, 2
_FAILED = 0x80

# The reason codes of MQTT 5 that 3.1.1 has words for in CONNACK; all others mean that the server is unavailable.
_CONNACK = {0x00: 0, 0x84: 1, 0x85: 2, 0x86: 4, 0x87: 5}
_UNAVAILABLE = 3


def speaks(connect: bytes) -> bool:
    """Whether a client that begins with this packet speaks MQTT 3.1.1."""
    return kind_of(connect) == PacketKind.CONNECT and _body(connect).startswith(_BEGINNING)


def inward(frame: bytes) -> bytes:
    """Return a client's packet as MQTT 5 has it.

    Raises:
        HangUpError: It ends too early, asks for what only MQTT 5 has, or becomes larger than allowed.
    """
    try:
        body = _body(frame)
        match kind_of(frame):
            case PacketKind.CONNECT:
                body = _connect(body)
            case PacketKind.PUBLISH:
                end = _after_text(body, 0) + (2 if frame[0] & _QOS else 0)
                body = body[:end] + _NONE + body[end:]
            case PacketKind.SUBSCRIBE:
                _check_options(body)
                body = body[:2] + _NONE + body[2:]
            case PacketKind.UNSUBSCRIBE:
                body = body[:2] + _NONE + body[2:]
            case _:
                return frame
    except IndexError:
        raise HangUpError from None
    if len(body) > MAX_PACKET:  # or those whom the broker passes it on to would be hung up on
        raise HangUpError
    return _frame(frame[0], body)


def _check_options(body: bytes) -> None:
    at = 2
    while at < len(body):
        at = _after_text(body, at) + 1
        if body[at - 1] > _HIGHEST_QOS:  # bits that 3.1.1 reserves, and that MQTT 5 would take for options
            raise HangUpError


def _connect(body: bytes) -> bytes:
    flags, rest = body[_FLAGS_AT], body[_PROPERTIES_AT:]
    if flags & _WILL:
        end = _after_text(rest, 0)
        rest = rest[:end] + _NONE + rest[end:]
    session = _NONE if flags & _CLEAN else _FOR_EVER
    return body[:_LEVEL_AT] + bytes([_LEVEL_5]) + body[_FLAGS_AT:_PROPERTIES_AT] + session + rest


def outward(frame: bytes) -> bytes:
    """Return a packet for a client as MQTT 3.1.1 has it; empty for one that it does not have.

    Raises:
        HangUpError: It ends too early.
    """
    try:
        return _outward(frame)
    except IndexError:
        raise HangUpError from None


def _outward(frame: bytes) -> bytes:
    body = _body(frame)
    match kind_of(frame):
        case PacketKind.CONNACK:
            body = bytes([body[0], _CONNACK.get(body[1], _UNAVAILABLE)])
        case PacketKind.PUBLISH:
            start = _after_text(body, 0) + (2 if frame[0] & _QOS else 0)
            body = body[:start] + body[_after_properties(body, start) :]
        case PacketKind.PUBACK | PacketKind.UNSUBACK:
            body = body[:2]
        case PacketKind.SUBACK:
            codes = body[_after_properties(body, 2) :]
            body = body[:2] + bytes(min(code, _FAILED) for code in codes)
        case PacketKind.DISCONNECT:
            return b""
        case _:
            return frame
    return _frame(frame[0], body)


def _after_text(body: bytes, at: int) -> int:
    return at + 2 + (body[at] << 8 | body[at + 1])


def _after_properties(body: bytes, at: int) -> int:
    length, at = variable_integer(body, at)
    return at + length


def _body(frame: bytes) -> bytes:
    return frame[variable_integer(frame, 1)[1] :]


def _frame(first: int, body: bytes) -> bytes:
    left, length = len(body), bytearray()
    while True:
        left, low = divmod(left, 0x80)
        length.append(low | 0x80 if left else low)
        if not left:
            return bytes([first, *length]) + body
