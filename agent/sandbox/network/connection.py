"""One client of the front: its packets, what it may do, what it hears, and its own end at the broker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import mqtt5

from agent.core.frozen import frozen
from agent.sandbox.account.policies import PolicyAction
from agent.sandbox.cloud import Status
from agent.sandbox.network import older
from agent.sandbox.network.packets import HangUpError, PacketKind, decode, kind_of, read
from agent.sandbox.network.sessions import ClientSession, SessionEnd
from agent.sandbox.replies.answers import Answer
from agent.sandbox.replies.faults import Effect
from agent.sandbox.replies.topics import is_ours

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable
    from pathlib import Path

    from agent.sandbox.cloud import Cloud, Entry
    from agent.sandbox.network.sessions import FrontLog
    from agent.sandbox.replies.answers import Reply

MAX_CLIENT_ID = 128
MAX_SUBSCRIPTIONS = 50
MAX_FILTERS = 8  # in one SUBSCRIBE
MAX_WAITING = 1_048_576  # bytes that were not asked for and that the client has not read

BUFFER = 65_536
CLOSING = 1.0  # seconds for a peer's part of the TLS goodbye

_PINGREQ = mqtt5.PingReqPacket().write()

REFUSALS = {
    Effect.THROTTLE: mqtt5.ConnAckReasonCode.QUOTA_EXCEEDED,
    Effect.UNAVAILABLE: mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE,
    Effect.UNAUTHORISED: mqtt5.ConnAckReasonCode.NOT_AUTHORIZED,
}

# How a connection may end without a fault here: the peer left, stopped, or sent what no client may send.
ENDS = (HangUpError, OSError, EOFError)


@frozen
class LiveClient:
    """One client that is connected now."""

    client_id: str
    certificate_id: str
    tls_version: str
    alpn: str | None


class Owner(Protocol):
    """What a connection needs from the front it belongs to."""

    cloud: Cloud
    broker: Path
    patience: float
    log: FrontLog

    def note_change(self) -> None:
        """A client came or went, or was answered."""

    def take_over(self, newcomer: ClientConnection) -> None:
        """A client connected: an older one with its id must go."""


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever state it is in, and wait a bounded time for it."""
    if not writer.is_closing():
        writer.close()
    try:
        with suppress(OSError):
            async with asyncio.timeout(2 * CLOSING):
                await writer.wait_closed()
    finally:
        # Needed after a timeout or a cancellation; CPython 3.11 stumbles when the connection is gone already.
        with suppress(AttributeError):
            writer.transport.abort()


