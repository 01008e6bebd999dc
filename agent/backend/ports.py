"""What the handlers need of the account: its registry, the stack's tables, and a way to tell what was done.

An implementation raises nothing but the errors of `agent.backend.errors`: any verb may raise `UnavailableError` and
`MisconfiguredError`, and those that write `ChangedError`, each as its docstring says. `agent.backend.aws` implements
these with boto3, `agent.backend.memory` in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from agent.backend.decide.orders import JobOrder
    from agent.backend.names import Metric
    from agent.backend.values import AuditFinding, Certificate, Check, Device, Record, Replacement, ShadowReport, Signer


class Registry(Protocol):
    """AWS IoT Core's registry, its shadows and its jobs."""

    def certificate(self, certificate_id: str) -> Certificate | None:
        """Return a certificate, or None when there is none."""

    def things_of(self, certificate_id: str) -> tuple[str, ...]:
        """Return the things that a certificate is attached to; none for a certificate that is not there."""

    def certificates_of(self, thing: str) -> tuple[str, ...] | None:
        """Return the ids of the certificates that are attached to a thing, or None when there is no such thing."""

    def policies_of(self, certificate_id: str) -> tuple[str, ...]:
        """Return the names of the policies that are attached to a certificate itself."""

    def attach_policy(self, policy: str, certificate_id: str) -> None:
        """Attach a policy to a certificate, which may have it already.

        Raises:
            ChangedError: The certificate takes no more policies, or one of both is gone.
        """

    def make_certificate(self, csr: str, now: datetime) -> Certificate | None:
        """Make an INACTIVE certificate from a request in PEM, another one each time; None where AWS sees none."""

    def take_in(self, pem: str, now: datetime) -> Certificate:
        """Register a certificate of the operator's own CA, INACTIVE.

        Raises:
            ChangedError: It is registered already.
        """

    def activate(self, certificate_id: str) -> None:
        """Make a certificate ACTIVE, which it may be already.

        Raises:
            ChangedError: It is gone, or its state does not allow that.
        """

    def deactivate(self, certificate_id: str) -> None:
        """Make a certificate INACTIVE, which it may be already.

        Raises:
            ChangedError: It is gone, or its state does not allow that.
        """

    def make_thing(self, thing: str) -> None:
        """Make a thing, which may be there already, as it is."""

    def attach_thing(self, thing: str, certificate_id: str) -> None:
        """Attach a certificate to a thing exclusively, which may be so already.

        Raises:
            ChangedError: One of both is gone, or the certificate is attached to another thing.
        """

    def detach_thing(self, thing: str, certificate_id: str) -> None:
        """Take a certificate off a thing, on which it need not be. It takes AWS some seconds."""

    def delete(self, certificate_id: str) -> None:
        """Delete a certificate and its attachments to policies.

        Raises:
            ChangedError: It is gone, not INACTIVE, or still attached to a thing.
        """

    def report(self, thing: str) -> ShadowReport:
        """Return what a thing's shadow reports; an empty report where there is none that can be read."""

    def everything(self) -> Iterable[Certificate]:
        """Return each certificate of the account, without its things."""

    def orders_of(self, thing: str) -> tuple[str, ...]:
        """Return the ids of the jobs that wait for a thing or that it works on."""

    def order(self, order: JobOrder) -> bool:
        """Make the job of an order, which may be there already; return whether it is new."""


class Auditor(Protocol):
    """Device Defender's audits, and what a CA of the operator's own has signed."""

    def findings(self, task: str, check: Check) -> Iterable[AuditFinding]:
        """Return what an audit has found by one check; nothing for an audit that is not known, or not any more."""

    def signed_by(self, ca: str) -> Iterable[str]:
        """Return the id of each ACTIVE certificate that a CA has signed; none for a CA that is not there."""


class Keys(Protocol):
    """The keys of the operator's own CAs, which never leave where they are."""

    def sign(self, key: str, digest: bytes) -> bytes:
        """Return a key's signature over a SHA-256 digest, by RSASSA-PKCS1-v1_5."""


class CertificateSigner(Protocol):
    """The account's own signer, as another function asks it."""

    def sign(self, csr: str, caller: str) -> str | None:
        """Return the certificate that is signed for a request, both in PEM; None for what it refuses."""


class StackStore(Protocol):
    """The stack's two tables."""

    def device(self, serial: str) -> Device | None:
        """Return the row of a serial number."""

    def save_device(self, device: Device) -> None:
        """Write a row that follows the one whose version it bears.

        Raises:
            ChangedError: The row has another version.
        """

    def record(self, certificate_id: str) -> Record | None:
        """Return the row of a certificate."""

    def save_record(self, record: Record) -> None:
        """Write a row that follows the one whose version it bears.

        Raises:
            ChangedError: The row has another version.
        """

    def due(self, now: datetime, limit: int) -> tuple[Record, ...]:
        """Return at most `limit` rows of certificates that may be deleted by now, as they were a moment ago."""

    def replacement(self, thing: str) -> Replacement | None:
        """Return the row of a thing whose device is, or was, replaced."""

    def save_replacement(self, replacement: Replacement) -> None:
        """Write a row that follows the one whose version it bears.

        Raises:
            ChangedError: The row has another version.
        """

    def replacements(self, now: datetime, limit: int) -> tuple[Replacement, ...]:
        """Return at most `limit` rows of replacements that are to be looked at by now, as they were a moment ago."""

    def signer(self) -> Signer:
        """Return the row of the signer; one without a CA where there is none."""

    def save_signer(self, signer: Signer) -> None:
        """Write the row of the signer, which follows the one whose version it bears.

        Raises:
            ChangedError: The row is another one by now.
        """

    def charge(self, thing: str, day: date, certificate_id: str, limit: int) -> bool:
        """Count a certificate once against a thing's budget of a day; return whether it is within the limit."""

    def lease(self, thing: str, holder: str, now: datetime, until: datetime) -> bool:
        """Give a thing's lease to a holder, unless another one has it still; return whether it has it now."""

    def tally(self, name: str, end: datetime, times: int) -> int:
        """Count something `times` more, which may be 0, and return what it has come to; it is forgotten after `end`."""


class Outbox(Protocol):
    """What is told: to the gateway that asked, and to the operator."""

    def answer(self, topic: str, body: Mapping[str, object]) -> None:
        """Publish an answer to a gateway, at least once."""

    def count(self, metric: Metric, *, value: int = 1, about: Mapping[str, object] | None = None) -> None:
        """Count something, and note with it what it was about, which holds no secret."""
