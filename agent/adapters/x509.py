"""Certificates and trust bundles: from PEM or DER bytes to facts, and back to one canonical form.

What is read may be hostile. Every complaint is a `MaterialError`; the parser's own errors, of which there are many
unrelated kinds and some only when a field is first touched, all end here.

What is written is canonical: one PEM block after another and nothing else, made from the DER that was checked, so the
bytes that were verified are the bytes that the TLS library loads.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from agent.core.values import CertificateFacts, TrustBundle
from agent.errors import MaterialError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

MAX_BUNDLE = 1_048_576  # bytes; the whole Mozilla store has a quarter of it
MAX_ANCHORS = 1_000

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,200000}?-----END CERTIFICATE-----")
_BEGIN = b"-----BEGIN "

_SIGNATURES = {
    SignatureAlgorithmOID.RSA_WITH_SHA256: "rsa-sha256",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "rsa-sha384",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "rsa-sha512",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ecdsa-sha256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ecdsa-sha384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ecdsa-sha512",
}


def read_certificate(data: bytes) -> tuple[CertificateFacts, bytes]:
    """Return what one certificate, PEM block or DER, says, and its canonical PEM.

    Raises:
        MaterialError: It cannot be parsed.
    """
    try:
        with warnings.catch_warnings():
            # Starfield Services Root CA - G2, one of the five that AWS asks for, has the serial number 0.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            is_pem = data.lstrip().startswith(_BEGIN)
            certificate = x509.load_pem_x509_certificate(data) if is_pem else x509.load_der_x509_certificate(data)
            return _facts(certificate), certificate.public_bytes(Encoding.PEM)
    except Exception as error:  # noqa: BLE001 - at least seven unrelated types come out of hostile input
        reason = str(error).split("\n", maxsplit=1)[0][:120] or type(error).__name__
        raise MaterialError(f"a certificate cannot be parsed ({reason})") from None


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    public_key = certificate.public_key()
    extensions = certificate.extensions
    return CertificateFacts(
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sha256=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        spki_sha256=spki_sha256(public_key),
        is_ca=_is_ca(extensions),
        key=_describe_key(public_key),
        signature=_signature(certificate),
        digital_signature=_digital_signature(extensions),
        client_auth=_client_auth(extensions),
    )


def spki_sha256(public_key: CertificatePublicKeyTypes) -> str:
    """Return the SHA-256 of a public key's subject public key info."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _is_ca(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _digital_signature(extensions: x509.Extensions) -> bool | None:
    try:
        return extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return None


def _client_auth(extensions: x509.Extensions) -> bool | None:
    try:
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return None
    return bool(usages & {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


def _describe_key(public_key: CertificatePublicKeyTypes) -> str:
    match public_key:
        case ec.EllipticCurvePublicKey():
            return {"secp256r1": "EC P-256", "secp384r1": "EC P-384", "secp521r1": "EC P-521"}.get(
                public_key.curve.name, f"EC {public_key.curve.name}"
            )
        case rsa.RSAPublicKey():
            return f"RSA {public_key.key_size}"
        case _:
            return type(public_key).__name__.removesuffix("PublicKey")


def _signature(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid
    if oid == SignatureAlgorithmOID.RSASSA_PSS:
        algorithm = certificate.signature_hash_algorithm
        return f"rsa-pss-{algorithm.name}" if algorithm else "rsa-pss"
    return _SIGNATURES.get(oid, oid.dotted_string)


def split(data: bytes) -> list[bytes]:
    """Return the certificate blocks of a PEM file, which may have text between them.

    Raises:
        MaterialError: A block of another kind, a private key above all, or one that is not well-formed.
    """
    blocks = _BLOCK.findall(data)
    if data.count(_BEGIN) != len(blocks):
        if b"PRIVATE KEY-----" in data:
            raise MaterialError("there is a private key among the certificates")
        raise MaterialError("a PEM block is not a well-formed certificate")
    return blocks


def read_chain(data: bytes) -> tuple[tuple[CertificateFacts, ...], bytes]:
    """Return the facts of a chain, in order, and its canonical PEM.

    Raises:
        MaterialError: Any block cannot be parsed, or there is none.
    """
    certificates = [read_certificate(block) for block in split(data)]
    if not certificates:
        raise MaterialError("there is no PEM certificate in it")
    return tuple(facts for facts, _ in certificates), b"".join(pem for _, pem in certificates)


def read_bundle(data: bytes) -> TrustBundle:
    """Return the trust anchors in `data`.

    Raises:
        MaterialError: It is too large, holds no certificate, or one that cannot be parsed. The SDK takes an empty
            bundle for "trust what the system trusts", so an empty one must never get through.
    """
    if len(data) > MAX_BUNDLE:
        raise MaterialError(f"the trust bundle has {len(data)} bytes and {MAX_BUNDLE} are allowed")
    facts, pem = read_chain(data)
    if len(facts) > MAX_ANCHORS:
        raise MaterialError(f"the trust bundle has {len(facts)} anchors and {MAX_ANCHORS} are allowed")
    return TrustBundle(pem=pem, anchors=facts)
