"""What a CA of the operator's own signs: a certificate for a gateway's request, its own certificate, its own request.

It owns what is in such a certificate and which requests are refused. It holds no key: what is to be signed is built
here, as the bytes that the CA's key signs elsewhere (`ports.Keys`), and put together with the signature here.

* Subject and public key are the request's, as AWS IoT Core asks of a certificate provider; nothing else of it is taken
  over, so a request that asks to be a CA, or for another name beside its subject, gets neither. Source:
  "Self-managed certificate signing using AWS IoT Core certificate provider", developer guide.
* The extensions are those of AWS's own certificates. There is no extended key usage: programs on a gateway may show the
  same certificate as servers, and do (docs/integrator.md, nginx).
* The same request of the same caller within one `grain` of time is the same certificate, byte for byte, since RSA's
  signature (RFC 8017, 8.2) is the same each time: a call that AWS repeats is answered as it was, by whichever function.
  Later it is another one, as with AWS's own ("Reusing the same certificate signing request results in a distinct
  certificate", CreateCertificateFromCsr): a gateway that lost the answer can always ask again, whatever AWS makes of a
  certificate that it has registered already.

No library signs with a key that it does not have. So a certificate is made by `STAND_IN`, and the bytes that it has
signed are taken from it: nothing of the key is in them but the name of the algorithm, which is the CA's too (RFC 5280,
4.1.2.3). What is left is to put signature and bytes into a sequence.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import NameOID

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

LONGEST_REQUEST = 4096  # characters of PEM (CreateCertificateFromCsr)
SHORTEST_KEY = 2048  # bits of RSA (CreateCertificateFromCsr)
CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})  # the same

_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_IN_A_LIFE = 1440  # grains: a minute of a day
_BACKDATED = 5  # grains, for a gateway whose clock is behind
_SERIAL_BYTES = 20  # at most, and positive (RFC 5280, 4.1.2.2)
_VERSION = bytes.fromhex("020100")  # INTEGER 0, with which what a request says begins (RFC 2986, 4.1)
_SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")  # AlgorithmIdentifier (RFC 4055, 5)


def _stand_in() -> rsa.RSAPrivateKey:
    """Return a key that is no secret, of two of Mersenne's primes, so that no chance is drawn.

    It is short, since what it signs is thrown away: one of 3482 bits takes twenty times as long.
    """
    p, q, e = 2**607 - 1, 2**521 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
    )
    # Validation would take a small function time at each start; a test validates it instead.
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


STAND_IN = _stand_in()
# A public key for a certificate that no gateway uses, of a size that AWS takes.
NO_GATEWAYS = rsa.RSAPublicNumbers(65537, (2**2203 - 1) * (2**1279 - 1)).public_key()


@frozen
class Refused:
    """A request that is not signed.

    Attributes:
        why: A sentence.
    """

    why: str


@frozen
class Signed:
    """A certificate.

    Attributes:
        pem: The certificate, in PEM.
        certificate_id: What AWS IoT Core knows it by: the SHA-256 of its DER.
        ends: When it ends.
    """

    pem: str
    certificate_id: str
    ends: datetime


@frozen
class _ToBeSigned:
    """What lacks its signature.

    Attributes:
        tbs: The bytes that are to be signed, by RSASSA-PKCS1-v1_5 with SHA-256.
    """

    tbs: bytes

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what is to be signed, for a key that takes digests."""
        return sha256(self.tbs).digest()


@frozen
class Unsigned(_ToBeSigned):
    """A certificate that lacks its signature.

    Attributes:
        ca: Who signs; None for a CA that signs itself.
    """

    ca: x509.Certificate | None

    def signed(self, signature: bytes) -> Signed | None:
        """Return the certificate (RFC 5280, 4.1), or None for a signature that is not of the CA's key."""
        made = x509.load_der_x509_certificate(_put_together(self.tbs, signature))
        try:
            made.verify_directly_issued_by(self.ca or made)
        except (ValueError, TypeError, InvalidSignature):
            return None
        pem = made.public_bytes(Encoding.PEM).decode()
        return Signed(pem=pem, certificate_id=_fingerprint(made), ends=made.not_valid_after_utc)


@frozen
class UnsignedRequest(_ToBeSigned):
    """A CA's own request that lacks its signature."""

    def signed(self, signature: bytes) -> str | None:
        """Return the request in PEM (RFC 2986, 4.2), or None for a signature that is not of the key in it."""
        made = x509.load_der_x509_csr(_put_together(self.tbs, signature))
        return made.public_bytes(Encoding.PEM).decode() if made.is_signature_valid else None


def _put_together(tbs: bytes, signature: bytes) -> bytes:
    bits = b"\x03" + _length(len(signature) + 1) + b"\x00" + signature
    return _sequence(tbs + _SHA256_WITH_RSA + bits)


def _sequence(body: bytes) -> bytes:
    return b"\x30" + _length(len(body)) + body


def _length(size: int) -> bytes:
    """Return a length in DER (X.690, 8.1.3)."""
    if size < 0x80:  # noqa: PLR2004 - the bit that tells of the longer form
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets)]) + octets


