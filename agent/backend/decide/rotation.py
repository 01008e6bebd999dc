"""Who is rotated: a certificate, as the one thing that the registry has it attached to.

* The thing comes from the registry, by the certificate that connected. What the gateway asks for may agree with that or
  be absent; it decides nothing.
* The new certificate carries every policy of the one that it follows, since the gateway's other programs connect with
  it too. What cannot be copied is a refusal: the old certificate goes on working, a weaker new one would not.
* Nothing is deactivated here. The old certificate is the way back until the gateway asks for its retirement.
* A thing that mints certificates is stopped by a daily budget, in which a repeated request counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide.admission import allowed, denied, enrolled, issued
from agent.backend.decide.verdict import AttachPolicy, Decision, Deed, SaveRecord, is_certificate_id
from agent.backend.names import Metric
from agent.backend.values import CertificateOrigin, Device, DeviceState, Record
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

MOST_POLICIES = 10  # on one certificate (AWS IoT Core quotas)


@frozen
class Rotation:
    """What a gateway asks for.

    Attributes:
        thing: The thing that it says it is; empty when it does not say.
        caller: The certificate that it is connected with, by AWS's word.
        certificate_id: The certificate that is to be registered.
    """

    thing: str
    caller: str
    certificate_id: str


@frozen
class RotationFacts:
    """What is known of the certificate that the gateway is connected with, and of the new one.

    Attributes:
        things: The things that the caller is attached to.
        policies: The policies that are attached to the caller.
        caller: The caller's row.
        active: Whether the caller is ACTIVE; only one that was retired has to be looked up, others could not connect.
        device: The row of the serial number that the caller descends from.
        record: The new certificate's row.
    """

    things: tuple[str, ...]
    policies: tuple[str, ...] = ()
    caller: Record | None = None
    active: bool = True
    device: Device | None = None
    record: Record | None = None


def rotate(asked: Rotation, held: RotationFacts, own: Collection[str], now: datetime) -> Decision:
    """Decide about a rotation, but for the budget.

    Args:
        asked: What is asked for.
        held: What is known.
        own: The policies that the template attaches by itself.
        now: The present time.
    """
    why = _against(asked, held)
    if why:
        return refused(why)
    missing = [name for name in held.policies if name not in own]
    if len({*own, *missing}) > MOST_POLICIES:
        return refused(
            f"Besides the template's {len(own)}, its certificate has further policies ({len(missing)}), and a "
            f"certificate takes {MOST_POLICIES}. Merge some of them."
        )
    thing = held.things[0]
    return Decision(
        allowed=True,
        why=f"It is {thing}, by the certificate that it is connected with.",
        say=allowed(thing),
        do=(
            *_noted(asked, held, thing, now),
            *(AttachPolicy(name, asked.certificate_id) for name in missing),
        ),
        count=Metric.ROTATIONS,
    )


def refused(why: str) -> Decision:
    """Refuse a rotation: the gateway keeps what it has, and tries again."""
    return Decision(allowed=False, why=why, say=denied(), count=Metric.ROTATIONS_REFUSED)


def over_budget(thing: str, limit: int) -> Decision:
    """Refuse a rotation for the budget's sake."""
    return refused(
        f"{thing} has had its certificates of today ({limit}). If it does not stop, something on it mints them."
    )


def _against(asked: Rotation, held: RotationFacts) -> str:
    """Return what speaks against a rotation, or nothing."""
    if not is_certificate_id(asked.caller) or not is_certificate_id(asked.certificate_id):
        return "AWS did not say which certificate asks."
    if asked.caller == asked.certificate_id:
        return "A certificate cannot follow itself."
    if not held.things:
        return "Its certificate is attached to no thing, or the registry does not know of it yet."
    if len(held.things) > 1:
        return f"Its certificate is attached to {len(held.things)} things, so it is not clear which one it is."
    thing = held.things[0]
    if asked.thing not in {"", thing}:
        return f"It asks as {asked.thing}, and its certificate is {thing}'s."
    if held.record is not None and (held.record.thing != thing or held.record.retired_at is not None):
        return f"The new certificate was {held.record.thing}'s before, or was retired."
    if not held.active:
        return "Its certificate was retired."
    if held.device is not None and held.device.state is DeviceState.BLOCKED:
        return "The operator has blocked it."
    return ""


def _noted(asked: Rotation, held: RotationFacts, thing: str, now: datetime) -> tuple[Deed, ...]:
    """Return the rows to be written: the new certificate, and that the caller is in use."""
    caller = held.caller or Record(certificate_id=asked.caller, thing=thing)
    proven = caller.proven(now)
    new = issued(asked.certificate_id, thing, CertificateOrigin.ROTATION, caller.serial, now)
    return (
        *([SaveRecord(new)] if held.record is None else []),
        *([SaveRecord(proven)] if proven != held.caller else []),
        *enrolled(held.device, asked.caller, now),
    )
