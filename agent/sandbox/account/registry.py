"""The account's certificates: which there are, what each may do, and whom each belongs to.

It owns the rules of connections: what a certificate's thing policy variables resolve to, what its policies allow, and
when an ownership token dies. What may become of a certificate is decided elsewhere, see
`agent.sandbox.services.stack`. It has no lock of its own; see `agent.sandbox.cloud`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from agent.backend import memory
from agent.backend.values import Certificate, Status
from agent.sandbox.account.authority import fingerprint
from agent.sandbox.account.policies import Policy, PolicyAction, allows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography import x509

TOKEN_LIFETIME = timedelta(hours=1)


@dataclass(kw_only=True)
class Entry(memory.MemoryCertificate):
    """One certificate in the registry.

    Attributes:
        exclusive: Whether it is attached to its thing and can be attached to no other (`EXCLUSIVE_THING`).
        policy_from: When its policies have spread; None for at once.
    """

    pem: str
    exclusive: bool = True
    policy_from: datetime | None = None
    token: str | None = field(default=None, repr=False)
    connections: int = 0
    revoke_at_connection: int | None = None

    @property
    def certificate_id(self) -> str:
        """Its id."""
        return self.certificate.certificate_id

    @property
    def created_at(self) -> datetime:
        """When it was made."""
        return self.certificate.created_at

    @property
    def status(self) -> Status:
        """Its state."""
        return self.certificate.status

    @status.setter
    def status(self, status: Status) -> None:
        self.certificate = replace(self.certificate, status=status)

    @property
    def thing_name(self) -> str | None:
        """What it is attached to."""
        return self.things[0] if self.things else None

    @thing_name.setter
    def thing_name(self, thing_name: str | None) -> None:
        self.things = [thing_name] if thing_name else []

    def resolved_thing(self, client_id: str) -> str | None:
        """Return what a policy's thing name is on a connection, or None when it does not resolve.

        A certificate that may have several things is taken for the one that the client id names.
        """
        return self.thing_name if self.exclusive or client_id == self.thing_name else None


class CertificateRegistry(dict[str, Entry]):
    """All certificates by id, oldest first.

    Attributes:
        documents: What each policy allows, by its name.
    """

    def __init__(self, now: Callable[[], datetime], documents: Mapping[str, Policy]) -> None:
        super().__init__()
        self._now = now
        self.documents = dict(documents)

    def add(self, certificate: x509.Certificate, status: Status) -> Entry:
        """Take a certificate in, with no policy and no thing yet."""
        made = Certificate(
            certificate_id=fingerprint(certificate),
            status=status,
            created_at=self._now(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
        entry = Entry(certificate=made, pem=certificate.public_bytes(Encoding.PEM).decode())
        self[entry.certificate_id] = entry
        return entry

    def allows(self, entry: Entry, client_id: str, action: PolicyAction, value: str) -> bool:
        """Whether a certificate's policies, once they have spread, cover something on a connection of a client id."""
        if entry.policy_from is not None and self._now() < entry.policy_from:
            return False
        patterns = tuple(one for name in entry.policies for one in self.documents[name].of(action))
        return allows(patterns, value, client_id=client_id, thing_name=entry.resolved_thing(client_id))

    def expire_tokens(self) -> None:
        """Forget tokens that are too old, and with them the certificates that they were to activate."""
        for entry in list(self.values()):
            if entry.token and self._now() - entry.created_at >= TOKEN_LIFETIME:
                entry.token = None
                if entry.status is Status.PENDING_ACTIVATION:
                    del self[entry.certificate_id]
