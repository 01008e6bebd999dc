"""What the cloud's side knows of a gateway: frozen values, as they are read, decided upon and written back.

A row says in `version` how often it was written; what is written says which version it follows (`ports.StackStore`). So
each decision rests on the row that it saw, however often and in whatever order its event is delivered.

AWS is the truth about a certificate; its row is a note of what was seen and done, and may be missing.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

from agent.core.frozen import frozen


class DeviceState(StrEnum):
    """How far a serial number has come."""

    ARMED = "ARMED"  # its token buys a certificate
    BOUGHT = "BOUGHT"  # it has bought one, of which no use is known yet
    ENROLLED = "ENROLLED"  # what it bought is in use: the token is spent
    BLOCKED = "BLOCKED"  # by the operator


@frozen
class Device:
    """One serial number.

    Attributes:
        serial: The serial number.
        thing: The thing that it is admitted as.
        state: How far it has come.
        token_sha256: What its token is known by, see `decide.admission.fingerprint`; empty when it has none.
        token_until: When the token ends; None for never.
        bought: The certificates that the token has bought.
        bought_at: When it bought the first of them.
        enrolled_at: When one of them was first known to be in use, in this or an earlier enrolment.
        version: How often the row was written; 0 for one that is not there yet.
    """

    serial: str
    thing: str
    state: DeviceState
    token_sha256: str = field(default="", repr=False)
    token_until: datetime | None = None
    bought: frozenset[str] = frozenset()
    bought_at: datetime | None = None
    enrolled_at: datetime | None = None
    version: int = 0


@frozen
class SigningCa:
    """A CA of the operator's own.

    Attributes:
        number: Which of the stack's CAs it is; the first is 1.
        ca_id: What AWS IoT Core knows it by, 64 hexadecimal digits.
        pem: Its certificate.
        key: Its key's id in KMS.
        signs_from: From when it signs, unless a later one does already.
        ends: When it ends, and with it all that it signs.
    """

    number: int = 1
    ca_id: str
    pem: str = field(repr=False)
    key: str
    signs_from: datetime
    ends: datetime


@frozen
class Signer:
    """By which CAs this account signs.

    Attributes:
        cas: The CAs, oldest first.
        on: Whether AWS IoT Core was told to ask the signer; what is vended comes from it then, too.
        version: How often the row was written; 0 for one that is not there yet.
    """

    cas: tuple[SigningCa, ...] = ()
    on: bool = False
    version: int = 0

    def at(self, now: datetime) -> SigningCa | None:
        """Return the CA that signs, or None where none does yet."""
        begun = [item for item in self.cas if item.signs_from <= now]
        return max(begun, key=lambda item: item.signs_from, default=None)


class CertificateOrigin(StrEnum):
    """Where a certificate's row comes from."""

    CLAIM = "claim"
    ROTATION = "rotation"
    VENDING = "vending"
    SEEN = "seen"  # it was not issued under this stack's eyes


@frozen
class Record:
    """What is noted of one certificate.

    Attributes:
        certificate_id: 64 hexadecimal digits.
        thing: The thing that it is, or was, attached to.
        origin: Where the row comes from.
        serial: The serial number that bought it; empty for others.
        csr_sha256: What the request that it was made for is known by; empty where only AWS has seen that.
        issued_at: When it was admitted; None when that was not seen.
        proven_at: When it was first known to be in use: it asked for a rotation or a retirement.
        retired_at: When it was last decided that it becomes INACTIVE.
        retired_by: The certificate that asked for that.
        delete_after: From when it may be deleted, because it was retired or was set aside and is not sold; None when it
            does not wait for that.
        detached_at: When it was decided to take it off its thing.
        ended_at: When it was deleted, or found to be gone.
        expires_at: When the row itself goes; None for never.
        version: How often the row was written; 0 for one that is not there yet.
    """

    certificate_id: str
    thing: str
    origin: CertificateOrigin = CertificateOrigin.SEEN
    serial: str = ""
    csr_sha256: str = ""
    issued_at: datetime | None = None
    proven_at: datetime | None = None
    retired_at: datetime | None = None
    retired_by: str = ""
    delete_after: datetime | None = None
    detached_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    version: int = 0

    def proven(self, at: datetime) -> Record:
        """Return the row of a certificate that has shown that it is in use; such a row does not go by itself."""
        return replace(self, proven_at=self.proven_at or at, expires_at=None)


