"""The spellings and containers that other systems give keys and certificates in, and what each is called.

Windows writes UTF-16, JSON carries PEM with its line ends spelt out, mails carry base64 without its first line, OpenSSL
and Java have containers of their own. `as_plain` undoes a spelling; `certificates_in` opens a PKCS #7 container; what
is not read here is named, with the command that turns it into what is.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import warnings
from contextlib import suppress
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from agent.errors import MaterialError

_BEGIN, _CERTIFICATE = b"-----BEGIN ", b"-----BEGIN CERTIFICATE-----"
_ENCODINGS = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
    "--".encode("utf-16-le"): "utf-16-le",
    "--".encode("utf-16-be"): "utf-16-be",
}
_BARE = re.compile(rb"[A-Za-z0-9+/\s]{120,}={0,2}\s*")
_PKCS7 = (b"-----BEGIN PKCS7-----", b"-----BEGIN PKCS #7 SIGNED DATA-----", b"-----BEGIN CMS-----")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")  # OBJECT IDENTIFIER 1.2.840.113549.1.7.2
_PKCS12 = re.compile(rb"\x30[\x80-\x84].{0,4}\x02\x01\x03\x30", re.DOTALL)  # version 3, and then a container


class KnownFormat(NamedTuple):
    """What something is called.

    Attributes:
        text: It, as the end of a sentence that begins with "it is".
        hint: How it becomes something that is read.
    """

    text: str
    hint: str


_KEYTOOL = (
    "`keytool -importkeystore -srckeystore FILE -destkeystore NEW.p12 -deststoretype PKCS12` makes a PKCS #12 file."
)
_OPENINGS: dict[bytes, KnownFormat] = {
    b"\xfe\xed\xfe\xed": KnownFormat("a Java key store (JKS)", _KEYTOOL),
    b"\xce\xce\xce\xce": KnownFormat("a Java key store (JCEKS)", _KEYTOOL),
    b"-----BEGIN TRUSTED CERTIFICATE-----": KnownFormat(
        "a certificate in OpenSSL's own format, with what OpenSSL trusts it for",
        "`openssl x509 -in FILE -out NEW` makes a plain one.",
    ),
    b"-----BEGIN OPENSSH PRIVATE KEY-----": KnownFormat(
        "a key in OpenSSH's own format", "`ssh-keygen -p -m PKCS8 -f FILE` makes a plain one of it, in place."
    ),
    b"\0\0\0\0CERT": KnownFormat(
        "a store of certificates as Windows serialises it", "Export its certificates from Windows as Base-64 X.509."
    ),
    b"SQLite format 3": KnownFormat(
        "a database, as NSS keeps certificates in", "`certutil -L -a -n NAME` takes one out."
    ),
    b"<": KnownFormat("a web page or XML, as a portal or a proxy answers a download with", "Fetch the file anew."),
    b"PuTTY-User-Key-File": KnownFormat("a key of PuTTY's", "`puttygen FILE -O private-openssh -o NEW` takes it out."),
    b"-----BEGIN PGP": KnownFormat("made by PGP, which TLS knows nothing of", ""),
    b"ssh-": KnownFormat("a public key of SSH's, which TLS knows nothing of", ""),
    b"PK\x03\x04": KnownFormat("a ZIP archive", "Unpack it, and name the files in it."),
    b"\x1f\x8b": KnownFormat("a compressed archive", "Unpack it, and name the files in it."),
    b"-----BEGIN DH PARAMETERS-----": KnownFormat("a file of parameters, with no key in it", ""),
    b"-----BEGIN EC PARAMETERS-----": KnownFormat("a file of parameters, with no key in it", ""),
}


PKCS7 = "a PKCS #7 container"
PKCS12 = KnownFormat("a PKCS #12 container", "`openssl pkcs12 -nokeys -in FILE -out NEW` takes its certificates out.")


def as_plain(data: bytes) -> bytes:
    """Return the same in the spelling that is read here: ASCII with real line ends and no mark before it, or DER."""
    for opening, encoding in _ENCODINGS.items():
        if data.startswith(opening):
            data = data.decode(encoding, errors="replace").encode()
            break
    if _BEGIN in data:
        return data.replace(b"\\r", b"").replace(b"\\n", b"\n")
    if _BARE.fullmatch(data.strip(b"\0")):
        try:
            return base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            pass
    return data


def certificates_in(data: bytes) -> list[bytes] | None:
    """Return the certificates of a PKCS #7 container as DER, or None when it is none.

    Raises:
        MaterialError: It is one, and damaged.
    """
    der = _pkcs7(data)
    if not der:
        return None
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415 - it brings `email` along

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # many are not DER to the letter, and read all the same
            found = pkcs7.load_der_pkcs7_certificates(der)
    except Exception:  # noqa: BLE001 - several unrelated types come out of hostile input
        raise MaterialError(f"it is {PKCS7} that cannot be read") from None
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


def _pkcs7(data: bytes) -> bytes:
    """Return the DER of a PKCS #7 container, which Windows calls a certificate in PEM; empty where it is none."""
    text = data.lstrip()
    if text.startswith((*_PKCS7, _CERTIFICATE)):
        with suppress(binascii.Error, IndexError):
            der = base64.b64decode(b"".join(text.split(b"-----")[2].split()), validate=True)
            return der if text.startswith(_PKCS7) or _SIGNED_DATA in der[:20] else b""
    if data[:1] == b"\x30" and _SIGNED_DATA in data[:20]:
        return data
    return b"\0" if text.startswith(_PKCS7) else b""


def known(data: bytes) -> KnownFormat | None:
    """Return what something is called of which not every reader takes the certificates; None when it is not known."""
    text = data.lstrip()
    for opening, name in _OPENINGS.items():
        if text.startswith(opening):
            return name
    if _pkcs7(data):
        form = "" if text.startswith(_BEGIN) else "-inform DER "
        return KnownFormat(PKCS7, f"`openssl pkcs7 {form}-print_certs -in FILE -out NEW` takes its certificates out.")
    return PKCS12 if _PKCS12.match(data) else None
