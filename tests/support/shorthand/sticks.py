"""Keys and certificates from before the agent, as a technician brings them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent.sandbox.account.authority import Authority, fingerprint, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from support.running.gateway import Gateway

THING = "gw-0042"
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Old:
    """A key and certificate that the gateway had before there was an agent."""

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def certificate_id(self) -> str:
        """As the cloud names it."""
        return fingerprint(self.certificate)

    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self) -> bytes:
        """The key, spelt as AWS does."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


_KEYS = itertools.cycle(range(4))  # more than any test has certificates; to make one takes as long as the test


@cache
def rsa_key(_number: int) -> rsa.RSAPrivateKey:
    """Return one of a few keys, as AWS makes them."""
    return rsa.generate_private_key(65537, 2048)


def issue(gateway: Gateway, *, status: Status = Status.ACTIVE, ends: timedelta = 3650 * DAY) -> Old:
    """Have the cloud know a certificate of this thing's."""
    key = rsa_key(next(_KEYS))
    now = datetime.now(UTC)
    certificate = gateway.cloud.authority.issue_client(
        name("AWS IoT Certificate"), key.public_key(), now - DAY, now + ends
    )
    entry = gateway.cloud.registry.add(certificate, status)
    entry.policies, entry.thing_name = [GATEWAY], THING
    return Old(key=key, certificate=certificate)


def stick(gateway: Gateway, old: Old, *roots: bytes) -> Path:
    """Put what the AWS console offers for download into a directory."""
    path = gateway.directory / "stick"
    path.mkdir(exist_ok=True)
    (path / f"{old.certificate_id}-certificate.pem.crt").write_bytes(old.pem())
    (path / f"{old.certificate_id}-private.pem.key").write_bytes(old.key_pem())
    for number, root in enumerate(roots, 1):
        (path / f"AmazonRootCA{number}.pem").write_bytes(root)
    return path


def root(gateway: Gateway, common_name: str = "Another root") -> Authority:
    """Return a root that nothing chains to yet."""
    return Authority(common_name, gateway.cloud.now)


def created(gateway: Gateway) -> int:
    """Return how many certificates were asked for."""
    return gateway.cloud.count(Operation.CREATE)
