"""Private keys and certificate requests. Keys leave this module as PEM bytes for the store, never as text.

Keys are PKCS#8, unencrypted: the SDK takes no others, and the mode of the file is what protects them.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from agent.core.text_files import pem_of
from agent.core.values import FALLBACK_NAME, CredentialSet, KeyAlgorithm
from agent.crypto.x509 import name_text, read_certificate, read_chain, spki_sha256, split
from agent.errors import MaterialError

if TYPE_CHECKING:
    from agent.core.values import CertificateFacts

    PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# Subjects that say nothing about the gateway and are not worth keeping: AWS's own, and this agent's makeshift.
MEANINGLESS_SUBJECTS = frozenset({"CN=AWS IoT Certificate", f"CN={FALLBACK_NAME}"})

CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)  # "CreateCertificateFromCsr", AWS IoT API reference

MAX_RSA = 16_384  # bits; OpenSSL's and the SDK's library check no signature of a longer key

MAX_COMMON_NAME = 64  # characters; X.520's upper bound, which some certificate authorities enforce


def generate(algorithm: KeyAlgorithm) -> bytes:
    """Make a private key and return it as PEM."""
    key: PrivateKey
    match algorithm:
        case KeyAlgorithm.EC_P256:
            key = ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.EC_P384:
            key = ec.generate_private_key(ec.SECP384R1())
        case _:
            key = rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-")))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def algorithm_of(key_pem: bytes) -> str:
    """Return the kind of a private key, in the words of `KeyAlgorithm`.

    Raises:
        MaterialError: The key cannot be used.
    """
    key = _load(key_pem)
    return f"rsa-{key.key_size}" if isinstance(key, rsa.RSAPrivateKey) else f"ec-p{key.curve.key_size}"


def subject_text(configured: str) -> str:
    """Return a configured subject as certificates' subjects are told.

    Raises:
        MaterialError: It is no RFC 4514 name.
    """
    return name_text(request_subject(configured, None, ""))


def _load(key_pem: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(key_pem, password=None, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size <= MAX_RSA and not _is_consistent(key):
            raise ValueError  # noqa: TRY301 - told below, as what the library finds itself
    except TypeError:
        raise MaterialError("the private key is encrypted, which the agent cannot use unattended") from None
    except Exception:  # noqa: BLE001 - several unrelated types, and their texts may quote the key
        raise MaterialError("the private key cannot be parsed") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size > MAX_RSA:
        raise MaterialError(f"the private key is RSA of {key.key_size} bits, and TLS takes {MAX_RSA} at most")
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise MaterialError("the private key is neither RSA nor elliptic-curve, and AWS IoT Core takes no others")
    if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, CURVES):
        raise MaterialError(
            f"the private key is on the curve {key.curve.name}, and AWS IoT Core takes P-256, P-384 and P-521 alone"
        )
    return key


def _is_consistent(key: rsa.RSAPrivateKey) -> bool:
    """Whether the numbers of a key belong together, as the SDK's library looks at them.

    OpenSSL looks for primes besides, at each reading: 5 seconds of a fast processor for 8192 bits, a dozen times in a
    change. That a number is none shows when the set is proven.
    """
    has = key.private_numbers()
    e, d, p, q = has.public_numbers.e, has.d, has.p, has.q
    parts = (has.dmp1, has.dmq1, has.iqmp * q % p) == (d % (p - 1), d % (q - 1), 1)
    return parts and p * q == has.public_numbers.n and e * d % (p - 1) == e * d % (q - 1) == 1


def public_key_sha256(key_pem: bytes) -> str:
    """Return the SHA-256 of the public key info that belongs to a private key.

    Raises:
        MaterialError: The key cannot be used.
    """
    return spki_sha256(_load(key_pem).public_key())


def credential_set(key_pem: bytes, certificate_pem: bytes) -> CredentialSet:
    """Return key and chain as one, after checking that they belong together.

    Either may be spelled as other systems do, see `agent.core.text_files.pem_of`.

    Raises:
        MaterialError: Either cannot be parsed, or the key is not the certificate's.
    """
    facts, canonical = read_chain(pem_of(certificate_pem))
    key_pem = key_alone(pem_of(key_pem))
    owner = public_key_sha256(key_pem)
    if facts[0].spki_sha256 != owner:
        own = next((number for number, item in enumerate(facts) if item.spki_sha256 == owner), None)
        if own is None:
            which = "the certificate" if len(facts) == 1 else f"any of the {len(facts)} certificates"
            raise MaterialError(f"the private key does not belong to {which}")
        facts, canonical = _in_order(facts, split(canonical), own)
    return CredentialSet(key_pem=key_pem, certificate_pem=canonical, leaf=facts[0])


def _in_order(
    facts: tuple[CertificateFacts, ...], blocks: list[bytes], own: int
) -> tuple[tuple[CertificateFacts, ...], bytes]:
    """Return a chain with the key's own certificate first, as TLS wants it, and those above it after; others last."""
    left = dict(enumerate(facts))
    order, issuer = [own], left.pop(own).issuer
    while (above := next((number for number, item in left.items() if item.subject == issuer), None)) is not None:
        order.append(above)
        issuer = left.pop(above).issuer
    order += left
    return tuple(facts[number] for number in order), b"".join(blocks[number] + b"\n" for number in order)


