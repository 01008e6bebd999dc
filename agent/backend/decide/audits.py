"""Which findings of an audit are answered by an order to rotate, and why the others are not.

* A finding is about the certificate in use. One that was replaced stays ACTIVE through its grace, and is found too.
* What the gateway does by itself in time is not ordered: an order adds nothing but another certificate. The check of
  expiry looks 30 days ahead at the least, so a certificate that does not live longer is found every day of its life.
* The same audit makes the same jobs, however often and late it is told: their ids follow from it, not from what is due.
* No answer to a finding is to deactivate anything.
"""

from __future__ import annotations

from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from zlib import crc32

from agent.backend.decide.orders import JOB_PREFIX, JobOrder, Pace, job_id
from agent.backend.values import AuditFinding, Certificate, Check, Record, ShadowReport
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

MOST_DUE = 1000  # things that one audit orders to rotate; the next one goes on
SHORT = timedelta(days=30)  # the least threshold of the check of expiry (CertExpirationThresholdInDays)
LATE = timedelta(days=1)  # after which a gateway that has not renewed by itself is ordered to
SOON = timedelta(days=7)  # within which a renewal is not hastened because of an age
_JOBS = 20  # of one audit: 50 things in each on average where MOST_DUE are due, and AWS takes 100

# A gateway whose shadow says nothing has renewed by then: the window of `agent.core.when.renewal`'s defaults is over.
RENEWED_AT = 0.81  # of the lifetime
RENEWED_AFTER = timedelta(days=395)
_NO_RETURN = 0.05  # of the lifetime is left: no time for an order any more


class Left(StrEnum):
    """Why a finding is left as it is."""

    SUPPRESSED = "The operator has suppressed the finding."
    NOT_IN_USE = "The certificate is not ACTIVE, so nothing connects with it."
    NO_GATEWAY = "It is no gateway of this stack. If it is one, `iot-cert cloud adopt` takes it in."
    SHARED = "The certificate is attached to several things, so it cannot rotate. Give each thing one of its own."
    REPLACED = "The certificate is replaced and in its grace. Its thing uses another one."
    EXPIRED = "The certificate has expired, so no job reaches its gateway. `iot-cert cloud readmit` lets it in again."
    BLOCKED = "The operator has blocked it."
    RENEWS = "Its gateway renews it by itself before that matters."
    WAITS = "A job orders it to rotate already."
    ORDERED = "This audit has ordered it already, or others in the same job. The next audit finds it again."
    LATER = "There was no time or room for it. The next audit finds it again."


@frozen
class AuditedCertificate:
    """What is known of the certificate of a finding.

    Attributes:
        certificate: The certificate, or None when it is gone.
        things: What it is attached to.
        known: Whether it has a row.
        blocked: Whether its serial number is blocked.
        attached: The certificates of its thing.
        report: What the thing's shadow reports.
        jobs: The jobs that wait for the thing or that it works on.
    """

    certificate: Certificate | None
    things: tuple[str, ...] = ()
    known: bool = False
    blocked: bool = False
    attached: tuple[Certificate, ...] = ()
    report: ShadowReport = field(default_factory=ShadowReport)
    jobs: tuple[str, ...] = ()


def at_once(finding: AuditFinding, record: Record | None, now: datetime) -> Left | None:
    """Return why a finding is left, where that needs no question to AWS: a fleet of short lives is found every day."""
    if finding.suppressed:
        return Left.SUPPRESSED
    issued = record.issued_at if record else None
    if finding.check is not Check.EXPIRING or issued is None or finding.ends is None or finding.ends <= now:
        return None
    return Left.RENEWS if finding.ends - issued <= SHORT else None


