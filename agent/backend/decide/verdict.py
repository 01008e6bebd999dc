"""A verdict: why, what is said to the gateway, and what is to be done, in order.

The deeds are such that a handler which dies between any two of them leaves nothing behind that the same event, or the
next sweep, does not mend: notes come before what they are about, and to do a deed again changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.backend.names import Metric
    from agent.backend.values import Device, Record

BAD_REQUEST, FORBIDDEN, CONFLICT, TOO_MANY_REQUESTS = 400, 403, 409, 429  # of HTTP, which refusals bear

_CERTIFICATE_ID = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


@dataclass(frozen=True)
class SaveDevice:
    """Write a serial number's row, which follows the one that it was made from."""

    device: Device


@dataclass(frozen=True)
class SaveRecord:
    """Write a certificate's row, which follows the one that it was made from."""

    record: Record


@dataclass(frozen=True)
class AttachPolicy:
    """Attach a policy to a certificate."""

    policy: str
    certificate_id: str


@dataclass(frozen=True)
class ActivateCertificate:
    """Make a certificate ACTIVE."""

    certificate_id: str


@dataclass(frozen=True)
class DeactivateCertificate:
    """Make a certificate INACTIVE."""

    certificate_id: str


@dataclass(frozen=True)
class MakeThing:
    """Make a thing, which may be there already."""

    thing: str


@dataclass(frozen=True)
class AttachThing:
    """Attach a certificate to a thing."""

    thing: str
    certificate_id: str


@dataclass(frozen=True)
class DetachThing:
    """Take a certificate off a thing."""

    thing: str
    certificate_id: str


@dataclass(frozen=True)
class DeleteCertificate:
    """Delete a certificate."""

    certificate_id: str


Deed: TypeAlias = (
    SaveDevice
    | SaveRecord
    | AttachPolicy
    | ActivateCertificate
    | DeactivateCertificate
    | MakeThing
    | AttachThing
    | DetachThing
    | DeleteCertificate
)


@frozen
class Decision:
    """What was decided.

    Attributes:
        allowed: Whether what was asked for is done, or has been.
        why: A sentence for the operator's log. There is no token in it.
        say: What the gateway is told; empty where it did not ask.
        do: What is to be done, in this order, before anything is said.
        count: What the verdict is counted as; None for one that is not.
    """

    allowed: bool
    why: str
    say: Mapping[str, object]
    do: tuple[Deed, ...] = ()
    count: Metric | None = None


def is_certificate_id(value: object) -> bool:
    """Whether a value is the id of a certificate: 64 hexadecimal digits in lower case."""
    return isinstance(value, str) and _CERTIFICATE_ID.fullmatch(value) is not None


def is_name(value: object) -> bool:
    """Whether a value can be a thing's name, and so a serial number."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
