"""The two files of a claim: every way in which a person names another file than is meant has its sentence."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)

from agent.crypto.claim_files import credential_of
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

NOW = datetime(2026, 11, 29, tzinfo=UTC)
AUTHORITY = Authority("Claims", NOW)
PAIR, OTHER = AUTHORITY.issue_claim(NOW), AUTHORITY.issue_claim(NOW)
CERTIFICATE, KEY = PAIR.certificate_pem, PAIR.key_pem
FILES = Path("/claim/certificate.pem"), Path("/claim/key.pem")


def _parsed() -> tuple[PrivateKeyTypes, x509.Certificate]:
    return load_pem_private_key(KEY, None), x509.load_pem_x509_certificate(CERTIFICATE)


def _container(password: bytes) -> bytes:
    key, certificate = _parsed()
    assert isinstance(key, EllipticCurvePrivateKey)
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"claim", key, certificate, None, encryption)


def _key(encoding: Encoding, encryption: KeySerializationEncryption) -> bytes:
    return _parsed()[0].private_bytes(encoding, PrivateFormat.PKCS8, encryption)


SEALED = _key(Encoding.PEM, BestAvailableEncryption(b"canary"))
P12, LOCKED, DER_KEY = _container(b""), _container(b"canary"), _key(Encoding.DER, NoEncryption())
DER = _parsed()[1].public_bytes(Encoding.DER)
OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
WRONG = {
    "swapped": (
        KEY,
        CERTIFICATE,
        "/claim/certificate.pem holds a private key and /claim/key.pem a certificate",
        "Exch",
    ),
    "another key": (CERTIFICATE, OTHER.key_pem, "the private key does not belong to the certificate", ""),
    "twice the key": (KEY, KEY, "/claim/certificate.pem: a private key is in it", "openssl x509"),
    "twice the certificate": (CERTIFICATE, CERTIFICATE, "/claim/key.pem: there is no private key in it", ""),
    "both in one": (CERTIFICATE + KEY, KEY, "/claim/certificate.pem: a private key is in it", "openssl x509"),
    "an encrypted key": (CERTIFICATE, SEALED, "/claim/key.pem: the private key is encrypted", "openssl pkey"),
    "a container as key": (CERTIFICATE, P12, "/claim/key.pem: it is a PKCS #12 container", "-nocerts -nodes"),
    "a container as certificate": (P12, KEY, "/claim/certificate.pem: it is a PKCS #12 container", "-nokeys"),
    "a container with a password": (LOCKED, LOCKED, "/claim/certificate.pem: it is a PKCS #12 container", "-nokeys"),
    "a DER certificate": (DER, KEY, "/claim/certificate.pem: there is no certificate in it as PEM", "-inform DER"),
    "a DER key": (CERTIFICATE, DER_KEY, "/claim/key.pem: there is no private key in it as PEM", "-inform DER"),
    "a key of SSH's": (CERTIFICATE, OPENSSH, "/claim/key.pem: it is a key in OpenSSH's own format", "ssh-keygen"),
    "an empty certificate": (b"", KEY, "/claim/certificate.pem: there is no certificate in it", ""),
    "an empty key": (CERTIFICATE, b"", "/claim/key.pem: there is no private key in it", ""),
    "garbage": (b"garbage", KEY, "/claim/certificate.pem: there is no certificate in it", ""),
    "a certificate that is cut off": (CERTIFICATE[:200], KEY, "/claim/certificate.pem", ""),
}


def test_what_belongs_together_is_a_set() -> None:
    """A key file may hold its certificate, too, as many tools write it."""
    for key in (KEY, KEY + CERTIFICATE, CERTIFICATE + KEY):
        assert credential_of((FILES[0], CERTIFICATE), (FILES[1], key)).leaf.sha256


@pytest.mark.parametrize("what", WRONG)
def test_what_was_named_wrong_is_said(what: str) -> None:
    """With the file that it is about and the command that helps; no byte of a key, no password."""
    certificate, key, said, remedy = WRONG[what]
    with pytest.raises(MaterialError, match=re.escape(said)) as caught:
        credential_of((FILES[0], certificate), (FILES[1], key))
    assert remedy in caught.value.hint
    told = f"{caught.value}{caught.value.hint}"
    assert not any(line in told for line in KEY.decode().splitlines()[1:-1])
    assert "canary" not in told
