"""Files as a technician brings them: keys, certificates and chains in each spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from agent.crypto import import_files
from agent.errors import MaterialError
from agent.sandbox.account.authority import Authority, name
from support.aws.rsa_keys import known_key

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509 as c509
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

    from agent.core.values import CredentialSet

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PASSWORD = b"correct horse"

EC: Key = ec.generate_private_key(ec.SECP256R1())
OTHER: Key = ec.generate_private_key(ec.SECP256R1())
ROOT = Authority("Test root", NOW)
BETWEEN = ROOT.intermediate("Test authority", NOW)

PKCS8, TRADITIONAL = PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL
ENCRYPTED = BestAvailableEncryption(PASSWORD)


def issued(key: Key = EC, by: Authority = ROOT, begins: datetime = NOW) -> c509.Certificate:
    """Return a gateway's certificate."""
    return by.issue_client(name("gw-0042"), key.public_key(), begins, NOW + 365 * DAY)


def pem(certificate: c509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def spelt(
    key: Key,
    encoding: Encoding = Encoding.PEM,
    form: PrivateFormat = PKCS8,
    encryption: KeySerializationEncryption | None = None,
) -> bytes:
    """Return a key in one of its spellings."""
    return key.private_bytes(encoding, form, encryption or NoEncryption())


def packed(
    key: Key | None,
    certificate: c509.Certificate | None,
    *others: c509.Certificate,
    encryption: KeySerializationEncryption = ENCRYPTED,
) -> bytes:
    """Return a PKCS #12 file."""
    return pkcs12.serialize_key_and_certificates(b"gw", key, certificate, list(others) or None, encryption)


class Stick:
    """A directory to bring things along in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, **files: bytes) -> Stick:
        """Put files onto it; in a name ``_`` stands for a dot."""
        for file, data in files.items():
            (self.path / file.replace("_", ".")).write_bytes(data)
        return self

    def bring(self, *names: str, password: bytes | None = None) -> import_files.Brought:
        """Read files of it, or all of it."""
        return import_files.bring([self.path / item for item in names] or [self.path], password)

    def credential(self, *names: str, password: bytes | None = None) -> CredentialSet:
        """Return the set that is made of them."""
        found = self.bring(*names, password=password).credential
        assert found is not None
        return found

    def complaint(self, *names: str, password: bytes | None = None) -> str:
        """Return why they are refused, in words that hold nothing of any key or password."""
        with pytest.raises(MaterialError) as caught:
            self.bring(*names, password=password)
        told = f"{caught.value} {caught.value.hint} {caught.value.__cause__ or ''}"
        assert not [piece for piece in pieces(self.path) if piece in told]
        return told


def pieces(path: Path) -> set[str]:
    """Return every stretch of the files' bytes, and of every key here, that would give something of a key away."""
    texts = [file.read_bytes() for file in path.rglob("*") if file.is_file() and file.stat().st_size < 65_536]
    texts += [spelt(key) for key in (EC, rsa_key(), OTHER)]
    words = {text[at : at + 12].decode("ascii", "replace") for text in texts for at in range(0, len(text), 12)}
    numbers = {f"{key.private_numbers().private_value}" for key in (EC, OTHER) if isinstance(key, ec.EllipticCurvePrivateKey)}  # noqa: E501  # fmt: skip
    return {word for word in words | numbers | {PASSWORD.decode()} if "-----" not in word and word.strip()}


def rsa_key() -> Key:
    """Return an RSA key."""
    return known_key(2048)
