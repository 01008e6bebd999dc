"""How an existing gateway is made ready for the agent, without taking anything from it.

Policies are added, the attachment becomes exclusive, and rows are written. Nothing is detached, deactivated or made
anew, so a gateway goes on working at every step; a step that is done is found done and not repeated.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from agent.backend.decide.rotation import MOST_POLICIES
from agent.backend.values import Certificate, Device, DeviceState, Record
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

EXCLUSIVE = "EXCLUSIVE_THING"


@frozen
class AdoptableCertificate:
    """A certificate of a thing.

    Attributes:
        certificate: The certificate.
        attachments: The things that it is attached to, and how.
        policies: The policies that are attached to it.
        noted: Whether it has a row.
    """

    certificate: Certificate
    attachments: Mapping[str, str]
    policies: Sequence[str]
    noted: bool


@frozen
class AdoptionStep:
    """What one certificate lacks.

    Attributes:
        certificate_id: The certificate.
        policies: The policies that it is given.
        exclusive: Whether its attachment becomes exclusive.
        record: The row that it gets; None when it has one.
    """

    certificate_id: str
    policies: tuple[str, ...] = ()
    exclusive: bool = False
    record: Record | None = None

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not self.policies and not self.exclusive and self.record is None


@frozen
class Adoption:
    """What becomes of a thing.

    Attributes:
        thing: The thing.
        why: Why it is left as it is; empty where it is not.
        steps: What its certificates lack.
        device: The row of its serial number; None when there is one.
    """

    thing: str
    why: str = ""
    steps: tuple[AdoptionStep, ...] = field(default=())
    device: Device | None = None

    @property
    def ready(self) -> bool:
        """Whether it lacks nothing."""
        return not self.why and not self.steps and self.device is None


def adopt(
    thing: str,
    held: Sequence[AdoptableCertificate] | None,
    own: Sequence[str],
    serial: tuple[str, Device | None],
    now: datetime,
) -> Adoption:
    """Decide about one thing.

    Args:
        thing: The thing.
        held: Its certificates; None when there is no such thing.
        own: The policies that the agent needs.
        serial: Its serial number, and the row of that.
        now: The present time.
    """
    active = [item for item in held or () if item.certificate.active]
    why = _against(thing, held is not None, active, own) or _other(thing, serial)
    if why:
        return Adoption(thing=thing, why=why)
    name, row = serial
    steps = (_step(thing, item, own, name) for item in active)
    new = Device(serial=name, thing=thing, state=DeviceState.ENROLLED, enrolled_at=now)
    return Adoption(
        thing=thing, steps=tuple(step for step in steps if not step.nothing), device=new if row is None else None
    )


def _against(thing: str, there: bool, active: Sequence[AdoptableCertificate], own: Sequence[str]) -> str:  # noqa: FBT001 - of one caller
    if not there:
        return "There is no such thing."
    if not active:
        return "It has no active certificate."
    for item in active:
        name = item.certificate.certificate_id[:12]
        if set(item.attachments) != {thing}:
            return f"{name} is attached to {len(item.attachments)} things. Give each thing a certificate of its own."
        if len({*item.policies, *own}) > MOST_POLICIES:
            return f"{name} has {len(item.policies)} policies, and a certificate takes {MOST_POLICIES}. Merge some."
    return ""


def _other(thing: str, serial: tuple[str, Device | None]) -> str:
    name, row = serial
    return f"The serial number {name} is {row.thing}'s already." if row is not None and row.thing != thing else ""


def _step(thing: str, item: AdoptableCertificate, own: Sequence[str], serial: str) -> AdoptionStep:
    name = item.certificate.certificate_id
    return AdoptionStep(
        certificate_id=name,
        policies=tuple(policy for policy in own if policy not in item.policies),
        exclusive=item.attachments[thing] != EXCLUSIVE,
        record=None if item.noted else Record(certificate_id=name, thing=thing, serial=serial),
    )
