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
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from agent.errors import MaterialError

_BEGIN = b"-----BEGIN "
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
    b"PuTTY-User-Key-File": KnownFormat("a key of PuTTY's", "`puttygen FILE -O private-openssh -o NEW` takes it out."),
    b"-----BEGIN PGP": KnownFormat("made by PGP, which TLS knows nothing of", ""),
    b"ssh-": KnownFormat("a public key of SSH's, which TLS knows nothing of", ""),
    b"PK\x03\x04": KnownFormat("a ZIP archive", "Unpack it, and name the files in it."),
    b"\x1f\x8b": KnownFormat("a compressed archive", "Unpack it, and name the files in it."),
    b"-----BEGIN DH PARAMETERS-----": KnownFormat("a file of parameters, with no key in it", ""),
    b"-----BEGIN EC PARAMETERS-----": KnownFormat("a file of parameters, with no key in it", ""),
}


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
    text = data.lstrip()
    if not text.startswith(_PKCS7) and not (data[:1] == b"\x30" and _SIGNED_DATA in data[:20]):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # many are not DER to the letter, and read all the same
            if text.startswith(_PKCS7):
                label = text.partition(b"-----BEGIN ")[2].partition(b"-----")[0]
                text = text.replace(label, b"PKCS7")
                found = pkcs7.load_pem_pkcs7_certificates(text)
            else:
                found = pkcs7.load_der_pkcs7_certificates(data)
    except Exception:  # noqa: BLE001 - several unrelated types come out of hostile input
        raise MaterialError("it is a PKCS #7 container that cannot be read") from None
    return [certificate.public_bytes(Encoding.DER) for certificate in found]


def known(data: bytes) -> KnownFormat | None:
    """Return what something is called that is not read here, or None when it is not known either."""
    text = data.lstrip()
    for opening, name in _OPENINGS.items():
        if text.startswith(opening):
            return name
    if _PKCS12.match(data):
        return KnownFormat(
            "a PKCS #12 container, and another password is needed", "--password-file FILE holds a password."
        )
    return None
