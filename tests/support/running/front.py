"""Clients of the local IoT Core: the real SDK, and raw packets for what the SDK cannot do."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import mqtt5
from awscrt import io
from awscrt import mqtt5 as sdk
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.aws.endpoints import ALPN_MQTT
from agent.sandbox.account.authority import AWS_NOT_AFTER, KeyPair, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY, Policy
from agent.sandbox.cloud import CREATE_TOPIC, Cloud, Status

if TYPE_CHECKING:
    from pathlib import Path

    from agent.sandbox.service import LocalCloud

THING = "gw-1"
ACCEPTED = f"{CREATE_TOPIC}/accepted"
OWN_TOPIC = f"gateways/{THING}/data"
AGENT = f"{THING}-cert-agent"
NOTIFY = f"$aws/things/{THING}/jobs/notify"
SHADOW = f"$aws/things/{THING}/shadow/name/certificate"
ROTATE = {"operation": "rotate-certificate"}
PATIENCE = 60.0  # what should happen has happened by then
SHORT = 5.0  # what the front waits for a silent client in the tests of silence: enough to shake hands and to speak

ConnAck, PubAck, SubAck = mqtt5.ConnAckReasonCode, mqtt5.PubAckReasonCode, mqtt5.SubAckReasonCode
NO, ONCE = mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE


# -- the cloud and who calls it ----------------------------------------------------------------------------------------


def wait_for_live(local: LocalCloud, number: int) -> None:
    """Return once exactly so many clients are connected."""
    local.wait_until(lambda: len(local.front.live) == number)


def now() -> datetime:
    """Return the real time, since TLS checks certificates by it."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A key and certificate, and its id."""

    pair: KeyPair
    certificate_id: str = ""


def device(
    cloud: Cloud, *, thing: str = THING, status: Status = Status.ACTIVE, policy: Policy | None = None
) -> Identity:
    """Register a gateway's certificate without asking the cloud."""
    key = ec.generate_private_key(ec.SECP256R1())
    not_before = now() - timedelta(minutes=2)
    certificate = cloud.authority.issue_client(name("x"), key.public_key(), not_before, AWS_NOT_AFTER)
    entry = cloud.registry.add(certificate, status)
    entry.policies, entry.thing_name = [GATEWAY], thing
    if policy is not None:
        cloud.registry.documents["other"], entry.policies = policy, ["other"]
    pair = KeyPair(key_pem=key_to_pem(key), certificate_pem=certificate.public_bytes(Encoding.PEM))
    return Identity(pair=pair, certificate_id=entry.certificate_id)


# -- raw packets over TLS ----------------------------------------------------------------------------------------------


def client_context(
    local: LocalCloud, identity: Identity, tmp_path: Path, *, version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """Return a client's TLS settings."""
    context = ssl.create_default_context(cadata=local.root_pem.decode())
    file = tmp_path / "client.pem"
    file.write_bytes(identity.pair.key_pem + identity.pair.certificate_pem)
    context.load_cert_chain(file)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Wire:
    """One TLS connection that speaks in packets."""

    def __init__(self, local: LocalCloud, context: ssl.SSLContext, *, port: int | None = None) -> None:
        raw = socket.create_connection(("127.0.0.1", port or local.port), timeout=PATIENCE)
        try:
            self.tls = context.wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise
        self._buffer = b""

    def send(self, *packets: mqtt5.Packet | bytes) -> None:
        """Send packets, or bytes as they are."""
        self.tls.sendall(b"".join(p if isinstance(p, bytes) else p.write() for p in packets))

    def receive(self) -> mqtt5.Packet:
        """Return the next packet; EOFError when the front hung up instead."""
        while True:
            with suppress(IndexError):
                packet, size = mqtt5.read(memoryview(self._buffer))
                self._buffer = self._buffer[size:]
                return packet
            received = self._receive_bytes()
            if not received:
                raise EOFError
            self._buffer += received

    def _receive_bytes(self) -> bytes:
        try:
            return self.tls.recv(65_536)
        except ConnectionError:  # it closed before it had read everything of ours
            return b""

    def exactly(self, size: int) -> bytes:
        """Return as many bytes as they are; EOFError when the front hung up instead."""
        while len(self._buffer) < size:
            received = self._receive_bytes()
            if not received:
                raise EOFError
            self._buffer += received
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def rest(self) -> list[mqtt5.Packet]:
        """Return the packets until the front hangs up."""
        packets = []
        with suppress(EOFError):
            while True:
                packets.append(self.receive())
        return packets

    def connect(self, client_id: str = THING, **options: Any) -> mqtt5.Packet:
        """Send CONNECT and return what comes."""
        self.send(mqtt5.ConnectPacket(client_id, clean_start=True, keep_alive=60, **options))
        return self.receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()


def publish(
    topic: str, payload: bytes = b"{}", qos: mqtt5.QoS = ONCE, packet_id: int | None = 1
) -> mqtt5.PublishPacket:
    """Return a PUBLISH, with QoS 1 unless told otherwise."""
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=None if qos == NO else packet_id)


