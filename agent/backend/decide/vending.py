"""Who is sold a certificate over HTTPS: a serial number that shows its token, by the rules of `admission`.

* A certificate is made for a request only where the token would admit one. It is made INACTIVE, noted as set aside,
  bought by the serial number's row, given its thing and policies, and made active last. Nothing is taken from the
  thing: the one deed that this can do to a certificate's status is to make the one that it has made active.
* The write of that row counts, and it follows the row that was read. So what overlaps or stops ends like this:

  ============================================  =====================================================================
  the answer is lost and the request repeated   the same request has bought the same certificate
  two functions have the same request           one buys; the other finds that, and sells the same certificate
  two functions have two requests               both are bought, and both count
  it dies before that write                     what is set aside is INACTIVE, of no thing, and in the sweep's list
  it dies after that write                      the same request goes on where it stopped
  the sweep comes in between                    it deletes what was not sold for a day, and nothing that is active
  the certificate is used in between            the token is spent; the same request is told the same certificate
  it was retired, or made INACTIVE by hand      refused: no request makes it active again
  the operator arms or blocks in between        the row is another one, and it is decided anew
  ============================================  =====================================================================

* All refusals are one answer. An address that shows `MOST_FAILURES` wrong tokens of a serial number is not heard about
  it for the rest of `FAILURES_SPAN`, with the right one either. Another address is: a stranger who has read a serial
  number off a label must not lock its gateway out, and no number of addresses goes through tokens of 160 bits.
* An address is heard `MOST_REQUESTS` times in `REQUESTS_SPAN`, before anything is looked up. A network of IPv6 is one
  address, since one host has all of it.
"""

from __future__ import annotations

import ipaddress
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.backend.decide.admission import Enrolment, KnownSerial, admit, issued
from agent.backend.decide.verdict import (
    BAD_REQUEST,
    FORBIDDEN,
    TOO_MANY_REQUESTS,
    ActivateCertificate,
    AttachPolicy,
    AttachThing,
    Decision,
    Deed,
    MakeThing,
    SaveRecord,
)
from agent.backend.names import Metric
from agent.backend.values import Certificate, CertificateOrigin, Record
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MOST_FAILURES, FAILURES_SPAN = 10, timedelta(hours=1)
MOST_REQUESTS, REQUESTS_SPAN = 60, timedelta(minutes=1)
SET_ASIDE = timedelta(days=1)  # for a certificate that no row has as bought
_NETWORK = 64  # bits of an IPv6 address that name a site's network (RFC 4291)

REFUSAL = "No certificate is sold for this serial number and token."


@frozen
class Purchase:
    """What is asked for; all of it is the client's word but the address.

    Attributes:
        serial: The serial number.
        token: Its token; a secret.
        csr: The request for a certificate, in PEM.
        digest: SHA-256 of what is in it, by which the same request is known again.
        address: Where it comes from, by AWS's word; see `origin`.
    """

    serial: str
    token: str = field(repr=False)
    csr: str = field(repr=False)
    digest: str
    address: str

    def enrolment(self, certificate_id: str = "") -> Enrolment:
        """Return what it is to `admission`; the digest stands for a certificate that is not made yet."""
        return Enrolment(serial=self.serial, token=self.token, certificate_id=certificate_id or self.digest)


@frozen
class CountWindow:
    """A span in which something is counted.

    Attributes:
        name: What is counted, and in which span.
        end: When the span is over.
    """

    name: str
    end: datetime


def origin(address: str) -> str:
    """Return what an address counts as: itself, or its network."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, _NETWORK), strict=False))
    return str(found)


def requests_of(address: str, now: datetime) -> CountWindow:
    """Return the window in which an address's requests are counted."""
    return _window(f"requests#{address}", now, REQUESTS_SPAN)


def failures_of(asked: Purchase, now: datetime) -> CountWindow:
    """Return the window in which the wrong tokens of a serial number are counted that come from an address."""
    return _window(f"failures#{asked.serial}#{asked.address}", now, FAILURES_SPAN)


def _window(name: str, now: datetime, span: timedelta) -> CountWindow:
    seconds, length = int(now.timestamp()), int(span.total_seconds())
    end = seconds - seconds % length + length
    return CountWindow(name=f"{name}#{end}", end=datetime.fromtimestamp(end, UTC))


