"""DER (X.690), as far as a test writes it by hand: what no library would make."""

from __future__ import annotations

NULL = b"\x05\x00"
RSA = "06092a864886f70d010101"  # rsaEncryption (RFC 8017)


def tagged(tag: int, *parts: bytes) -> bytes:
    """Return parts as the content of one DER value."""
    content = b"".join(parts)
    size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    length = bytes([0x80 | len(size)]) + size if len(content) >= 0x80 else bytes([len(content)])
    return bytes([tag]) + length + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE."""
    return tagged(0x30, *parts)


def integer(value: int) -> bytes:
    """Return an INTEGER."""
    return tagged(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octets(data: bytes) -> bytes:
    """Return an OCTET STRING."""
    return tagged(4, data)


def named(oid: str, *parameters: bytes) -> bytes:
    """Return an AlgorithmIdentifier."""
    return sequence(bytes.fromhex(oid), *parameters)


def mersenne_key(first: int, second: int) -> bytes:
    """Return an RSA key of two Mersenne primes, PKCS #8."""
    p, q, e = 2**first - 1, 2**second - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = (0, p * q, e, d, p, q, d % (p - 1), d % (q - 1), pow(q, -1, p))
    return sequence(integer(0), named(RSA, NULL), octets(sequence(*map(integer, numbers))))


SALT = octets(bytes(16))
PBES2, AES_256_CBC = "06092a864886f70d01050d", "060960864801650304012a"
PBKDF2, HMAC_SHA256 = "06092a864886f70d01050c", "06082a864886f70d0209"


def stirred(times: int) -> bytes:
    """Return an encrypted key whose password is to be stirred so often (RFC 8018)."""
    return encrypted(named(PBKDF2, sequence(SALT, integer(times), named(HMAC_SHA256, NULL))))


def encrypted(derived: bytes) -> bytes:
    """Return a key that is encrypted with what is derived from a password."""
    return sequence(named(PBES2, sequence(derived, named(AES_256_CBC, SALT))), octets(bytes(64)))
