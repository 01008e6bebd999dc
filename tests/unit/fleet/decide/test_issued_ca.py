from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import MaterialError
from agent.fleet.decide import issued_ca
from support.aws.account import DAY, HOUR, NOW
from support.aws.own_signer import Root, usage
from support.aws.rsa_keys import known_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

YEAR = timedelta(days=365)
NAME = "iot-cert gateway CA 1"
SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


@cache
def root() -> Root:
    """Return the operator's root."""
    return Root(NOW)


def key_of(name: str) -> rsa.RSAPrivateKey:
    """Return a key by a name."""
    return known_key(2048, ("the CA's", "another").index(name))


def public(name: str = "the CA's") -> bytes:
    """Return a public key as KMS gives it."""
    return key_of(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def made(common_name: str = NAME, **given: Any) -> bytes:
    """Return what the root has made of a request, in PEM."""
    names = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    return root().issue(x509.Name(names), key_of("the CA's").public_key(), **given)


def why(content: bytes, lifetime: timedelta = DAY, signs_from: timedelta = timedelta()) -> str:
    """Return why a certificate is not taken in."""
    found = issued_ca.of_key(content, public())
    assert found is not None
    return issued_ca.not_taken(found, NAME, NOW + signs_from, lifetime, NOW)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"digest": hashes.SHA384()},
        {"digest": hashes.SHA512()},
        {"more": CLIENTS},
        {"valid": (-DAY, DAY)},
        {"valid": (timedelta(), YEAR)},
    ],
)
def test_what_is_taken(given: dict[str, Any]) -> None:
    """With an organisation that the root has added, and up to the last lifetime."""
    assert why(made(**given)) == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"common_name": "iot-cert gateway CA 2"}, f"common name has to be {NAME}"),
        ({"common_name": "Example Root"}, f"common name has to be {NAME}"),
        ({"limits": None}, "CA:TRUE"),
        ({"limits": x509.BasicConstraints(ca=False, path_length=None)}, "CA:TRUE"),
        ({"limits": x509.BasicConstraints(ca=True, path_length=None)}, "pathlen:0"),
        ({"limits": x509.BasicConstraints(ca=True, path_length=1)}, "pathlen:0"),
        ({"usage": None}, "keyCertSign"),
        ({"usage": usage(key_cert_sign=False)}, "keyCertSign"),
        ({"more": SERVERS}, "leaves out TLS clients"),
        ({"name": None}, "lacks its subject or authority key identifier"),
        ({"above": None}, "lacks its subject or authority key identifier"),
        ({"digest": hashes.SHA224()}, "AWS IoT does not take"),
        ({"valid": (HOUR, YEAR)}, "It begins at"),
        ({"valid": (-DAY, DAY - HOUR)}, "It ends at"),
        ({"valid": (-DAY, -HOUR)}, "It ends at"),
    ],
)
def test_what_is_not_taken(given: dict[str, Any], told: str) -> None:
    """Each alone, by a sentence that names what the root has to say instead."""
    assert told in why(made(**given))


def test_a_ca_that_is_named_as_its_root_is_not_taken() -> None:
    """A verifier would take the one for the other."""
    own = Root(NOW, NAME)
    content = own.issue(own.name, key_of("the CA's").public_key())
    assert "called as itself" in why(content)


def test_the_end_counts_from_when_it_signs() -> None:
    """And by how long a certificate is to live."""
    content = made(valid=(-DAY, 30 * DAY))
    assert why(content, lifetime=23 * DAY, signs_from=7 * DAY) == ""
    assert "It ends at" in why(content, lifetime=24 * DAY, signs_from=7 * DAY)


def test_the_file_may_hold_those_above_and_be_of_other_spellings() -> None:
    """In any order, in DER, and as Windows writes text; the CA's own is what is taken."""
    pem = made()
    (own,) = x509.load_pem_x509_certificates(pem)
    for content in (
        pem + root().pem,
        root().pem + b"of the same key\n" + pem,
        own.public_bytes(Encoding.DER),
        pem.decode().replace("\n", "\r\n").encode("utf-16"),
    ):
        found = issued_ca.of_key(content, public())
        assert found is not None
        assert found.pem.encode() == pem
    assert issued_ca.of_key(root().pem, public()) is None
    assert issued_ca.of_key(pem, public("another")) is None


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate(content: bytes) -> None:
    """It cannot be read."""
    with pytest.raises(MaterialError):
        issued_ca.of_key(content, public())
