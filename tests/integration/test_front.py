"""The local IoT Core, met as a gateway meets it: real TLS, the real SDK, and raw packets for what the SDK cannot do."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import mqtt5
import pytest
from awscrt import io, mqtt
from awscrt import mqtt5 as sdk
from awscrt.exceptions import AwsCrtError
from awscrt.mqtt_request_response import ClientOptions as RequestOptions
from awsiot import ServiceStreamOptions, V2ServiceException, iotidentity, iotjobs, iotshadow, mqtt_connection_builder
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.errors import AgentError
from agent.sandbox import mosquitto as mosquitto_module
from agent.sandbox.authority import AWS_NOT_AFTER, Authority, KeyPair, key_to_pem, name
from agent.sandbox.cloud import CREATE_TOPIC, Cloud, Status
from agent.sandbox.connection import MAX_FILTERS, MAX_SUBSCRIPTIONS, REFUSALS
from agent.sandbox.console import Console, OrderError
from agent.sandbox.faults import TOKEN_MARK, Effect, Fault, Operation
from agent.sandbox.front import ALPN
from agent.sandbox.jobs import JobStatus
from agent.sandbox.mosquitto import Mosquitto
from agent.sandbox.packets import MAX_PACKET
from agent.sandbox.policies import GATEWAY, Policy
from agent.sandbox.service import LocalCloud
from agent.sandbox.sessions import ClientSession, gaps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

THING = "gw-1"
TEMPLATE = "gateway"
ACCEPTED = f"{CREATE_TOPIC}/accepted"
OWN_TOPIC = f"gateways/{THING}/data"
AGENT = f"{THING}-cert-agent"
NOTIFY = f"$aws/things/{THING}/jobs/notify"
SHADOW = f"$aws/things/{THING}/shadow/name/certificate"
RETIRE = f"iot-cert-agent/{THING}/retire"
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


@pytest.fixture
def cloud() -> Cloud:
    """Return an account with a claim certificate."""
    return Cloud(now)


@pytest.fixture
def local(cloud: Cloud, tmp_path: Path) -> Iterator[LocalCloud]:
    """Run the local IoT Core."""
    with LocalCloud(cloud, tmp_path) as running:
        yield running
        assert running.front.log.defects == []


@pytest.fixture
def hasty(cloud: Cloud, tmp_path: Path) -> Iterator[LocalCloud]:
    """Run a local IoT Core that waits for no client."""
    with LocalCloud(cloud, tmp_path, patience=SHORT) as running:
        yield running
        assert running.front.log.defects == []


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


def request_pem() -> bytes:
    """Return a certificate signing request for a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name("gw")).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


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


@pytest.fixture
def wire(local: LocalCloud, cloud: Cloud, tmp_path: Path) -> Iterator[Callable[..., Wire]]:
    """Return a function that opens TLS connections and closes them after the test."""
    with ExitStack() as stack:

        def open_wire(identity: Identity | None = None, **options: Any) -> Wire:
            context = client_context(local, identity or device(cloud), tmp_path)
            return stack.enter_context(Wire(local, context, **options))

        yield open_wire


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
            options.alpn_list = [ALPN]
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


class OldSdk:
    """One client of the real SDK that speaks MQTT 3.1.1, with what happens to it in queues.

    It gives up as it is hung up on: told to later, the SDK would wait for its next attempt, a second or more away.
    """

    def __init__(self, local: LocalCloud, pair: KeyPair, client_id: str = THING, **options: Any) -> None:
        self.failed: queue.Queue[Any] = queue.Queue()
        self.interrupted: queue.Queue[Any] = queue.Queue()
        self.hung_up = False
        self.messages: queue.Queue[Any] = queue.Queue()
        self.connection = mqtt_connection_builder.mtls_from_bytes(
            pair.certificate_pem,
            pair.key_pem,
            ca_bytes=local.root_pem,
            endpoint="localhost",
            port=local.port,
            client_id=client_id,
            keep_alive_secs=60,
            on_connection_interrupted=self._give_up,
            on_connection_failure=lambda callback_data, **_: self.failed.put(callback_data.error),
            **{"clean_session": True, **options},
        )

    def connect(self) -> Any:
        """Connect and return whether there was a session."""
        return self.connection.connect().result(PATIENCE)["session_present"]

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        if not self.hung_up:
            self.disconnect()

    def _give_up(self, error: Exception, **_: object) -> None:
        self.interrupted.put((error, self.connection.disconnect()))

    def disconnect(self) -> None:
        """Say goodbye."""
        self.connection.disconnect().result(PATIENCE)

    def publish(self, topic: str, payload: bytes = b"{}", qos: mqtt.QoS = mqtt.QoS.AT_LEAST_ONCE) -> None:
        """Publish, with QoS 1 unless told otherwise, and wait for the PUBACK."""
        self.connection.publish(topic, payload, qos)[0].result(PATIENCE)

    def subscribe(self, topic_filter: str, qos: mqtt.QoS = mqtt.QoS.AT_LEAST_ONCE) -> Any:
        """Subscribe and return the QoS that was granted."""
        return self.connection.subscribe(topic_filter, qos, self._hear)[0].result(PATIENCE)["qos"]

    def _hear(self, topic: str, payload: bytes, qos: mqtt.QoS, **_: object) -> None:
        self.messages.put((topic, payload, qos))

    def hear(self) -> Any:
        """Return the topic, payload and QoS of the next message."""
        return self.messages.get(timeout=PATIENCE)

    def wait_for_hang_up(self) -> str:
        """Wait until the front hung up, and return what the SDK calls it."""
        error, gone = self.interrupted.get(timeout=PATIENCE)
        self.hung_up = True
        gone.result(PATIENCE)
        return str(error.name)


def identity_client(connection: Sdk, timeout: int = 10) -> Any:
    """Return the SDK's client for fleet provisioning on a connection."""
    options = RequestOptions(
        max_request_response_subscriptions=4, max_streaming_subscriptions=0, operation_timeout_in_seconds=timeout
    )
    return iotidentity.IotIdentityClientV2(connection.client, options)


@contextmanager
def identity_service(local: LocalCloud, pair: KeyPair, *, timeout: int = 10, alpn: bool = False) -> Iterator[Any]:
    """Connect the SDK and give its client for fleet provisioning."""
    with Sdk(local, pair, "enrolling", alpn=alpn) as connection:
        yield identity_client(connection.wait_connected(), timeout)


def create(service: Any, pem: bytes | None = None) -> Any:
    """Ask for a certificate and return the future reply."""
    text = (pem or request_pem()).decode()
    return service.create_certificate_from_csr(
        iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=text)
    )


