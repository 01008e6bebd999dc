"""The account's certificates: which there are, what each may do, and whom each belongs to.

It owns the rules of the registry: what a certificate's thing policy variables resolve to, when an ownership token dies,
and which certificate may have another one made INACTIVE. It has no lock of its own; see `agent.sandbox.cloud`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding

from agent.sandbox.answers import BAD_REQUEST, CONFLICT, FORBIDDEN, RefusedError
from agent.sandbox.authority import fingerprint
from agent.sandbox.policies import Action, Policy, allows

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

TOKEN_LIFETIME = timedelta(hours=1)

_CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")


class Status(StrEnum):
    """The states of a certificate in the registry."""

    PENDING_ACTIVATION = "PENDING_ACTIVATION"
    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"


@dataclass(kw_only=True)
class Entry:
    """One certificate in the registry.

    Attributes:
        exclusive: Whether it is attached to its thing and can be attached to no other (`EXCLUSIVE_THING`).
    """

    certificate_id: str
    pem: str
    status: Status
    created_at: datetime
    policy: Policy | None = None
    policy_from: datetime | None = None
    thing_name: str | None = None
    exclusive: bool = True
    token: str | None = field(default=None, repr=False)
    connections: int = 0
    revoke_at_connection: int | None = None

    def resolved_thing(self, client_id: str) -> str | None:
        """Return what a policy's thing name is on a connection, or None when it does not resolve.

        A certificate that may have several things is taken for the one that the client id names.
        """
        return self.thing_name if self.exclusive or client_id == self.thing_name else None


class Registry(dict[str, Entry]):
    """All certificates by id, oldest first."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._now = now

    def add(self, certificate: x509.Certificate, status: Status) -> Entry:
        """Take a certificate in, with no policy and no thing yet."""
        entry = Entry(
            certificate_id=fingerprint(certificate),
            pem=certificate.public_bytes(Encoding.PEM).decode(),
            status=status,
            created_at=self._now(),
        )
        self[entry.certificate_id] = entry
        return entry

    def allows(self, entry: Entry, client_id: str, action: Action, value: str) -> bool:
        """Whether a certificate's policy, once it has spread, covers something on a connection with this client id."""
        if entry.policy is None or (entry.policy_from is not None and self._now() < entry.policy_from):
            return False
        patterns = entry.policy.of(action)
        return allows(patterns, value, client_id=client_id, thing_name=entry.resolved_thing(client_id))

    def expire_tokens(self) -> None:
        """Forget tokens that are too old, and with them the certificates that they were to activate."""
        for entry in list(self.values()):
            if entry.token and self._now() - entry.created_at >= TOKEN_LIFETIME:
                entry.token = None
                if entry.status is Status.PENDING_ACTIVATION:
                    del self[entry.certificate_id]

    def retire(self, caller: Entry, thing_name: str, body: dict[str, Any]) -> str:
        """Do what a rule of the account would, which knows the caller's certificate by `principal()`; return the id.

        Raises:
            RefusedError: The caller may not have that certificate made INACTIVE.
        """
        wanted = body.get("certificateId")
        if not isinstance(wanted, str) or not _CERTIFICATE_ID.fullmatch(wanted):
            raise RefusedError(
                BAD_REQUEST, "InvalidRequest", "certificateId must be 64 hexadecimal digits.", certificateId=None
            )
        entry = self.get(wanted)
        if caller.status is not Status.ACTIVE or caller.thing_name != thing_name:
            message = f"The certificate that asks is not an active one of {thing_name}."
            raise RefusedError(FORBIDDEN, "Forbidden", message, certificateId=wanted)
        if entry is caller:
            message = "A certificate cannot retire itself: connect with its successor."
            raise RefusedError(CONFLICT, "Conflict", message, certificateId=wanted)
        # The refusal does not tell whether another thing has such a certificate.
        if entry is None or entry.thing_name != thing_name:
            message = f"{thing_name} has no such certificate."
            raise RefusedError(FORBIDDEN, "Forbidden", message, certificateId=wanted)
        if entry.status is Status.ACTIVE:
            entry.status = Status.INACTIVE
        return wanted
