"""Who is enrolled: a serial number with its token, as one thing.

* A token is spent by the first use of a certificate that it bought, not by the request: a reply that is lost must not
  lock a gateway out. Until then it buys up to `MOST_BOUGHT` certificates, all for the same thing.
* The same certificate is admitted again at any time, since its registration may be repeated; but not once it was
  retired, because registration makes it active.
* The gateway is told no reason. Unknown serial number, wrong token and spent token look alike, and are compared alike.
* A shadow is believed about a certificate that the token bought, and about no other.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.decide.verdict import Decision, Deed, SaveDevice, SaveRecord, is_certificate_id, is_name
from agent.backend.names import THING_PARAMETER, Metric
from agent.backend.values import CertificateOrigin, Device, DeviceState, Record
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MOST_BOUGHT = 5
LONGEST_TOKEN = 256  # characters

# How long the row is kept of a certificate that is never seen in use: AWS deletes one that is not registered within an
# hour. A row with a serial number is kept: only it leads to the serial number, which may be blocked or have spent its
# token.
UNPROVEN = timedelta(days=30)

_NOBODY = hashlib.sha256(b"the token of a serial number that is not known").hexdigest()


@frozen
class Enrolment:
    """What a claim's holder asks for; all of it is the holder's word but the certificate.

    Attributes:
        serial: The serial number.
        token: Its token; a secret.
        certificate_id: The certificate that is to be registered.
    """

    serial: str
    token: str = field(repr=False)
    certificate_id: str


@frozen
class KnownSerial:
    """What is known of the serial number.

    Attributes:
        device: Its row.
        records: The rows of the certificate that is to be registered, and of those that its token has bought.
        reported: The certificate that the thing's shadow reports to be in use; empty where that does not matter.
    """

    device: Device | None
    records: Mapping[str, Record] = field(default_factory=dict)
    reported: str = ""


def fingerprint(serial: str, token: str) -> str:
    """Return the hash that the table has of a token, so that the table reveals no token."""
    return hashlib.sha256(f"{serial}\0{token}".encode()).hexdigest()


def wants_report(asked: Enrolment, known: KnownSerial) -> bool:
    """Whether it matters what the shadow reports: another certificate is asked for, and no use of the last is known."""
    device = known.device
    return (
        device is not None
        and device.state is DeviceState.BOUGHT
        and asked.certificate_id not in device.bought
        and has_token(asked, device)
        and not _used(device, known)
    )


def admit(asked: Enrolment, known: KnownSerial, now: datetime, *, re_enrols: bool = True) -> Decision:
    """Decide about an enrolment.

    Args:
        asked: What is asked for.
        known: What is known of the serial number.
        now: The present time.
        re_enrols: Whether a serial number that has been enrolled may be once more, when it was armed again.
    """
    device = known.device
    if not has_token(asked, device) or device is None:
        return _refused("Its serial number is not known, or its token is not the right one.")
    if device.state is DeviceState.BLOCKED:
        return _refused("The operator has blocked it.")
    record = known.records.get(asked.certificate_id)
    if record is not None and (record.thing != device.thing or record.serial != device.serial):
        return _refused(f"The certificate was admitted for {record.thing} before, and this is {device.thing}.")
    if record is not None and record.retired_at is not None:
        return _refused("The certificate was retired, and registration would make it active again.")
    if asked.certificate_id in device.bought:
        return _admitted(asked, device, record, now)
    return _another(asked, known, device, now, re_enrols=re_enrols)


def enrolled(device: Device | None, certificate_id: str, now: datetime) -> tuple[SaveDevice, ...]:
    """Return what is to be done with a token when a certificate has shown that it is in use: it is spent."""
    if device is None or device.state is not DeviceState.BOUGHT or certificate_id not in device.bought:
        return ()
    return (SaveDevice(replace(device, state=DeviceState.ENROLLED, enrolled_at=device.enrolled_at or now)),)


def _another(asked: Enrolment, known: KnownSerial, device: Device, now: datetime, *, re_enrols: bool) -> Decision:
    """Decide about a certificate that the token has not bought yet."""
    if device.state is DeviceState.ENROLLED:
        return _spent("Its token is spent: a certificate that it bought is in use. `readmit` opens one more enrolment.")
    used = _used(device, known)
    if used:
        verdict = _spent(f"Its token is spent by the use of {used[:12]}. `readmit` opens one more enrolment.")
        return replace(verdict, do=enrolled(device, used, now))
    if device.enrolled_at is not None and not re_enrols:
        return _spent("It has been enrolled, and this stack enrols nothing twice.")
    if device.token_until is not None and now >= device.token_until:
        return _spent("Its token has ended.")
    if len(device.bought) >= MOST_BOUGHT:
        return _spent(f"Its token has bought {MOST_BOUGHT} certificates, and none is known to be in use.")
    return _admitted(asked, device, known.records.get(asked.certificate_id), now)


def _admitted(asked: Enrolment, device: Device, record: Record | None, now: datetime) -> Decision:
    do: list[Deed] = []
    if asked.certificate_id not in device.bought:
        bought = device.bought | {asked.certificate_id}
        bought_at = device.bought_at if device.bought else now
        do.append(SaveDevice(replace(device, state=DeviceState.BOUGHT, bought=bought, bought_at=bought_at)))
    if record is None:
        do.append(SaveRecord(issued(asked.certificate_id, device.thing, CertificateOrigin.CLAIM, device.serial, now)))
    return Decision(
        allowed=True,
        why=f"It is {device.thing}, by its token.",
        say=allowed(device.thing),
        do=tuple(do),
        count=Metric.ENROLMENTS,
    )


def issued(certificate_id: str, thing: str, origin: CertificateOrigin, serial: str, now: datetime) -> Record:
    """Return the first row of a certificate that is about to be registered."""
    return Record(
        certificate_id=certificate_id,
        thing=thing,
        origin=origin,
        serial=serial,
        issued_at=now,
        expires_at=None if serial else now + UNPROVEN,
    )


def allowed(thing: str) -> dict[str, object]:
    """Return the hook's answer that has a certificate registered, as the thing that the account knows it by."""
    return {"allowProvisioning": True, "parameterOverrides": {THING_PARAMETER: thing}}


def denied() -> dict[str, object]:
    """Return the hook's answer that refuses; there is no room in it for a reason."""
    return {"allowProvisioning": False}


def _refused(why: str) -> Decision:
    return Decision(allowed=False, why=why, say=denied(), count=Metric.ENROLMENTS_REFUSED)


def _spent(why: str) -> Decision:
    """Refuse a token that was the right one: the operator is to hear of it."""
    return Decision(allowed=False, why=why, say=denied(), count=Metric.RE_ENROLMENTS_REFUSED)


def has_token(asked: Enrolment, device: Device | None) -> bool:
    """Whether the token is that of the serial number; this takes the same time for an unknown serial number."""
    sound = is_name(asked.serial) and is_certificate_id(asked.certificate_id)
    sound = sound and 0 < len(asked.token) <= LONGEST_TOKEN and asked.token.isprintable()
    expected = (device.token_sha256 if device else "") or _NOBODY
    shown = fingerprint(asked.serial, asked.token) if sound else ""
    return hmac.compare_digest(shown, expected)


def _used(device: Device, known: KnownSerial) -> str:
    """Return a certificate that the token bought and that is known to be in use, or nothing."""
    noted = (known.records.get(name) for name in sorted(device.bought))
    proven = (record.certificate_id for record in noted if record is not None and record.proven_at is not None)
    return next(proven, known.reported if known.reported in device.bought else "")
