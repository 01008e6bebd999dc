"""Whether a server's certificates keep the rules of RFC 5280 and of the web PKI, beside what the TLS library checks.

OpenSSL and the SDK's TLS each take chains that a verifier for TLS should not: an authority's certificate as a server's,
one that is not for servers, malformed or misplaced name constraints, missing key identifiers. The verifier of the
`cryptography` library knows these rules; a chain has to pass both. Where this gateway is more lenient on purpose is
said in `tests/unit/crypto/test_server_chain.py`, with the reason for each.

It judges and trusts nothing by itself: who is trusted are the anchors that it is given.
"""

from __future__ import annotations

import warnings
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509.verification import Policy

_SHOWN = 200  # characters of the library's reason
_LEAST_RSA = 2048  # bits
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_OPENINGS = ("validation failed: ", "candidates exhausted: ", "Python extension validator failed: ", "ValueError: ")
_NAMES = {
    "2.5.29.14": "subject key identifier",
    "2.5.29.15": "key usage",
    "2.5.29.17": "subject alternative name",
    "2.5.29.19": "basic constraints",
    "2.5.29.30": "name constraints",
    "2.5.29.35": "authority key identifier",
    "2.5.29.37": "extended key usage",
}


def complaint(chain: Sequence[bytes], trust_pem: bytes, host: str) -> str:
    """Return which rule a server's chain breaks, in the library's words, or nothing.

    Args:
        chain: What the server showed, as DER, its own certificate first.
        trust_pem: The trust anchors.
        host: The name or address that it must be for.
    """
    try:
        with warnings.catch_warnings():
            # Starfield Services Root CA - G2, one of the five that AWS asks for, has the serial number 0.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            leaf, *others = (x509.load_der_x509_certificate(der) for der in chain)
            anchors = x509.load_pem_x509_certificates(trust_pem)
            policy = PolicyBuilder().store(Store(anchors)).extension_policies(
                ca_policy=_for_authorities(frozenset(anchors)), ee_policy=_for_servers()
            )  # fmt: skip
            *path, _ = policy.build_server_verifier(_subject(host)).verify(leaf, others)
            return next((f"{kind} is no key for TLS" for kind in map(_odd_key, path) if kind), "")
    except Exception as error:  # noqa: BLE001 - besides its own, at least seven unrelated types for hostile input
        return _reason(error)


def _odd_key(certificate: x509.Certificate) -> str:
    """Return what kind of key a certificate is for, where it is none that TLS and the SDK know; or nothing."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return "" if key.key_size >= _LEAST_RSA else f"RSA of {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if isinstance(key.curve, _CURVES) else f"the curve {key.curve.name}"
    return type(key).__name__.strip("_").removesuffix("PublicKey")


def _for_authorities(anchors: frozenset[x509.Certificate]) -> ExtensionPolicy:
    """Return what is asked of authorities; an anchor is trusted as a name and a key, whatever its form.

    RFC 5280, section 6.1.1 (d). What `openssl req -x509` makes, as private authorities are, has no key usage.
    """

    def usage(_: Policy, certificate: x509.Certificate, found: x509.KeyUsage | None) -> None:
        if certificate not in anchors and (found is None or not found.key_cert_sign):
            raise ValueError("an authority's certificate does not say that its key signs certificates")

    def constraints(_: Policy, certificate: x509.Certificate, __: x509.BasicConstraints) -> None:
        extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        if certificate not in anchors and not extension.critical:
            raise ValueError("an authority's certificate does not have critical basic constraints")

    def identifier(_: Policy, certificate: x509.Certificate, found: x509.SubjectKeyIdentifier | None) -> None:
        if certificate not in anchors and found is None:
            raise ValueError("an authority's certificate has no identifier of its key")

    def issuer(_: Policy, certificate: x509.Certificate, found: x509.AuthorityKeyIdentifier | None) -> None:
        if certificate not in anchors and (found is None or found.key_identifier is None):
            raise ValueError("an authority's certificate does not say with which key it was signed")

    return (
        ExtensionPolicy.webpki_defaults_ca()
        .may_be_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, issuer)
        .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, usage)
        .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, constraints)
        .may_be_present(x509.SubjectKeyIdentifier, Criticality.NON_CRITICAL, identifier)
    )


def _for_servers() -> ExtensionPolicy:
    """Return what is asked of a server's own certificate: also that it says what it is for."""

    def usages(_: Policy, __: x509.Certificate, found: x509.ExtendedKeyUsage) -> None:
        if ExtendedKeyUsageOID.SERVER_AUTH not in found:
            raise ValueError("the server's certificate is not for servers")

    def issuer(_: Policy, __: x509.Certificate, found: x509.AuthorityKeyIdentifier) -> None:
        if found.key_identifier is None:
            raise ValueError("the server's certificate does not say with which key it was signed")

    return (
        ExtensionPolicy.webpki_defaults_ee()
        .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, usages)
        .require_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, issuer)
    )


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host.rstrip("."))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(" (encountered processing")[0].partition(": AlgorithmIdentifier")[0]
    for opening in _OPENINGS:
        text = text.removeprefix(opening)
    for number, name in _NAMES.items():
        text = text.replace(f"{number}: Certificate", f"{name}: the certificate").replace(number, name)
    return text[:_SHOWN].rstrip(".") or type(error).__name__