def subscribe(*filters: str, packet_id: int = 7) -> mqtt5.SubscribePacket:
    """Return a SUBSCRIBE."""
    return mqtt5.SubscribePacket(packet_id, [mqtt5.TopicFilter(item, max_qos=ONCE) for item in filters])


# -- the SDK -----------------------------------------------------------------------------------------------------------


class Sdk:
    """One client of the real SDK, with what happens to it in queues."""

    def __init__(
        self, local: LocalCloud, pair: KeyPair, client_id: str, *, alpn: bool = False, queueing: Any = None
    ) -> None:
        self.connected: queue.Queue[Any] = queue.Queue()
        self.failed: queue.Queue[Any] = queue.Queue()
        self.disconnected: queue.Queue[Any] = queue.Queue()
        self.messages: queue.Queue[Any] = queue.Queue()
        self._stopped = threading.Event()
        options = io.TlsContextOptions.create_client_with_mtls(pair.certificate_pem, pair.key_pem)
        options.override_default_trust_store(local.root_pem)
        if alpn:
            options.alpn_list = [ALPN_MQTT]
        self.client = sdk.Client(
            sdk.ClientOptions(
                host_name="localhost",
                port=local.alpn_port if alpn else local.port,
                tls_ctx=io.ClientTlsContext(options),
                connect_options=sdk.ConnectPacket(client_id=client_id, keep_alive_interval_sec=60),
                offline_queue_behavior=queueing,
                min_reconnect_delay_ms=100,
                max_reconnect_delay_ms=200,
                on_publish_callback_fn=self.messages.put,
                on_lifecycle_event_connection_success_fn=self.connected.put,
                on_lifecycle_event_connection_failure_fn=self.failed.put,
                on_lifecycle_event_disconnection_fn=self.disconnected.put,
                on_lifecycle_event_stopped_fn=lambda _: self._stopped.set(),
            )
        )

    def __enter__(self) -> Self:
        self.client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop()
        assert self._stopped.wait(PATIENCE)

    def wait_connected(self) -> Self:
        """Wait for the connection."""
        self.connected.get(timeout=PATIENCE)
        return self

    def publish(self, topic: str, payload: bytes = b"{}") -> Any:
        """Publish with QoS 1 and return the PUBACK."""
        packet = sdk.PublishPacket(topic=topic, payload=payload, qos=sdk.QoS.AT_LEAST_ONCE)
        return self.client.publish(packet).result(PATIENCE).puback

    def subscribe(self, topic_filter: str) -> Any:
        """Subscribe and return the SUBACK."""
        wanted = sdk.Subscription(topic_filter=topic_filter, qos=sdk.QoS.AT_LEAST_ONCE)
        return self.client.subscribe(sdk.SubscribePacket(subscriptions=[wanted])).result(PATIENCE)


# -- publish and subscribe ---------------------------------------------------------------------------------------------


def listener(wire: Wire, client_id: str, *filters: str) -> Wire:
    """Connect, subscribe, and return the connection once it hears."""
    wire.connect(client_id)
    wire.send(subscribe(*filters))
    answer = wire.receive()
    assert isinstance(answer, mqtt5.SubAckPacket)
    assert answer.reason_codes == [SubAck.GRANTED_QOS_AT_LEAST_ONCE] * len(filters)
    return wire


def ask(wire: Wire, topic: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """Send a request and return the messages until a ping is answered."""
    wire.send(publish(topic, json.dumps(body).encode()), mqtt5.PingReqPacket())
    heard: list[tuple[str, Any]] = []
    while not isinstance(packet := wire.receive(), mqtt5.PingRespPacket):
        if isinstance(packet, mqtt5.PublishPacket):
            heard.append((packet.topic, json.loads(packet.payload)))
    return heard


# -- the log of sessions -----------------------------------------------------------------------------------------------


def disconnect(client: Wire) -> None:
    """Say goodbye as a client should."""
    client.send(mqtt5.DisconnectPacket())
