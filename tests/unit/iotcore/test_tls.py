"""Servers that are not what they should be: each is refused, at once, with its own reason."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.core.aws.endpoints import ALPN_MQTT, Endpoint, Proxy
from agent.core.failure.failure import FailureClass
from agent.crypto import x509
from agent.errors import CloudError
from agent.iotcore import tls
from agent.sandbox.account.authority import Authority, KeyPair, fingerprint, key_to_pem, name
from support.aws.rsa_keys import known_key
from support.network.servers import floods, hangs_up, resets, says, says_nothing, server, speaks, tls_context
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.failure.failure import Failure
    from agent.core.values import TrustBundle

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = Authority("root A", NOW)
OTHER = Authority("root B", NOW)
TRUST = x509.read_bundle(ROOT.pem)
HOST = "localhost"


def good() -> KeyPair:
    """Return the key and certificate that the endpoint should have."""
    return ROOT.issue_server(HOST, NOW - DAY, NOW + DAY)


def refusal(talk: Callable[[socket.socket], None], *, timeout: float = 5.0) -> Failure:
    """Return why the handshake was refused."""
    with server(talk) as port, pytest.raises(CloudError) as caught:
        tls.preflight(Endpoint(host=HOST, port=port, timeout=timeout), TRUST)
    return caught.value.failure


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("wants_client", [False, True])
def test_a_sound_server_passes(version: ssl.TLSVersion, *, wants_client: bool) -> None:
    """Either version will do, and a server that insists on a client certificate is verified without one."""
    made = tls_context(good())
    made.minimum_version = made.maximum_version = version
    if wants_client:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=ROOT.pem.decode())
    with server(speaks(made)) as port:
        shaken = tls.preflight(Endpoint(host=HOST, port=port), TRUST)
    assert shaken.version == version.name.replace("_", ".")
    assert shaken.asks is wants_client


def test_the_version_is_told_of_a_handshake_that_a_server_ends() -> None:
    """Then the cipher alone can be asked, and this one came with SSL 3 first."""
    made = tls_context(good())
    made.maximum_version, made.verify_mode = ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED
    made.set_ciphers("ECDHE-ECDSA-AES256-SHA")
    with server(speaks(made)) as port:
        assert tls.preflight(Endpoint(host=HOST, port=port), TRUST).version == "TLSv1.2"


def test_alpn_is_offered_on_port_443_only() -> None:
    """AWS tells MQTT from HTTPS on 443 by ALPN."""
    made = tls_context(good())
    made.set_alpn_protocols([ALPN_MQTT])
    for alpn, expected in ((True, ALPN_MQTT), (False, None)):
        with server(speaks(made)) as port:
            assert tls.preflight(Endpoint(host=HOST, port=port, alpn=alpn), TRUST).alpn == expected


@pytest.mark.parametrize(
    ("pair", "code", "words"),
    [
        (lambda: ROOT.issue_server(HOST, NOW - 30 * DAY, NOW - DAY), "server-certificate-expired", "has expired"),
        (
            lambda: ROOT.issue_server(HOST, NOW + DAY, NOW + 30 * DAY),
            "server-certificate-not-yet-valid",
            "not valid yet",
        ),
        (lambda: ROOT.issue_server("other.example", NOW - DAY, NOW + DAY), "wrong-host", "for another name"),
        (lambda: OTHER.issue_server(HOST, NOW - DAY, NOW + DAY), "unknown-root", "no anchor of this set"),
        ("self_signed", "unknown-root", "no anchor of this set"),
        ("common_name_only", "wrong-host", "for another name"),
    ],
)
def test_a_server_that_is_not_who_it_should_be_is_named(
    pair: Callable[[], KeyPair] | str, code: str, words: str
) -> None:
    """Each reason not to trust a server has its own code and sentence."""
    made: KeyPair = globals()[pair]() if isinstance(pair, str) else pair()
    failure = refusal(speaks(tls_context(made)))
    assert (failure.kind, failure.code) == (FailureClass.SERVER_TRUST, code)
    assert words in failure.message
    assert failure.remedy


@cache
def rsa_root() -> dict[str, bytes]:
    """Return an authority with an RSA key: that is `k`, the certificate `c`."""
    with TemporaryDirectory() as place:
        key = known_key(2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (Path(place) / "k").write_bytes(key)
        subprocess.run(
            ["openssl", "req", "-x509", "-key", "k", "-sha256", "-days", "9", "-subj", f"/CN={HOST}",
             "-addext", f"subjectAltName=DNS:{HOST}", "-out", "c"],
            check=True, capture_output=True, cwd=place,
        )  # fmt: skip
        return {name: (Path(place) / name).read_bytes() for name in "kc"}


def chain_of(tmp_path: Path) -> tuple[ssl.SSLContext, TrustBundle]:
    """Return a server whose chain is an authority with an RSA key alone, and the bundle that has its root."""
    for made_once, content in rsa_root().items():
        (tmp_path / made_once).write_bytes(content)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.load_cert_chain(tmp_path / "c", tmp_path / "k")
    return made, x509.read_bundle((tmp_path / "c").read_bytes())


@pytest.mark.parametrize(
    ("key", "digest"),
    [("rsa:1024", "sha256"), ("rsa:2048", "sha1")],
)
def test_a_chain_that_is_too_weak_is_named_so(tmp_path: Path, key: str, digest: str) -> None:
    """The anchor is there, and nothing is said of a root that is missing; weak anchors are in `test_tls_anchors`."""
    _, trust = chain_of(tmp_path)
    subprocess.run(
        ["openssl", "req", "-x509", "-CA", "c", "-CAkey", "k", "-newkey", key, "-nodes", f"-{digest}", "-days", "9",
         "-subj", "/CN=server", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", "sk", "-out", "sc"],
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.set_ciphers("ALL:@SECLEVEL=0")
    made.load_cert_chain(tmp_path / "sc", tmp_path / "sk")
    with server(speaks(made)) as port, pytest.raises(CloudError) as caught:
        tls.preflight(Endpoint(host=HOST, port=port), trust)
    failure = caught.value.failure
    assert (failure.kind, failure.code) == (FailureClass.SERVER_TRUST, "server-chain-weak")
    assert "too weak" in failure.message
    assert "endpoint's owner" in failure.remedy


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("wants_client", [False, True])
def test_a_chain_that_breaks_a_rule_is_refused(tmp_path: Path, version: ssl.TLSVersion, *, wants_client: bool) -> None:
    """What OpenSSL lets pass: an authority's certificate as a server's. See `agent.crypto.server_chain`."""
    made, trust = chain_of(tmp_path)
    made.minimum_version = made.maximum_version = version
    if wants_client:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=ROOT.pem.decode())
    with server(speaks(made)) as port, pytest.raises(CloudError) as caught:
        tls.preflight(Endpoint(host=HOST, port=port), trust)
    assert (caught.value.failure.kind, caught.value.failure.code) == (FailureClass.SERVER_TRUST, "server-chain-unsound")
    assert "breaks a rule of X.509" in caught.value.failure.message


def self_signed() -> KeyPair:
    """Return a certificate that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        library.CertificateBuilder()
        .subject_name(name(HOST))
        .issuer_name(name(HOST))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(library.SubjectAlternativeName([library.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(key_pem=key_to_pem(key), certificate_pem=certificate.public_bytes(Encoding.PEM))


def common_name_only() -> KeyPair:
    """Return a certificate that bears the host's name in its subject alone (RFC 6125 forbids to go by that)."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = ROOT.issue_client(name(HOST), key.public_key(), NOW - DAY, NOW + DAY)
    return KeyPair(key_pem=key_to_pem(key), certificate_pem=certificate.public_bytes(Encoding.PEM))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_tls_version_is_refused_as_such() -> None:
    """A server that only speaks TLS 1.1 is told from one that is not trusted."""
    made = tls_context(good())
    made.minimum_version = ssl.TLSVersion.TLSv1
    made.maximum_version = ssl.TLSVersion.TLSv1_1
    made.set_ciphers("ALL:@SECLEVEL=0")
    failure = refusal(speaks(made))
    assert (failure.kind, failure.code) == (FailureClass.SERVER_TRUST, "tls-version")


def leave(_connection: socket.socket) -> None:
    """Close at once."""


@pytest.mark.parametrize(
    ("talk", "code"),
    [
        (leave, "tls-interrupted"),
        (resets, "tls-interrupted"),
        (hangs_up, "tls-interrupted"),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "not-tls"),
        (says(b"\x00" * 4096), "not-tls"),
        (floods, "tls-interrupted"),
    ],
    ids=["closes", "resets", "closes after hello", "speaks http", "zeros", "floods"],
)
def test_a_server_that_speaks_no_tls_is_refused(talk: Callable[[socket.socket], None], code: str) -> None:
    """Whatever comes in place of a handshake, the end is a failure with a code, soon."""
    assert refusal(talk).code == code


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "plain HTTP"),
        (b"<!DOCTYPE html>", "plain HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
        (b"\x20\x03\x00\x87\x00", "MQTT without TLS"),
        (b"\x00\x00\x00\x00", "something else"),
        (b"\xff" * 64, "something else"),
        (b"\x16\x99\x99\x99\x99", "something else"),
    ],
)
def test_what_is_no_tls_is_named(answer: bytes, what: str) -> None:
    """A captive portal or another service: nothing is said of versions and ciphers, and nothing is concluded."""
    failure = refusal(says(answer), timeout=5.0 if len(answer) > 4 else 1.0)  # with four bytes a client waits for more
    assert (failure.kind, failure.code) == (FailureClass.NETWORK, "not-tls")
    assert failure.message.startswith(f"What answers as {HOST} on port ")
    assert failure.message.endswith(f" does not speak TLS but {what}.")
    assert "captive portal" in failure.remedy


@pytest.mark.parametrize(
    ("alert", "code", "words", "remedy"),
    [
        (112, "tls-interrupted", "it knows no localhost", "spelling of `endpoint`"),
        (120, "tls-interrupted", "it does not speak MQTT with client certificates on this port", "`alpn`"),
        (80, "tls-interrupted", "it sends the alert 'internal error'", "the endpoint's owner"),
        (50, "tls-interrupted", "it sends the alert 'decode error'", "the endpoint's owner"),
        (40, "tls-version", "no TLS version or cipher in common", "security policy"),
        (70, "tls-version", "no TLS version or cipher in common", "security policy"),
        (71, "tls-version", "no TLS version or cipher in common", "security policy"),
    ],
)
def test_what_a_server_says_in_place_of_a_handshake_is_told(alert: int, code: str, words: str, remedy: str) -> None:
    """An alert's cause is named: the name, the protocol on this port, or that there is no cipher in common."""
    failure = refusal(says(bytes([0x15, 3, 3, 0, 2, 2, alert])))
    assert failure.code == code
    assert words in failure.message
    assert remedy in failure.remedy


def test_a_silent_server_is_given_up_in_time() -> None:
    """A server that takes the connection and says nothing costs the time limit and no more."""
    failure = refusal(says_nothing, timeout=2.0)
    assert (failure.kind, failure.code) == (FailureClass.NETWORK, "tls-interrupted")
    assert "no answer in time" in failure.message


def test_the_whole_look_ends_in_the_time_for_a_connection() -> None:
    """Also where that is shorter than what each step may take."""
    with server(says_nothing) as port, pytest.raises(CloudError) as caught:
        tls.preflight(Endpoint(host=HOST, port=port, timeout=3600.0, whole=0.5), TRUST)
    assert caught.value.failure.code == "tls-interrupted"


def test_a_closed_port_and_an_unknown_name_are_network() -> None:
    """No path is not a refusal."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host, code in ((HOST, "unreachable"), ("does-not-exist.invalid", "dns")):
        with pytest.raises(CloudError) as caught:
            tls.preflight(Endpoint(host=host, port=port, timeout=5), TRUST)
        assert (caught.value.failure.kind, caught.value.failure.code) == (FailureClass.NETWORK, code)


def test_the_environment_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a key log nor another trust store can be slipped in by a variable."""
    (tmp_path / "other.pem").write_bytes(OTHER.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    pair = OTHER.issue_server(HOST, NOW - DAY, NOW + DAY)
    assert refusal(speaks(tls_context(pair))).code == "unknown-root"
    assert not (tmp_path / "keys.log").exists()


_MADE = """
import sys
from agent.core.aws.endpoints import Endpoint
from agent.crypto import x509
from agent.iotcore import tls
made = tls.context_for(Endpoint(host="localhost"), x509.read_bundle(sys.stdin.buffer.read()))
ciphers = [cipher["name"] for cipher in made.get_ciphers()]
print(made.security_level, made.minimum_version.name, made.maximum_version.name, ciphers)
"""


@cache
def made(config: str) -> str:
    """Return what a context is under a configuration of OpenSSL."""
    command, environment = [sys.executable, "-c", _MADE], {**os.environ, "OPENSSL_CONF": config}
    return subprocess.run(command, input=ROOT.pem, capture_output=True, check=True, env=environment).stdout.decode()


HARDENED = ["CipherString = DEFAULT@SECLEVEL=3", "MinProtocol = TLSv1.3", "MaxProtocol = TLSv1.2", "CipherString = PSK"]


TAKEN = campaigns.one_of_each(HARDENED, lambda setting: setting.partition(" ")[0][-8:])  # ciphers, and a protocol


@pytest.mark.parametrize("setting", TAKEN)
def test_the_levels_of_the_machines_openssl_change_nothing(tmp_path: Path, setting: str) -> None:
    """A hardened openssl.cnf would refuse AWS's chain, which the SDK takes: the gateway would never connect again."""
    hardened = tmp_path / "openssl.cnf"
    hardened.write_text(f"openssl_conf=a\n[a]\nssl_conf=b\n[b]\nsystem_default=c\n[c]\n{setting}\n")

    plain = made(os.devnull)
    assert plain.startswith("2 TLSv1_2 TLSv1_3 ")
    assert "'DHE-" not in plain, "which the SDK does not know"
    assert made(str(hardened)) == plain


def test_a_proxy_is_asked_to_connect() -> None:
    """With a proxy configured the handshake goes through its tunnel."""
    asked: list[bytes] = []
    made = tls_context(good())

    def tunnel(connection: socket.socket) -> None:
        asked.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        speaks(made)(connection)

    with server(tunnel) as port:
        endpoint = Endpoint(host=HOST, port=8883, proxy=Proxy(host="127.0.0.1", port=port))
        assert tls.preflight(endpoint, TRUST).version.startswith("TLS")
    assert asked[0].startswith(b"CONNECT localhost:8883 ")


# -- the anchor that was met -------------------------------------------------------------------------------------------


def met(pair: KeyPair, trust: bytes, version: ssl.TLSVersion, *, wants_client: bool = False) -> str:
    """Return the anchor that a server's chain ended in."""
    made = tls_context(pair)
    made.minimum_version = made.maximum_version = version
    if wants_client:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cadata=ROOT.pem.decode())
    with server(speaks(made)) as port:
        return tls.preflight(Endpoint(host=HOST, port=port), x509.read_bundle(trust)).anchor


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("wants_client", [False, True])
def test_the_anchor_that_the_chain_ended_in_is_told(version: ssl.TLSVersion, *, wants_client: bool) -> None:
    """Of several, with an intermediate in between, whether or not the server wants a certificate."""
    middle = ROOT.intermediate("issuing A", NOW)
    below = middle.issue_server(HOST, NOW - DAY, NOW + DAY)
    for pair in (good(), below):
        found = met(pair, OTHER.pem + ROOT.pem, version, wants_client=wants_client)
        assert found == fingerprint(ROOT.certificate)


def test_a_cross_signed_root_ends_where_the_gateways_anchor_is() -> None:
    """In the new root where the gateway has it, else in the old one that signed for it."""
    pair = ROOT.issue_server(HOST, NOW - DAY, NOW + DAY)
    crossed = OTHER.cross_sign(ROOT, NOW).public_bytes(Encoding.PEM)
    sent = KeyPair(key_pem=pair.key_pem, certificate_pem=pair.certificate_pem + crossed)
    version = ssl.TLSVersion.TLSv1_3

    assert met(sent, OTHER.pem, version) == fingerprint(OTHER.certificate)
    assert met(sent, OTHER.pem + ROOT.pem, version) == fingerprint(ROOT.certificate)
    assert met(sent, ROOT.pem, version) == fingerprint(ROOT.certificate)
