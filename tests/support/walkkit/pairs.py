"""What lies in the directories of generations, read by the cryptography library alone, and pairs that are put there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from agent.errors import StoreError
from agent.sandbox.account.authority import AWS_NOT_AFTER, fingerprint, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY
from agent.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from agent.sandbox.cloud import Cloud, Status

THING = "gw-0042"
KEY, CERTIFICATE, TRUST, MANIFEST = "key.pem", "certificate.pem", "trust.pem", "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A key and a certificate of this thing."""

    key_pem: bytes
    certificate_pem: bytes
    certificate_id: str

    def put_into(self, directory: Path) -> None:
        """Write both there, over what is there.

        Raises:
            OSError: There is no such directory, or no room.
        """
        for file, data in ((KEY, self.key_pem), (CERTIFICATE, self.certificate_pem)):
            path = directory / file
            path.write_bytes(data)
            path.chmod(0o600)


def new_pair(cloud: Cloud, status: Status) -> Pair:
    """Make a pair as a technician gets one in the console: registered for this thing, in some state."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.now(UTC) - timedelta(minutes=2)
    certificate = cloud.authority.issue_client(name(THING), key.public_key(), start, AWS_NOT_AFTER)
    entry = cloud.registry.add(certificate, status)
    entry.thing_name, entry.policies = THING, [GATEWAY]
    pem = certificate.public_bytes(Encoding.PEM)
    return Pair(key_pem=key_to_pem(key), certificate_pem=pem, certificate_id=fingerprint(certificate))


def foreign_key() -> bytes:
    """Return a key that fits no certificate."""
    return key_to_pem(ec.generate_private_key(ec.SECP256R1()))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies in one generation's directory.

    Attributes:
        directory: Where it is.
        whole: Whether the store takes it for whole.
        certificate_id: The certificate, when there is one and the key beside it is its own; else empty.
        anchors: SHA-256 of each anchor that can be read.
        by_hand: Whether a pair lies there that is not the one which the manifest speaks of.
    """

    directory: Path
    whole: bool
    certificate_id: str
    anchors: frozenset[str]
    by_hand: bool


def generations(state: Path) -> list[Found]:
    """Return what lies in each generation, those that were set aside or are being filled left out."""
    try:
        names = sorted(path.name for path in (state / "generations").iterdir())
    except OSError:
        return []
    return [look(state, int(item)) for item in names if item.isdecimal()]


def look(state: Path, number: int) -> Found:
    """Return what lies in one generation."""
    directory = state / "generations" / f"{number:06d}"
    certificate_id = _pair_in(directory)
    return Found(
        directory=directory,
        whole=_is_whole(state, number),
        certificate_id=certificate_id,
        anchors=_anchors_in(directory),
        by_hand=certificate_id not in {"", _meant_in(directory, certificate_id)},
    )


def _is_whole(state: Path, number: int) -> bool:
    try:
        with Store(state) as store:
            return store.generation(number).number == number
    except StoreError:
        return False


def _pair_in(directory: Path) -> str:
    try:
        key = load_pem_private_key((directory / KEY).read_bytes(), None).public_key()
        certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE).read_bytes())
        form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        fits = key.public_bytes(*form) == certificate.public_key().public_bytes(*form)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return ""
    return fingerprint(certificate) if fits else ""


def _meant_in(directory: Path, otherwise: str) -> str:
    try:
        return str(json.loads((directory / MANIFEST).read_bytes())["certificate_id"])
    except (OSError, ValueError, LookupError, TypeError):
        return otherwise


def _anchors_in(directory: Path) -> frozenset[str]:
    try:
        found = x509.load_pem_x509_certificates((directory / TRUST).read_bytes())
        return frozenset(sha256(item.public_bytes(Encoding.DER)).hexdigest() for item in found)
    except (OSError, ValueError):
        return frozenset()


def linked(state: Path, link: str) -> int | None:
    """Return the generation that `current` or `previous` points at, whatever is there."""
    try:
        target = (state / link).readlink().name
    except OSError:
        return None
    return int(target) if target.isdecimal() else None
