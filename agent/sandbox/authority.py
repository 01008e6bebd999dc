"""Throw-away certificate authorities: one that signs device certificates as AWS does, one for the endpoint.

Nothing here is fit for anything but a rehearsal: keys live in memory, serial numbers are random, nothing is revoked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

# What AWS gives every certificate that it issues itself ("X.509 client certificates", developer guide).
AWS_NOT_AFTER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)

_CA_LIFETIME = timedelta(days=365 * 20)


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A private key and its certificate, PEM."""

    key_pem: bytes
    certificate_pem: bytes


def name(common_name: str) -> x509.Name:
    """Return a distinguished name with nothing but a common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER: the certificate id."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


class Authority:
    """One self-signed root and what it signs."""

    def __init__(self, common_name: str, now: datetime) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = name(common_name)
        self.certificate = (
            self._builder(self._name, self._key.public_key(), now - timedelta(days=1), now + _CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def _builder(
        self, subject: x509.Name, public_key: CertificatePublicKeyTypes, not_before: datetime, not_after: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )

    def issue_client(
        self, subject: x509.Name, public_key: CertificatePublicKeyTypes, not_before: datetime, not_after: datetime
    ) -> x509.Certificate:
        """Sign a device certificate: a leaf with digitalSignature and, as AWS does, no extended key usage."""
        key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            self._builder(subject, public_key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(key_identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def issue_server(self, host: str, not_before: datetime, not_after: datetime) -> KeyPair:
        """Make a key and a certificate for an endpoint called `host`."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(name(host), key.public_key(), not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return KeyPair(key_pem=key_to_pem(key), certificate_pem=certificate.public_bytes(Encoding.PEM))

    def issue_claim(self, now: datetime) -> KeyPair:
        """Make a claim key and certificate, as a factory would put on every gateway."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.issue_client(
            name("AWS IoT Certificate"), key.public_key(), now - timedelta(minutes=2), AWS_NOT_AFTER
        )
        return KeyPair(key_pem=key_to_pem(key), certificate_pem=certificate.public_bytes(Encoding.PEM))


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
