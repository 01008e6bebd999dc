"""Keys and certificates for the scripts, made once: so every run of a script writes the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from agent.core.values import CredentialSet, KeyAlgorithm, Kind, Manifest, Origin, TrustBundle
from agent.crypto import keys, x509
from agent.sandbox.account.authority import Authority, name

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
THING = "gw-0001"


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that one generation needs."""

    number: int
    key_pem: bytes
    request_pem: bytes
    content: CredentialSet
    trust: TrustBundle

    def manifest(self, change: str, kind: Kind = Kind.ROTATE) -> Manifest:
        """Return the manifest of the generation that `change` makes of it."""
        return Manifest(
            number=self.number,
            kind=kind,
            change=change,
            origin=Origin.SCHEDULE,
            thing_name=THING,
            certificate_id=self.content.leaf.sha256,
            not_before=self.content.leaf.not_before,
            not_after=self.content.leaf.not_after,
            created_at=NOW,
            files={},
        )


@cache
def _authority() -> Authority:
    return Authority("Crash test CA", NOW)


@cache
def material(number: int) -> Material:
    """Return the material of generation `number`; the same on every call."""
    key_pem = keys.generate(KeyAlgorithm.EC_P256)
    request_pem = keys.make_request(key_pem, name(THING))
    public_key = load_pem_private_key(key_pem, None).public_key()
    certificate = _authority().issue_client(name(THING), public_key, NOW, NOW + timedelta(days=365))  # type: ignore[arg-type]
    content = keys.credential_set(key_pem, certificate.public_bytes(Encoding.PEM))
    trust = x509.read_bundle(_authority().pem)
    return Material(number=number, key_pem=key_pem, request_pem=request_pem, content=content, trust=trust)
