"""What clients of the local IoT Core publish and subscribe to, packet by packet."""

from __future__ import annotations

import json
from contextlib import contextmanager
from ssl import DER_cert_to_PEM_cert
from typing import TYPE_CHECKING, Any

import mqtt5
import pytest
from awscrt import mqtt5 as sdk
from awscrt.mqtt_request_response import ClientOptions as RequestOptions
from awsiot import V2ServiceException, iotidentity
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.sandbox.account.authority import KeyPair, name
from agent.sandbox.cloud import CREATE_TOPIC, Cloud, Status
from agent.sandbox.network.connection import MAX_SUBSCRIPTIONS
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.running.front import (
    ACCEPTED,
    NO,
    OWN_TOPIC,
    PATIENCE,
    THING,
    Identity,
    Sdk,
    SubAck,
    Wire,
    device,
    publish,
    subscribe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.sandbox.service import LocalCloud

TEMPLATE = "gateway"


# -- the cloud and who calls it ----------------------------------------------------------------------------------------


def request_pem() -> bytes:
    """Return a certificate signing request for a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(name("gw")).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


# -- the SDK -----------------------------------------------------------------------------------------------------------


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


def of_unknown_version() -> bytes:
    """Return the payload of a request whose version PKCS #10 does not know."""
    der = x509.load_pem_x509_csr(request_pem()).public_bytes(Encoding.DER).replace(b"\2\1\0", b"\2\1\7", 1)
    return json.dumps(
        {"certificateSigningRequest": DER_cert_to_PEM_cert(der).replace("IFICATE-", "IFICATE REQUEST-")}
    ).encode()


def test_a_request_that_is_no_request_is_rejected(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """Nonsense in a payload is answered like AWS does, and never harms the cloud."""
    client = wire(Identity(pair=cloud.claim))
    client.connect("x")
    client.send(subscribe(f"{CREATE_TOPIC}/rejected"))
    client.receive()
    nonsense = (b"[]", b"null", b"\xff", b"[" * 100_000, b'{"certificateSigningRequest": {}}')
    for payload in (*nonsense, of_unknown_version()):
        client.send(publish(CREATE_TOPIC, payload))
        _, answer = client.receive(), client.receive()
        assert isinstance(answer, mqtt5.PublishPacket)
        assert b'"statusCode": 400' in answer.payload


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
