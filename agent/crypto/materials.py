"""`agent.ports.Materials` on top of the key and certificate adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.values import KeyAlgorithm
from agent.crypto import keys, x509

if TYPE_CHECKING:
    from agent.core.values import CertificateFacts, CredentialSet


@frozen
class SoftwareMaterials:
    """Keys in files.

    Attributes:
        algorithm: What kind of key to make.
        subject: The subject of requests, RFC 4514 text; None to keep the current certificate's.
    """

    algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256
    subject: str | None = None

    def new_key(self) -> bytes:
        """See `agent.ports.Materials`."""
        return keys.generate(self.algorithm)

    def request(self, key_pem: bytes, current_pem: bytes | None, fallback_name: str) -> bytes:
        """See `agent.ports.Materials`."""
        return keys.make_request(key_pem, keys.request_subject(self.subject, current_pem, fallback_name))

    def public_key_sha256(self, key_pem: bytes) -> str:
        """See `agent.ports.Materials`."""
        return keys.public_key_sha256(key_pem)

    def read_chain(self, pem: bytes) -> tuple[tuple[CertificateFacts, ...], bytes]:
        """See `agent.ports.Materials`."""
        return x509.read_chain(pem)

    def credential_set(self, key_pem: bytes, certificate_pem: bytes) -> CredentialSet:
        """See `agent.ports.Materials`."""
        return keys.credential_set(key_pem, certificate_pem)
