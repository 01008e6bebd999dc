"""What a client asks the daemon, and what the daemon tells it: the lines of the control socket, one JSON object each.

A client sends one `ControlRequest`. It is told any number of messages, the `event` of which says what they are; the one
with ``exit`` is the last. Nothing of a message is secret: a change is told without the certificate in hand.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import TYPE_CHECKING, Annotated, TypeAlias

from agent.core.change.decide import Wait  # noqa: TC001 - the decoder reads the types
from agent.core.change.ladder import Climb  # noqa: TC001 - as above
from agent.core.change.lifecycle import ChangeRecord
from agent.core.change.progress import Progress
from agent.core.change.records import public
from agent.core.exit_codes import Exit
from agent.core.frozen import frozen
from agent.core.jsonio import decode, encode, encode_plain, to_plain
from agent.core.report.checks import Line  # noqa: TC001 - as above
from agent.core.values import Id, LongText, Name  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.core.jsonio import Node

MAX_REASON = 500  # characters


@frozen
class ControlRequest:
    """What a client wants.

    Attributes:
        verb: What to do.
        reason: Why, in a person's words, or empty.
        no_wait: Leave as soon as the change is begun.
        give_up: Of a rollback: give the change in flight up, too.
        now: Of a retirement: also of what other programs may use still.
        certificate: The beginning of the id of the certificate that is not to be retired.
        until: When a pause ends.
        login_uid: The user behind root, where the client is root's.
    """

    verb: Id
    reason: Annotated[str, MAX_REASON] = ""
    no_wait: bool = False
    give_up: bool = False
    now: bool = False
    certificate: Id = ""
    until: datetime | None = None
    login_uid: int = 0


@frozen
class AcceptedMessage:
    """The request is taken, and more follows."""


@frozen
class WaitMessage:
    """The change waits for longer than a moment.

    Attributes:
        change: The change.
        wait: What it waits for.
        postponed: What was ordered is begun only once this change has ended.
        locked_out: Where the ladder led, if no set of this gateway is accepted.
        current: The generation in use.
        would_exit: The exit code for a client that leaves now.
    """

    change: ChangeRecord
    wait: Wait
    postponed: bool = False
    locked_out: Climb | None = None
    current: int | None = None
    would_exit: int


@frozen
class BegunMessage:
    """The change is begun and goes on, told to a client that does not wait. `change` is its id."""

    change: Id
    exit: int = Exit.DONE


@frozen
class OutcomeMessage:
    """How a change ended.

    Attributes:
        change: The change.
        current: The generation in use.
        exit: The exit code that it stands for.
        repeated: It had done what was ordered before that was ordered; nothing was begun.
    """

    change: ChangeRecord
    current: int | None = None
    exit: int
    repeated: bool = False


@frozen
class LockedOutMessage:
    """No set of this gateway is accepted: why, and what a person can do."""

    why: LongText
    remedy: LongText = ""
    exit: int = Exit.CRITICAL


@frozen
class NothingMessage:
    """Nothing was changed, and `text` says why."""

    text: LongText
    exit: int


@frozen
class ErrorMessage:
    """The request is refused, or failed: what happened, and what to do, which may be empty."""

    message: LongText
    hint: LongText = ""
    exit: int


@frozen
class RehearsalMessage:
    """What a rotation would do."""

    text: LongText
    exit: int = Exit.DONE


@frozen
class ExaminationMessage:
    """What the doctor's looks at the broker came to."""

    lines: tuple[Line, ...] = ()
    exit: int = Exit.DONE


@frozen
class DroppedMessage:
    """A certificate is not asked to be retired any more; `text` says which."""

    text: LongText
    exit: int = Exit.DONE


@frozen
class RetiredMessage:
    """Nothing is left to be retired."""

    left: int = 0
    exit: int = Exit.DONE


@frozen
class PausedMessage:
    """Scheduled changes are held until then."""

    until: datetime
    exit: int = Exit.DONE


@frozen
class ResumedMessage:
    """Scheduled changes are not held any more."""

    exit: int = Exit.DONE


@frozen
class StatusMessage:
    """How the gateway stands, ready to be shown.

    Attributes:
        document: For machines; see `agent.core.report.document`.
        trust: The part of it that is about the anchors in use.
        screen: For people: names and texts.
        why: Why nothing happens, or what is being done, a sentence each.
        configuration: The checksum of the configuration in force.
        exit: The exit code.
    """

    document: Mapping[Name, object] = field(default_factory=dict)
    trust: Mapping[Name, object] = field(default_factory=dict)
    screen: tuple[tuple[LongText, LongText], ...] = ()
    why: tuple[LongText, ...] = ()
    configuration: Id = ""
    exit: int


@frozen
class HistoryMessage:
    """The finished changes, oldest first: as they are, and a line for people of each."""

    records: tuple[ChangeRecord, ...] = ()
    lines: tuple[LongText, ...] = ()
    exit: int = Exit.DONE


LastMessage: TypeAlias = (
    BegunMessage | OutcomeMessage | LockedOutMessage | NothingMessage | ErrorMessage | RehearsalMessage
    | ExaminationMessage | DroppedMessage | RetiredMessage | PausedMessage | ResumedMessage | StatusMessage
    | HistoryMessage
)  # fmt: skip
ControlMessage: TypeAlias = AcceptedMessage | Progress | WaitMessage | LastMessage

_EVENTS: dict[str, type[ControlMessage]] = {
    "accepted": AcceptedMessage,
    "progress": Progress,
    "waiting": WaitMessage,
    "begun": BegunMessage,
    "outcome": OutcomeMessage,
    "locked-out": LockedOutMessage,
    "nothing": NothingMessage,
    "error": ErrorMessage,
    "rehearsal": RehearsalMessage,
    "examination": ExaminationMessage,
    "dropped": DroppedMessage,
    "retired": RetiredMessage,
    "paused": PausedMessage,
    "resumed": ResumedMessage,
    "status": StatusMessage,
    "history": HistoryMessage,
}
_NAMES = {kind: event for event, kind in _EVENTS.items()}

# Without it, each certificate would be meant.
_NEEDED = {"drop": ("certificate",)}


def encode_request(request: ControlRequest) -> bytes:
    """Return the request as a line."""
    return encode(request) + b"\n"


def decode_request(line: bytes, limit: int) -> ControlRequest:
    """Return the request of a line.

    Args:
        line: The line.
        limit: The longest allowed, in bytes.

    Raises:
        PlainError: It is none.
    """
    node = decode(line, "The request", limit=limit)
    return node.record(ControlRequest, needed=_NEEDED.get(node.text("verb", limit=64), ()))


def encode_message(message: ControlMessage) -> bytes:
    """Return what a client is told as a line; what has no value is null there."""
    told = {item.name: _plain(getattr(message, item.name)) for item in fields(message)}
    return encode_plain({"event": _NAMES[type(message)], **told}) + b"\n"


def _plain(value: object) -> object:
    match value:
        case ChangeRecord():
            return to_plain(public(value))
        case tuple():
            return list(map(_plain, value))
        case _:
            return to_plain(value)


def decode_message(node: Node) -> ControlMessage | None:
    """Return what the daemon told; None where that is an event that is not known here.

    Raises:
        PlainError: It is no message.
    """
    kind = _EVENTS.get(node.text("event"))
    return node.record(kind) if kind is not None else None
