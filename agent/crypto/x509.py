"""Certificates and trust bundles: from PEM or DER bytes to facts, and back to one canonical form.

What is read may be hostile. Every complaint is a `MaterialError`; the parser's own errors, of which there are many
unrelated kinds and some only when a field is first touched, all end here.

`read_store` reads what others made, certificate by certificate, and reports what it cannot read. `read_chain` and
`read_bundle` read what is to be used, and refuse all of it for one bad block.

What is written is canonical: one PEM block after another and nothing else, made from the DER that was checked, so the
bytes that were verified are the bytes that the TLS library loads.
"""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from agent.core.text import printable
from agent.core.text_files import pem_of
from agent.core.trust.anchor_lint import StoreEntry
from agent.core.values import CertificateFacts, TrustBundle
from agent.crypto import containers
from agent.errors import MaterialError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

MAX_HOST = 253  # characters (RFC 1035, section 2.3.4, without the last dot)
MAX_BUNDLE = 1_048_576  # bytes; the whole Mozilla store has a quarter of it
MAX_ANCHORS = 1_000

_BLOCK = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----[A-Za-z0-9+/=\s]{1,200000}?-----END (?:X509 )?CERTIFICATE-----"
)
_BEGIN = b"-----BEGIN "
_LABELS = (b"BEGIN CERTIFICATE", b"BEGIN X509 CERTIFICATE")  # the second was OpenSSL's of old
BEGINNINGS = tuple(b"-----%b-----" % label for label in _LABELS)  # of a certificate in PEM

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
            certificate = x509.load_der_x509_certificate(_der(data))
            return _facts(certificate), certificate.public_bytes(Encoding.PEM)
    except Exception as error:  # noqa: BLE001 - at least seven unrelated types come out of hostile input
        reason = _reason(str(error).split("\n", maxsplit=1)[0]) or type(error).__name__
        raise _named(data, f"a certificate cannot be parsed ({reason})") from None


_PARTS = 5  # of a block between five dashes: nothing, its first line, what it holds, its last line, the rest


def _der(data: bytes) -> bytes:
    """Return what a PEM block holds, whatever blanks and empty lines it has; DER as it is."""
    text = data.lstrip()
    if not text.startswith(_BEGIN):
        return data
    parts = text.split(b"-----")
    if len(parts) < _PARTS:
        raise ValueError("it has no end")
    _, label, body, end, *_ = parts
    if label not in _LABELS or end != label.replace(b"BEGIN", b"END"):
        raise ValueError("it is no PEM block of a certificate")
    return base64.b64decode(b"".join(body.split()), validate=True)


# A set is read from the disk wherever it matters what really is there, and stores hold what others hold; the same bytes
# say the same. There is room for all anchors of a set, since a cache that is smaller than what is read over and over
# forgets each before its turn. What cannot be read is not kept, and so no private key.
_read_once = lru_cache(maxsize=MAX_ANCHORS)(read_certificate)
_KEPT = 8_192  # bytes, of which a certificate of any real authority has a quarter; a larger one is read each time

_PLACE = re.compile(r'InvalidValue, location: \[(?:"(\w+)"|\d+, \d+, "AttributeTypeValue::value")')


def _reason(text: str) -> str:
    """Return why a parser fails, for people; what it calls an invalid value is mostly a text of the wrong kind."""
    place = _PLACE.search(text)
    if place is None:
        return text[:120]
    whose = place[1] or "subject or issuer"
    return f"its {whose} holds a text in an encoding that its kind does not have, which some tools let pass"


def _facts(certificate: x509.Certificate) -> CertificateFacts:
    public_key = certificate.public_key()
    extensions = certificate.extensions
    return CertificateFacts(
        subject=name_text(certificate.subject),
        issuer=name_text(certificate.issuer),
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
        version=certificate.version.value + 1,
        unfit=_unfit(extensions),
    )


def name_text(name: x509.Name) -> str:
    """Return a name as RFC 4514 text, of which what cannot be printed is escaped as bytes (its section 2.4)."""
    text = name.rfc4514_string()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "".join(f"\\{byte:02X}" for byte in char.encode()) for char in text)


def spki_sha256(public_key: CertificatePublicKeyTypes) -> str:
    """Return the SHA-256 of a public key's subject public key info."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def server_names(der: bytes) -> tuple[str, ...]:
    """Return the DNS names and addresses that a server's certificate is for.

    Raises:
        MaterialError: It cannot be parsed.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            *(printable(name, MAX_HOST) for name in names.get_values_for_type(x509.DNSName)),
            *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        )
    except x509.ExtensionNotFound:
        return ()
    except Exception as error:  # noqa: BLE001 - as in `read_certificate`
        raise MaterialError(f"the server's certificate cannot be parsed ({type(error).__name__})") from None


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


def _unfit(extensions: x509.Extensions) -> str | None:
    """Return what `CertificateFacts.unfit` is, by RFC 5280, sections 4.2.1.3 and 4.2.1.12, as OpenSSL reads them."""
    if not _is_ca(extensions):
        return None
    with suppress(x509.ExtensionNotFound):
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "its key usage does not let it sign certificates"
    with suppress(x509.ExtensionNotFound):
        if ExtendedKeyUsageOID.SERVER_AUTH not in extensions.get_extension_for_class(x509.ExtendedKeyUsage).value:
            return "its extended key usage leaves servers out"
    return None


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
        raise _named(data[data.find(_BEGIN) :], "a PEM block is not a well-formed certificate")
    return blocks


