"""Throw-away certificate authorities: one that signs device certificates as AWS does, others for servers.

A server's authority is a root, or an intermediate below one; a root may be cross-signed by another, as Starfield
Services G2 does with Amazon's. What is issued names its issuer's key, so strict verifiers take it.

Nothing here is fit for anything but a rehearsal: keys live in memory, serial numbers are random, nothing is revoked.
"""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.core.frozen import frozen

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

# What AWS gives every certificate that it issues itself ("X.509 client certificates", developer guide).
AWS_NOT_AFTER = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)

_CA_LIFETIME = timedelta(days=365 * 20)
_ONE_DAY = timedelta(days=1)


@frozen
class KeyPair:
    """A private key and its certificate, PEM.

    Attributes:
        key_pem: The key.
        certificate_pem: Its certificate, followed by those of the intermediates if there are any.
    """

    key_pem: bytes
    certificate_pem: bytes

    def load_into(self, context: ssl.SSLContext) -> None:
        """Let a TLS context present this pair."""
        with tempfile.NamedTemporaryFile() as file:  # the library loads keys from files only
            file.write(self.key_pem + self.certificate_pem)
            file.flush()
            context.load_cert_chain(file.name)


def name(common_name: str, organisation: str | None = None) -> x509.Name:
    """Return a distinguished name with a common name and, if there is one, the organisation before it."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organisation is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(attributes)


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the DER: the certificate id."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


class Authority:
    """A root, or an intermediate below one, and what it signs.

    Attributes:
        certificate: Its own certificate.
        pem: The same, PEM.
        above: Who signed it; None for a root.
        chain_pem: What a server sends after its own certificate: the intermediate, or nothing.
    """

    def __init__(
        self,
        common_name: str,
        now: datetime,
        *,
        organisation: str | None = None,
        not_after: datetime | None = None,
        above: Authority | None = None,
    ) -> None:
        """Make a key and a certificate for it.

        Args:
            common_name: The name of the authority.
            now: The time; the certificate is valid since the day before.
            organisation: Comes first in the name.
            not_after: The end, which may be past; in twenty years if not given.
            above: Who signs it; it signs itself if not given.

        Raises:
            ValueError: `above` is an intermediate, which may sign no authorities, or a name is too long.
        """
        if above is not None and above.above is not None:
            raise ValueError("an intermediate signs no other")
        self.above: Authority | None = above
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = name(common_name, organisation)
        until = not_after or now + _CA_LIFETIME
        signer: Authority = above or self
        self.certificate = signer._sign_authority(
            self, min(now, until) - _ONE_DAY, until, path_length=None if above is None else 0
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.chain_pem = b"" if above is None else self.pem

    def intermediate(self, common_name: str, now: datetime) -> Authority:
        """Make an authority below this root, whose servers send its certificate along with theirs.

        Raises:
            ValueError: This is an intermediate itself.
        """
        return Authority(common_name, now, above=self)

    def cross_sign(self, other: Authority, now: datetime) -> x509.Certificate:
        """Sign another root's name and key: who trusts this root alone can then verify what the other one signed."""
        return self._sign_authority(other, now - _ONE_DAY, now + _CA_LIFETIME, path_length=None)

    def _sign_authority(
        self, other: Authority, not_before: datetime, not_after: datetime, *, path_length: int | None
    ) -> x509.Certificate:
        public_key = other._key.public_key()
        return (
            self._builder(other._name, public_key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .sign(self._key, hashes.SHA256())
        )

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
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue_client(
        self, subject: x509.Name, public_key: CertificatePublicKeyTypes, not_before: datetime, not_after: datetime
    ) -> x509.Certificate:
        """Sign a device certificate: a leaf with digitalSignature and, as AWS does, no extended key usage."""
        return (
            self._builder(subject, public_key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def issue_server(self, host: str, not_before: datetime, not_after: datetime) -> KeyPair:
        """Make a key and a certificate for a server called `host`, with the intermediate if this is one."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(name(host), key.public_key(), not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return KeyPair(key_pem=key_to_pem(key), certificate_pem=certificate.public_bytes(Encoding.PEM) + self.chain_pem)

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
