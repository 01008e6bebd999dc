"""Anchors as they are shipped: what the linter calls unusable no server gets through by, and that anchor is blamed.

Each anchor here is of the same name and key as the root that signed the server, in another form. Real ones: private
roots of `openssl req` with a wrong section, an authority for clients alone, DST Root CA X3 in September 2021.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.core.aws.endpoints import Endpoint
from agent.core.trust.anchor_lint import KnownRoots, Severity, entries_of, lint
from agent.crypto import x509
from agent.errors import CloudError
from agent.iotcore import tls
from agent.sandbox.account.authority import Authority, KeyPair, name
from support.network.servers import server, speaks, tls_context

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
HOST = "localhost"
SIGNER = Authority("Root", NOW)
SERVER = SIGNER.issue_server(HOST, NOW - DAY, NOW + DAY)
NUMBERS = count(1)


def usage(*, signs: bool) -> library.KeyUsage:
    """Return a key usage."""
    return library.KeyUsage(True, False, False, False, False, signs, signs, False, False)  # noqa: FBT003


def purposes(*oids: library.ObjectIdentifier) -> library.ExtendedKeyUsage:
    """Return an extended key usage."""
    return library.ExtendedKeyUsage(oids)


def anchor(
    *more: library.ExtensionType, key: Any = SIGNER._key, ca: bool = True, days: tuple[int, int] = (-9, 900)
) -> bytes:
    """Return a root of the signer's name."""
    builder = (
        library.CertificateBuilder()
        .subject_name(name("Root"))
        .issuer_name(name("Root"))
        .public_key(key.public_key())
        .serial_number(next(NUMBERS))
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(library.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(library.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension in more:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def refused(anchors: bytes, shown: KeyPair = SERVER) -> Failure | None:
    """Return why a server is refused with these anchors, or None."""
    try:
        with server(speaks(tls_context(shown))) as port:
            tls.preflight(Endpoint(host=HOST, port=port), x509.read_bundle(anchors))
    except CloudError as error:
        return error.failure
    return None


def errors(anchors: bytes) -> list[str]:
    """Return the codes of what the linter calls an error."""
    found = lint(entries_of(x509.read_bundle(anchors).anchors), KnownRoots(), NOW, soon=DAY, amazon=False)
    return [item.code for item in found if item.severity is Severity.ERROR]


SOUND = {
    "nothing said": (),
    "signs certificates": (usage(signs=True),),
    "for servers": (purposes(ExtendedKeyUsageOID.SERVER_AUTH),),
    "for servers and clients": (purposes(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),),
}
UNFIT = {
    "does not sign certificates": (usage(signs=False),),
    "for clients": (purposes(ExtendedKeyUsageOID.CLIENT_AUTH),),
    "for mail": (purposes(ExtendedKeyUsageOID.EMAIL_PROTECTION),),
    "for anything": (purposes(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),),  # which OpenSSL does not take so
    "for servers, and does not sign": (purposes(ExtendedKeyUsageOID.SERVER_AUTH), usage(signs=False)),
}


@pytest.mark.parametrize("form", SOUND)
def test_a_sound_anchor_verifies_a_server(form: str) -> None:
    """And the linter finds no error in it."""
    assert errors(anchor(*SOUND[form])) == []
    assert refused(anchor(*SOUND[form])) is None


@pytest.mark.parametrize("form", UNFIT)
def test_an_anchor_that_is_not_for_servers_is_an_error_before_it_is_used(form: str) -> None:
    """Where it is used all the same, it is named, and not the endpoint's owner."""
    assert errors(anchor(*UNFIT[form])) == ["unfit"]
    failure = refused(anchor(*UNFIT[form]))
    assert failure is not None
    assert failure.code == "server-chain-unsound"
    assert "its chain ends in an anchor that cannot be used; Root cannot stand above a server: its " in failure.message
    assert failure.remedy.startswith("Bring another: `iot-cert trust install`")


@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        (lambda: ec.generate_private_key(ec.SECP192R1()), "weak-key", "a weak key (EC secp192r1)"),
        (lambda: rsa.generate_private_key(65537, 1024), "weak-key", "a weak key (RSA 1024)"),  # noqa: S505 - the point
        (lambda: ec.generate_private_key(ec.SECP224R1()), "odd-key", "takes below no server (EC secp224r1)"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "odd-key", "takes below no server (EC secp256k1)"),
        (lambda: ec.generate_private_key(ec.BrainpoolP256R1()), "odd-key", "below no server (EC brainpoolP256r1)"),
    ],
)
def test_an_anchor_with_a_key_that_is_not_taken_is_named(key: Any, code: str, words: str) -> None:
    """Its key is said, in words."""
    signer = Authority("Root", NOW)
    signer._key = key()
    trusted = anchor(key=signer._key)
    failure = refused(trusted, signer.issue_server(HOST, NOW - DAY, NOW + DAY))

    assert errors(trusted) == [code]
    assert failure is not None
    assert words in failure.message
    assert "Bring another" in failure.remedy


@pytest.mark.parametrize("key", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_the_curves_of_tls_are_taken(key: type[ec.EllipticCurve]) -> None:
    """In an anchor as in a server's certificate."""
    signer = Authority("Root", NOW)
    signer._key = ec.generate_private_key(key())
    trusted = anchor(key=signer._key)
    assert errors(trusted) == []
    assert refused(trusted, signer.issue_server(HOST, NOW - DAY, NOW + DAY)) is None


def test_an_authority_that_says_it_is_none_is_named() -> None:
    """The linter knew it."""
    failure = refused(anchor(ca=False))
    assert errors(anchor(ca=False)) == ["not-a-ca"]
    assert failure is not None
    assert "Root is not a certificate authority" in failure.message


# -- dates -------------------------------------------------------------------------------------------------------------

PAST, AHEAD = (-90, -1), (1, 90)


@pytest.mark.parametrize(
    ("days", "code", "words"),
    [
        (PAST, "server-certificate-expired", f"Root expired on {NOW - DAY:%Y-%m-%d}."),
        (AHEAD, "server-certificate-not-yet-valid", f"Root is not valid before {NOW + DAY:%Y-%m-%d}."),
    ],
)
def test_an_anchor_that_is_out_of_date_is_blamed_and_not_the_server(
    days: tuple[int, int], code: str, words: str
) -> None:
    """As DST Root CA X3 was, on devices that had nothing newer: what helps is another anchor."""
    failure = refused(anchor(days=days))
    assert failure is not None
    assert failure.code == code
    assert failure.message == (
        f"The server at {HOST} is not trusted: its chain ends in an anchor that cannot be used; {words}"
    )
    assert failure.remedy == (
        "Check the gateway's clock; if it is right, bring another: `iot-cert trust install`, `iot-cert trust restore` "
        "or `iot-cert import`."
    )


@pytest.mark.parametrize("days", [PAST, AHEAD])
@pytest.mark.parametrize("last", [False, True])
def test_a_sound_anchor_beside_one_that_is_out_of_date_is_found(days: tuple[int, int], *, last: bool) -> None:
    """Of the same name and key, in either order: roots are reissued."""
    both = [anchor(days=days), anchor()]
    assert refused(b"".join(reversed(both) if last else both)) is None


@pytest.mark.parametrize(("life", "whose"), [(PAST, "has expired"), (AHEAD, "is not valid yet")])
def test_an_authority_in_between_is_named(life: tuple[int, int], whose: str) -> None:
    """It is neither the server's own certificate nor an anchor, and its owner is the one to act."""
    middle = SIGNER.intermediate("Middle", NOW)
    shown = middle.issue_server(HOST, NOW - DAY, NOW + DAY)
    late = SIGNER._sign_authority(middle, NOW + life[0] * DAY, NOW + life[1] * DAY, path_length=0)
    chain = shown.certificate_pem.replace(middle.pem, late.public_bytes(Encoding.PEM))

    failure = refused(anchor(), KeyPair(key_pem=shown.key_pem, certificate_pem=chain))
    assert failure is not None
    assert failure.message == f"The server at {HOST} is not trusted: the certificate of Middle in its chain {whose}."
    assert failure.remedy == "Check the gateway's clock; if it is right, the endpoint's owner must act."


def test_a_server_that_is_out_of_date_is_blamed_whatever_its_anchor_is() -> None:
    """Another anchor would not help."""
    failure = refused(anchor(days=PAST), SIGNER.issue_server(HOST, NOW - 9 * DAY, NOW - DAY))
    assert failure is not None
    assert failure.message == f"The server at {HOST} is not trusted: its certificate has expired."


def test_a_root_that_was_signed_across_is_verified_by_either() -> None:
    """The chain of September 2021: the server sends its root signed by an older one, which has expired."""
    older = Authority("Older", NOW, not_after=NOW - DAY)
    across = older.cross_sign(SIGNER, NOW).public_bytes(Encoding.PEM)
    shown = KeyPair(key_pem=SERVER.key_pem, certificate_pem=SERVER.certificate_pem + across)

    assert refused(anchor(), shown) is None
    assert refused(older.pem + anchor(), shown) is None
    assert refused(across) is None
    failure = refused(older.pem, shown)
    assert failure is not None
    assert "its chain ends in an anchor that cannot be used; Older expired on " in failure.message
