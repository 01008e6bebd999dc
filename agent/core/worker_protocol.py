"""What the daemon has a worker do, and the form in which the two speak: one JSON object a line.

The order is the worker's one line of input. It answers with `progress` lines and, last, one `end` line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from agent.core.change.verbs import Verb
from agent.core.jsonio import SECONDS, Node, decode, encode
from agent.core.values import Id, Kind, Name, Origin, User

MAX_LINE = 1_048_576  # bytes
MAX_URL = 8_192  # characters; a presigned URL with a session token has a fifth of it


class Do(StrEnum):
    """What there is to do."""

    LOOK = "look"  # put the store right if no other process works on it, and look
    GO_ON = "go-on"  # carry the change in flight on
    BEGIN = "begin"  # begin a change and carry it on
    ORDER = "order"  # carry out what a person orders
    CONFIRM = "confirm"  # take the word that the set on probation works
    CLIMB = "climb"  # find a set that works, and begin what leads there
    REHEARSE = "rehearse"  # all of a rotation that costs nothing
    EXAMINE = "examine"  # connect and try every permission, for the doctor
    NOTE_RETIRED = "note-retired"  # write down that the cloud accepted a retirement
    DROP_RETIREMENT = "drop-retirement"  # write down that a certificate is not asked to be retired any more
    TAKE_DROP = "take-drop"  # take a signed bundle in from the inbox
    DOWNLOAD = "download"  # take a signed bundle in from a URL
    SERVE = "serve"  # have the dependants looked after, with neither store nor cloud


@dataclass(frozen=True, kw_only=True)
class Order:
    """One order.

    Attributes:
        do: What.
        kind: The change to begin.
        verb: What a person orders.
        joins: The change that was in flight when it was ordered, or empty.
        told: The last change whose end was told to the person who ordered it, or empty.
        origin: Who wants it.
        reason: Why.
        order: What it answers to; see `ChangeRecord.order`.
        change: The change that a retirement belongs to.
        orderly: The last worker ended at a wait, so no step was cut off.
        hasten: Try the next step now, whatever delay a failure left behind.
        doubt: The session with the set on probation was lost or refused, so it is to be proven soon.
        patient: Leave a set alone of which half has just been replaced by hand.
        connected_at: When the daemon connected last, by the monotonic clock.
        drop: The name of what lies in the inbox.
        url: Where a bundle is; it may be presigned, and then it is a secret.
        digest: The SHA-256 that the bundle's archive must have, or empty.
        certificate: The beginning of a certificate's id.
        asked_by: The user who gave it, if one did.
        configuration: The text of the configuration in force, which the file may not be any more; empty for the file.
    """

    do: Do
    kind: Kind = Kind.ROTATE
    verb: Verb = Verb.ROTATE
    joins: Id = ""
    told: Id = ""
    origin: Origin = Origin.SCHEDULE
    reason: str = ""
    order: Name = ""
    change: Id = ""
    orderly: bool = False
    hasten: bool = False
    doubt: bool = False
    patient: bool = False
    connected_at: float | None = None
    drop: Name = ""
    url: Annotated[str, MAX_URL] = field(default="", repr=False)
    digest: Id = ""
    certificate: Id = ""
    asked_by: User | None = None
    configuration: Annotated[str, MAX_LINE] = field(default="", repr=False)


# What an order says whatever it is: a worker does not fill in what the daemon left out.
_NEEDED = ("kind", "verb", "joins", "told", "origin", "reason", "order", "change")


def encode_order(order: Order) -> bytes:
    """Return the order as a line."""
    return encode(order) + b"\n"


def decode_order(line: bytes) -> Order:
    """Return the order of a line.

    Raises:
        PlainError: It is none.
    """
    node = decode(line, "the order", limit=MAX_LINE)
    order = Node(node.without("connected_at"), node.path).record(Order, needed=_NEEDED)
    return replace(order, connected_at=_seconds(node.plain().get("connected_at")))


def _seconds(value: object) -> float | None:
    """Return a time by the monotonic clock; what cannot be one is none, since it only spaces connections."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < SECONDS:
        return None
    return float(value)