def judge(finding: AuditFinding, seen: AuditedCertificate, now: datetime) -> Left | None:
    """Return why a finding is left as it is, or None for one whose thing is ordered to rotate."""
    certificate = seen.certificate
    if certificate is None or not certificate.active:
        return Left.NOT_IN_USE
    if len(seen.things) > 1:
        return Left.SHARED
    if not seen.things or not (seen.known or seen.report.certificate_id):
        return Left.NO_GATEWAY
    if _in_use(seen) not in {"", certificate.certificate_id}:
        return Left.REPLACED
    if _has_expired(certificate, now):
        return Left.EXPIRED
    if seen.blocked:
        return Left.BLOCKED
    if _renews(finding, certificate, seen.report, now):
        return Left.RENEWS
    return Left.WAITS if any(job.startswith(JOB_PREFIX) for job in seen.jobs) else None


def _in_use(seen: AuditedCertificate) -> str:
    """Return the certificate that the thing uses: the one that it reports if that is possible, else its newest."""
    active = [item for item in seen.attached if item.active]
    if any(item.certificate_id == seen.report.certificate_id for item in active):
        return seen.report.certificate_id
    return max(active, key=lambda item: item.created_at).certificate_id if active else ""


def _has_expired(certificate: Certificate, now: datetime) -> bool:
    return certificate.not_after is not None and certificate.not_after <= now


def _renews(finding: AuditFinding, certificate: Certificate, report: ShadowReport, now: datetime) -> bool:
    """Whether the gateway renews by itself before the finding matters."""
    lifetime = _lifetime(certificate)
    if finding.check is Check.EXPIRING and lifetime is not None and lifetime <= SHORT:
        return True
    told = report.renews_at if report.certificate_id == certificate.certificate_id else None
    at = told or _by_default(certificate)
    return at is not None and now - LATE <= at <= _matters_at(finding, certificate, now)


def _lifetime(certificate: Certificate) -> timedelta | None:
    begin, end = certificate.not_before, certificate.not_after
    return end - begin if begin and end else None


def _by_default(certificate: Certificate) -> datetime | None:
    lifetime = _lifetime(certificate)
    if certificate.not_before is None or lifetime is None:
        return None
    return certificate.not_before + min(lifetime * RENEWED_AT, RENEWED_AFTER)


def _matters_at(finding: AuditFinding, certificate: Certificate, now: datetime) -> datetime:
    """Return by when a renewal has to come for the finding not to matter; a certificate that is too old is so now."""
    lifetime = _lifetime(certificate)
    match finding.check:
        case Check.EXPIRING if certificate.not_after is not None and lifetime is not None:
            return certificate.not_after - lifetime * _NO_RETURN
        case Check.CA_EXPIRING if finding.ends is not None:
            return finding.ends - SOON
        case _:
            return now + SOON


def may_rotate(ca: str, signer: str) -> bool:
    """Whether a rotation would leave a CA that expires for another one of the operator's.

    Where the stack has no signer of its own, a new certificate is of Amazon's CA: whether all that a gateway talks to
    would take that is not known here.

    Args:
        ca: The CA that expires.
        signer: The CA by which the operator's certificate provider signs; empty where there is none.
    """
    return signer not in {"", ca}


def orders(task: str, things: Collection[str]) -> tuple[JobOrder, ...]:
    """Return the jobs of an audit. Each thing has its place in one of them, whichever others are due.

    How many places there are follows from nothing that was found: what rests on a CA is less when it is told again.
    Together the jobs are rolled out as fast as one, and each stops by itself however few its things are.

    Args:
        task: The audit.
        things: The things that are due.
    """
    places: dict[int, list[str]] = {}
    for thing in sorted(things):
        places.setdefault(crc32(thing.encode()) % _JOBS, []).append(thing)
    reason = f"Device Defender's audit {task}"
    return tuple(
        JobOrder(
            job_id=job_id(reason, [str(place)]),
            things=tuple(group),
            reason=reason,
            pace=Pace(per_minute=max(1, Pace.per_minute // len(places)), abort_after=min(Pace.abort_after, len(group))),
        )
        for place, group in sorted(places.items())
    )