_KEY_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z ]{0,20})PRIVATE KEY-----(.{1,20000}?)-----END \1PRIVATE KEY-----", re.DOTALL
)


def key_alone(data: bytes) -> bytes:
    """Return the private key of a PEM file as the SDK reads it, without what may stand beside it or between its lines.

    The SDK reads the first block and no other, and many tools write key and certificate, or its parameters, into one
    file. It takes no remark, empty line or odd blank within a block either, which `cryptography` passes over.

    Raises:
        MaterialError: There are several keys.
    """
    found = {_tidy(match) for match in _KEY_BLOCK.finditer(data)}
    if len(found) > 1:
        raise MaterialError("there are several private keys in it, of which only one can be meant")
    return found.pop() if found else data


def _tidy(block: re.Match[bytes]) -> bytes:
    """Return a block of a key to the letter of RFC 7468; one that is encrypted or damaged as it is."""
    lines = block[2].splitlines()
    try:
        der = base64.b64decode(b"".join(line for line in lines if b":" not in line))
    except binascii.Error:
        der = b""
    if not der or b"ENCRYPTED" in block[0]:
        return block[0] + b"\n"
    return armoured(der, block[1])


def armoured(der: bytes, kind: bytes = b"") -> bytes:
    """Return a private key of a kind such as ``b"EC "``, PKCS #8 without one, as PEM."""
    text = base64.b64encode(der)
    body = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return b"-----BEGIN %bPRIVATE KEY-----\n%b\n-----END %bPRIVATE KEY-----\n" % (kind, body, kind)


def make_request(key_pem: bytes, subject: x509.Name) -> bytes:
    """Return a certificate signing request as PEM; the same one for the same key and subject.

    So one that is asked with again after a crash is known again. The signature draws no random number (RFC 6979).

    Raises:
        MaterialError: The key cannot be used.
    """
    key = _load(key_pem)
    strong = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
    digest = hashes.SHA384() if strong else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    by_curve = isinstance(key, ec.EllipticCurvePrivateKey)
    request = builder.sign(key, digest, ecdsa_deterministic=True if by_curve else None)
    return request.public_bytes(Encoding.PEM)


def request_subject(configured: str | None, current_pem: bytes | None, fallback: str) -> x509.Name:
    """Return the subject for a request.

    Args:
        configured: What the operator wants, RFC 4514 text, or None.
        current_pem: The current certificate, whose subject policies may rely on, or None.
        fallback: The common name when there is nothing to keep.

    Raises:
        MaterialError: The configured subject cannot be parsed.
    """
    if configured is not None:
        try:
            return x509.Name.from_rfc4514_string(configured)
        except ValueError as error:
            raise MaterialError(f"the configured subject {configured!r} is no RFC 4514 name ({error})") from None
    if current_pem is not None:
        block = split(current_pem)[0]
        facts, _ = read_certificate(block)
        if facts.subject and facts.subject not in MEANINGLESS_SUBJECTS:
            return x509.load_pem_x509_certificate(block).subject
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, fallback[:MAX_COMMON_NAME])])
