"""What the daemon has a worker do, and the form in which the two speak: one JSON object a line.

The order is the worker's one line of input. It answers with a `Progress` a line and, last, its `End`; the `event` of a
line says which it is.
"""

from __future__ import annotations

from dataclasses import field, replace
from enum import StrEnum
from typing import Annotated

from agent.core.change.decide import Wait  # noqa: TC001 - the decoder reads the types of `End`
from agent.core.change.ladder import Climb  # noqa: TC001 - as above
from agent.core.change.lifecycle import ChangeRecord  # noqa: TC001 - as above
from agent.core.change.progress import Progress
from agent.core.change.verbs import Verb
from agent.core.frozen import frozen
from agent.core.jsonio import SECONDS, Node, decode, encode, to_plain
from agent.core.report.checks import Line  # noqa: TC001 - as above
from agent.core.report.seen import Seen, seen_of
from agent.core.values import MAX_URL, Id, Kind, LongText, Name, Origin, User

MAX_LINE = 4_194_304  # bytes; the most that a look at a bundle of anchors and at watched files can come to


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
    NOTE_UNREGISTERED = "note-unregistered"  # write down that the cloud never registered what was to be retired
    DROP_RETIREMENT = "drop-retirement"  # write down that a certificate is not asked to be retired any more
    TAKE_DROP = "take-drop"  # take a signed bundle in from the inbox
    DOWNLOAD = "download"  # take a signed bundle in from a URL
    SERVE = "serve"  # have the dependants looked after, with neither store nor cloud


@frozen
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
        orderly: The last worker ended at a wait, so no step was cut off; the dispatcher says so, of every order.
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


@frozen
class WorkerError:
    """Why an order could not be carried out.

    Attributes:
        message: What happened, a sentence.
        hint: What to do, or empty.
        exit: The exit code that it stands for.
        busy: Another process works on the store.
        died: The worker ended without an answer.
    """

    message: LongText
    hint: LongText = ""
    exit: int = 1
    busy: bool = False
    died: bool = False


@frozen
class NoChange:
    """Why a bundle that was taken in became no change.

    Attributes:
        code: The reason's name; ``unchanged`` where the gateway has what it brings.
        message: A sentence.
        hint: What to do, or empty.
        passing: Whether it may be taken in later.
    """

    code: Id
    message: LongText
    hint: LongText = ""
    passing: bool = False


@frozen
class End:
    """How an order ended.

    Attributes:
        error: Why it could not be carried out, or not to its end.
        seen: What was found on disk afterwards; None where it could not be looked at.
        traces: Those of the files, from just before that look.
        half: Nothing was done since half of a set has just been replaced by hand.
        connected_at: When the worker connected last with the agent's client id, by the monotonic clock.
        climb: Where the ladder led, if it was climbed.
        change: The change that was worked on, without what is secret.
        wait: What that waits for; None where it has ended.
        exit: The exit code that the change stands for now.
        repeats: The finished change that had done already what was ordered.
        postponed: What was ordered is begun only once the change has ended.
        bundle: Why a bundle became no change.
        dropped: What is told of a certificate that is not asked to be retired any more.
        rehearsal: What a real rotation would do.
        examination: What the doctor's looks at the broker came to.
    """

    error: WorkerError | None = None
    seen: Seen | None = None
    traces: LongText = ""
    half: bool = False
    connected_at: float | None = None
    climb: Climb | None = None
    change: ChangeRecord | None = None
    wait: Wait | None = None
    exit: int = 0
    repeats: ChangeRecord | None = None
    postponed: bool = False
    bundle: NoChange | None = None
    dropped: LongText | None = None
    rehearsal: LongText | None = None
    examination: tuple[Line, ...] | None = None


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


def encode_answer(answer: Progress | End) -> bytes:
    """Return what a worker tells as a line."""
    event = "end" if isinstance(answer, End) else "progress"
    return encode({"event": event, **to_plain(answer)}) + b"\n"


def decode_answer(line: bytes) -> Progress | End:
    """Return what a worker has told.

    What was seen is read apart: a worker of a newer version may tell of it in words that this daemon does not know.

    Raises:
        PlainError: It is neither.
    """
    node = decode(line, "the worker's line", limit=MAX_LINE)
    if node.text("event") != "end":
        return node.record(Progress)
    found = node.plain()
    end = Node(node.without("seen"), node.path).record(End)
    return replace(end, seen=seen_of(found["seen"]) if "seen" in found else None)
