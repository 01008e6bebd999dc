"""What a look at the state directory and the watched files found, and the form in which a worker tells it.

The look needs the store and a library that reads certificates, which the daemon does without. So a worker looks, and
the daemon keeps what it told until there is reason to look again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.change.reserve import Standing
from agent.core.frozen import frozen
from agent.core.jsonio import Node, PlainError, encode
from agent.core.values import CertificateFacts, Kind, LongText, Provenance  # noqa: TC001 - what `Node.record` reads

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

MAX_WATCHED = 20  # certificates of one watched file that are named: those that end first
MAX_NAMED = 524_288  # bytes of what is told of all watched files together, beside their paths and problems
MAX_GENERATIONS = 16  # that are told of; `rotation.keep` may be larger


@frozen
class Damage:
    """Something in the state directory that is not as it should be.

    Attributes:
        critical: Whether it is the set in use.
        text: What it is, and what is done about it.
    """

    critical: bool
    text: LongText


@frozen
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
        differs: What is configured otherwise than it was for this set, a sentence each.
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
    differs: tuple[LongText, ...] = ()


@frozen
class WatchedEnd:
    """A certificate of a watched file, and when it ends."""

    subject: LongText
    sha256: str
    not_after: datetime


@frozen
class WatchedFile:
    """What a watched file holds, as far as a person may have to act on it.

    Attributes:
        path: The file.
        warn: How long before an end the operator is warned.
        problem: Why it cannot be used, or empty.
        certificates: How many of its certificates can be read.
        unreadable: How many cannot.
        ends: The `MAX_WATCHED` that end first, or fewer where many files are watched.
    """

    path: LongText
    warn: timedelta
    problem: LongText = ""
    certificates: int = 0
    unreadable: int = 0
    ends: tuple[WatchedEnd, ...] = ()


def within_bounds(files: Iterable[WatchedFile]) -> tuple[WatchedFile, ...]:
    """Return the watched files, each with so many of its ends that all of them can be told.

    A look that is longer than the daemon takes would be none, and the daemon would know of no set.
    """
    found, most = tuple(files), MAX_WATCHED
    sizes = [[len(encode(end)) for end in item.ends] for item in found]
    while most and sum(sum(of_one[:most]) for of_one in sizes) > MAX_NAMED:
        most //= 2
    return tuple(replace(item, ends=item.ends[:most]) for item in found)


@frozen
class OnDisk:
    """A generation on disk.

    Attributes:
        generation: Its number.
        certificate_id: Its certificate; empty where it is damaged.
        not_after: The end of that certificate; None where it is damaged.
    """

    generation: int
    certificate_id: str = ""
    not_after: datetime | None = None


@frozen
class Seen:
    """What one look found.

    Attributes:
        floor: The newest instant that certainly lies in the past.
        current: The set in use, if it is whole.
        previous: The generation to go back to, if it is whole.
        generations: The `MAX_GENERATIONS` that are newest, newest first.
        damage: What is not as it should be.
        reserve: How the room for falling back stands.
        watched: The watched files, in the order of the configuration.
        exposed: Files of the agent's whose mode or owner is wrong, a sentence with the remedy each.
        distrusted: Why an anchor in use should not be there, a sentence each; what ends is told by the clock.
        lacking: Which anchors are missing that the endpoint may chain to, a sentence, or empty.
    """

    floor: datetime
    current: SetInUse | None = None
    previous: int | None = None
    generations: tuple[OnDisk, ...] = ()
    damage: tuple[Damage, ...] = ()
    reserve: Standing = Standing.MISSING
    watched: tuple[WatchedFile, ...] = ()
    exposed: tuple[LongText, ...] = ()
    distrusted: tuple[LongText, ...] = ()
    lacking: LongText = ""


def seen_of(plain: object) -> Seen | None:
    """Return what a worker told; None when it told nothing that can be understood."""
    try:
        return Node(plain, "seen").record(Seen)
    except PlainError:
        return None