def _named(data: bytes, otherwise: str) -> MaterialError:
    """Return the complaint about what holds no certificate that can be read: what it is, if that is known."""
    name = containers.known(data)
    return MaterialError(otherwise) if name is None else MaterialError(f"it is {name.text}", hint=name.hint)


def read_chain(data: bytes) -> tuple[tuple[CertificateFacts, ...], bytes]:
    """Return the facts of a chain, in order, and its canonical PEM.

    Raises:
        MaterialError: Any block cannot be parsed, or there is none.
    """
    certificates = list(map(_read_once, split(data)))
    if not certificates:
        raise _named(data, "there is no PEM certificate in it")
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


def read_anchors(data: bytes) -> TrustBundle:
    """Return the trust anchors in a file that a person put in place: as `read_store` shows it, so it is used.

    Raises:
        MaterialError: As of `read_bundle`, which takes what is signed to the letter.
    """
    if _is_der(data) and len(data) <= MAX_BUNDLE:
        data = b"".join(read_certificate(block)[1] for block in islice(_der_blocks(data), MAX_ANCHORS + 1))
    return read_bundle(pem_of(data))


MAX_STORE = 8_388_608  # bytes; the largest public store has a twentieth of it
MAX_ENTRIES = 5_000

_SEQUENCE = 0x30  # how every DER certificate begins
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")


def read_store(data: bytes) -> tuple[StoreEntry, ...]:
    """Return what is in a store of any origin, PEM with whatever stands between the blocks, or DER.

    Raises:
        MaterialError: It is too large to be looked at.
    """
    if len(data) > MAX_STORE:
        raise MaterialError(f"the store has {len(data)} bytes and {MAX_STORE} are looked at")
    name = None if _BEGIN in data.upper() else containers.known(data)
    if name is not None:
        return (StoreEntry(line=1, problem=f"it is {name.text}", hint=name.hint),)
    entries = _der_entries(data) if _is_der(data) else _pem_entries(data)
    if len(entries) > MAX_ENTRIES:
        raise MaterialError(f"the store has more than the {MAX_ENTRIES} entries that are looked at")
    return tuple(entries)


def _is_der(data: bytes) -> bool:
    """A text may begin with a nought as well; no certificate is so short that a character could follow it in DER."""
    return data[:1] == bytes([_SEQUENCE]) and (data[1:2] >= b"\x80" or _BEGIN not in data.upper())


def _pem_entries(data: bytes) -> list[StoreEntry]:
    entries: list[StoreEntry] = []
    position, line, marks = 0, 1, data.upper()  # a header in small letters is malformed, and must not be passed over
    while len(entries) <= MAX_ENTRIES and (found := marks.find(_BEGIN, position)) >= 0:
        line += data.count(b"\n", position, found)
        following = marks.find(_BEGIN, found + len(_BEGIN))
        end = len(data) if following < 0 else following
        entries.append(_pem_entry(data[found:end], line))
        position, line = end, line + data.count(b"\n", found, end)
    return entries


def _pem_entry(block: bytes, line: int) -> StoreEntry:
    label = _LABEL.match(block)
    if label is None:
        return StoreEntry(line=line, problem="its first line is malformed")
    if label[1].endswith(b"PRIVATE KEY"):
        return StoreEntry(line=line, problem="it is a private key, which has no place among certificates")
    if b"BEGIN " + label[1] not in _LABELS:
        return _named_entry(block, line, "it is no certificate")
    body, end, _ = block[label.end() :].partition(b"-----END %b-----" % label[1])
    if not end:
        return StoreEntry(line=line, problem="it has no end")
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
    except ValueError:
        return StoreEntry(line=line, problem="it is not base64 text")
    entry = _entry(der, line)
    return _named_entry(block, line, entry.problem) if entry.facts is None else entry


def _named_entry(block: bytes, line: int, otherwise: str) -> StoreEntry:
    complaint = _named(block, otherwise)
    return StoreEntry(line=line, problem=str(complaint), hint=complaint.hint)


def _entry(der: bytes, line: int) -> StoreEntry:
    if der[:1] != bytes([_SEQUENCE]):  # PEM within PEM, which no TLS library reads
        return StoreEntry(line=line, problem="a certificate cannot be parsed (it is not DER)")
    try:
        facts, _ = (_read_once if len(der) <= _KEPT else read_certificate)(der)
    except MaterialError as error:
        return StoreEntry(line=line, problem=str(error))
    return StoreEntry(line=line, facts=facts)


def _der_entries(data: bytes) -> list[StoreEntry]:
    entries, position = [], 0
    for block in islice(_der_blocks(data), MAX_ENTRIES + 1):
        whole = _der_length(block[:6]) == len(block)
        problem = f"what follows byte {position} is no DER certificate"
        entries.append(_entry(block, 1) if whole else StoreEntry(line=1, problem=problem))
        position += len(block)
    return entries


def _der_blocks(data: bytes) -> Iterator[bytes]:
    """Return the certificates that stand one after the other in a binary file, and all of what is none at its end."""
    position = 0
    while position < len(data):
        length = _der_length(data[position : position + 6])
        end = position + length if length and position + length <= len(data) else len(data)
        yield data[position:end]
        position = end


def _der_length(head: bytes) -> int:
    """Return how long a DER sequence is, its header included (X.690, section 8.1.3), or 0 when it is none."""
    if len(head) < 2 or head[0] != _SEQUENCE:  # noqa: PLR2004 - tag and length
        return 0
    if head[1] < 0x80:  # noqa: PLR2004 - the short form
        return 2 + head[1]
    size = head[1] & 0x7F
    if not 1 <= size <= len(head) - 2:
        return 0
    return 2 + size + int.from_bytes(head[2 : 2 + size])