def unheard(requests: int) -> Decision | None:
    """Put an address off that has asked too often, or return None."""
    if requests <= MOST_REQUESTS:
        return None
    why = f"Its address has asked {requests} times within {REQUESTS_SPAN.seconds} seconds."
    message = "This address asks too often. Ask again in some minutes."
    return Decision(allowed=False, why=why, say=_told(TOO_MANY_REQUESTS, message), count=Metric.VENDING_PUT_OFF)


def unreadable(why: str, count: Metric | None = None) -> Decision:
    """Refuse what is no request; it is not counted where any stranger could have sent it."""
    return Decision(allowed=False, why=why, say=_told(BAD_REQUEST, why), count=count)


def closed(asked: Purchase, failures: int) -> Decision | None:
    """Refuse an address that has shown too many wrong tokens of a serial number, or return None.

    Args:
        asked: What is asked for.
        failures: How many it has shown in the window of `failures_of`, with this one.
    """
    if failures < MOST_FAILURES:
        return None
    return _refused(f"{asked.address} has shown {failures} wrong tokens of it within an hour.")


def quote(asked: Purchase, known: KnownSerial, now: datetime, *, re_enrols: bool = True) -> Decision:
    """Decide whether a certificate may be made for a request that has bought none yet.

    Args:
        asked: What is asked for.
        known: What is known of the serial number.
        now: The present time.
        re_enrols: Whether a serial number that has been enrolled may be once more.
    """
    verdict = admit(asked.enrolment(), known, now, re_enrols=re_enrols)
    return replace(verdict, say={}, do=()) if verdict.allowed else _refusal(verdict)


def bought(asked: Purchase, known: KnownSerial) -> Record | None:
    """Return the row of the certificate that the same request has bought with this token, or None.

    One that the sweep has begun to delete does not count.
    """
    names = known.device.bought if known.device else frozenset()
    records = (known.records[name] for name in sorted(names) if name in known.records)
    own = (record for record in records if record.csr_sha256 == asked.digest)
    return next((record for record in own if record.detached_at is None and record.ended_at is None), None)


def set_aside(asked: Purchase, thing: str, certificate_id: str, now: datetime) -> Record:
    """Return the row of a certificate that was just made: to be deleted, unless it is bought."""
    record = issued(certificate_id, thing, CertificateOrigin.VENDING, asked.serial, now)
    return replace(record, csr_sha256=asked.digest, delete_after=now + SET_ASIDE)


def sell(
    asked: Purchase,
    known: KnownSerial,
    certificate: Certificate,
    now: datetime,
    *,
    policies: Iterable[str],
    re_enrols: bool = True,
) -> Decision:
    """Decide about a certificate that is set aside for a request, or that it has bought.

    Args:
        asked: What is asked for.
        known: What is known of the serial number, with the certificate's row.
        certificate: The certificate.
        now: The present time.
        policies: What the stack attaches to every gateway's certificate.
        re_enrols: Whether a serial number that has been enrolled may be once more.
    """
    verdict = admit(asked.enrolment(certificate.certificate_id), known, now, re_enrols=re_enrols)
    if not verdict.allowed:
        return _refusal(verdict)
    record = known.records[certificate.certificate_id]
    if record.delete_after is None:
        return replace(verdict, say=_sold(record, certificate)) if certificate.active else _refused(_TAKEN_BACK)
    do = (*verdict.do, *_registration(record, policies))
    return replace(verdict, say=_sold(record, certificate), do=do)


_TAKEN_BACK = "The certificate that this request has bought was made INACTIVE. `readmit` opens one more enrolment."


def _registration(record: Record, policies: Iterable[str]) -> tuple[Deed, ...]:
    """Return what RegisterThing would do by the enrolment template, and the row that says that it is done."""
    name, thing = record.certificate_id, record.thing
    return (
        MakeThing(thing),
        *(AttachPolicy(policy, name) for policy in sorted(policies)),
        AttachThing(thing, name),
        ActivateCertificate(name),
        SaveRecord(replace(record, delete_after=None)),
    )


def _sold(record: Record, certificate: Certificate) -> Mapping[str, object]:
    return {
        "certificateId": certificate.certificate_id,
        "certificatePem": certificate.pem,
        "thingName": record.thing,
    }


def _refusal(verdict: Decision) -> Decision:
    """Return a refusal of `admission` in the one form that all have."""
    return replace(verdict, say=_told(FORBIDDEN, REFUSAL))


def _refused(why: str) -> Decision:
    return Decision(allowed=False, why=why, say=_told(FORBIDDEN, REFUSAL), count=Metric.ENROLMENTS_REFUSED)


def _told(code: int, message: str) -> Mapping[str, object]:
    return {"code": code, "message": message}