# -- who may connect ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.REVOKED, Status.PENDING_ACTIVATION])
def test_a_certificate_that_is_not_active_is_hung_up_on_without_one_byte(
    status: Status, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """AWS closes the connection of such a client and sends no CONNACK."""
    assert wire(device(cloud, status=status)).rest() == []


def test_the_sdk_calls_an_inactive_certificate_an_unexpected_hang_up(local: LocalCloud, cloud: Cloud) -> None:
    """What a gateway sees of an inactive certificate is what it sees from AWS."""
    with Sdk(local, device(cloud, status=Status.INACTIVE).pair, THING) as client:
        failure = client.failed.get(timeout=PATIENCE)
    assert failure.exception.name == "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
    assert failure.connack_packet is None


def test_a_certificate_of_another_authority_fails_in_the_handshake(
    local: LocalCloud, cloud: Cloud, tmp_path: Path
) -> None:
    """Only the device authority's certificates come as far as the registry."""
    foreign = Cloud(now)
    foreign.authority = Authority("Another CA", now())
    version = ssl.TLSVersion.TLSv1_2  # where the client hears of it in the handshake
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Wire(local, client_context(local, device(foreign), tmp_path, version=version))
    local.wait_until(lambda: local.front.log.handshake_failures == 1)
    assert cloud.requests == []


def test_a_certificate_of_the_accounts_own_signer_comes_as_far_as_the_registry(
    cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """AWS takes what is registered, whichever CA has signed it; the account gets its own while the endpoint runs."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name("gw")).sign(key, hashes.SHA256())
    pem = cloud.stack.sign(request.public_bytes(Encoding.PEM).decode(), "a claim", timedelta(days=1)).encode()
    entry = cloud.registry.add(x509.load_pem_x509_certificate(pem), Status.ACTIVE)
    entry.policies, entry.thing_name = [GATEWAY], THING
    pair = KeyPair(key_pem=key_to_pem(key), certificate_pem=pem)

    assert isinstance(wire(Identity(pair=pair)).connect(), mqtt5.ConnAckPacket)


def test_a_client_without_a_certificate_fails_in_the_handshake(local: LocalCloud) -> None:
    """A client certificate is required."""
    context = ssl.create_default_context(cadata=local.root_pem.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Wire(local, context)
    local.wait_until(lambda: local.front.log.handshake_failures == 1)


@pytest.mark.parametrize("effect", [*REFUSALS])
def test_a_fault_at_connect_is_a_connack_with_its_reason(
    effect: Effect, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Throttling, an outage and a missing permission are told, then the connection ends."""
    cloud.faults.add(Fault(operation=Operation.CONNECT, effect=effect))
    refused = wire()
    answer = refused.connect()
    assert isinstance(answer, mqtt5.ConnAckPacket)
    assert answer.reason_code == REFUSALS[effect]
    assert refused.rest() == []


def test_a_hang_up_at_connect_says_nothing(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """The connection is cut before any CONNACK."""
    cloud.faults.add(Fault(operation=Operation.CONNECT, effect=Effect.HANG_UP))
    with pytest.raises(EOFError):
        wire().connect()


def test_silence_at_connect_keeps_the_connection_open(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """The client hears nothing until it gives up."""
    cloud.faults.add(Fault(operation=Operation.CONNECT, effect=Effect.SILENCE))
    silent = wire()
    silent.tls.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        silent.connect()


def test_the_policy_decides_about_the_client_id(local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """A client id that the policy does not name gets 0x87, as raw packet and in the SDK."""
    answer = wire().connect("another-client")
    assert isinstance(answer, mqtt5.ConnAckPacket)
    assert answer.reason_code == ConnAck.NOT_AUTHORIZED
    with Sdk(local, device(cloud).pair, "another-client") as client:
        failure = client.failed.get(timeout=PATIENCE)
    assert failure.connack_packet.reason_code == sdk.ConnectReasonCode.NOT_AUTHORIZED


def test_a_will_needs_the_permission_to_publish_it(wire: Callable[..., Wire]) -> None:
    """The broker would publish it by itself, so it is judged at CONNECT."""
    answer = wire().connect(will=mqtt5.Will("gateways/gw-2/data", payload=b"boo"))
    assert isinstance(answer, mqtt5.ConnAckPacket)
    assert answer.reason_code == ConnAck.NOT_AUTHORIZED


@pytest.mark.parametrize("client_id", ["", "x" * 129])
def test_a_client_id_must_have_one_to_128_bytes(client_id: str, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """The broker would invent one, AWS does not."""
    answer = wire(Identity(pair=cloud.claim)).connect(client_id)
    assert isinstance(answer, mqtt5.ConnAckPacket)
    assert answer.reason_code == ConnAck.CLIENT_ID_NOT_VALID


def test_anything_but_mqtt_3_1_1_and_5_is_hung_up_on(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """MQTT 3.1 and unknown levels, in the form of either version; so is a CONNECT that ends in front of its level."""
    identity = device(cloud)
    beginnings = [b"\x00\x06MQIsdp\x03", b"\x00\x06MQIsdp\x04"]
    beginnings += [b"\x00\x04MQTT" + bytes([level]) for level in (3, 6, 0x84)]
    bodies = [
        start + b"\x02\x00\x3c" + properties + b"\x00\x04gw-1" for start in beginnings for properties in (b"", b"\x00")
    ]
    for body in [b"", b"\x00\x04MQTT", b"\x00\x04MQTT\x04", *bodies]:
        unknown = wire(identity)
        unknown.send(bytes([0x10, len(body)]) + body)
        assert unknown.rest() == []
    assert local.front.log.sessions == []


def test_two_connects_within_a_second_are_counted(local: LocalCloud, wire: Callable[..., Wire]) -> None:
    """AWS allows one CONNECT a second for each client id; a sender of more shows up here."""
    wire().connect()
    assert local.front.log.rushed == []
    wire().connect()
    assert local.front.log.rushed == [THING]


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "label"), [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
)
def test_an_endpoint_may_be_limited_to_one_tls_version(
    version: ssl.TLSVersion, label: str, local: LocalCloud, cloud: Cloud, tmp_path: Path
) -> None:
    """The SDK connects with the only version there is, and a client of the other version cannot."""
    local.set_tls(minimum=version, maximum=version)
    identity = device(cloud)
    with Sdk(local, identity.pair, THING) as client:
        client.wait_connected()
        assert [live.tls_version for live in local.front.live] == [label]
    (other,) = {ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3} - {version}
    with pytest.raises(ssl.SSLError):
        Wire(local, client_context(local, identity, tmp_path, version=other))


def test_the_443_style_port_takes_only_clients_with_alpn(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Without `x-amzn-mqtt-ca` port 443 is no MQTT port."""
    assert wire(port=local.alpn_port).rest() == []
    with Sdk(local, device(cloud).pair, THING, alpn=True) as client:
        client.wait_connected()
        (live,) = local.front.live
    assert (live.client_id, live.alpn) == (THING, ALPN)


@pytest.mark.parametrize(("name", "passes"), [("localhost", True), (None, True), ("elsewhere.example", False)])
def test_a_wrong_server_name_is_refused_and_none_is_taken(local: LocalCloud, name: str | None, *, passes: bool) -> None:
    """AWS does not ask for SNI, but a wrong one ends the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=local.root_pem.decode())
    with socket.create_connection(("127.0.0.1", local.port), timeout=PATIENCE) as raw:
        if passes:
            context.wrap_socket(raw, server_hostname=name).close()
        else:
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(raw, server_hostname=name)


def test_a_server_certificate_of_another_host_or_root_is_noticed_and_can_be_taken_back(
    local: LocalCloud, cloud: Cloud, tmp_path: Path
) -> None:
    """The server certificate changes for new handshakes while everything runs."""
    context = client_context(local, device(cloud), tmp_path)
    another = Authority("Sandbox endpoint root B", now())
    yesterday, tomorrow = now() - timedelta(days=1), now() + timedelta(days=1)
    for wrong in (
        local.issue_server("example.org"),
        another.issue_server("localhost", yesterday, tomorrow),
        local.endpoint_authority.issue_server("localhost", yesterday, now() - timedelta(hours=1)),
    ):
        local.change_server(wrong)
        with pytest.raises(ssl.SSLCertVerificationError):
            Wire(local, context)
    local.change_server(local.issue_server())
    with Wire(local, context) as good:
        assert isinstance(good.connect(), mqtt5.ConnAckPacket)


@pytest.mark.parametrize("intermediate", [False, True])
def test_the_endpoint_moves_to_another_root_and_connections_stay(
    local: LocalCloud, cloud: Cloud, tmp_path: Path, *, intermediate: bool
) -> None:
    """Who is connected notices nothing; who connects from then on needs the other root, in the SDK as well."""
    identity, other = device(cloud), Authority("Sandbox endpoint root B", now())
    before = client_context(local, identity, tmp_path)
    with Wire(local, before) as stays:
        stays.connect()
        local.use_root(other, intermediate=intermediate)
        with pytest.raises(ssl.SSLCertVerificationError):
            Wire(local, before)
        with Sdk(local, identity.pair, AGENT) as moved:
            moved.wait_connected()
            stays.send(mqtt5.PingReqPacket())
            assert isinstance(stays.receive(), mqtt5.PingRespPacket)
            assert [live.client_id for live in local.front.live] == [THING, AGENT]
    assert local.root_pem == other.pem


def test_an_older_root_vouches_for_the_one_that_the_endpoint_has_moved_to(
    local: LocalCloud, cloud: Cloud, tmp_path: Path
) -> None:
    """With the cross-signed certificate sent along, the SDK of a gateway that knows the older one only connects."""
    older, newer = local.endpoint_authority, Authority("Sandbox endpoint root B", now())
    context = client_context(local, device(cloud), tmp_path)
    below = newer.intermediate("Sandbox issuing CA", now())
    pair = below.issue_server("localhost", now() - timedelta(days=1), now() + timedelta(days=1))
    cross = older.cross_sign(newer, now()).public_bytes(Encoding.PEM)
    local.change_server(KeyPair(key_pem=pair.key_pem, certificate_pem=pair.certificate_pem + cross))
    with Wire(local, context) as wire, Sdk(local, device(cloud).pair, AGENT) as client:
        assert isinstance(wire.connect(), mqtt5.ConnAckPacket)
        client.wait_connected()


def test_settings_made_before_the_start_hold_from_the_first_handshake_on(cloud: Cloud, tmp_path: Path) -> None:
    """The root, and the versions of TLS."""
    local = LocalCloud(cloud, tmp_path)
    local.use_root(Authority("Sandbox endpoint root B", now()), intermediate=True)
    local.set_tls(maximum=ssl.TLSVersion.TLSv1_2)
    with local, Sdk(local, device(cloud).pair, THING) as client:
        client.wait_connected()
        assert [live.tls_version for live in local.front.live] == ["TLSv1.2"]


# -- publish and subscribe ---------------------------------------------------------------------------------------------


def test_two_clients_exchange_messages_through_the_broker(local: LocalCloud, cloud: Cloud) -> None:
    """Topics that are not the cloud's go through mosquitto as they are."""
    identity = device(cloud)
    with Sdk(local, identity.pair, THING) as one, Sdk(local, identity.pair, f"{THING}-cert-agent") as other:
        one.wait_connected()
        other.wait_connected()
        assert one.subscribe(OWN_TOPIC).reason_codes == [sdk.SubackReasonCode.GRANTED_QOS_1]
        assert other.publish(OWN_TOPIC, b"21.5").reason_code == sdk.PubackReasonCode.SUCCESS
        message = one.messages.get(timeout=PATIENCE).publish_packet
    assert (message.topic, message.payload) == (OWN_TOPIC, b"21.5")


@pytest.mark.parametrize("topic", ["gateways/gw-2/data", "$aws/things/gw-2/shadow/name/certificate/get"])
def test_a_forbidden_topic_is_refused_in_puback_and_suback(topic: str, local: LocalCloud, cloud: Cloud) -> None:
    """Another gateway's topics answer 0x87, whichever part would handle them, and the connection stays."""
    with Sdk(local, device(cloud).pair, THING) as client:
        client.wait_connected()
        assert client.publish(topic).reason_code == sdk.PubackReasonCode.NOT_AUTHORIZED
        assert client.subscribe(topic).reason_codes == [sdk.SubackReasonCode.NOT_AUTHORIZED]
        assert client.publish(OWN_TOPIC).reason_code == sdk.PubackReasonCode.NO_MATCHING_SUBSCRIBERS
        assert client.disconnected.empty()


def test_one_forbidden_filter_fails_the_whole_subscribe(wire: Callable[..., Wire]) -> None:
    """Every filter in the packet gets 0x87 and none is in force."""
    client = wire()
    client.connect()
    client.send(subscribe(OWN_TOPIC, "#", ACCEPTED))
    answer = client.receive()
    assert isinstance(answer, mqtt5.SubAckPacket)
    assert answer.reason_codes == [SubAck.NOT_AUTHORIZED] * 3


def test_a_forbidden_publish_with_qos_0_ends_the_connection(wire: Callable[..., Wire]) -> None:
    """There is no PUBACK to say it in."""
    client = wire()
    client.connect()
    client.send(publish("gateways/gw-2/data", qos=NO))
    assert client.rest() == []


def test_qos_2_ends_the_connection_with_its_reason(wire: Callable[..., Wire]) -> None:
    """AWS IoT Core has no QoS 2."""
    client = wire()
    client.connect()
    client.send(publish(OWN_TOPIC, qos=mqtt5.QoS.EXACTLY_ONCE))
    (goodbye,) = client.rest()
    assert isinstance(goodbye, mqtt5.DisconnectPacket)
    assert goodbye.reason_code == mqtt5.DisconnectReasonCode.QOS_NOT_SUPPORTED


def test_a_connection_has_no_more_than_fifty_subscriptions_to_the_cloud(wire: Callable[..., Wire]) -> None:
    """The quota is AWS's, and it bounds what one client makes the front remember."""
    client = wire()
    client.connect()
    client.send(*(subscribe(f"$aws/things/{THING}/jobs/{n}") for n in range(MAX_SUBSCRIPTIONS + 1)))
    answers = [client.receive() for _ in range(MAX_SUBSCRIPTIONS + 1)]
    codes = [answer.reason_codes[0] for answer in answers if isinstance(answer, mqtt5.SubAckPacket)]
    assert codes == [SubAck.GRANTED_QOS_AT_LEAST_ONCE] * MAX_SUBSCRIPTIONS + [SubAck.QUOTA_EXCEEDED]


def test_a_reply_goes_only_to_a_connection_that_subscribed_to_it(wire: Callable[..., Wire]) -> None:
    """Without the subscription, and after it was given up, the answer is lost; a wildcard is a subscription."""
    get = f"$aws/things/{THING}/shadow/name/certificate/get"
    client = wire()
    client.connect()
    client.send(publish(get, packet_id=1))
    client.send(subscribe(f"$aws/things/{THING}/shadow/name/certificate/#"), publish(get, packet_id=2))
    client.send(mqtt5.UnsubscribePacket(8, [f"$aws/things/{THING}/shadow/name/certificate/#"]))
    client.send(publish(get, packet_id=3), mqtt5.PingReqPacket(), mqtt5.DisconnectPacket())
    kinds = [type(packet) for packet in client.rest() if not isinstance(packet, mqtt5.UnsubAckPacket)]
    acknowledged = mqtt5.PubAckPacket
    assert [kind for kind in kinds if kind is not mqtt5.PingRespPacket] == [
        acknowledged,
        mqtt5.SubAckPacket,
        acknowledged,
        mqtt5.PublishPacket,
        acknowledged,
    ]
    # The front pings the broker for what it answers itself, and the client sees only the answer to its own ping.
    assert kinds.count(mqtt5.PingRespPacket) == 1


@pytest.mark.parametrize("payload", [b"[]", b"null", b"\xff", b"[" * 100_000, b'{"certificateSigningRequest": {}}'])
def test_a_request_that_is_no_request_is_rejected(payload: bytes, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """Nonsense in a payload is answered like AWS does, and never harms the cloud."""
    client = wire(Identity(pair=cloud.claim))
    client.connect("x")
    client.send(subscribe(f"{CREATE_TOPIC}/rejected"), publish(CREATE_TOPIC, payload))
    packets = [client.receive() for _ in range(3)]
    assert isinstance(packets[2], mqtt5.PublishPacket)
    assert b'"statusCode": 400' in packets[2].payload


def test_the_claim_certificate_enrols_a_gateway_through_the_sdk(local: LocalCloud, cloud: Cloud) -> None:
    """Create from request, register with the token: the certificate is active and attached to its thing."""
    with identity_service(local, cloud.claim, alpn=True) as service:
        created = create(service).result(PATIENCE)
        registered = service.register_thing(
            iotidentity.RegisterThingRequest(
                template_name=TEMPLATE,
                certificate_ownership_token=created.certificate_ownership_token,
                parameters={"SerialNumber": "7", "RegistrationToken": cloud.stack.arm("7")},
            )
        ).result(PATIENCE)
    assert registered.thing_name == "gw-7"
    assert [entry.certificate_id for entry in cloud.certificates_of("gw-7")] == [created.certificate_id]
    assert cloud.registry[created.certificate_id].status is Status.ACTIVE


def test_a_late_reply_is_taken_for_the_answer_to_the_next_request(local: LocalCloud, cloud: Cloud) -> None:
    """The SDK gives the first request's certificate to the second request: the hazard the agent must survive."""
    cloud.faults.add(Fault(operation=Operation.CREATE, effect=Effect.LATE))
    with identity_service(local, cloud.claim, timeout=5) as service:
        with pytest.raises(V2ServiceException):
            create(service).result(PATIENCE)
        (late,) = [entry for entry in cloud.registry.values() if entry.token]
        answer = create(service).result(PATIENCE)
    assert answer.certificate_id == late.certificate_id
    assert cloud.count(Operation.CREATE) == 2


def test_a_late_reply_dies_with_its_connection(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """On a new connection nothing of the old one arrives."""
    cloud.faults.add(Fault(operation=Operation.CREATE, effect=Effect.LATE))
    question = publish(CREATE_TOPIC, b'{"certificateSigningRequest": "x"}')
    for expected in ([mqtt5.SubAckPacket, mqtt5.PubAckPacket], [mqtt5.SubAckPacket, mqtt5.PubAckPacket]):
        client = wire(Identity(pair=cloud.claim))
        client.connect("x")
        client.send(subscribe(ACCEPTED), question, mqtt5.DisconnectPacket())
        assert [type(packet) for packet in client.rest()] == expected


def test_a_duplicated_reply_does_no_harm(local: LocalCloud, cloud: Cloud) -> None:
    """The SDK drops the copy, and the next request gets its own answer."""
    cloud.faults.add(Fault(operation=Operation.CREATE, effect=Effect.DUPLICATE))
    with identity_service(local, cloud.claim) as service:
        first = create(service).result(PATIENCE)
        second = create(service).result(PATIENCE)
    assert first.certificate_id != second.certificate_id


@pytest.mark.parametrize(
    ("queueing", "arrivals"), [(sdk.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT, 1), (None, 2)]
)
def test_a_request_cut_off_fails_at_once_but_may_be_sent_again_behind_the_callers_back(
    queueing: Any, arrivals: int, local: LocalCloud, cloud: Cloud
) -> None:
    """The SDK reports the failure, and sends the request again when it reconnects unless told to forget it."""
    cloud.faults.add(Fault(operation=Operation.CREATE, effect=Effect.HANG_UP))
    with Sdk(local, cloud.claim, "enrolling", queueing=queueing) as connection:
        service = identity_client(connection.wait_connected())
        with pytest.raises(V2ServiceException):
            create(service).result(PATIENCE)
        connection.wait_connected()
        connection.subscribe(ACCEPTED)  # behind whatever was still in the queue
    assert cloud.count(Operation.CREATE) == arrivals


def listener(wire: Wire, client_id: str, *filters: str) -> Wire:
    """Connect, subscribe, and return the connection once it hears."""
    wire.connect(client_id)
    wire.send(subscribe(*filters))
    answer = wire.receive()
    assert isinstance(answer, mqtt5.SubAckPacket)
    assert answer.reason_codes == [SubAck.GRANTED_QOS_AT_LEAST_ONCE] * len(filters)
    return wire


def hear(wire: Wire) -> tuple[str, bytes]:
    """Return topic and payload of the next packet, which must be a message."""
    packet = wire.receive()
    assert isinstance(packet, mqtt5.PublishPacket)
    return packet.topic, bytes(packet.payload)


def ask(wire: Wire, topic: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    """Send a request and return the messages until a ping is answered."""
    wire.send(publish(topic, json.dumps(body).encode()), mqtt5.PingReqPacket())
    heard: list[tuple[str, Any]] = []
    while not isinstance(packet := wire.receive(), mqtt5.PingRespPacket):
        if isinstance(packet, mqtt5.PublishPacket):
            heard.append((packet.topic, json.loads(packet.payload)))
    return heard


# -- MQTT 3.1.1 --------------------------------------------------------------------------------------------------------

HUNG_UP = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
REFUSED = "AWS_ERROR_MQTT_PROTOCOL_ERROR"  # the older SDK's word for every CONNACK that refuses


def old_frame(first: int, body: bytes) -> bytes:
    """Return a packet of MQTT 3.1.1."""
    length, left = bytearray(), len(body)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([first, *length, left]) + body


def old_connect(client_id: str = THING) -> bytes:
    """Return a clean CONNECT of MQTT 3.1.1."""
    return old_frame(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c" + len(client_id).to_bytes(2, "big") + client_id.encode())


def old_publish(topic: str, packet_id: int, payload: bytes = b"{}", *, first: int = 0x32) -> bytes:
    """Return a PUBLISH of MQTT 3.1.1 that has a packet id, with QoS 1 unless told otherwise."""
    return old_frame(first, len(topic).to_bytes(2, "big") + topic.encode() + packet_id.to_bytes(2, "big") + payload)


def old_subscribe(*filters: str, packet_id: int = 7, options: int = 1) -> bytes:
    """Return a SUBSCRIBE of MQTT 3.1.1."""
    wanted = b"".join(len(item).to_bytes(2, "big") + item.encode() + bytes([options]) for item in filters)
    return old_frame(0x82, packet_id.to_bytes(2, "big") + wanted)


def connected(wire: Wire, client_id: str = THING) -> Wire:
    """Connect by MQTT 3.1.1 and return the connection."""
    wire.send(old_connect(client_id))
    assert wire.exactly(4) == b"\x20\x02\x00\x00"
    return wire


def test_the_older_sdk_publishes_and_hears(local: LocalCloud, cloud: Cloud) -> None:
    """With both QoS, of which the lower one of publisher and subscriber counts, until it unsubscribes."""
    identity = device(cloud)
    with OldSdk(local, identity.pair) as client:
        assert [live.certificate_id for live in local.front.live] == [identity.certificate_id]
        assert client.subscribe(OWN_TOPIC) == mqtt.QoS.AT_LEAST_ONCE
        assert client.subscribe(f"gateways/{THING}/once/+", mqtt.QoS.AT_MOST_ONCE) == mqtt.QoS.AT_MOST_ONCE
        client.publish(OWN_TOPIC, b"zero", mqtt.QoS.AT_MOST_ONCE)
        assert client.hear() == (OWN_TOPIC, b"zero", mqtt.QoS.AT_MOST_ONCE)
        client.publish(OWN_TOPIC, b"one" * 10_000)
        assert client.hear() == (OWN_TOPIC, b"one" * 10_000, mqtt.QoS.AT_LEAST_ONCE)
        client.publish(f"gateways/{THING}/once/more", b"")
        assert client.hear() == (f"gateways/{THING}/once/more", b"", mqtt.QoS.AT_MOST_ONCE)
        client.connection.unsubscribe(OWN_TOPIC)[0].result(PATIENCE)
        client.publish(OWN_TOPIC)
        client.publish(f"gateways/{THING}/once/last")
        assert client.hear()[0] == f"gateways/{THING}/once/last"
        assert client.interrupted.empty()
    wait_for_live(local, 0)
    assert [session.end for session in local.front.log.sessions] == ["closed"]


def test_both_versions_hear_each_other(local: LocalCloud, cloud: Cloud) -> None:
    """The older one without the properties that it does not know."""
    identity = device(cloud)
    with OldSdk(local, identity.pair) as older, Sdk(local, identity.pair, AGENT) as newer:
        newer.wait_connected()
        older.subscribe(f"gateways/{THING}/down")
        newer.subscribe(f"gateways/{THING}/up")
        older.publish(f"gateways/{THING}/up", b"21.5")
        heard = newer.messages.get(timeout=PATIENCE).publish_packet
        assert (heard.topic, heard.payload, heard.qos) == (f"gateways/{THING}/up", b"21.5", sdk.QoS.AT_LEAST_ONCE)
        packet = sdk.PublishPacket(
            topic=f"gateways/{THING}/down",
            payload=b"set",
            qos=sdk.QoS.AT_LEAST_ONCE,
            content_type="text/plain",
            user_properties=[sdk.UserProperty(name="n" * 100, value="v" * 100)],
        )
        newer.client.publish(packet).result(PATIENCE)
        assert older.hear() == (f"gateways/{THING}/down", b"set", mqtt.QoS.AT_LEAST_ONCE)


def test_a_session_of_the_older_sdk_outlives_its_connection(local: LocalCloud, cloud: Cloud) -> None:
    """Unless it is a clean one: what was published meanwhile with QoS 1 comes afterwards."""
    identity = device(cloud)
    client = OldSdk(local, identity.pair, clean_session=False)
    assert client.connect() is False
    client.subscribe(OWN_TOPIC)
    client.disconnect()
    with OldSdk(local, identity.pair, AGENT) as other:
        other.publish(OWN_TOPIC, b"meanwhile")
    again = OldSdk(local, identity.pair, clean_session=False)
    again.connection.on_message(again._hear)
    assert again.connect() is True
    assert again.hear() == (OWN_TOPIC, b"meanwhile", mqtt.QoS.AT_LEAST_ONCE)
    again.disconnect()
    clean = OldSdk(local, identity.pair)
    assert clean.connect() is False
    clean.disconnect()


def test_the_will_of_the_older_sdk_is_published(local: LocalCloud, cloud: Cloud) -> None:
    """When its connection is cut; a will to another gateway's topic is refused."""
    victim, identity = device(cloud), device(cloud)
    will = mqtt.Will(OWN_TOPIC, mqtt.QoS.AT_LEAST_ONCE, b"gone", retain=False)
    with OldSdk(local, identity.pair, AGENT) as witness:
        witness.subscribe(OWN_TOPIC)
        with OldSdk(local, victim.pair, will=will) as cut:
            local.revoke(victim.certificate_id)
            assert cut.wait_for_hang_up() == HUNG_UP
            assert witness.hear() == (OWN_TOPIC, b"gone", mqtt.QoS.AT_LEAST_ONCE)
    foreign = mqtt.Will("gateways/gw-2/data", mqtt.QoS.AT_LEAST_ONCE, b"gone", retain=False)
    with pytest.raises(AwsCrtError, match=REFUSED):
        OldSdk(local, identity.pair, will=foreign).connect()


def test_the_older_sdk_asks_the_cloud_and_hears_what_it_says(local: LocalCloud, cloud: Cloud) -> None:
    """Replies to a request, and what the cloud says by itself."""
    with OldSdk(local, device(cloud).pair) as client:
        client.subscribe(f"{SHADOW}/get/+")
        client.subscribe(NOTIFY)
        client.publish(f"{SHADOW}/get", b"")
        topic, payload, _ = client.hear()
        assert (topic, json.loads(payload)["code"]) == (f"{SHADOW}/get/rejected", 404)
        cloud.create_job(THING, json.dumps(ROTATE).encode())
        assert client.hear()[0] == NOTIFY


def test_a_refused_connect_has_a_return_code_of_mqtt_3_1_1(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Then the connection ends; the older SDK has one error for all of them."""
    identity = device(cloud)
    for client_id, effect, code in [
        ("another-client", None, 5),
        (THING, Effect.UNAUTHORISED, 5),
        (THING, Effect.UNAVAILABLE, 3),
        (THING, Effect.THROTTLE, 3),
        ("x" * 129, None, 2),
        ("", None, 2),
    ]:
        if effect:
            cloud.faults.add(Fault(operation=Operation.CONNECT, effect=effect))
        client = wire(identity)
        client.send(old_connect(client_id))
        assert client.exactly(4) == bytes([0x20, 2, 0, code])
        assert client.rest() == []
    with pytest.raises(AwsCrtError, match=REFUSED):
        OldSdk(local, identity.pair, "another-client").connect()


def test_the_older_sdk_calls_an_inactive_certificate_an_unexpected_hang_up(local: LocalCloud, cloud: Cloud) -> None:
    """As the newer one does."""
    client = OldSdk(local, device(cloud, status=Status.INACTIVE).pair)
    with pytest.raises(AwsCrtError, match=HUNG_UP):
        client.connect()
    assert client.failed.get(timeout=PATIENCE).name == HUNG_UP


def test_a_forbidden_filter_is_an_error_of_the_older_sdk(local: LocalCloud, cloud: Cloud) -> None:
    """Whichever part would handle it; the connection stays."""
    with OldSdk(local, device(cloud).pair) as client:
        for topic in ("gateways/gw-2/data", "$aws/things/gw-2/shadow/name/certificate/get", "#"):
            with pytest.raises(mqtt.SubscribeError):
                client.subscribe(topic)
        client.publish(OWN_TOPIC)
        assert client.interrupted.empty()


def test_a_refused_subscribe_has_0x80_for_each_filter(wire: Callable[..., Wire]) -> None:
    """One forbidden filter, or one too many, fails all in the packet."""
    client = connected(wire())
    client.send(old_subscribe(OWN_TOPIC, "#", ACCEPTED))
    assert client.exactly(7) == b"\x90\x05\x00\x07\x80\x80\x80"
    client.send(old_subscribe(*[OWN_TOPIC] * (MAX_FILTERS + 1), packet_id=8))
    assert client.exactly(4 + MAX_FILTERS + 1) == b"\x90\x0b\x00\x08" + b"\x80" * (MAX_FILTERS + 1)
    client.send(old_subscribe(OWN_TOPIC, ACCEPTED, packet_id=9))
    assert client.exactly(6) == b"\x90\x04\x00\x09\x01\x01"


@pytest.mark.parametrize("qos", [mqtt.QoS.AT_MOST_ONCE, mqtt.QoS.AT_LEAST_ONCE])
def test_a_forbidden_publish_hangs_up_on_the_older_sdk(qos: mqtt.QoS, local: LocalCloud, cloud: Cloud) -> None:
    """MQTT 3.1.1 has no other way to say so, whichever part would handle the topic; there is no PUBACK."""
    identity = device(cloud)
    for topic in ("gateways/gw-2/data", "$aws/things/gw-2/shadow/name/certificate/get"):
        with OldSdk(local, identity.pair) as client:
            sent, _ = client.connection.publish(topic, b"{}", qos)
            assert client.wait_for_hang_up() == HUNG_UP
            assert qos == mqtt.QoS.AT_MOST_ONCE or sent.exception(PATIENCE) is not None
    assert [session.end for session in local.front.log.sessions] == ["hung-up", "hung-up"]


def test_an_offence_in_mqtt_3_1_1_is_hung_up_on_without_a_word(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """No DISCONNECT, which only a client says in this version."""
    identity = device(cloud)
    for offence in [
        old_publish("gateways/gw-2/data", 1),
        old_publish(OWN_TOPIC, 1, first=0x34),  # QoS 2
        old_publish("", 1),
        old_connect(),
        old_subscribe(OWN_TOPIC, options=0x05),  # an option of MQTT 5
        subscribe(OWN_TOPIC).write(),
        b"\x30\x00",
        b"\x82\x00",
        b"\xf0\x00",  # AUTH, which MQTT 3.1.1 does not have
    ]:
        client = connected(wire(identity))
        client.send(offence)
        assert client.rest() == []


def test_a_revoked_certificate_gets_no_puback_in_mqtt_3_1_1(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """Each packet is judged, even before the connection is cut."""
    identity = device(cloud)
    client = connected(wire(identity))
    cloud.set_status(identity.certificate_id, Status.REVOKED)
    client.send(old_subscribe(OWN_TOPIC), old_publish(OWN_TOPIC, 1))
    assert client.exactly(5) == b"\x90\x03\x00\x07\x80"
    assert client.rest() == []


def test_more_publishes_at_once_than_the_broker_told_it_may_send_are_acknowledged(wire: Callable[..., Wire]) -> None:
    """A client of MQTT 3.1.1 is not told the broker's limit, and AWS takes a hundred from it."""
    client = connected(wire())
    client.send(*(old_publish(OWN_TOPIC, packet_id) for packet_id in range(1, 101)))
    assert client.exactly(400) == b"".join(b"\x40\x02\x00" + bytes([packet_id]) for packet_id in range(1, 101))


def test_the_largest_publish_of_mqtt_3_1_1_costs_its_own_connection_only(
    cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """In MQTT 5 it is one byte too large for those who would hear it."""
    identity = device(cloud)
    neighbour = listener(wire(identity), AGENT, OWN_TOPIC)
    client = connected(wire(identity))
    with suppress(ConnectionError):
        client.send(old_publish(OWN_TOPIC, 1, b"x" * (MAX_PACKET - len(OWN_TOPIC) - 4)))
    assert client.rest() == []
    neighbour.send(publish(OWN_TOPIC, b"still here"))
    assert isinstance(neighbour.receive(), mqtt5.PublishPacket | mqtt5.PubAckPacket)


@pytest.mark.parametrize("newcomer", [OldSdk, Sdk])
def test_a_takeover_hangs_up_on_the_older_sdk(
    newcomer: type[OldSdk | Sdk], local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Whichever version the newcomer speaks; the one that was there is told nothing."""
    identity = device(cloud)
    with OldSdk(local, identity.pair) as victim:
        with newcomer(local, identity.pair, THING):
            assert victim.wait_for_hang_up() == HUNG_UP
            wait_for_live(local, 1)
            first, second = local.front.log.sessions
            assert (first.end, second.end) == ("taken-over", "")
        wait_for_live(local, 0)
    raw = connected(wire(identity))
    connected(wire(identity))
    assert raw.rest() == []


def test_the_older_sdk_takes_over_from_the_newer_one(local: LocalCloud, cloud: Cloud) -> None:
    """Which is told 0x8E in its own version."""
    identity = device(cloud)
    with Sdk(local, identity.pair, THING) as victim:
        victim.wait_connected()
        with OldSdk(local, identity.pair) as newcomer:
            farewell = victim.disconnected.get(timeout=PATIENCE)
            victim.client.stop()
            wait_for_live(local, 1)
            newcomer.publish(OWN_TOPIC)
    assert farewell.disconnect_packet.reason_code == sdk.DisconnectReasonCode.SESSION_TAKEN_OVER


def test_revocation_cuts_the_older_sdk_and_no_other(local: LocalCloud, cloud: Cloud) -> None:
    """It sees an unexpected hang-up and cannot come back; the neighbour stays."""
    victim, neighbour = device(cloud), device(cloud, thing="gw-2")
    with OldSdk(local, victim.pair) as cut, OldSdk(local, neighbour.pair, "gw-2") as stays:
        local.revoke(victim.certificate_id)
        assert cut.wait_for_hang_up() == HUNG_UP
        with pytest.raises(AwsCrtError, match=HUNG_UP):
            OldSdk(local, victim.pair).connect()
        stays.publish("gateways/gw-2/data")
        assert [live.certificate_id for live in local.front.live] == [neighbour.certificate_id]
        assert [session.end for session in local.front.log.sessions] == ["cut", ""]


# -- jobs, shadows and retirement --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [
        [NOTIFY, f"{NOTIFY}-next", f"$aws/things/{THING}/jobs/get/accepted", f"$aws/things/{THING}/jobs/get/rejected"],
        [
            f"$aws/things/{THING}/jobs/get/+",
            f"$aws/things/{THING}/jobs/+/get/+",
            f"$aws/things/{THING}/jobs/+/update/+",
        ],
        [f"{SHADOW}/{topic}" for topic in ("get/accepted", "get/rejected", "update/delta", "update/+", "delete/+")],
        [f"{RETIRE}/accepted", f"{RETIRE}/rejected"],
    ],
    ids=["jobs", "jobs-with-wildcards", "shadow", "retirement"],
)
@pytest.mark.parametrize("client_id", [THING, AGENT])
def test_a_gateway_may_listen_to_its_own_and_not_to_its_neighbour(
    filters: list[str], client_id: str, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """All that a client of jobs, shadow and retirement subscribes to is granted; for another thing it is not."""
    identity = device(cloud)
    client = listener(wire(identity), client_id, *filters)
    client.send(subscribe(*(pattern.replace(THING, "gw-2") for pattern in filters)))
    answer = client.receive()
    assert isinstance(answer, mqtt5.SubAckPacket)
    assert answer.reason_codes == [SubAck.NOT_AUTHORIZED] * len(filters)


def test_a_subscribe_holds_eight_filters_and_a_connection_fifty(wire: Callable[..., Wire]) -> None:
    """One too many in a packet fails it altogether; the broker's topics count as the cloud's do."""
    client = listener(wire(), THING, *(f"gateways/{THING}/{n}" for n in range(MAX_FILTERS)))
    client.send(subscribe(*(f"gateways/{THING}/x{n}" for n in range(MAX_FILTERS + 1))))
    answer = client.receive()
    assert isinstance(answer, mqtt5.SubAckPacket)
    assert answer.reason_codes == [SubAck.QUOTA_EXCEEDED] * (MAX_FILTERS + 1)
    for n in range(MAX_SUBSCRIPTIONS - MAX_FILTERS):
        client.send(subscribe(f"$aws/things/{THING}/jobs/{n}"))
        client.receive()
    client.send(subscribe(f"gateways/{THING}/one-more"))
    last = client.receive()
    assert isinstance(last, mqtt5.SubAckPacket)
    assert last.reason_codes == [SubAck.QUOTA_EXCEEDED]


def test_the_sdk_carries_out_a_job(local: LocalCloud, cloud: Cloud) -> None:
    """It is told of the job, lists it, reads it, starts and ends it; a request too much is refused by name."""
    with Sdk(local, device(cloud).pair, AGENT) as connection:
        options = RequestOptions(max_request_response_subscriptions=8, max_streaming_subscriptions=2)
        jobs = iotjobs.IotJobsClientV2(connection.wait_connected().client, options)
        told: queue.Queue[Any] = queue.Queue()
        subscribed = threading.Event()
        stream = jobs.create_job_executions_changed_stream(
            iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=THING),
            ServiceStreamOptions(
                incoming_event_listener=told.put, subscription_status_listener=lambda _: subscribed.set()
            ),
        )
        stream.open()
        assert subscribed.wait(PATIENCE)
        job_id = cloud.create_job(THING, ROTATE)
        assert [job.job_id for job in told.get(timeout=PATIENCE).jobs["QUEUED"]] == [job_id]
        pending = iotjobs.GetPendingJobExecutionsRequest(thing_name=THING)
        (job,) = jobs.get_pending_job_executions(pending).result(PATIENCE).queued_jobs
        assert (job.job_id, job.execution_number, job.version_number) == (job_id, 1, 1)
        describe = iotjobs.DescribeJobExecutionRequest(thing_name=THING, job_id=job_id)
        execution = jobs.describe_job_execution(describe).result(PATIENCE).execution
        assert (execution.job_document, execution.status) == (ROTATE, iotjobs.JobStatus.QUEUED)
        for status in (iotjobs.JobStatus.IN_PROGRESS, iotjobs.JobStatus.SUCCEEDED):
            update = iotjobs.UpdateJobExecutionRequest(
                thing_name=THING, job_id=job_id, status=status, status_details={"phase": status}
            )
            jobs.update_job_execution(update).result(PATIENCE)
        assert told.get(timeout=PATIENCE).jobs == {}
        with pytest.raises(V2ServiceException) as caught:
            jobs.update_job_execution(update).result(PATIENCE)
    assert caught.value.modeled_error.code == iotjobs.RejectedErrorCode.INVALID_STATE_TRANSITION
    assert caught.value.modeled_error.execution_state.status == iotjobs.JobStatus.SUCCEEDED
    assert cloud.job(THING, job_id).status_details == {"phase": "SUCCEEDED"}


def test_the_sdk_reports_to_a_shadow_and_reads_it(local: LocalCloud, cloud: Cloud) -> None:
    """What an application desires comes back as the delta."""
    cloud.desire(THING, "certificate", {"renew": 1})
    with Sdk(local, device(cloud).pair, AGENT) as connection:
        options = RequestOptions(max_request_response_subscriptions=8, max_streaming_subscriptions=0)
        shadow = iotshadow.IotShadowClientV2(connection.wait_connected().client, options)
        update = iotshadow.UpdateNamedShadowRequest(
            thing_name=THING,
            shadow_name="certificate",
            state=iotshadow.ShadowState(reported={"health": 0}),
        )
        assert shadow.update_named_shadow(update).result(PATIENCE).version == 2
        get = iotshadow.GetNamedShadowRequest(thing_name=THING, shadow_name="certificate")
        state = shadow.get_named_shadow(get).result(PATIENCE).state
    assert (state.desired, state.reported, state.delta) == ({"renew": 1}, {"health": 0}, {"renew": 1})


def test_a_notification_reaches_every_connection_that_subscribed_and_no_other(
    cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Two clients of the thing hear of its job; one without the subscription and a neighbour hear what is theirs."""
    identity = device(cloud)
    application = listener(wire(identity), THING, NOTIFY)
    agent = listener(wire(identity), AGENT, f"$aws/things/{THING}/jobs/#")
    neighbour = listener(wire(device(cloud, thing="gw-2")), "gw-2", "$aws/things/gw-2/jobs/#")
    cloud.create_job(THING, ROTATE)
    cloud.create_job("gw-2", ROTATE)
    assert hear(application)[0] == NOTIFY
    assert [hear(agent)[0], hear(agent)[0]] == [NOTIFY, f"{NOTIFY}-next"]
    assert hear(neighbour)[0] == "$aws/things/gw-2/jobs/notify"
    cloud.push(AGENT, NOTIFY, b"end")
    assert hear(agent) == (NOTIFY, b"end")
    cloud.push(THING, NOTIFY, b"end")
    assert hear(application) == (NOTIFY, b"end")


def test_a_delta_reaches_a_connection_until_it_unsubscribes(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """And one whose certificate is no longer active hears nothing, even before it is cut."""
    identity = device(cloud)
    client = listener(wire(identity), AGENT, f"{SHADOW}/update/delta", NOTIFY)
    cloud.desire(THING, "certificate", {"renew": 1})
    topic, payload = hear(client)
    assert (topic, json.loads(payload)["state"]) == (f"{SHADOW}/update/delta", {"renew": 1})
    client.send(mqtt5.UnsubscribePacket(8, [f"{SHADOW}/update/delta"]))
    assert isinstance(client.receive(), mqtt5.UnsubAckPacket)
    cloud.desire(THING, "certificate", {"renew": 2})
    cloud.push(AGENT, NOTIFY, b"1")
    assert hear(client) == (NOTIFY, b"1")
    cloud.set_status(identity.certificate_id, Status.INACTIVE)
    cloud.push(AGENT, NOTIFY, b"2")
    client.send(mqtt5.PingReqPacket())
    assert isinstance(client.receive(), mqtt5.PingRespPacket)


def test_any_bytes_may_be_pushed_to_one_client(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """On any topic that it listens to, the broker's included, marked as retained or not; others hear nothing."""
    identity = device(cloud)
    agent = listener(wire(identity), AGENT, NOTIFY, OWN_TOPIC)
    application = listener(wire(identity), THING, NOTIFY, OWN_TOPIC)
    cloud.push(AGENT, NOTIFY, b"\xff{\x00", retain=True)
    cloud.push(AGENT, OWN_TOPIC, b"")
    cloud.push(AGENT, "gateways/gw-1/other", b"unheard")
    cloud.push(THING, OWN_TOPIC, b"to the thing")
    first = agent.receive()
    assert isinstance(first, mqtt5.PublishPacket)
    assert (first.topic, first.payload, first.retain) == (NOTIFY, b"\xff{\x00", True)
    assert [hear(agent), hear(agent)] == [(OWN_TOPIC, b""), (OWN_TOPIC, b"to the thing")]
    assert hear(application) == (OWN_TOPIC, b"to the thing")


def test_no_wildcard_covers_the_reserved_topics(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """As MQTT has it: a client that subscribes to everything does not hear of jobs."""
    everything = Policy(connect=("*",), publish=("*",), subscribe=("*",))
    client = listener(wire(device(cloud, policy=everything)), THING, "#", "+/things/#")
    cloud.create_job(THING, ROTATE)
    cloud.push(THING, OWN_TOPIC, b"plain")
    assert hear(client) == (OWN_TOPIC, b"plain")


def test_a_client_that_does_not_read_what_is_pushed_is_dropped(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """What waits for it is bounded."""
    listener(wire(), AGENT, NOTIFY)
    for _ in range(400):
        cloud.push(AGENT, NOTIFY, b"x" * 100_000)
    wait_for_live(local, 0)
    assert [session.end for session in local.front.log.sessions] == ["hung-up"]


def test_a_retired_certificate_is_cut_off_by_its_successor(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """The caller gets the answer and stays; the old connection ends and cannot come back."""
    old, new = device(cloud), device(cloud)
    application = wire(old)
    application.connect(THING)
    agent = listener(wire(new), AGENT, f"{RETIRE}/accepted", f"{RETIRE}/rejected")
    assert ask(agent, RETIRE, {"certificateId": old.certificate_id, "clientToken": "t"}) == [
        (f"{RETIRE}/accepted", {"certificateId": old.certificate_id, "clientToken": "t"})
    ]
    assert application.rest() == []
    wait_for_live(local, 1)
    assert [live.client_id for live in local.front.live] == [AGENT]
    assert wire(old).rest() == []
    assert ask(agent, RETIRE, {"certificateId": new.certificate_id})[0][1]["code"] == 409
    ends = {session.client_id: session.end for session in local.front.log.sessions}
    assert ends == {THING: "cut", AGENT: ""}


def test_a_retirement_may_be_forbidden_by_the_policy(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """A neighbour's request gets 0x87 like any other topic."""
    victim = device(cloud)
    neighbour = wire(device(cloud, thing="gw-2"))
    neighbour.connect("gw-2")
    neighbour.send(publish(RETIRE, json.dumps({"certificateId": victim.certificate_id}).encode()))
    answer = neighbour.receive()
    assert isinstance(answer, mqtt5.PubAckPacket)
    assert answer.reason_code == PubAck.NOT_AUTHORIZED
    assert cloud.registry[victim.certificate_id].status is Status.ACTIVE


@pytest.mark.parametrize(
    ("operation", "topic"),
    [
        (Operation.JOBS, f"$aws/things/{THING}/jobs/get"),
        (Operation.SHADOW, f"{SHADOW}/update"),
        (Operation.ASK, f"{SHADOW}/get"),
        (Operation.RETIRE, RETIRE),
    ],
)
def test_a_fault_strikes_its_operation_on_the_wire(
    operation: Operation, topic: str, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Refused with the request's token, answered with any bytes, garbled, not at all, and by a hang-up."""
    client = listener(wire(), AGENT, f"{topic}/accepted", f"{topic}/rejected")
    hostile = b'{"clientToken": "' + TOKEN_MARK + b'", "x": 1}'
    for effect in (Effect.THROTTLE, Effect.HOSTILE, Effect.IGNORE):
        cloud.faults.add(Fault(operation=operation, effect=effect, payload=hostile))
    ((where, body),) = ask(client, topic, {"clientToken": "a"})
    assert (where, body["clientToken"]) == (f"{topic}/rejected", "a")
    assert body["code"] in {429, "RequestThrottled"}
    assert ask(client, topic, {"clientToken": "b"}) == [(f"{topic}/accepted", {"clientToken": "b", "x": 1})]
    assert ask(client, topic, {"clientToken": "c"}) == []
    cloud.faults.add(Fault(operation=operation, effect=Effect.HANG_UP))
    client.send(publish(topic))
    assert client.rest() == []
    assert cloud.count(operation) == 4


def test_one_may_wait_for_what_a_client_asks(local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """A condition is looked at after each answer too."""
    cloud.create_job(THING, ROTATE, "a")
    client = wire()
    client.connect()
    looks = []

    def failed() -> bool:
        looks.append(cloud.job(THING, "a").status)
        if len(looks) == 1:
            client.send(publish(f"$aws/things/{THING}/jobs/a/update", b'{"status": "FAILED"}'))
        return looks[-1] is JobStatus.FAILED

    local.wait_until(failed)
    assert looks[0] is JobStatus.QUEUED
    with pytest.raises(TimeoutError):
        local.wait_until(lambda: cloud.job(THING, "a").status is JobStatus.SUCCEEDED, timeout=SHORT)


def test_the_cloud_outlives_its_front(local: LocalCloud, cloud: Cloud) -> None:
    """After a stop its owner may go on, and no client is told."""
    local.stop()
    assert cloud.create_job(THING, ROTATE) == "job-1"
    cloud.desire(THING, "certificate", {"renew": 1})
    cloud.push(THING, NOTIFY, b"")
    assert [job.job_id for job in cloud.jobs(THING)] == ["job-1"]


# -- the log of sessions -----------------------------------------------------------------------------------------------


def disconnect(client: Wire) -> None:
    """Say goodbye as a client should."""
    client.send(mqtt5.DisconnectPacket())


@pytest.mark.parametrize(
    ("leave", "end"),
    [
        (disconnect, "closed"),
        (lambda client: client.tls.close(), "vanished"),
        (lambda client: client.send(publish(OWN_TOPIC, qos=mqtt5.QoS.EXACTLY_ONCE)), "hung-up"),
        (lambda client: client.send(b"\xff\x00"), "hung-up"),
    ],
)
def test_the_log_says_how_a_client_left(
    leave: Callable[[Wire], None], end: str, local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Well-mannered, without a word, or thrown out."""
    identity = device(cloud)
    client = wire(identity)
    client.connect()
    (session,) = local.front.log.sessions
    assert (session.client_id, session.certificate_id) == (THING, identity.certificate_id)
    assert (session.ended, session.end) == (None, "")
    leave(client)
    wait_for_live(local, 0)
    assert session.end == end
    assert session.ended is not None
    assert session.ended > session.began


def test_the_log_says_who_ended_a_session_from_this_side(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Another client with the id, a certificate that was revoked, an endpoint that went down, a broker that died."""
    identity, other = device(cloud), device(cloud)
    for who in (identity, identity):
        wire(who).connect()
    wait_for_live(local, 1)
    local.revoke(identity.certificate_id)
    wire(other).connect()
    local.take_down()
    local.bring_up()
    wire(other).connect()
    assert local.broker.pid is not None
    os.kill(local.broker.pid, signal.SIGKILL)
    wait_for_live(local, 0)
    assert [session.end for session in local.front.log.sessions] == ["taken-over", "cut", "down", "hung-up"]


def test_a_client_that_was_refused_has_no_session(local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """Only who was let in is in the log."""
    wire(device(cloud, status=Status.INACTIVE)).rest()
    wire().connect("another-client")
    wait_for_live(local, 0)
    assert local.front.log.sessions == []


def test_a_takeover_leaves_no_gap_and_a_reconnection_does(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """The gap is the time between the end of one session and the beginning of the next."""
    identity = device(cloud)
    first, second = wire(identity), wire(identity)
    first.connect()
    second.connect()
    wait_for_live(local, 1)
    assert local.front.log.gaps(THING) == []
    disconnect(second)
    wait_for_live(local, 0)
    wire(identity).connect()
    _, before, after = local.front.log.sessions
    assert before.ended is not None
    assert local.front.log.gaps(THING) == [after.began - before.ended]
    assert local.front.log.gaps(AGENT) == []


def spans(*times: tuple[float, float | None], client_id: str = THING) -> list[ClientSession]:
    """Return sessions with these beginnings and ends."""
    return [ClientSession(client_id=client_id, certificate_id="", began=began, ended=ended) for began, ended in times]


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ([], []),
        (spans((1, 2)), []),
        (spans((1, None)), []),
        (spans((1, 2), (2, 3)), []),
        (spans((1, 3), (2, 4), (4.5, None)), [0.5]),
        (spans((1, 9), (2, 3), (5, 6), (10, 11)), [1]),
        (spans((1, 2), (4, 5), (9, 10)), [2, 4]),
        (spans((9, 10), (1, 2)), [7]),
        (spans((1, None), (3, 4), (6, 7)), []),
        (spans((1, 2), (4, 5)) + spans((2, 4), client_id=AGENT), [2]),
    ],
    ids=str,
)
def test_gaps_are_the_times_without_any_session(sessions: list[ClientSession], expected: list[float]) -> None:
    """Sessions of the one client only, in any order; what overlaps leaves none, and one that lasts covers the rest."""
    assert gaps(sessions, THING) == expected


# -- the console -------------------------------------------------------------------------------------------------------


def test_the_console_gives_jobs_to_the_newest_gateway(local: LocalCloud, cloud: Cloud) -> None:
    """The operations by short names, with further fields, or a document to the byte; each is listed with its state."""
    device(cloud, thing="gw-0")
    device(cloud, status=Status.REVOKED)
    console = Console(local, now)
    assert console.obey("job rotate") == "gw-1 has the job job-1"
    console.obey('job rotate {"reason": "two  blanks"}')
    console.obey("job rollback")
    console.obey("job report")
    console.obey('job raw {"operation":  "rotate-certificate",')
    assert [job.document for job in cloud.jobs(THING)] == [
        b'{"operation": "rotate-certificate"}',
        b'{"operation": "rotate-certificate", "reason": "two  blanks"}',
        b'{"operation": "rollback"}',
        b'{"operation": "report"}',
        b'{"operation":  "rotate-certificate",',
    ]
    assert console.obey("cancel job-2") == "job-2 is canceled"
    assert console.obey("jobs").splitlines()[:2] == [
        "job-1  execution 1  QUEUED       {}",
        "job-2  execution 1  CANCELED     {}",
    ]


def test_the_console_lists_what_a_gateway_said_about_its_job(local: LocalCloud, wire: Callable[..., Wire]) -> None:
    """The details as they came."""
    console = Console(local, now)
    client = wire()
    client.connect()
    assert console.obey("jobs") == ""
    console.obey("job report")
    update = {"status": "FAILED", "statusDetails": {"code": "no-network"}}
    assert ask(client, f"$aws/things/{THING}/jobs/job-1/update", update) == []
    assert console.obey("jobs") == 'job-1  execution 1  FAILED       {"code": "no-network"}'


def test_the_console_wishes_and_shows_the_shadow(local: LocalCloud, cloud: Cloud) -> None:
    """Before the first wish or report there is none."""
    device(cloud)
    console = Console(local, now)
    assert console.obey("shadow") == "gw-1 has no shadow 'certificate' yet"
    assert console.obey('desire {"renew": {"opens_at": "x"}}') == "the shadow 'certificate' of gw-1 desires it"
    shown = json.loads(console.obey("shadow"))
    assert (shown["state"], shown["version"]) == ({"desired": {"renew": {"opens_at": "x"}}}, 1)


def test_the_console_lists_sessions_and_the_longest_gap(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """One line each, and one for each client."""
    console = Console(local, now)
    assert console.obey("sessions") == ""
    identity = device(cloud)
    client = wire(identity)
    client.connect()
    disconnect(client)
    wait_for_live(local, 0)
    wire(identity).connect()
    first, second, summary = console.obey("sessions").splitlines()
    assert first.split()[:2] == ["0.0", "s"]
    assert first.split()[-3:] == [THING, identity.certificate_id[:12], "closed"]
    assert second.split()[-4:] == ["...", THING, identity.certificate_id[:12], "live"]
    (gap,) = local.front.log.gaps(THING)
    assert summary == f"gw-1 was not connected for {gap:.1f} s at the longest"


@pytest.mark.parametrize(
    "order",
    [
        "job",
        "job dance",
        "job raw",
        "job rotate {",
        "job rotate []",
        "job rotate " + "[" * 4000,
        "cancel",
        "cancel job-7",
        "desire",
        "desire 7",
        'desire {"a": [null]}',
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_with_a_hint(
    order: str, local: LocalCloud, cloud: Cloud
) -> None:
    """And nothing was done."""
    device(cloud)
    with pytest.raises(OrderError, match="cannot be carried out") as caught:
        Console(local, now).obey(order)
    assert caught.value.hint == "`help` lists them."
    assert cloud.jobs(THING) == []
    assert cloud.shadow(THING, "certificate") is None


@pytest.mark.parametrize("order", ["job rotate", "jobs", "cancel job-1", "desire {}", "shadow"])
def test_without_a_gateway_no_orders_are_taken(order: str, local: LocalCloud) -> None:
    """The message says so."""
    with pytest.raises(OrderError, match="no gateway has enrolled yet"):
        Console(local, now).obey(order)


def test_the_console_tells_its_orders(local: LocalCloud) -> None:
    """The operations at which faults strike are among them."""
    told = Console(local, now).obey("help")
    for order in ("job rotate", "job raw JSON", "jobs", "cancel JOB", "desire JSON", "shadow", "sessions"):
        assert f"\n{order}" in told
    assert "connect create register ask retire jobs shadow" in told


# -- the end of connections --------------------------------------------------------------------------------------------


def test_the_same_client_id_again_takes_the_session_over(local: LocalCloud, cloud: Cloud) -> None:
    """The older connection is told 0x8E and both its ends are gone; the newer one works."""
    identity = device(cloud)
    with Sdk(local, identity.pair, THING) as older:
        older.wait_connected()
        with Sdk(local, identity.pair, THING) as newer:
            newer.wait_connected()
            farewell = older.disconnected.get(timeout=PATIENCE)
            older.client.stop()
            wait_for_live(local, 1)
    assert farewell.disconnect_packet.reason_code == sdk.DisconnectReasonCode.SESSION_TAKEN_OVER


def test_a_client_that_vanishes_is_gone_at_the_broker_too(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """The broker publishes its will, so it has seen the end; the front remembers one client only."""
    identity = device(cloud)
    witness, victim = wire(identity), wire(identity)
    witness.connect()
    witness.send(subscribe(OWN_TOPIC))
    witness.receive()
    victim.connect(f"{THING}-cert-agent", will=mqtt5.Will(OWN_TOPIC, payload=b"gone"))
    victim.tls.close()
    message = witness.receive()
    assert isinstance(message, mqtt5.PublishPacket)
    assert message.payload == b"gone"
    wait_for_live(local, 1)


def test_revocation_cuts_a_live_connection_and_no_other(local: LocalCloud, cloud: Cloud) -> None:
    """The SDK sees an unexpected hang-up and cannot come back; the neighbour stays."""
    victim, neighbour = device(cloud), device(cloud, thing="gw-2")
    with Sdk(local, victim.pair, THING) as cut, Sdk(local, neighbour.pair, "gw-2") as stays:
        cut.wait_connected()
        stays.wait_connected()
        local.revoke(victim.certificate_id)
        assert cut.disconnected.get(timeout=PATIENCE).exception.name == "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
        assert cut.failed.get(timeout=PATIENCE).exception.name == "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"
        assert [live.certificate_id for live in local.front.live] == [neighbour.certificate_id]


def test_a_revoked_certificate_may_do_nothing_even_before_it_is_cut(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """AWS takes minutes to cut, but judges each packet."""
    identity = device(cloud)
    client = wire(identity)
    client.connect()
    cloud.set_status(identity.certificate_id, Status.REVOKED)
    client.send(
        publish(OWN_TOPIC, packet_id=1), publish(f"$aws/things/{THING}/jobs/x/get", packet_id=2), subscribe(OWN_TOPIC)
    )
    one, two, three = client.receive(), client.receive(), client.receive()
    assert isinstance(one, mqtt5.PubAckPacket)
    assert isinstance(two, mqtt5.PubAckPacket)
    assert isinstance(three, mqtt5.SubAckPacket)
    assert (one.reason_code, two.reason_code) == (PubAck.NOT_AUTHORIZED, PubAck.NOT_AUTHORIZED)
    assert three.reason_codes == [SubAck.NOT_AUTHORIZED]


def test_an_endpoint_that_was_down_comes_back_on_the_same_ports(local: LocalCloud, cloud: Cloud) -> None:
    """While it is down clients are refused; the SDK comes back by itself."""
    with Sdk(local, device(cloud).pair, THING) as client:
        client.wait_connected()
        local.take_down()
        local.take_down()
        client.disconnected.get(timeout=PATIENCE)
        assert client.failed.get(timeout=PATIENCE).exception.name == "AWS_IO_SOCKET_CONNECTION_REFUSED"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", local.alpn_port))
        local.bring_up()
        client.wait_connected()


def test_a_broker_that_died_is_a_server_that_is_unavailable(local: LocalCloud, wire: Callable[..., Wire]) -> None:
    """The front says so instead of leaving its client in the dark."""
    assert local.broker.pid is not None
    os.kill(local.broker.pid, signal.SIGKILL)
    answer = wire().connect()
    assert isinstance(answer, mqtt5.ConnAckPacket)
    assert answer.reason_code == ConnAck.SERVER_UNAVAILABLE


# -- bad clients -------------------------------------------------------------------------------------------------------

CONNECT = mqtt5.ConnectPacket(THING, clean_start=True).write()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n" + b"X-Padding: x\r\n" * 10,
        b"\x10\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x10\xff\xff\xff\x7f",  # 256 MiB
        mqtt5.PingReqPacket().write(),  # not a CONNECT
        publish(OWN_TOPIC).write(),
        CONNECT.replace(THING.encode(), b"g\xff-1"),  # not UTF-8, at which the packet library would panic
        CONNECT + CONNECT,
        CONNECT + publish(OWN_TOPIC).write().replace(b"data", b"\xc3\x28ta"),
        CONNECT + subscribe(OWN_TOPIC).write().replace(b"data", b"\xc3\x28ta"),
        CONNECT + b"\x82\x05\x00\x01\x00\x00\x09",  # a filter that ends too late
        CONNECT + b"\x32\x06\x00\x00\x00\x01\x00x",  # no topic
        CONNECT + b"\xff\x00",
    ],
)
def test_garbage_ends_its_own_connection_quietly(
    garbage: bytes, local: LocalCloud, wire: Callable[..., Wire], capfd: pytest.CaptureFixture[str]
) -> None:
    """No trace on any output, no other client disturbed."""
    neighbour = wire()
    neighbour.connect(f"{THING}-cert-agent")
    bad = wire()
    bad.send(garbage)
    assert not any(isinstance(packet, mqtt5.PubAckPacket | mqtt5.SubAckPacket) for packet in bad.rest())
    neighbour.send(publish(OWN_TOPIC))
    assert isinstance(neighbour.receive(), mqtt5.PubAckPacket)
    wait_for_live(local, 1)
    assert capfd.readouterr() == ("", "")


def test_bytes_that_are_no_tls_end_their_connection_quietly(
    local: LocalCloud, capfd: pytest.CaptureFixture[str]
) -> None:
    """A port scanner is one failed handshake."""
    with socket.create_connection(("127.0.0.1", local.port), timeout=PATIENCE) as raw:
        raw.sendall(b"hello\r\n\r\n" * 20)
        with suppress(ConnectionError):
            while raw.recv(1024):
                pass
    local.wait_until(lambda: local.front.log.handshake_failures == 1)
    assert capfd.readouterr() == ("", "")


def test_a_client_that_never_shakes_hands_is_dropped(hasty: LocalCloud) -> None:
    """A connection without a handshake costs a socket for a bounded time only."""
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as raw, suppress(ConnectionError):
        assert raw.recv(1) == b""


@pytest.mark.parametrize("beginning", [b"", b"\x10", CONNECT[:8], b"GET / HTTP/1.1\r\n\r\n"])
def test_a_client_that_sends_no_whole_connect_is_dropped(
    beginning: bytes, hasty: LocalCloud, cloud: Cloud, tmp_path: Path
) -> None:
    """So does half a packet."""
    with Wire(hasty, client_context(hasty, device(cloud), tmp_path)) as quiet:
        quiet.send(beginning)
        assert quiet.rest() == []


def flood(wire: Wire, message: bytes) -> None:
    """Send much more than any buffer holds, without reading."""
    for _ in range(100_000):
        wire.send(message)


def test_a_client_that_does_not_read_is_dropped(hasty: LocalCloud, cloud: Cloud, tmp_path: Path) -> None:
    """What waits for it is bounded, and so is the time."""
    with Wire(hasty, client_context(hasty, device(cloud), tmp_path)) as deaf:
        deaf.connect()
        deaf.send(subscribe(OWN_TOPIC))
        message = publish(OWN_TOPIC, b"x" * 100_000, qos=NO).write()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            flood(deaf, message)
        wait_for_live(hasty, 0)


# -- start and stop ----------------------------------------------------------------------------------------------------


def test_nothing_is_left_after_a_stop(cloud: Cloud, tmp_path: Path) -> None:
    """No thread, no process, no socket; the port is free and clients were hung up on."""
    before = set(threading.enumerate())
    local = LocalCloud(cloud, tmp_path)
    with local, Wire(local, client_context(local, device(cloud), tmp_path)) as client:
        client.connect()
        broker = local.broker.pid
        assert broker is not None
        local.stop()
        assert client.rest() == []
    assert set(threading.enumerate()) == before
    assert not tmp_path.joinpath("mosquitto.sock").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(broker, 0)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", local.port))


def test_a_port_in_use_is_an_error_for_a_person(local: LocalCloud, cloud: Cloud, tmp_path: Path) -> None:
    """The message names the port, and nothing was left running."""
    folder = tmp_path / "second"
    folder.mkdir()
    with pytest.raises(AgentError, match=str(local.port)):
        LocalCloud(cloud, folder, ports=(local.port, 0)).start()
    assert not folder.joinpath("mosquitto.sock").exists()


def test_a_missing_mosquitto_is_an_error_with_the_package_to_install(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint is the command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mosquitto_module, "_SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(AgentError) as caught:
        LocalCloud(cloud, tmp_path).start()
    assert caught.value.hint == "apt-get install mosquitto"


def test_a_broker_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the broker's own words."""
    monkeypatch.setattr(mosquitto_module, "_CONFIGURATION", "listener 0 {socket}\nno_such_option true\n")
    with pytest.raises(AgentError, match="no_such_option"):
        Mosquitto(tmp_path).start()


def test_a_long_or_odd_path_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    """The kernel allows 107 bytes, and the broker's configuration no blanks."""
    folder = tmp_path / "with blank" / ("x" * 120)
    folder.mkdir(parents=True)
    with Mosquitto(folder) as broker:
        assert len(str(broker.socket_path)) < 108
        assert broker.socket_path.is_socket()
    assert not broker.socket_path.parent.exists()
