"""The TLS front of the local IoT Core: it judges every client and every packet, and a real broker does the rest.

It owns the listening sockets, the TLS contexts, the live connections and the log of sessions. Its rules, after AWS's
own:

* A client proves its certificate in TLS. Anything but an active one is hung up on without one byte of MQTT.
* MQTT 5, and 3.1.1 by `agent.sandbox.network.older`. CONNECT, PUBLISH, SUBSCRIBE and UNSUBSCRIBE are read; everything
  else is copied as it is, both ways, between the client and its own connection to the broker.
* A publish to a topic of the cloud (`$aws/...`, retirement) never reaches the broker: the cloud's replies go, with
  QoS 0, to the connection that asked, if it has subscribed to them, and to no other.
* What the cloud says by itself goes, with QoS 0, to all connections that have subscribed to it at that moment.
* One forbidden filter makes the whole SUBSCRIBE fail: every filter in it gets NOT_AUTHORIZED.
* Each packet is judged anew, so a certificate that is no longer active may do nothing, even before it is cut.
* A SUBSCRIBE holds 8 filters at most, a connection 50; one too many fails with QUOTA_EXCEEDED.
* A client that sends nothing, half a packet, too much or nonsense loses its own connection, quietly and in bounded
  time, and so does one that does not read.

It refuses QoS 2, topic aliases and a second CONNECT. What a session keeps across connections is the
broker's part alone: subscriptions to `$aws/...` end with their connection, so clients should start clean.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import ALPN_MQTT
from agent.errors import AgentError
from agent.sandbox.network.connection import BUFFER, CLOSING, ENDS, ClientConnection, LiveClient, close
from agent.sandbox.network.sessions import FrontLog, SessionEnd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.sandbox.account.authority import KeyPair
    from agent.sandbox.cloud import Cloud
    from agent.sandbox.replies.answers import Reply

_LOG = logging.getLogger(__name__)

MAX_CONNECTIONS = 500

_ACCEPT_AGAIN = 0.1  # seconds


DEFAULT_MINIMUM = ssl.TLSVersion.TLSv1_2
DEFAULT_MAXIMUM = ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True)
class ServerTls:
    """What an endpoint shows in a handshake: its certificate, and the versions that it speaks."""

    server: KeyPair
    minimum: ssl.TLSVersion = DEFAULT_MINIMUM
    maximum: ssl.TLSVersion = DEFAULT_MAXIMUM


def server_context(host: str, device_authority: bytes, tls: ServerTls, *, alpn: bool) -> ssl.SSLContext:
    """Return the TLS settings of an endpoint: its name and certificate, its versions, and whose devices it takes.

    `alpn` says whether it knows MQTT by that name, as it does on port 443.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=device_authority.decode())
    context.minimum_version, context.maximum_version = tls.minimum, tls.maximum
    if alpn:
        context.set_alpn_protocols([ALPN_MQTT])
    context.sni_callback = _refuse_other_names(host)
    # AWS IoT Core resumes no sessions, so every connection proves its certificate.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    tls.server.load_into(context)
    return context


def _refuse_other_names(host: str) -> Callable[[ssl.SSLSocket | ssl.SSLObject, str | None, ssl.SSLContext], int | None]:
    """AWS wants no server name, but a wrong one fails ("Transport security", developer guide)."""

    def check(_tls: object, name: str | None, _context: object) -> int | None:
        return None if name is None or name.lower() == host.lower() else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    return check


