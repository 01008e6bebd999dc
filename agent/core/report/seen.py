"""What a look at the state directory and the watched files found, and the form in which a worker tells it.

The look needs the store and a library that reads certificates, which the daemon does without. So a worker looks, and
the daemon keeps what it told until there is reason to look again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.core.change.records import decode_provenance
from agent.core.change.reserve import Standing
from agent.core.exit_codes import Exit
from agent.core.jsonio import Node, PlainError, to_plain
from agent.core.values import CertificateFacts, Kind

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.values import Provenance

MAX_WATCHED = 20  # certificates of one watched file that are named: those that end first
_LONGEST = 10**10  # seconds; three centuries
_MAX_TEXT = 16_384  # characters; names in certificates may be long


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Something in the state directory that is not as it should be.

    Attributes:
        severity: CRITICAL for the set in use, DEGRADED for anything else.
        text: What it is, and what is done about it.
    """

    severity: Exit
    text: str


@dataclass(frozen=True, kw_only=True)
class SetInUse:
    """The set that `current` leads to.

    Attributes:
        generation: Its number.
        kind: The kind of change that made it.
        thing_name: The thing that it is for.
        created_at: When it was made.
        certificate: Its own certificate.
        anchors: Its trust anchors, in order.
        trust: Where the anchors came from, as far as that is known.
        splay: This gateway's place in the renewal window of the certificate, in [0, 1); hashing tells it, which an idle
            daemon does without.
    """

    generation: int
    kind: Kind
    thing_name: str
    created_at: datetime
    certificate: CertificateFacts
    anchors: tuple[CertificateFacts, ...]
    splay: float
    trust: Provenance | None = None


@dataclass(frozen=True, kw_only=True)
class WatchedEnd:
    """A certificate of a watched file, and when it ends."""

    subject: str
    sha256: str
    not_after: datetime


@dataclass(frozen=True, kw_only=True)
class WatchedFile:
    """What a watched file holds, as far as a person may have to act on it.

    Attributes:
        path: The file.
        warn: How long before an end the operator is warned.
        problem: Why it cannot be used, or empty.
        certificates: How many of its certificates can be read.
        unreadable: How many cannot.
        ends: The `MAX_WATCHED` that end first.
    """

    path: str
    warn: timedelta
    problem: str = ""
    certificates: int = 0
    unreadable: int = 0
    ends: tuple[WatchedEnd, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look found.

    Attributes:
        floor: The newest instant that certainly lies in the past.
        current: The set in use, if it is whole.
        previous: The generation to go back to, if it is whole.
        damage: What is not as it should be.
        reserve: How the room for falling back stands.
        watched: The watched files, in the order of the configuration.
    """

    floor: datetime
    current: SetInUse | None = None
    previous: int | None = None
    damage: tuple[Damage, ...] = ()
    reserve: Standing = Standing.MISSING
    watched: tuple[WatchedFile, ...] = ()


def seen_of(plain: object) -> Seen | None:
    """Return what a worker told; None when it told nothing that can be understood."""
    try:
        return _seen(Node(plain, "seen"))
    except PlainError:
        return None


def plainly(seen: Seen) -> dict[str, Any]:
    """Return what was found as a worker tells it."""
    plain: dict[str, Any] = to_plain(seen)
    return plain


def _seen(node: Node) -> Seen:
    current = node.optional_node("current")
    return Seen(
        floor=node.time("floor"),
        current=_set(current) if current else None,
        previous=node.optional_number("previous"),
        damage=tuple(_damage(item) for item in node.nodes("damage")),
        reserve=node.choice("reserve", Standing),
        watched=tuple(_watched(item) for item in node.nodes("watched")),
    )


def _damage(node: Node) -> Damage:
    return Damage(severity=Exit(node.number("severity")), text=node.text("text", limit=_MAX_TEXT))


def _set(node: Node) -> SetInUse:
    return SetInUse(
        generation=node.number("generation"),
        kind=node.choice("kind", Kind),
        thing_name=node.text("thing_name"),
        created_at=node.time("created_at"),
        certificate=_certificate(node.node("certificate")),
        anchors=tuple(_certificate(item) for item in node.nodes("anchors")),
        splay=_fraction(node, "splay"),
        trust=decode_provenance(node.optional_node("trust")),
    )


def _certificate(node: Node) -> CertificateFacts:
    return CertificateFacts(
        subject=node.optional_text("subject", limit=_MAX_TEXT) or "",
        issuer=node.optional_text("issuer", limit=_MAX_TEXT) or "",
        serial=node.text("serial"),
        not_before=node.time("not_before"),
        not_after=node.time("not_after"),
        sha256=node.text("sha256"),
        spki_sha256=node.text("spki_sha256"),
        is_ca=node.flag("is_ca"),
        key=node.text("key"),
        signature=node.text("signature"),
        digital_signature=node.flag("digital_signature") if node.has("digital_signature") else None,
        client_auth=node.flag("client_auth") if node.has("client_auth") else None,
        version=node.number("version"),
    )


def _fraction(node: Node, name: str) -> float:
    value = node.plain().get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= _LONGEST:
        raise PlainError(f"{node.path}: {name}: a number is expected")
    return float(value)


def _watched(node: Node) -> WatchedFile:
    return WatchedFile(
        path=node.text("path", limit=_MAX_TEXT),
        warn=timedelta(seconds=_fraction(node, "warn")),
        problem=node.optional_text("problem", limit=_MAX_TEXT) or "",
        certificates=node.number("certificates"),
        unreadable=node.number("unreadable"),
        ends=tuple(
            WatchedEnd(
                subject=end.optional_text("subject", limit=_MAX_TEXT) or "",
                sha256=end.text("sha256"),
                not_after=end.time("not_after"),
            )
            for end in node.nodes("ends")
        ),
    )
