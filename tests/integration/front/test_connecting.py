"""Who may connect to the local IoT Core, and what a client is told that may not."""

from __future__ import annotations

import ssl
from datetime import timedelta
from typing import TYPE_CHECKING

import mqtt5
import pytest
from awscrt import mqtt5 as sdk
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.sandbox.account.authority import Authority, KeyPair, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.network.connection import REFUSALS
from agent.sandbox.replies.faults import EFFECTS, Effect, Fault, Operation
from support.running.front import PATIENCE, SHORT, THING, ConnAck, Identity, Sdk, Wire, client_context, device, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.sandbox.service import LocalCloud


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


def test_no_other_fault_changes_anything_at_connect(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """The table of effects has all that does."""
    assert {*REFUSALS, Effect.HANG_UP, Effect.SILENCE, Effect.HOSTILE} == {*EFFECTS[Operation.CONNECT]}
    for effect in {*Effect} - {*EFFECTS[Operation.CONNECT]}:
        cloud.faults.add(Fault(operation=Operation.CONNECT, effect=effect))
        answer = wire().connect()
        assert isinstance(answer, mqtt5.ConnAckPacket)
        assert answer.reason_code is mqtt5.ConnAckReasonCode.SUCCESS, effect


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
