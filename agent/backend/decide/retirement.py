"""A certificate is made INACTIVE only at its own thing's request, over another of its certificates.

* The certificate that asks stays active, so a thing with an active certificate keeps one. Two that ask for each other
  at once are kept apart by a lease: for a minute, one certificate of a thing alone may have others retired.
* A retirement changes the status and nothing more. Things and policies stay, so the operator takes it back with one
  call, until the certificate is deleted `keep` later.
* A certificate that is INACTIVE or gone already is accepted again, for a request may be delivered late and twice.
* Whether a foreign certificate exists is not told.
* Where a thing was given to another device, the device that was replaced has none of the new one's retired.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from agent.backend.decide.admission import enrolled
from agent.backend.decide.replacement import belongs_to_another
from agent.backend.decide.verdict import (
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    TOO_MANY_REQUESTS,
    DeactivateCertificate,
    Decision,
    Deed,
    SaveRecord,
    is_certificate_id,
)
from agent.backend.names import Metric
from agent.backend.values import Certificate, Device, Record, Replacement
from agent.core.aws.topics import NONE_SUCH
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from datetime import datetime, timedelta


@frozen
class RetirementRequest:
    """What a gateway asks for.

    Attributes:
        thing: The thing of the topic that it was asked on.
        caller: The certificate that published there, by AWS's word.
        target: What is to be retired: the gateway's word, of any type.
        client_token: What the answer is recognised by, repeated as it came; None for none.
    """

    thing: str
    caller: str
    target: object
    client_token: object = None


@frozen
class RetirementFacts:
    """What is known of both certificates, looked up while the lease is held.

    Attributes:
        caller: The certificate that asks.
        caller_record: Its row.
        device: The row of the serial number that the caller descends from.
        target: The certificate that is to be retired, or None when it is gone.
        target_things: What the target is attached to.
        target_record: Its row.
        replacement: The row of the thing, where its device is, or was, replaced.
    """

    caller: Certificate | None
    caller_record: Record | None = None
    device: Device | None = None
    target: Certificate | None = None
    target_things: tuple[str, ...] = field(default=())
    target_record: Record | None = None
    replacement: Replacement | None = None


def may_ask(asked: RetirementRequest, things: tuple[str, ...]) -> Decision | None:
    """Refuse what can be refused without a lease, or return None.

    Args:
        asked: What is asked for.
        things: The things that the caller is attached to.
    """
    if not is_certificate_id(asked.target):
        return _refused(asked, BAD_REQUEST, "certificateId must be 64 hexadecimal digits.")
    if not is_certificate_id(asked.caller) or things != (asked.thing,):
        return _not_one_of_its(asked)
    if asked.caller == asked.target:
        return _refused(asked, CONFLICT, "A certificate cannot retire itself: connect with its successor.")
    return None


def busy(asked: RetirementRequest) -> Decision:
    """Put off for as long as another certificate of the thing has the lease; the agent asks again by itself."""
    message = f"Another certificate of {asked.thing} has just had one retired. Ask again in a minute."
    return _refused(asked, TOO_MANY_REQUESTS, message)


def replaced(asked: RetirementRequest) -> Decision:
    """Refuse it to a device that another one has replaced."""
    message = f"{asked.thing} was given to another device, which alone has its certificates retired."
    return _refused(asked, FORBIDDEN, message)


def retire(asked: RetirementRequest, seen: RetirementFacts, now: datetime, keep: timedelta) -> Decision:
    """Decide about a retirement that `may_ask` did not refuse.

    Args:
        asked: What is asked for.
        seen: What is known of both certificates.
        now: The present time.
        keep: How long a retired certificate is kept before it is deleted.
    """
    if seen.caller is None or not seen.caller.active:
        return _not_one_of_its(asked)
    if not _is_its_own(asked.thing, seen):
        return _refused(asked, FORBIDDEN, f"{asked.thing}{NONE_SUCH}")
    if belongs_to_another(seen.replacement, seen.caller_record, seen.target_record):
        return replaced(asked)
    return Decision(
        allowed=True,
        why=f"{asked.thing} has it retired over another of its certificates.",
        say=_told(asked),
        do=(*_proof(asked, seen, now), *_deeds(asked, seen, now, keep)),
        count=Metric.RETIREMENTS,
    )


def _is_its_own(thing: str, seen: RetirementFacts) -> bool:
    """Whether the target is attached to the thing alone, or to nothing and was the thing's by the table."""
    if seen.target_things:
        return seen.target_things == (thing,)
    return seen.target_record is not None and seen.target_record.thing == thing


def _deeds(asked: RetirementRequest, seen: RetirementFacts, now: datetime, keep: timedelta) -> tuple[Deed, ...]:
    if seen.target is None:
        return ()
    record = seen.target_record or Record(certificate_id=seen.target.certificate_id, thing=asked.thing)
    note = SaveRecord(
        replace(
            record,
            thing=asked.thing,
            retired_at=now,
            retired_by=asked.caller,
            delete_after=now + keep,
            detached_at=None,
            expires_at=None,
        )
    )
    if not seen.target.over:
        return (note, DeactivateCertificate(seen.target.certificate_id))
    return () if record.delete_after is not None else (note,)


def _proof(asked: RetirementRequest, seen: RetirementFacts, now: datetime) -> tuple[Deed, ...]:
    """Return the rows that say that the caller is in use."""
    proven = (seen.caller_record or Record(certificate_id=asked.caller, thing=asked.thing)).proven(now)
    noted = (SaveRecord(proven),) if proven != seen.caller_record else ()
    return (*noted, *enrolled(seen.device, asked.caller, now))


def _told(asked: RetirementRequest, **more: object) -> dict[str, object]:
    token = {} if asked.client_token is None else {"clientToken": asked.client_token}
    return {"certificateId": asked.target if is_certificate_id(asked.target) else None, **token, **more}


def _refused(asked: RetirementRequest, code: int, message: str) -> Decision:
    return Decision(
        allowed=False,
        why=message,
        say=_told(asked, code=code, message=message),
        count=Metric.RETIREMENTS_REFUSED,
    )


def _not_one_of_its(asked: RetirementRequest) -> Decision:
    return _refused(asked, FORBIDDEN, f"The certificate that asks is not an active one of {asked.thing}.")
