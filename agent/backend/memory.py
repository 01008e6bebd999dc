"""The ports in memory: for tests, and for a rehearsal without an AWS account.

The registry refuses what AWS IoT Core refuses, in its own order ("X.509 client certificates", developer guide; API
reference of each call): a certificate is deleted when it is INACTIVE and attached to no thing, an exclusive one has one
thing, and one has ten policies at most.
"""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from agent.backend.decide.rotation import MOST_POLICIES
from agent.backend.errors import ChangedError
from agent.backend.values import (
    AuditFinding,
    Certificate,
    Check,
    Device,
    Record,
    Replacement,
    ShadowReport,
    Signer,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date, datetime

    from agent.backend.decide.orders import JobOrder
    from agent.backend.names import Metric

_REQUEST = "-----BEGIN CERTIFICATE REQUEST-----"


@dataclass(kw_only=True)
class MemoryCertificate:
    """A certificate of the account.

    Attributes:
        certificate: What AWS says of it.
        things: What it is attached to.
        policies: What is attached to it.
    """

    certificate: Certificate
    things: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)


class MemoryRegistry:
    """AWS IoT Core's registry, as `agent.backend.ports.Registry` has it.

    Attributes:
        entries: The certificates, oldest first.
        things: The things that there are.
        shadows: What each thing's shadow reports as the certificate in use.
        renewals: What it reports as the instant of the next renewal.
        jobs: What was ordered, by id.
        working: The jobs that wait for a thing or that it works on, by thing.
    """

    def __init__(self, entries: dict[str, MemoryCertificate] | None = None) -> None:
        self.entries = {} if entries is None else entries
        self.things: set[str] = set()
        self.shadows: dict[str, str] = {}
        self.renewals: dict[str, datetime] = {}
        self.jobs: dict[str, JobOrder] = {}
        self.working: dict[str, list[str]] = {}
        self._numbers = count()

    # -- the account's owner, and AWS itself -------------------------------------------------------------------------

    def add(self, certificate_id: str, created_at: datetime, status: Status = Status.PENDING_ACTIVATION) -> None:
        """Make a certificate."""
        made = Certificate(
            certificate_id=certificate_id, status=status, created_at=created_at, pem=f"certificate {certificate_id}"
        )
        self.entries[certificate_id] = MemoryCertificate(certificate=made)

    def set_status(self, certificate_id: str, status: Status) -> None:
        """Do what UpdateCertificate does.

        Raises:
            KeyError: There is no such certificate.
        """
        entry = self.entries[certificate_id]
        entry.certificate = replace(entry.certificate, status=status)

    def register(self, thing: str, certificate_id: str, policies: Iterable[str]) -> None:
        """Do what RegisterThing does by a template: make the thing, attach it and the policies, activate.

        Raises:
            ChangedError: The certificate is gone, or attached to another thing.
        """
        self.things.add(thing)
        self.attach_thing(thing, certificate_id)
        for policy in policies:
            self.attach_policy(policy, certificate_id)
        self.set_status(certificate_id, Status.ACTIVE)

    # -- the port ------------------------------------------------------------------------------------------------------

    def certificate(self, certificate_id: str) -> Certificate | None:
        """Return a certificate."""
        entry = self.entries.get(certificate_id)
        return entry.certificate if entry else None

    def things_of(self, certificate_id: str) -> tuple[str, ...]:
        """Return what a certificate is attached to."""
        entry = self.entries.get(certificate_id)
        return tuple(entry.things) if entry else ()

    def certificates_of(self, thing: str) -> tuple[str, ...] | None:
        """Return what is attached to a thing."""
        if thing not in self.things:
            return None
        return tuple(name for name, entry in self.entries.items() if thing in entry.things)

    def policies_of(self, certificate_id: str) -> tuple[str, ...]:
        """Return the policies of a certificate."""
        entry = self.entries.get(certificate_id)
        return tuple(entry.policies) if entry else ()

    def attach_policy(self, policy: str, certificate_id: str) -> None:
        """Attach a policy."""
        entry = self._entry(certificate_id)
        if policy in entry.policies:
            return
        if len(entry.policies) >= MOST_POLICIES:
            raise ChangedError(f"{certificate_id[:12]} has {MOST_POLICIES} policies.")
        entry.policies.append(policy)

    def make_certificate(self, csr: str, now: datetime) -> Certificate | None:
        """Make a certificate, unless the request is not one."""
        if not csr.strip().startswith(_REQUEST):
            return None
        certificate_id = sha256(f"{csr} {next(self._numbers)}".encode()).hexdigest()
        self.add(certificate_id, now, Status.INACTIVE)
        return self.entries[certificate_id].certificate

    def take_in(self, pem: str, now: datetime) -> Certificate:
        """Register a certificate of the operator's own CA."""
        certificate_id = sha256(b64decode("".join(pem.split("-----")[2].split()))).hexdigest()
        if certificate_id in self.entries:
            raise ChangedError(f"{certificate_id[:12]} is registered already.")
        made = Certificate(certificate_id=certificate_id, status=Status.INACTIVE, created_at=now, pem=pem)
        self.entries[certificate_id] = MemoryCertificate(certificate=made)
        return made

    def activate(self, certificate_id: str) -> None:
        """Make a certificate ACTIVE, which one that was revoked cannot become."""
        if self._entry(certificate_id).certificate.status is Status.REVOKED:
            raise ChangedError(f"{certificate_id[:12]} is revoked.")
        self.set_status(certificate_id, Status.ACTIVE)

    def deactivate(self, certificate_id: str) -> None:
        """Make a certificate INACTIVE."""
        self._entry(certificate_id)
        self.set_status(certificate_id, Status.INACTIVE)

    def make_thing(self, thing: str) -> None:
        """Make a thing."""
        self.things.add(thing)

    def attach_thing(self, thing: str, certificate_id: str) -> None:
        """Attach a certificate to a thing exclusively."""
        entry = self._entry(certificate_id)
        if thing not in self.things or entry.things not in ([], [thing]):
            raise ChangedError(f"{certificate_id[:12]} is another thing's, or there is no thing {thing}.")
        entry.things = [thing]

    def detach_thing(self, thing: str, certificate_id: str) -> None:
        """Take a certificate off a thing."""
        entry = self.entries.get(certificate_id)
        if entry and thing in entry.things:
            entry.things.remove(thing)

    def delete(self, certificate_id: str) -> None:
        """Delete a certificate."""
        entry = self._entry(certificate_id)
        if not entry.certificate.over:
            raise ChangedError(f"{certificate_id[:12]} is {entry.certificate.status}.")
        if entry.things:
            raise ChangedError(f"{certificate_id[:12]} is attached to a thing.")
        del self.entries[certificate_id]

    def report(self, thing: str) -> ShadowReport:
        """Return what a shadow reports."""
        return ShadowReport(certificate_id=self.shadows.get(thing, ""), renews_at=self.renewals.get(thing))

    def everything(self) -> tuple[Certificate, ...]:
        """Return all certificates."""
        return tuple(entry.certificate for entry in self.entries.values())

    def orders_of(self, thing: str) -> tuple[str, ...]:
        """Return what a thing has to do."""
        return tuple(self.working.get(thing, ()))

    def order(self, order: JobOrder) -> bool:
        """Make a job."""
        new = order.job_id not in self.jobs
        if new:
            self.jobs[order.job_id] = order
            for thing in order.things:
                self.working.setdefault(thing, []).append(order.job_id)
        return new

    def _entry(self, certificate_id: str) -> MemoryCertificate:
        entry = self.entries.get(certificate_id)
        if entry is None:
            raise ChangedError(f"{certificate_id[:12]} is gone.")
        return entry


