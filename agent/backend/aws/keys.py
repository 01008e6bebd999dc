"""Keys of CAs in AWS KMS, by its API: each is made there and never leaves it."""

from __future__ import annotations

from typing import Any

from agent.backend.aws.clients import asking

_ALGORITHM = "RSASSA_PKCS1_V1_5_SHA_256"  # its signature of the same digest is the same each time; see `decide.signing`


class AwsKeys:
    """As `agent.backend.ports.Keys` has them."""

    def __init__(self, kms: Any) -> None:
        """Use a client of KMS."""
        self._kms = kms

    def sign(self, key: str, digest: bytes) -> bytes:
        """Have a digest signed (Sign)."""
        with asking():
            answer = self._kms.sign(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm=_ALGORITHM)
        signature: bytes = answer["Signature"]
        return signature
