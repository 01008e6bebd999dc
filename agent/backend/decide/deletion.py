"""What is deleted: a certificate that its thing had retired long enough ago, and that no gateway could need again.

So is one that the vending machine has set aside and not sold: its row waits in the same list, without a retirement.

* Deleting takes two rounds: off its thing in one, which takes AWS some seconds, and deleted in the next.
* A certificate that is ACTIVE again was rescued by the operator. It leaves the list, and its thing is given back to it
  where a round had taken that off.
* A thing without another active certificate keeps its retired ones: making one active again may be what saves it.

`classify` says the same of any certificate of the account, for a report. Nothing is deleted by that.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.backend.decide.verdict import AttachThing, Decision, Deed, DeleteCertificate, DetachThing, SaveRecord
from agent.backend.names import Metric
from agent.backend.values import Certificate, CertificateOrigin, Record, Status
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from datetime import datetime

REMEMBERED = timedelta(days=365)  # the row of a deleted certificate: a request may still name it
PUT_OFF = timedelta(days=1)
SETTLED = timedelta(hours=2)  # an enrolment is over by then: ownership tokens end after one


@frozen
class DueCertificate:
    """What the registry says about a certificate that is due.

    Attributes:
        certificate: The certificate, or None when it is gone.
        things: What it is attached to.
        others: The other certificates of the thing of its row; None when there is no such thing any more.
    """

    certificate: Certificate | None
    things: tuple[str, ...] = ()
    others: tuple[Certificate, ...] | None = None


def may_delete(record: Record, found: DueCertificate, now: datetime) -> Decision:
    """Decide about one certificate that waits for its deletion."""
    if not _waits(record) or record.delete_after is None or record.delete_after > now:
        return _left("It is not due.")
    if found.certificate is None:
        return _left("It is gone already.", SaveRecord(_ended(record, now)))
    if found.certificate.active:
        return _rescued(record, found)
    if not found.certificate.over:
        why = f"It is {found.certificate.status}, in which AWS deletes nothing."
        return _left(why, SaveRecord(replace(record, delete_after=now + PUT_OFF)), count=Metric.KEPT)
    if found.things not in {(), (record.thing,)}:
        why = f"It is attached to {', '.join(found.things)}, and it was {record.thing}'s when it was retired."
        return _left(why, SaveRecord(replace(record, delete_after=None)))
    if found.others is not None and not any(other.active for other in found.others):
        why = f"{record.thing} has no active certificate. This one is the way back to it."
        return _left(why, SaveRecord(replace(record, delete_after=now + PUT_OFF)), count=Metric.KEPT)
    return _deleted(record, found, now)


def _waits(record: Record) -> bool:
    """Whether a row says why it waits: its certificate was retired, or was set aside and not sold."""
    return record.retired_at is not None or record.origin is CertificateOrigin.VENDING


def _deleted(record: Record, found: DueCertificate, now: datetime) -> Decision:
    if found.things:
        why, do = "It is taken off its thing, and deleted in the next round.", _off_its_thing(record, now)
        return Decision(allowed=True, why=why, say={}, do=do)
    why, do = "Nothing needs it.", (DeleteCertificate(record.certificate_id), SaveRecord(_ended(record, now)))
    return Decision(allowed=True, why=why, say={}, do=do, count=Metric.DELETED)


def _off_its_thing(record: Record, now: datetime) -> tuple[Deed, ...]:
    detach = DetachThing(record.thing, record.certificate_id)
    return (detach,) if record.detached_at else (SaveRecord(replace(record, detached_at=now)), detach)


def _rescued(record: Record, found: DueCertificate) -> Decision:
    restored = replace(record, retired_at=None, retired_by="", delete_after=None, detached_at=None)
    attach: tuple[Deed, ...] = ()
    if record.detached_at is not None and not found.things and found.others is not None:
        attach = (AttachThing(record.thing, record.certificate_id),)
    do = (*attach, SaveRecord(restored))
    if record.retired_at is None:
        return _left("It was sold, and the function that sold it died before it could note that.", *do)
    return _left("It is active again: the operator took the retirement back.", *do, count=Metric.RESCUED)


def _ended(record: Record, now: datetime) -> Record:
    return replace(record, delete_after=None, ended_at=now, expires_at=now + REMEMBERED)


def _left(why: str, *do: Deed, count: Metric | None = None) -> Decision:
    return Decision(allowed=False, why=why, say={}, do=do, count=count)


class CertificateKind(StrEnum):
    """What a certificate of the account is to this stack."""

    IN_USE = "in use"
    RETIRED = "retired"
    PENDING = "pending"
    UNATTACHED = "unattached"
    SHARED = "shared"
    INACTIVE = "inactive"
    FOREIGN = "foreign"


@frozen
class Classified:
    """What was made of a certificate.

    Attributes:
        kind: What it is.
        why: A sentence.
        remedy: What the operator may do; empty where there is nothing to do.
    """

    kind: CertificateKind
    why: str
    remedy: str = ""


def classify(certificate: Certificate, things: tuple[str, ...], record: Record | None, now: datetime) -> Classified:
    """Tell what a certificate of the account is to this stack.

    Args:
        certificate: The certificate.
        things: What it is attached to.
        record: Its row.
        now: The present time.
    """
    old = now - certificate.created_at >= SETTLED
    if certificate.status is Status.PENDING_ACTIVATION:
        return Classified(
            kind=CertificateKind.PENDING, why="It is being registered; if not, AWS deletes it within the hour."
        )
    if not things and not old:
        return Classified(
            kind=CertificateKind.PENDING, why="It was made a moment ago, and is being registered or sold."
        )
    if certificate.over:
        return _inactive(record)
    if len(things) > 1:
        why = f"It is attached to {', '.join(things)}. Whose it is cannot be told, so it cannot rotate."
        return Classified(kind=CertificateKind.SHARED, why=why, remedy="Give each thing a certificate of its own.")
    if not things:
        why = "It is active and attached to no thing: an enrolment stopped half-way, or the thing was taken off."
        remedy = "If no gateway connects with it, make it INACTIVE."
        return Classified(kind=CertificateKind.UNATTACHED, why=why, remedy=remedy)
    if record is None:
        why = f"It is active for {things[0]}, and this stack has not seen it."
        return Classified(
            kind=CertificateKind.FOREIGN,
            why=why,
            remedy="`iot-cert cloud adopt` takes its thing in, if it is a gateway.",
        )
    return Classified(kind=CertificateKind.IN_USE, why=f"It is active for {things[0]}.")


def _inactive(record: Record | None) -> Classified:
    if record is not None and record.delete_after is not None and record.retired_at is None:
        return Classified(
            kind=CertificateKind.PENDING, why=f"It is set aside for {record.thing}. It is deleted if it is not sold."
        )
    if record is not None and record.delete_after is not None:
        return Classified(
            kind=CertificateKind.RETIRED, why=f"{record.thing} had it retired. It is deleted when it is due."
        )
    why = "It is inactive, and no gateway asked for that: this stack will not delete it."
    return Classified(
        kind=CertificateKind.INACTIVE, why=why, remedy="Delete it if it is not the way back to a gateway."
    )
