"""TLS of the local IoT Core: versions, ALPN, server names, and certificates that change while it runs."""

from __future__ import annotations

import socket
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING

import mqtt5
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.aws.endpoints import ALPN_MQTT
from agent.sandbox.account.authority import Authority, KeyPair
from agent.sandbox.service import LocalCloud
from support.running.front import AGENT, PATIENCE, THING, Sdk, Wire, client_context, device, now

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.sandbox.cloud import Cloud


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
    assert (live.client_id, live.alpn) == (THING, ALPN_MQTT)


@pytest.mark.parametrize(
    ("name", "passes"), [("localhost", True), ("LOCALHOST", True), (None, True), ("elsewhere.example", False)]
)
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