class ClientConnection:
    """One client with an active certificate: what it may do, what it hears, and its own end at the broker."""

    def __init__(self, front: Owner, entry: Entry, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.entry = entry
        self.live: LiveClient | None = None
        self._front = front
        self._cloud = front.cloud
        self._reader, self._writer = reader, writer
        self._broker: asyncio.StreamWriter
        self.client_id = ""
        self._filters: set[str] = set()
        self._held: tuple[Reply, ...] = ()
        self._own_pings = 0
        self._older = False  # whether the client speaks MQTT 3.1.1
        self._end: SessionEnd | None = None
        self._session: ClientSession | None = None

    # -- the beginning ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until it or the broker ends the connection."""
        async with asyncio.timeout(self._front.patience):
            frame = await read(self._reader)
        self._older = older.speaks(frame)
        frame = self._inward(frame)
        connect = decode(frame, mqtt5.ConnectPacket)
        self.client_id = connect.client_id
        await self._judge(connect)
        try:
            from_broker, self._broker = await asyncio.open_unix_connection(self._front.broker, limit=BUFFER)
        except OSError:
            await self._refuse(mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE)
        try:
            self._go_live()
            await self._forward(frame)
            await self._relay(from_broker)
        finally:
            self._end_session()
            self._front.note_change()
            await close(self._broker)

    async def _judge(self, connect: mqtt5.ConnectPacket) -> None:
        self._front.log.note_connect(connect.client_id, asyncio.get_running_loop().time())
        fault = self._cloud.connecting(self.entry, connect.client_id)
        effect = fault.effect if fault else None
        if effect is Effect.HANG_UP:
            raise HangUpError
        if fault is not None and effect is Effect.HOSTILE:
            await self._send(fault.payload)
        if effect in {Effect.SILENCE, Effect.HOSTILE}:
            await self._say_nothing()
        if effect in REFUSALS:
            await self._refuse(REFUSALS[effect])
        if not 0 < len(connect.client_id.encode()) <= MAX_CLIENT_ID:
            await self._refuse(mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID)
        if not self._may_connect(connect):
            await self._refuse(mqtt5.ConnAckReasonCode.NOT_AUTHORIZED)

    def _may_connect(self, connect: mqtt5.ConnectPacket) -> bool:
        if not (
            self._is_active()
            and self._cloud.may(self.entry, connect.client_id, PolicyAction.CONNECT, connect.client_id)
        ):
            return False
        # The broker publishes a will by itself, so it must be judged here; the cloud's own topics take none.
        topic = connect.will.topic if connect.will else None
        return topic is None or (not is_ours(topic) and self._may_publish(topic))

    async def _say_nothing(self) -> None:
        while await self._reader.read(BUFFER):
            pass
        raise HangUpError

    async def _refuse(self, code: mqtt5.ConnAckReasonCode) -> None:
        await self._send(mqtt5.ConnAckPacket(reason_code=code).write())
        raise HangUpError

    def _go_live(self) -> None:
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        self.live = LiveClient(
            client_id=self.client_id,
            certificate_id=self.entry.certificate_id,
            tls_version=tls.version() or "",
            alpn=tls.selected_alpn_protocol(),
        )
        self._session = ClientSession(
            client_id=self.client_id,
            certificate_id=self.entry.certificate_id,
            began=asyncio.get_running_loop().time(),
        )
        self._front.log.sessions.append(self._session)
        self._front.note_change()
        self._front.take_over(self)

    # -- the end ---------------------------------------------------------------------------------------------------

    def note_end(self, end: SessionEnd) -> None:
        """Say how the session ends; the first to say so is right."""
        self._end = self._end or end

    def _end_session(self) -> None:
        self.live = None
        if self._session is not None:
            self._session.end = self._end or SessionEnd.VANISHED
            self._session.ended = asyncio.get_running_loop().time()

    # -- both directions -------------------------------------------------------------------------------------------

    async def _relay(self, from_broker: asyncio.StreamReader) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._from_client())
                group.create_task(self._from_broker(from_broker))
        except* (HangUpError, TimeoutError):
            self.note_end(SessionEnd.HUNG_UP)
        except* ENDS:
            pass

    async def _from_client(self) -> None:
        while True:
            frame = self._inward(await read(self._reader))
            match kind_of(frame):
                case PacketKind.PUBLISH:
                    await self._publish(frame, decode(frame, mqtt5.PublishPacket))
                case PacketKind.SUBSCRIBE:
                    await self._subscribe(frame, decode(frame, mqtt5.SubscribePacket))
                case PacketKind.UNSUBSCRIBE:
                    self._filters.difference_update(decode(frame, mqtt5.UnsubscribePacket).patterns)
                    await self._forward(frame)
                case PacketKind.CONNECT:
                    raise HangUpError
                case PacketKind.DISCONNECT:
                    self.note_end(SessionEnd.CLOSED)
                    await self._forward(frame)
                case _:
                    await self._forward(frame)

    async def _from_broker(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                frame = await read(reader)
            except ENDS:
                raise HangUpError from None
            if kind_of(frame) == PacketKind.PINGRESP and self._own_pings:
                self._own_pings -= 1
            else:
                await self._send(frame)

    async def _send(self, *frames: bytes) -> None:
        await self._write(self._writer, map(self._outward, frames))

    def _inward(self, frame: bytes) -> bytes:
        return older.inward(frame) if self._older else frame

    def _outward(self, frame: bytes) -> bytes:
        return older.outward(frame) if self._older else frame

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
        if is_ours(packet.topic):
            await self._ask(packet)
        elif self._may_publish(packet.topic):
            await self._forward(frame)
        else:
            await self._acknowledge(packet, mqtt5.PubAckReasonCode.NOT_AUTHORIZED)

    def say_taken_over(self) -> None:
        """Send the last packet that this client gets."""
        packet = mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER)
        self._writer.write(self._outward(packet.write()))

    async def _say_goodbye(self, code: mqtt5.DisconnectReasonCode) -> None:
        await self._send(mqtt5.DisconnectPacket(reason_code=code).write())
        raise HangUpError

    async def _ask(self, packet: mqtt5.PublishPacket) -> None:
        answer = Answer(authorised=False)
        if self._is_active():
            answer = self._cloud.publish(self.entry, self.client_id, packet.topic, packet.payload)
        if answer.hang_up:
            raise HangUpError
        if not answer.authorised:
            await self._acknowledge(packet, mqtt5.PubAckReasonCode.NOT_AUTHORIZED)
            return
        late, self._held = self._held, answer.held
        await self._deliver(late)
        await self._acknowledge(packet, mqtt5.PubAckReasonCode.SUCCESS)
        await self._deliver(answer.replies)
        self._front.note_change()

    async def _acknowledge(self, packet: mqtt5.PublishPacket, code: mqtt5.PubAckReasonCode) -> None:
        if packet.packet_id is not None and (code == mqtt5.PubAckReasonCode.SUCCESS or not self._older):
            await self._send(mqtt5.PubAckPacket(packet.packet_id, reason_code=code).write())
        elif code != mqtt5.PubAckReasonCode.SUCCESS:
            raise HangUpError
        await self._keep_broker_awake()

    async def _deliver(self, replies: tuple[Reply, ...]) -> None:
        for reply in replies:
            if self._hears(reply):
                await self._send(_packet(reply))

    def push(self, message: Reply) -> None:
        """Send what the client did not ask for, if it has subscribed to it."""
        if self.live is None or not self._is_active() or not self._hears(message):
            return
        self._writer.write(self._outward(_packet(message)))
        if self._writer.transport.get_write_buffer_size() > MAX_WAITING:
            self.note_end(SessionEnd.HUNG_UP)
            self._writer.transport.abort()

    def _hears(self, message: Reply) -> bool:
        return any(_covers(wanted, message.topic) for wanted in self._filters)

    # -- subscribe -------------------------------------------------------------------------------------------------

    async def _subscribe(self, frame: bytes, packet: mqtt5.SubscribePacket) -> None:
        patterns = {wanted.pattern for wanted in packet.topic_filters}
        ours = {pattern for pattern in patterns if is_ours(pattern)}
        refusal = self._why_not(packet, patterns)
        if refusal is not None:
            await self._answer_subscribe(packet, [refusal] * len(packet.topic_filters))
            return
        self._filters |= patterns
        if ours == patterns:
            await self._answer_subscribe(packet, [_granted(wanted) for wanted in packet.topic_filters])
        else:
            await self._forward(frame)

    def _why_not(self, packet: mqtt5.SubscribePacket, patterns: set[str]) -> mqtt5.SubAckReasonCode | None:
        if not all(self._may_subscribe(pattern) for pattern in patterns):
            return mqtt5.SubAckReasonCode.NOT_AUTHORIZED
        if len(packet.topic_filters) > MAX_FILTERS or len(self._filters | patterns) > MAX_SUBSCRIPTIONS:
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
        return self._is_active() and self._cloud.may(self.entry, self.client_id, PolicyAction.PUBLISH, topic)

    def _may_subscribe(self, topic_filter: str) -> bool:
        return self._is_active() and self._cloud.may(self.entry, self.client_id, PolicyAction.SUBSCRIBE, topic_filter)


def _granted(wanted: mqtt5.TopicFilter) -> mqtt5.SubAckReasonCode:
    if wanted.max_qos == mqtt5.QoS.AT_MOST_ONCE:
        return mqtt5.SubAckReasonCode.GRANTED_QOS_AT_MOST_ONCE
    return mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE


def _packet(message: Reply) -> bytes:
    return mqtt5.PublishPacket(message.topic, message.payload, retain=message.retain).write()


def _covers(topic_filter: str, topic: str) -> bool:
    if topic.startswith("$") and not topic_filter.startswith("$"):  # MQTT: no wildcard covers the reserved topics
        return False
    wanted, found = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(part in ("+", level) for part, level in zip(wanted, found, strict=True))
