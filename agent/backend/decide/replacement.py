"""When a device that another one replaces loses its certificates: after the first use of the new one's, never before.

The operator says which device is to be which thing (`iot-cert cloud arm SERIAL --thing NAME`). From then on:

* Nothing is taken from the old device until a certificate that the new one bought is ACTIVE, attached to the thing, and
  known to be in use: it has rotated or retired with it, or the thing's shadow reports it.
* Each certificate of the old device is then retired over that one, by the rules of any retirement: so the thing keeps
  an active one, and the operator takes it back with one call. What was taken back once is left alone.
* What was being registered for the old device at that moment is retired too, for as long as that can take.
* A certificate of which it is not known whose it is goes on working, and is told of.
* The new device's certificates are retired by the new device alone: both are the same thing to AWS, and the old one
  may be in a thief's hands.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.decide.deletion import SETTLED
from agent.backend.values import Certificate, Device, DeviceState, Record, Replacement
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

AGAIN = timedelta(minutes=5)


@frozen
class Attached:
    """A certificate of the thing.

    Attributes:
        certificate: The certificate.
        record: Its row.
    """

    certificate: Certificate
    record: Record | None


@frozen
class Sides:
    """Whose the active certificates of a thing are.

    Attributes:
        new: The new device's, by the rows that admitted it; one that was retired is not among them.
        old: The old device's, but those that the operator has taken back.
        unclear: Those of which no row says it.
        over: The old device's that are not ACTIVE any more. One that is ACTIVE again has been taken back.
    """

    new: tuple[Record, ...]
    old: tuple[str, ...]
    unclear: tuple[str, ...]
    over: tuple[str, ...]


def may_be_used(replacement: Replacement, device: Device | None) -> bool:
    """Whether the new device has bought a certificate for the thing, and is not blocked."""
    bought = {DeviceState.BOUGHT, DeviceState.ENROLLED}
    return device is not None and device.thing == replacement.thing and device.state in bought


def sides(replacement: Replacement, attached: Sequence[Attached]) -> Sides:
    """Tell the certificates of both devices apart."""
    olds = {item.certificate.certificate_id: item for item in attached if _is_old(replacement, item)}
    active = [item for item in attached if item.certificate.active]
    unknown = [item.certificate.certificate_id for item in active if item.record is None or not item.record.serial]
    return Sides(
        new=tuple(item.record for item in active if item.record is not None and _is_new(replacement, item.record)),
        old=tuple(name for name, it in olds.items() if it.certificate.active and name not in replacement.retired),
        unclear=tuple(name for name in unknown if name not in olds),
        over=tuple(name for name, item in olds.items() if not item.certificate.active),
    )


def in_use(found: Sides, reported: str) -> str:
    """Return a certificate of the new device that is known to be in use, or nothing.

    Args:
        found: Whose the certificates are.
        reported: The certificate that the thing's shadow reports to be in use.
    """
    used = [item for item in found.new if item.proven_at is not None or item.certificate_id == reported]
    return max((item.certificate_id == reported, item.certificate_id) for item in used)[1] if used else ""


def begun(thing: str, serial: str, before: Collection[str], known: Replacement | None, now: datetime) -> Replacement:
    """Return the row of a thing that is given to a new device; one that was named before is dropped.

    Args:
        thing: The thing.
        serial: The serial number of the new device.
        before: The thing's ACTIVE certificates.
        known: The thing's row.
        now: The present time.
    """
    version = known.version if known else 0
    return Replacement(thing=thing, serial=serial, before=frozenset(before), look_at=now, version=version)


def waiting(replacement: Replacement, now: datetime) -> Replacement:
    """Return the row of one that has to wait."""
    return replace(replacement, look_at=now + AGAIN)


def looked_at(replacement: Replacement, retired: Collection[str], now: datetime) -> Replacement:
    """Return the row after what could be retired was.

    Args:
        replacement: The row.
        retired: Those of the old device's that are not ACTIVE any more.
        now: The present time.
    """
    settles_at = replacement.settles_at or now + SETTLED
    done = replacement.retired | frozenset(retired)
    return replace(replacement, retired=done, settles_at=settles_at, look_at=None if settles_at <= now else now + AGAIN)


def belongs_to_another(replacement: Replacement | None, caller: Record | None, target: Record | None) -> bool:
    """Whether the target is known to be the new device's certificate, and the caller is not."""
    return replacement is not None and _is_its(replacement, target) and not _is_its(replacement, caller)


def is_being_retired(replacement: Replacement, caller: Record | None) -> bool:
    """Whether the old device's certificates are being retired, and the caller's may be one: it gets no lease then."""
    under_way = replacement.settles_at is not None and replacement.look_at is not None
    return under_way and not _is_its(replacement, caller)


def _is_its(replacement: Replacement, record: Record | None) -> bool:
    if record is None or record.certificate_id in replacement.before:
        return False
    return (record.serial, record.thing) == (replacement.serial, replacement.thing)


def _is_new(replacement: Replacement, record: Record) -> bool:
    return _is_its(replacement, record) and record.retired_at is None


def _is_old(replacement: Replacement, item: Attached) -> bool:
    other = item.record is not None and item.record.serial not in {"", replacement.serial}
    return other or item.certificate.certificate_id in replacement.before