@frozen
class Replacement:
    """A thing whose device is replaced by another one: what was its own is retired after the new one's first use.

    Attributes:
        thing: The thing.
        serial: The serial number of the new device.
        before: The certificates that the thing had when the new device was armed.
        retired: The old device's that were seen not to be ACTIVE any more; one of them that is again was rescued.
        look_at: From when it is to be looked at; None when it has ended.
        settles_at: When it ends: what was being registered for the old device is known by then. None before first use.
        version: How often the row was written; 0 for one that is not there yet.
    """

    thing: str
    serial: str
    before: frozenset[str] = frozenset()
    retired: frozenset[str] = frozenset()
    look_at: datetime | None = None
    settles_at: datetime | None = None
    version: int = 0


class Status(StrEnum):
    """The states of a certificate in AWS IoT Core."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    REVOKED = "REVOKED"
    PENDING_TRANSFER = "PENDING_TRANSFER"
    REGISTER_INACTIVE = "REGISTER_INACTIVE"
    PENDING_ACTIVATION = "PENDING_ACTIVATION"


@frozen
class Certificate:
    """A certificate as AWS IoT Core has it.

    Attributes:
        certificate_id: 64 hexadecimal digits.
        status: Its state.
        created_at: When it was made.
        pem: The certificate itself; empty where AWS was not asked for this one.
        not_before: From when it is valid; None where AWS was not asked for this one.
        not_after: Until when.
    """

    certificate_id: str
    status: Status
    created_at: datetime
    pem: str = field(default="", repr=False)
    not_before: datetime | None = None
    not_after: datetime | None = None

    @property
    def active(self) -> bool:
        """Whether a gateway can connect with it."""
        return self.status is Status.ACTIVE

    @property
    def over(self) -> bool:
        """Whether it was made INACTIVE or revoked; AWS deletes no other."""
        return self.status in {Status.INACTIVE, Status.REVOKED}


@frozen
class ShadowReport:
    """What a thing's shadow `certificate` reports; it is the gateway's to write.

    Attributes:
        certificate_id: The certificate in use; empty where nothing is reported.
        renews_at: When the gateway replaces that by itself; None where it does not say.
    """

    certificate_id: str = ""
    renews_at: datetime | None = None

    @classmethod
    def of(cls, document: object) -> Self:
        """Return what a shadow's document reports, which may be of any shape."""
        state = document.get("state") if isinstance(document, dict) else None
        reported = state.get("reported") if isinstance(state, dict) else None
        told = reported if isinstance(reported, dict) else {}
        name = told.get("certificateId")
        return cls(certificate_id=name if isinstance(name, str) else "", renews_at=_instant(told.get("renewAt")))


def _instant(value: object) -> datetime | None:
    """Return an instant in RFC 3339; None for anything else, as for one without its zone."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        return found.astimezone(UTC) if found and found.tzinfo else None
    except (ValueError, OverflowError):
        return None


class Check(StrEnum):
    """The audit checks that are answered by rotations (Device Defender, "Audit checks")."""

    EXPIRING = "DEVICE_CERTIFICATE_EXPIRING_CHECK"
    AGE = "DEVICE_CERTIFICATE_AGE_CHECK"
    CA_EXPIRING = "CA_CERTIFICATE_EXPIRING_CHECK"


@frozen
class AuditFinding:
    """One finding of an audit.

    Attributes:
        check: The check.
        certificate_id: The certificate that it names; a CA's with `Check.CA_EXPIRING`.
        ends: When that certificate ends; None where AWS does not say.
        suppressed: Whether the operator does not want to hear of it.
    """

    check: Check
    certificate_id: str
    ends: datetime | None = None
    suppressed: bool = False