def grain(lifetime: timedelta) -> timedelta:
    """Return the span in which the same request gives the same certificate: a minute, or less for a very short life."""
    return max(_SECOND, min(_MINUTE, lifetime // _IN_A_LIFE))


def certificate(csr: str, ca_pem: str, lifetime: timedelta, now: datetime, caller: str) -> Unsigned | Refused:
    """Decide what is signed for a request.

    Args:
        csr: The request, in PEM.
        ca_pem: The certificate of the CA that signs.
        lifetime: How long the certificate is to live at least. It ends with the CA at the latest.
        now: The present time.
        caller: Who asks, by AWS's word: two that send the same request get two certificates.
    """
    request = _read(csr)
    if isinstance(request, Refused):
        return request
    ca = x509.load_pem_x509_certificate(ca_pem.encode())
    if not ca.not_valid_before_utc <= now < ca.not_valid_after_utc:
        return Refused(why=f"The CA is valid from {ca.not_valid_before_utc} until {ca.not_valid_after_utc} alone.")
    span = grain(lifetime)
    begin = datetime.fromtimestamp(now.timestamp() // span.total_seconds() * span.total_seconds(), UTC)
    parts = (_fingerprint(ca), request.public_bytes(Encoding.DER).hex(), caller, begin.isoformat())
    builder = (
        _builder(request.subject, request.public_key(), ca.subject)
        .serial_number(_serial("\n".join(parts).encode()))
        .not_valid_before(max(begin - _BACKDATED * span, ca.not_valid_before_utc))
        .not_valid_after(min(begin + span + lifetime, ca.not_valid_after_utc))
        .add_extension(_names_issuer(ca), critical=False)
    )
    return _unsigned(builder, ca)


def _read(csr: str) -> x509.CertificateSigningRequest | Refused:
    """Return a request that is signed with its own key, of a kind that AWS IoT takes."""
    if len(csr) > LONGEST_REQUEST:
        return Refused(why=f"The request has {len(csr)} characters; AWS takes {LONGEST_REQUEST}.")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key, subject, sound = request.public_key(), request.subject, request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion):
        return Refused(why="The request is no PKCS #10 in PEM, or of a kind of key that AWS IoT does not take.")
    if not _is_taken(key):
        return Refused(why="Its key must be RSA of 2048 bits or more, or on NIST's P-256, P-384 or P-521.")
    if not sound:
        return Refused(why="It is not signed with the key that is in it.")
    if not list(subject):
        return Refused(why="It has no subject, and a certificate must have one (RFC 5280, 4.1.2.6).")
    return request


def _is_taken(key: CertificatePublicKeyTypes) -> bool:
    match key:
        case rsa.RSAPublicKey():
            return key.key_size >= SHORTEST_KEY
        case ec.EllipticCurvePublicKey():
            return key.curve.name in CURVES
        case _:
            return False


def root(public_key: bytes, name: str, begin: datetime, lifetime: timedelta) -> Unsigned:
    """Return the certificate of a CA that signs itself: the same one for the same key, name and time.

    Args:
        public_key: Its key, as SubjectPublicKeyInfo in DER (what KMS's GetPublicKey gives).
        name: Its common name.
        begin: From when it is valid.
        lifetime: For how long.
    """
    key, subject = _rsa(public_key), _name(name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    builder = (
        _builder(subject, key, subject)
        .serial_number(_serial(public_key))
        .not_valid_before(begin)
        .not_valid_after(begin + lifetime)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    )
    return _unsigned(builder, None)


def request(public_key: bytes, name: str) -> UnsignedRequest:
    """Return the request by which another CA is asked for such a certificate: the same one for the same key and name.

    Args:
        public_key: The CA's key, as for `root`.
        name: Its common name.
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(_rsa(public_key))
    whole = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(name))
        .add_extension(identifier, critical=False)
        .add_extension(_limits(signs=True), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(STAND_IN, hashes.SHA256())
    )
    stands_in = STAND_IN.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    before, after = whole.tbs_certrequest_bytes.split(stands_in)  # a request names the key that signs it
    return UnsignedRequest(tbs=_sequence(before[before.index(_VERSION) :] + public_key + after))


def _rsa(public_key: bytes) -> rsa.RSAPublicKey:
    key = load_der_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise TypeError("a CA's key is RSA")
    return key


def proof(code: str, ca_pem: str, now: datetime) -> Unsigned:
    """Return the certificate that proves to AWS that a CA's key is here (RegisterCACertificate), with AWS's code."""
    ca = x509.load_pem_x509_certificate(ca_pem.encode())
    builder = (
        _builder(_name(code), NO_GATEWAYS, ca.subject)
        .serial_number(_serial(code.encode()))
        .not_valid_before(max(now - _MINUTE, ca.not_valid_before_utc))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(_names_issuer(ca), critical=False)
    )
    return _unsigned(builder, ca)


def _fingerprint(made: x509.Certificate) -> str:
    return made.fingerprint(hashes.SHA256()).hex()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _serial(seed: bytes) -> int:
    return (int.from_bytes(sha256(seed).digest()[:_SERIAL_BYTES]) >> 1) or 1


def _names_issuer(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _builder(subject: x509.Name, key: CertificatePublicKeyTypes, issuer: x509.Name) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.add_extension(identifier, critical=False)


def _unsigned(builder: x509.CertificateBuilder, ca: x509.Certificate | None) -> Unsigned:
    signs = ca is None
    whole = (
        builder.add_extension(_limits(signs=signs), critical=True)
        .add_extension(_usage(signs=signs), critical=True)
        .sign(STAND_IN, hashes.SHA256())
    )
    return Unsigned(tbs=whole.tbs_certificate_bytes, ca=ca)


def _limits(*, signs: bool) -> x509.BasicConstraints:
    return x509.BasicConstraints(ca=signs, path_length=0 if signs else None)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
