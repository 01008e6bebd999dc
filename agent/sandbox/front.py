"""The TLS front of the local IoT Core: it judges every client and every packet, and a real broker does the rest.

It owns the listening sockets, the TLS contexts and the live connections. Its rules, after AWS's own:

* A client proves its certificate in TLS. Anything but an active one is hung up on without one byte of MQTT.
* MQTT 5 only. CONNECT, PUBLISH, SUBSCRIBE and UNSUBSCRIBE are read; everything else is copied as it is, both ways,
  between the client and its own connection to the broker.
* A publish to a topic of the cloud (`$aws/...`) never reaches the broker: the cloud's replies go, with QoS 0, to the
  connection that asked, if it has subscribed to them, and to no other.
* One forbidden filter makes the whole SUBSCRIBE fail: every filter in it gets NOT_AUTHORIZED.
* Each packet is judged anew, so a certificate that is no longer active may do nothing, even before it is cut.
* A client that sends nothing, half a packet, too much or nonsense loses its own connection, quietly and in bounded
  time, and so does one that does not read.

It refuses QoS 2, topic aliases, a second CONNECT and MQTT 3.1.1. What a session keeps across connections is the
broker's part alone: subscriptions to `$aws/...` end with their connection, so clients should start clean.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, TypeVar

import mqtt5

from agent.errors import AgentError
from agent.sandbox.cloud import Answer, Status
from agent.sandbox.faults import Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent.sandbox.authority import KeyPair
    from agent.sandbox.cloud import Cloud, Entry, Reply

_LOG = logging.getLogger(__name__)

ALPN = "x-amzn-mqtt-ca"
MAX_PACKET = 1_048_576
MAX_CLIENT_ID = 128
MAX_SUBSCRIPTIONS = 50
MAX_CONNECTIONS = 500

_PINGREQ = mqtt5.PingReqPacket().write()
_VARIABLE_INTEGER = 4  # bytes at most
_MORE, _SEVEN_BITS = 0x80, 0x7F

_BUFFER = 65_536
_CLOSING = 1.0  # seconds for a peer's part of the TLS goodbye
_ONE_SECOND = 1.0

_REFUSALS = {
    Effect.THROTTLE: mqtt5.ConnAckReasonCode.QUOTA_EXCEEDED,
    Effect.UNAVAILABLE: mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE,
    Effect.UNAUTHORISED: mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
}

_P = TypeVar("_P", mqtt5.ConnectPacket, mqtt5.PublishPacket, mqtt5.SubscribePacket, mqtt5.UnsubscribePacket)


class _Kind(IntEnum):
    CONNECT = 1
    PUBLISH = 3
    SUBSCRIBE = 8
    UNSUBSCRIBE = 10
    PINGRESP = 13


class _HangUpError(Exception):
    """This connection ends now."""


# How a connection may end without anybody being at fault here: the peer left, stopped, or sent what nobody may send.
_ENDS = (_HangUpError, OSError, EOFError)


@dataclass(frozen=True, kw_only=True)
class Live:
    """One client that is connected now."""

    client_id: str
    certificate_id: str
    tls_version: str
    alpn: str | None


def server_context(
    device_authority: bytes, key_pair: KeyPair, minimum: ssl.TLSVersion, maximum: ssl.TLSVersion
) -> ssl.SSLContext:
    """Return the TLS settings of an endpoint: its certificate, its versions, and whose devices it takes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=device_authority.decode())
    context.minimum_version, context.maximum_version = minimum, maximum
    context.set_alpn_protocols([ALPN])
    # AWS IoT Core resumes no sessions, so every connection proves its certificate.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    with tempfile.NamedTemporaryFile() as file:  # the library loads keys from files only
        file.write(key_pair.key_pem + key_pair.certificate_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class Front:
    """All listeners and connections of one endpoint; lives in one event loop.

    Attributes:
        rushed: The client id of each CONNECT that came less than a second after the one before. AWS refuses those;
            here they are let through and counted.
        handshake_failures: How many TLS handshakes failed.
        defects: Errors that no client may cause; also logged.
    """

    def __init__(self, cloud: Cloud, broker: Path, context: ssl.SSLContext, *, patience: float = 10.0) -> None:
        """Make a front that listens nowhere yet.

        Args:
            cloud: Who judges.
            broker: The broker's unix socket.
            context: The TLS settings of new handshakes; see `change_context`.
            patience: Seconds for a handshake, for CONNECT, and for a peer that does not read.
        """
        self.cloud = cloud
        self.broker = broker
        self.patience = patience
        self.rushed: list[str] = []
        self.handshake_failures = 0
        self.defects: list[BaseException] = []
        self._context = context
        self._listeners: list[_Listener] = []
        self._connections: dict[asyncio.Task[None], _Connection | None] = {}
        self._last_connect: dict[str, float] = {}
        self._changed = asyncio.Event()

    # -- what an owner does ----------------------------------------------------------------------------------------

    def listen(self, address: str, port: int = 0, *, require_alpn: bool = False) -> int:
        """Listen on one more port and return it.

        Args:
            address: An IP address.
            port: The port, or 0 for any.
            require_alpn: Hang up on a client that did not negotiate `x-amzn-mqtt-ca`, as port 443 does.

        Raises:
            AgentError: The port cannot be had.
        """
        listener = _Listener(self, address, port, require_alpn=require_alpn)
        self._listeners.append(listener)
        listener.bring_up()
        return listener.port

    def change_context(self, context: ssl.SSLContext) -> None:
        """Let new handshakes use other TLS settings."""
        self._context = context

    @property
    def live(self) -> list[Live]:
        """The clients that are connected now."""
        return [c.live for c in list(self._connections.values()) if c is not None and c.live is not None]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once something holds; it is looked at whenever a connection began or ended."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def disconnect(self, certificate_id: str) -> int:
        """Cut all connections of one certificate, wait until they ended, and return how many there were."""
        tasks = [
            task
            for task, connection in self._connections.items()
            if connection is not None and connection.entry.certificate_id == certificate_id
        ]
        await _end(tasks)
        return len(tasks)

    async def take_down(self) -> None:
        """Stop listening and cut all connections; the ports stay ours."""
        for listener in self._listeners:
            await listener.take_down()
        await _end(list(self._connections))

    def bring_up(self) -> None:
        """Listen again on the same ports; harmless when up."""
        for listener in self._listeners:
            listener.bring_up()

    async def close(self) -> None:
        """Take everything down and give the ports back."""
        await self.take_down()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    # -- what a connection does ------------------------------------------------------------------------------------

    def admit(self, raw: socket.socket, *, require_alpn: bool) -> None:
        """Take one accepted socket over."""
        if len(self._connections) >= MAX_CONNECTIONS:
            raw.close()
            return
        task = asyncio.create_task(self._serve(raw, require_alpn=require_alpn))
        self._connections[task] = None
        task.add_done_callback(self._forget)
        # A task that is cancelled before its first step would leave the socket to the garbage collector.
        task.add_done_callback(lambda _: raw.close())

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        self._changed.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.defects.append(error)
            _LOG.error("A connection ended by a defect of the front", exc_info=error)

    def take_over(self, newcomer: _Connection) -> None:
        """Tell older connections with this client id that they are over, and end them.

        mosquitto closes them too, but tells them why only since 2.0.15.
        """
        for task, other in list(self._connections.items()):
            if other is not None and other is not newcomer and other.client_id == newcomer.client_id and other.live:
                other.say_taken_over()
                task.cancel()

    def note_change(self) -> None:
        """Wake those who wait for something to hold."""
        self._changed.set()

    def note_connect(self, client_id: str) -> None:
        """Count a CONNECT against AWS's rule of one a second for each client id."""
        now = asyncio.get_running_loop().time()
        self._last_connect = {key: at for key, at in self._last_connect.items() if now - at < _ONE_SECOND}
        if client_id in self._last_connect:
            self.rushed.append(client_id)
        self._last_connect[client_id] = now

    async def _serve(self, raw: socket.socket, *, require_alpn: bool) -> None:
        try:
            reader, writer = await self._shake_hands(raw)
        except OSError:
            self.handshake_failures += 1
            return
        try:
            tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
            if require_alpn and tls.selected_alpn_protocol() != ALPN:
                return
            entry = self.cloud.authenticate(hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest())
            if entry is not None:
                await self._converse(_Connection(self, entry, reader, writer))
        finally:
            await _close(writer)

    async def _shake_hands(self, raw: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_BUFFER)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            raw,
            ssl=self._context,
            ssl_handshake_timeout=self.patience,
            ssl_shutdown_timeout=_CLOSING,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _converse(self, connection: _Connection) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = connection
        with suppress(*_ENDS):
            await connection.run()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        writer.close()
    try:
        with suppress(OSError):
            async with asyncio.timeout(2 * _CLOSING):
                await writer.wait_closed()
    finally:
        # Needed after a timeout or a cancellation; CPython 3.11 stumbles when the connection is gone already.
        with suppress(AttributeError):
            writer.transport.abort()


class _Listener:
    """One port. While it is down the port stays bound, so nobody else gets it, and clients are refused."""

    def __init__(self, front: Front, address: str, port: int, *, require_alpn: bool) -> None:
        self._front = front
        self._address = address
        self._require_alpn = require_alpn
        self._socket = _bind(address, port)
        self._task: asyncio.Task[None] | None = None
        self.port: int = self._socket.getsockname()[1]

    def bring_up(self) -> None:
        if self._task is None:
            self._socket.listen(128)
            self._task = asyncio.create_task(self._accept())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw, _ = await loop.sock_accept(self._socket)
            except OSError:  # out of descriptors, or the client gave up in the queue: neither ends the listener
                await asyncio.sleep(_ONE_SECOND / 10)
                continue
            self._front.admit(raw, require_alpn=self._require_alpn)

    async def take_down(self) -> None:
        if self._task is not None:
            await _end([self._task])
            self._task = None
            self._socket.close()
            self._socket = _bind(self._address, self.port)

    def close(self) -> None:
        self._socket.close()


def _bind(address: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.settimeout(0)
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        raise AgentError(
            f"Cannot listen on {address} port {port}: {error.strerror}", hint="Choose another port, or 0 for any."
        ) from error
    return bound


class _Connection:
    """One client with an active certificate: what it may do, what it hears, and its own end at the broker."""

    def __init__(self, front: Front, entry: Entry, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.entry = entry
        self.live: Live | None = None
        self._front = front
        self._cloud = front.cloud
        self._reader, self._writer = reader, writer
        self._broker: asyncio.StreamWriter
        self.client_id = ""
        self._filters: set[str] = set()
        self._held: tuple[Reply, ...] = ()
        self._own_pings = 0

    # -- the beginning ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until it or the broker ends the connection."""
        async with asyncio.timeout(self._front.patience):
            frame = await _read(self._reader)
        connect = _decode(frame, mqtt5.ConnectPacket)
        self.client_id = connect.client_id
        await self._judge(connect)
        try:
            from_broker, self._broker = await asyncio.open_unix_connection(self._front.broker, limit=_BUFFER)
        except OSError:
            await self._refuse(mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE)
        try:
            self._go_live()
            await self._forward(frame)
            await self._relay(from_broker)
        finally:
            self.live = None
            self._front.note_change()
            await _close(self._broker)

    async def _judge(self, connect: mqtt5.ConnectPacket) -> None:
        self._front.note_connect(connect.client_id)
        fault = self._cloud.connecting(self.entry, connect.client_id)
        effect = fault.effect if fault else None
        if effect is Effect.HANG_UP:
            raise _HangUpError
        if effect is Effect.SILENCE:
            await self._say_nothing()
        if effect in _REFUSALS:
            await self._refuse(_REFUSALS[effect])
        if not 0 < len(connect.client_id.encode()) <= MAX_CLIENT_ID:
            await self._refuse(mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID)
        if not self._may_connect(connect):
            await self._refuse(mqtt5.ConnAckReasonCode.NOT_AUTHORIZED)

    def _may_connect(self, connect: mqtt5.ConnectPacket) -> bool:
        if not (self._is_active() and self._cloud.may_connect(self.entry, connect.client_id)):
            return False
        # The broker publishes a will by itself, so it must be judged here; the cloud's own topics take none.
        topic = connect.will.topic if connect.will else None
        return topic is None or (not self._cloud.is_ours(topic) and self._may_publish(topic))

    async def _say_nothing(self) -> None:
        while await self._reader.read(_BUFFER):
            pass
        raise _HangUpError

    async def _refuse(self, code: mqtt5.ConnAckReasonCode) -> None:
        await self._send(mqtt5.ConnAckPacket(reason_code=code).write())
        raise _HangUpError

    def _go_live(self) -> None:
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        self.live = Live(
            client_id=self.client_id,
            certificate_id=self.entry.certificate_id,
            tls_version=tls.version() or "",
            alpn=tls.selected_alpn_protocol(),
        )
        self._front.note_change()
        self._front.take_over(self)

    # -- both directions -------------------------------------------------------------------------------------------

    async def _relay(self, from_broker: asyncio.StreamReader) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._from_client())
                group.create_task(self._from_broker(from_broker))
        except* _ENDS:
            pass

    async def _from_client(self) -> None:
        while True:
            frame = await _read(self._reader)
            match _kind(frame):
                case _Kind.PUBLISH:
                    await self._publish(frame, _decode(frame, mqtt5.PublishPacket))
                case _Kind.SUBSCRIBE:
                    await self._subscribe(frame, _decode(frame, mqtt5.SubscribePacket))
                case _Kind.UNSUBSCRIBE:
                    self._filters.difference_update(_decode(frame, mqtt5.UnsubscribePacket).patterns)
                    await self._forward(frame)
                case _Kind.CONNECT:
                    raise _HangUpError
                case _:
                    await self._forward(frame)

    async def _from_broker(self, reader: asyncio.StreamReader) -> None:
        while True:
            frame = await _read(reader)
            if _kind(frame) == _Kind.PINGRESP and self._own_pings:
                self._own_pings -= 1
            else:
                await self._send(frame)

    async def _send(self, *frames: bytes) -> None:
        await self._write(self._writer, frames)

    async def _forward(self, frame: bytes) -> None:
        await self._write(self._broker, (frame,))

    async def _write(self, writer: asyncio.StreamWriter, frames: Iterable[bytes]) -> None:
        writer.writelines(frames)
        async with asyncio.timeout(self._front.patience):
            await writer.drain()

    async def _keep_broker_awake(self) -> None:
        # The broker sees nothing of what the front answers itself, and would miss the client's signs of life.
        self._own_pings += 1
        await self._forward(_PINGREQ)

    # -- publish ---------------------------------------------------------------------------------------------------

    async def _publish(self, frame: bytes, packet: mqtt5.PublishPacket) -> None:
        if packet.qos == mqtt5.QoS.EXACTLY_ONCE:
            await self._say_goodbye(mqtt5.DisconnectReasonCode.QOS_NOT_SUPPORTED)
        if not packet.topic or packet.topic_alias is not None:
            await self._say_goodbye(mqtt5.DisconnectReasonCode.TOPIC_ALIAS_INVALID)
        if self._cloud.is_ours(packet.topic):
            await self._ask(packet)
        elif self._may_publish(packet.topic):
            await self._forward(frame)
        else:
            await self._acknowledge(packet, mqtt5.PubAckReasonCode.NOT_AUTHORIZED)

    def say_taken_over(self) -> None:
        """Send the last packet that this client gets."""
        self._writer.write(mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER).write())

    async def _say_goodbye(self, code: mqtt5.DisconnectReasonCode) -> None:
        await self._send(mqtt5.DisconnectPacket(reason_code=code).write())
        raise _HangUpError

    async def _ask(self, packet: mqtt5.PublishPacket) -> None:
        answer = Answer(authorised=False)
        if self._is_active():
            answer = self._cloud.publish(self.entry, self.client_id, packet.topic, packet.payload)
        if answer.hang_up:
            raise _HangUpError
        if not answer.authorised:
            await self._acknowledge(packet, mqtt5.PubAckReasonCode.NOT_AUTHORIZED)
            return
        late, self._held = self._held, answer.held
        await self._deliver(late)
        await self._acknowledge(packet, mqtt5.PubAckReasonCode.SUCCESS)
        await self._deliver(answer.replies)

    async def _acknowledge(self, packet: mqtt5.PublishPacket, code: mqtt5.PubAckReasonCode) -> None:
        if packet.packet_id is not None:
            await self._send(mqtt5.PubAckPacket(packet.packet_id, reason_code=code).write())
        elif code != mqtt5.PubAckReasonCode.SUCCESS:
            raise _HangUpError
        await self._keep_broker_awake()

    async def _deliver(self, replies: tuple[Reply, ...]) -> None:
        for reply in replies:
            if any(_covers(wanted, reply.topic) for wanted in self._filters):
                await self._send(mqtt5.PublishPacket(reply.topic, reply.payload).write())

    # -- subscribe -------------------------------------------------------------------------------------------------

    async def _subscribe(self, frame: bytes, packet: mqtt5.SubscribePacket) -> None:
        patterns = {wanted.pattern for wanted in packet.topic_filters}
        ours = {pattern for pattern in patterns if self._cloud.is_ours(pattern)}
        refusal = self._why_not(patterns, ours)
        if refusal is not None:
            await self._answer_subscribe(packet, [refusal] * len(packet.topic_filters))
            return
        self._filters |= ours
        if ours == patterns:
            await self._answer_subscribe(packet, [_granted(wanted) for wanted in packet.topic_filters])
        else:
            await self._forward(frame)

    def _why_not(self, patterns: set[str], ours: set[str]) -> mqtt5.SubAckReasonCode | None:
        if not all(self._may_subscribe(pattern) for pattern in patterns):
            return mqtt5.SubAckReasonCode.NOT_AUTHORIZED
        if len(self._filters | ours) > MAX_SUBSCRIPTIONS:
            return mqtt5.SubAckReasonCode.QUOTA_EXCEEDED
        return None

    async def _answer_subscribe(self, packet: mqtt5.SubscribePacket, codes: list[mqtt5.SubAckReasonCode]) -> None:
        await self._send(mqtt5.SubAckPacket(packet.packet_id, codes).write())
        await self._keep_broker_awake()

    # -- permission ------------------------------------------------------------------------------------------------

    def _is_active(self) -> bool:
        current = self._cloud.registry.get(self.entry.certificate_id)
        return current is self.entry and current.status is Status.ACTIVE

    def _may_publish(self, topic: str) -> bool:
        return self._is_active() and self._cloud.may_publish(self.entry, self.client_id, topic)

    def _may_subscribe(self, topic_filter: str) -> bool:
        return self._is_active() and self._cloud.may_subscribe(self.entry, self.client_id, topic_filter)


def _granted(wanted: mqtt5.TopicFilter) -> mqtt5.SubAckReasonCode:
    if wanted.max_qos == mqtt5.QoS.AT_MOST_ONCE:
        return mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE
    return mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


def _covers(topic_filter: str, topic: str) -> bool:
    wanted, found = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(part in ("+", level) for part, level in zip(wanted, found, strict=True))


# -- packets -------------------------------------------------------------------------------------------------------


def _kind(frame: bytes) -> int:
    return frame[0] >> 4


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return the next whole packet."""
    header = bytearray(await reader.readexactly(1))
    length = 0
    for place in range(_VARIABLE_INTEGER):
        header += await reader.readexactly(1)
        length |= (header[-1] & _SEVEN_BITS) << (7 * place)
        if header[-1] < _MORE:
            break
    else:
        raise _HangUpError
    if length > MAX_PACKET:
        raise _HangUpError
    return bytes(header) + await reader.readexactly(length)


def _decode(frame: bytes, packet_type: type[_P]) -> _P:
    try:
        _check_texts(frame)
        packet, _ = mqtt5.read(memoryview(frame))
    except (ValueError, IndexError) as error:
        raise _HangUpError from error
    if not isinstance(packet, packet_type):
        raise _HangUpError
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
    match _kind(frame):
        case _Kind.CONNECT:
            walk.connect()
        case _Kind.PUBLISH:
            walk.publish(has_id=bool(frame[0] & _QOS))
        case _Kind.SUBSCRIBE:
            walk.filters(options=1)
        case _Kind.UNSUBSCRIBE:
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
        value = 0
        for place in range(_VARIABLE_INTEGER):
            byte = self.skip(1)[0]
            value |= (byte & _SEVEN_BITS) << (7 * place)
            if byte < _MORE:
                return value
        raise ValueError("variable byte integer")

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
