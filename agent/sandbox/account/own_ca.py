"""A CA of the operator's own, which signs what lives for less than AWS's certificates; its key stands for one in KMS.

The code that signs is the account's (`agent.backend.handlers.signing`); here are a key in memory, the same for all
sandboxes of a process since RSA's take long to make, and the CA's certificate.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.backend.decide import signing
from agent.backend.values import SigningCa

if TYPE_CHECKING:
    from datetime import datetime

_LIFETIME = timedelta(days=365 * 20)


class SandboxKeys:
    """The keys of CAs, as `agent.backend.ports.Keys` has them: each is made when it is first named."""

    def sign(self, key: str, digest: bytes) -> bytes:
        """Return a key's signature over a SHA-256 digest."""
        return _key(key).sign(digest, PKCS1v15(), Prehashed(hashes.SHA256()))


def make_ca(now: datetime, number: int = 1) -> SigningCa:
    """Return a CA, which has been valid for a day and signs from now on."""
    key = f"key {number}"
    public = _key(key).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    unsigned = signing.root(public, f"Sandbox gateway CA {number}", now - timedelta(days=1), _LIFETIME)
    made = unsigned.signed(SandboxKeys().sign(key, unsigned.digest))
    assert made is not None
    return SigningCa(number=number, ca_id=made.certificate_id, pem=made.pem, key=key, signs_from=now, ends=made.ends)


@cache
def _key(_name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