class Front:
    """All listeners and connections of one endpoint; lives in one event loop.

    Attributes:
        log: What has come to pass so far.
        tells_takeovers: Whether a client is told why its connection ends when another one with its id comes. AWS tells
            it, by MQTT 5; there are brokers that only hang up.
    """

    def __init__(
        self,
        cloud: Cloud,
        broker: Path,
        context: ssl.SSLContext,
        by_name: ssl.SSLContext | None = None,
        *,
        patience: float = 10.0,
    ) -> None:
        """Make a front that listens nowhere yet, in the event loop that runs.

        Args:
            cloud: Who judges.
            broker: The broker's unix socket.
            context: The TLS settings of new handshakes; see `change_context`.
            by_name: The same where ALPN is required; None where it nowhere is.
            patience: Seconds for a handshake, for CONNECT, and for a peer that does not read.
        """
        self.cloud = cloud
        self.broker = broker
        self.patience = patience
        self.log = FrontLog()
        self.tells_takeovers = True
        self._contexts = {False: context, True: by_name or context}  # by whether ALPN is required
        self._trusted: dict[ssl.SSLContext, str] = {}  # the own CAs that are loaded, by what into
        self._listeners: list[_Listener] = []
        self._connections: dict[asyncio.Task[None], ClientConnection | None] = {}
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        cloud.attach(self)

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

    def change_context(self, context: ssl.SSLContext, by_name: ssl.SSLContext | None = None) -> None:
        """Let new handshakes use other TLS settings."""
        self._contexts, self._trusted = {False: context, True: by_name or context}, {}

    @property
    def live(self) -> list[LiveClient]:
        """The clients that are connected now."""
        return [c.live for c in list(self._connections.values()) if c is not None and c.live is not None]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return once something holds.

        It is looked at whenever a connection began or ended, and when the cloud answered a request.
        """
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def disconnect(self, certificate_id: str) -> int:
        """Cut all connections of one certificate, wait until they ended, and return how many there were."""
        tasks = self._cut(certificate_id)
        await _end(tasks)
        return len(tasks)

    def _cut(self, certificate_id: str) -> list[asyncio.Task[None]]:
        tasks = []
        for task, connection in self._connections.items():
            if connection is not None and connection.entry.certificate_id == certificate_id:
                connection.note_end(SessionEnd.CUT)
                task.cancel()
                tasks.append(task)
        return tasks

    async def take_down(self) -> None:
        """Stop listening and cut all connections; the ports stay ours."""
        for listener in self._listeners:
            await listener.take_down()
        for connection in self._connections.values():
            if connection is not None:
                connection.note_end(SessionEnd.DOWN)
        await _end(list(self._connections))

    def bring_up(self) -> None:
        """Listen again on the same ports; harmless when up."""
        for listener in self._listeners:
            listener.bring_up()

    async def close(self) -> None:
        """Take everything down and give the ports back."""
        self.cloud.detach(self)
        await self.take_down()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    # -- what the cloud does by itself, from any thread ------------------------------------------------------------

    def deliver(self, message: Reply, to: str | None) -> None:
        """See `agent.sandbox.cloud.Listener`."""
        self._loop.call_soon_threadsafe(self._push, message, to)

    def _push(self, message: Reply, to: str | None) -> None:
        for connection in list(self._connections.values()):
            if connection is not None and to in {None, connection.client_id, connection.entry.thing_name}:
                connection.push(message)

    def cut(self, certificate_id: str) -> None:
        """See `agent.sandbox.cloud.Listener`."""
        self._loop.call_soon_threadsafe(self._cut, certificate_id)

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
            self.log.defects.append(error)
            _LOG.error("A connection ended by a defect of the front", exc_info=error)

    def take_over(self, newcomer: ClientConnection) -> None:
        """Tell older connections with this client id that they are over, and end them.

        mosquitto closes them too, but tells them why only since 2.0.15.
        """
        for task, other in list(self._connections.items()):
            if other is not None and other is not newcomer and other.client_id == newcomer.client_id and other.live:
                if self.tells_takeovers:
                    other.say_taken_over()
                other.note_end(SessionEnd.TAKEN_OVER)
                task.cancel()

    def note_change(self) -> None:
        """Wake those who wait for something to hold."""
        self._changed.set()

    async def _serve(self, raw: socket.socket, *, require_alpn: bool) -> None:
        try:
            reader, writer = await self._shake_hands(raw, self._settings(require_alpn=require_alpn))
        except OSError:
            self.log.handshake_failures += 1
            return
        try:
            tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
            if require_alpn and tls.selected_alpn_protocol() != ALPN_MQTT:
                return
            entry = self.cloud.authenticate(hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest())
            if entry is not None:
                await self._converse(ClientConnection(self, entry, reader, writer))
        finally:
            await close(writer)

    def _settings(self, *, require_alpn: bool = False) -> ssl.SSLContext:
        """Return the settings of a handshake; the account may have got a CA of its own since the last one."""
        context, wanted = self._contexts[require_alpn], self.cloud.stack.authorities()
        if wanted and wanted != self._trusted.get(context):
            context.load_verify_locations(cadata=wanted)
            self._trusted[context] = wanted
        return context

    async def _shake_hands(
        self, raw: socket.socket, context: ssl.SSLContext
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=BUFFER)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            raw,
            ssl=context,
            ssl_handshake_timeout=self.patience,
            ssl_shutdown_timeout=CLOSING,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _converse(self, connection: ClientConnection) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = connection
        with suppress(*ENDS):
            await connection.run()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Listener:
    """One port. While it is down a socket that does not listen holds it, so no other program gets it.

    Were there none for a moment, the kernel could give the port to any connection that is made then.
    """

    def __init__(self, front: Front, address: str, port: int, *, require_alpn: bool) -> None:
        self._front = front
        self._address = address
        self._require_alpn = require_alpn
        self._holder = _bind(address, port)
        self._listening: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self.port: int = self._holder.getsockname()[1]

    def bring_up(self) -> None:
        if self._listening is None:
            self._listening = _bind(self._address, self.port)
            self._listening.listen(128)
            self._task = asyncio.create_task(self._accept(self._listening))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                raw, _ = await loop.sock_accept(listening)
            except OSError:  # out of descriptors, or the client gave up in the queue: neither ends the listener
                await asyncio.sleep(_ACCEPT_AGAIN)
                continue
            self._front.admit(raw, require_alpn=self._require_alpn)

    async def take_down(self) -> None:
        if self._listening is not None and self._task is not None:
            await _end([self._task])
            self._listening.close()
            self._listening = self._task = None

    def close(self) -> None:
        self._holder.close()


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
