"""The name under which OpenSSL looks an anchor up in a directory, as ``openssl rehash`` gives it.

It is the start of the SHA-1 of the subject in OpenSSL's canonical form (``x509_name_canon``): without the outer
header, each text as UTF-8, in small letters, without blanks around it and with one where there were several.
SHA-1 finds a file here and vouches for nothing.
"""

from __future__ import annotations

import hashlib
import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

_UTF8, _SEQUENCE, _SET = 0x0C, 0x30, 0x31
_LONG = 0x80  # what a length of several bytes begins with, beside their number

# The kinds of text that have a canonical form, by their tag, and how they are written: T61String is taken for Latin-1.
_TEXTS = {
    0x0C: "utf-8", 0x13: "latin-1", 0x14: "latin-1", 0x16: "latin-1", 0x1A: "latin-1",
    0x1C: "utf-32-be", 0x1E: "utf-16-be",
}  # fmt: skip


def subject_hash(pem: bytes) -> str:
    """Return the eight digits that the name of a certificate's file begins with; it was read before."""
    with warnings.catch_warnings():  # one of Amazon's roots has the serial number 0
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        certificate = x509.load_pem_x509_certificate(pem)
    ((_, names),) = _parts(certificate.subject.public_bytes())
    canonical = b"".join(_set(content) for _, content in _parts(names))
    digest = hashlib.sha1(canonical, usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _set(content: bytes) -> bytes:
    return _der(_SET, b"".join(sorted(_attribute(pair) for _, pair in _parts(content))))


def _attribute(pair: bytes) -> bytes:
    (kind, oid), (tag, value) = _parts(pair)
    if tag in _TEXTS:
        tag, value = _UTF8, _canonical(value.decode(_TEXTS[tag], "replace").encode())
    return _der(_SEQUENCE, _der(kind, oid) + _der(tag, value))


def _canonical(text: bytes) -> bytes:
    return b" ".join(text.lower().split())  # of bytes: blanks and letters are ASCII's alone


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each object in DER that `cryptography` has written."""
    while data:
        length, start = data[1], 2
        if length & _LONG:
            start += length ^ _LONG
            length = int.from_bytes(data[2:start], "big")
        yield data[0], data[start : start + length]
        data = data[start + length :]


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < _LONG:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG | len(size)]) + size + content