class MemoryAuditor:
    """Device Defender, as `agent.backend.ports.Auditor` has it.

    Attributes:
        audits: What each audit has found.
        signed: The certificates that each CA has signed.
    """

    def __init__(self) -> None:
        self.audits: dict[str, list[AuditFinding]] = {}
        self.signed: dict[str, list[str]] = {}

    def findings(self, task: str, check: Check) -> tuple[AuditFinding, ...]:
        """Return what an audit has found by one check."""
        return tuple(finding for finding in self.audits.get(task, ()) if finding.check is check)

    def signed_by(self, ca: str) -> tuple[str, ...]:
        """Return what a CA has signed."""
        return tuple(self.signed.get(ca, ()))


class MemoryStore:
    """The stack's tables, as `agent.backend.ports.StackStore` has them.

    Attributes:
        devices: The rows of serial numbers.
        records: The rows of certificates.
        replaced: The rows of things whose device is replaced.
        signing: The row of the signer.
        budgets: The certificates of a thing and a day.
        leases: Who holds a thing's lease, and until when.
        tallies: What was counted, by its name.
    """

    def __init__(self) -> None:
        self.devices: dict[str, Device] = {}
        self.records: dict[str, Record] = {}
        self.replaced: dict[str, Replacement] = {}
        self.signing = Signer()
        self.budgets: dict[tuple[str, date], set[str]] = {}
        self.leases: dict[str, tuple[str, datetime]] = {}
        self.tallies: Counter[str] = Counter()

    def device(self, serial: str) -> Device | None:
        """Return the row of a serial number."""
        return self.devices.get(serial)

    def save_device(self, device: Device) -> None:
        """Write the row of a serial number."""
        self.devices[device.serial] = _written(self.devices.get(device.serial), device)

    def record(self, certificate_id: str) -> Record | None:
        """Return the row of a certificate."""
        return self.records.get(certificate_id)

    def save_record(self, record: Record) -> None:
        """Write the row of a certificate."""
        self.records[record.certificate_id] = _written(self.records.get(record.certificate_id), record)

    def due(self, now: datetime, limit: int) -> tuple[Record, ...]:
        """Return what may be deleted, the longest due first."""
        waiting = [(record.delete_after, name) for name, record in self.records.items() if record.delete_after]
        return tuple(self.records[name] for at, name in sorted(waiting) if at <= now)[:limit]

    def forget(self, now: datetime) -> None:
        """Remove the rows of certificates that have ended, as DynamoDB does by itself ("time to live")."""
        for name, record in list(self.records.items()):
            if record.expires_at is not None and record.expires_at <= now:
                del self.records[name]

    def replacement(self, thing: str) -> Replacement | None:
        """Return the row of a thing whose device is replaced."""
        return self.replaced.get(thing)

    def save_replacement(self, replacement: Replacement) -> None:
        """Write the row of a thing whose device is replaced."""
        self.replaced[replacement.thing] = _written(self.replaced.get(replacement.thing), replacement)

    def replacements(self, now: datetime, limit: int) -> tuple[Replacement, ...]:
        """Return what is to be looked at, the longest due first."""
        waiting = [(row.look_at, thing) for thing, row in self.replaced.items() if row.look_at]
        return tuple(self.replaced[thing] for at, thing in sorted(waiting) if at <= now)[:limit]

    def signer(self) -> Signer:
        """Return the row of the signer."""
        return self.signing

    def save_signer(self, signer: Signer) -> None:
        """Write the row of the signer."""
        self.signing = _written(self.signing, signer)

    def charge(self, thing: str, day: date, certificate_id: str, limit: int) -> bool:
        """Count a certificate once."""
        counted = self.budgets.setdefault((thing, day), set())
        if certificate_id not in counted and len(counted) >= limit:
            return False
        counted.add(certificate_id)
        return True

    def lease(self, thing: str, holder: str, now: datetime, until: datetime) -> bool:
        """Give a thing's lease to a holder."""
        holds, end = self.leases.get(thing, (holder, now))
        if holds != holder and now < end:
            return False
        self.leases[thing] = (holder, until)
        return True

    def tally(self, name: str, end: datetime, times: int) -> int:
        """Count something; each name is of one span, so none has to be forgotten."""
        del end
        self.tallies[name] += times
        return self.tallies[name]


_R = TypeVar("_R", Device, Record, Replacement, Signer)


def _written(row: _R | None, new: _R) -> _R:
    """Return a row as it is once it is written, if it is the one that was read."""
    if (row.version if row else 0) != new.version:
        raise ChangedError("The row was written meanwhile.")
    return replace(new, version=new.version + 1)


class MemoryOutbox:
    """What was told, as `agent.backend.ports.Outbox` has it.

    Attributes:
        answers: The answers, oldest first: topic and body.
        counted: What was counted, oldest first: metric, value and what it was about.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[str, Mapping[str, object]]] = []
        self.counted: list[tuple[Metric, int, Mapping[str, object]]] = []

    def answer(self, topic: str, body: Mapping[str, object]) -> None:
        """Publish an answer."""
        self.answers.append((topic, body))

    def count(self, metric: Metric, *, value: int = 1, about: Mapping[str, object] | None = None) -> None:
        """Count something."""
        self.counted.append((metric, value, about or {}))
