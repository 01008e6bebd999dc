"""A gateway as one HTML page that a technician can send: it needs no network, no script and no further file.

The page is made of what is told anyway: the status document, the screen, the doctor's lines, the history. It decides
nothing; what is in it must be free of secrets already. Texts from outside are escaped, and a policy in the page keeps a
browser from loading or running anything.
"""

from __future__ import annotations

from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.jsonio import Node
from agent.core.report.page_style import STYLE
from agent.core.report.screen import wanted
from agent.core.report.seen import WatchedFile  # noqa: TC001 - the decoder reads the types of `_StatusRead`
from agent.core.text import clock_time, common_name, counted
from agent.core.values import CertificateFacts, LongText  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.checks import Line

# What the page has a part of its own for.
_ELSEWHERE = frozenset({"gateway", "clock", "certificate", "anchors", "on disk", "last", "health"})

_TONES = {"ok": "good", "committed": "good", "warning": "doubtful", "failure": "bad", "rejected": "bad"}
_TONES |= {"rolled-back": "bad"}


@frozen
class Found:
    """What the page tells.

    Attributes:
        document: The status document; see `agent.core.report.document`.
        screen: The status for people: names and texts.
        lines: The doctor's.
        history: The finished changes, oldest first.
        missing: What could not be had, and why.
    """

    document: Mapping[str, object]
    screen: Sequence[tuple[str, str]]
    lines: Sequence[Line] = ()
    history: Sequence[ChangeRecord] = ()
    missing: Sequence[tuple[str, str]] = ()


@frozen
class _Clock:
    now: datetime
    state: str


@frozen
class _Renewal:
    at: datetime
    emergency_at: datetime
    not_after: datetime


@frozen
class _InUse:
    generation: int
    thing_name: LongText
    certificate: CertificateFacts
    renewal: _Renewal
    anchors: tuple[CertificateFacts, ...]
    anchor_in_use: str = ""
    anchors_left: tuple[str, ...] = ()


@frozen
class _Kept:
    generation: int
    certificate_id: str | None = None
    not_after: datetime | None = None


@frozen
class _StatusRead:
    """What the page reads of the status document, by the document's own names."""

    version: str
    endpoint: LongText
    port: int
    clock: _Clock
    health: tuple[LongText, ...]
    thing_name: LongText | None = None
    current: _InUse | None = None
    previous: int | None = None
    generations: tuple[_Kept, ...] = ()
    warn_anchors: tuple[timedelta, ...] = ()
    watched: tuple[WatchedFile, ...] = ()


@frozen
class _End:
    """Something that ends: its name, what else is to be said of it, its end, and how near an end is a doubt."""

    name: str
    said: str
    at: datetime
    soon: timedelta


def page(found: Found) -> str:
    """Return the page."""
    told = Node(found.document, "the status").record(_StatusRead)
    now = told.clock.now
    thing = (told.current and told.current.thing_name) or told.thing_name or "Not enrolled"
    parts = [
        _header(thing, told),
        _section("Health", _health(told.health)),
        _section("How it stands", _fields(item for item in found.screen if item[0] not in _ELSEWHERE)),
        _section("Certificates", _bars(_certificates(told), now)),
        _section("Trust anchors", _bars(_anchors(told), now)),
        _section("Watched files", _bars(_watched(told), now)),
        _section("The doctor's visit", _items(_doctor(found.lines))),
        _section("History", _items(_history(found.history))),
        _section("What could not be had", _fields(found.missing)),
        f"<footer>iot-cert {escape(told.version)}. No key, token or password is on this page.</footer>",
    ]
    return _FRAME.format(title=escape(f"{thing}, {clock_time(now)}"), style=STYLE, parts="\n".join(filter(None, parts)))


_FRAME = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{parts}
</body>
</html>
"""


def _header(thing: str, told: _StatusRead) -> str:
    where = f"{told.endpoint}:{told.port}"
    clock = f"{clock_time(told.clock.now)} ({told.clock.state})"
    return f"<header><h1>{escape(thing)}</h1><p>{escape(where)}<br>{escape(clock)}</p></header>"


def _section(name: str, body: str) -> str:
    return f"<section><h2>{escape(name)}</h2>\n{body}</section>" if body else ""


def _health(texts: Sequence[str]) -> str:
    wrong = [text for text in texts if text != "ok"]
    if not wrong:
        return '<p class="verdict good">ok</p>'
    return "".join(f'<p class="verdict bad">{_told(text)}</p>' for text in wrong)


def _fields(items: Iterable[tuple[str, str]]) -> str:
    told = "".join(f"<dt>{escape(name)}</dt><dd>{_told(text)}</dd>\n" for name, text in items)
    return told and f"<dl>\n{told}</dl>\n"


def _told(text: str) -> str:
    """Return a text with its lines, and with its commands set apart."""
    return "<br>".join(_line(line) for line in text.split("\n"))


def _line(text: str) -> str:
    pieces = escape(text).split("`")
    if len(pieces) % 2 == 0:  # a backtick of its own
        return escape(text)
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _certificates(told: _StatusRead) -> Iterator[_End]:
    current = told.current
    if current:
        leaf, renewal = current.certificate, current.renewal
        said = f"in use, {leaf.key}, replaced at {clock_time(renewal.at)}\nid {leaf.sha256}"
        name = f"Generation {current.generation}: {leaf.subject}"
        yield _End(name=name, said=said, at=leaf.not_after, soon=renewal.not_after - renewal.emergency_at)
    for item in told.generations:
        if item.not_after and (current is None or item.generation != current.generation):
            role = "to go back to\n" if item.generation == told.previous else ""
            said = f"{role}id {item.certificate_id}"
            yield _End(name=f"Generation {item.generation}", said=said, at=item.not_after, soon=_NEVER)


_NEVER = timedelta.min


def _anchors(told: _StatusRead) -> Iterator[_End]:
    current, soon = told.current, max(told.warn_anchors, default=timedelta())
    for anchor in current.anchors if current else ():
        used = "the endpoint chained to it\n" if current and anchor.sha256 == current.anchor_in_use else ""
        used = "the endpoint has moved away from it\n" if current and anchor.sha256 in current.anchors_left else used
        said = f"{used}SHA-256 {anchor.sha256}"
        yield _End(name=common_name(anchor.subject), said=said, at=anchor.not_after, soon=soon)


def _watched(told: _StatusRead) -> Iterator[_End]:
    for file in told.watched:
        for end in file.ends:
            yield _End(name=common_name(end.subject), said=file.path, at=end.not_after, soon=file.warn)


def _bars(ends: Iterable[_End], now: datetime) -> str:
    """Return a bar for each, from now to its end, as long as the last one of them lets it be."""
    found = list(ends)
    last = max((item.at for item in found), default=now)
    if not found:
        return ""
    bars = "".join(_bar(item, now, (item.at - now) / (last - now) if last > now else 0) for item in found)
    scale = f'<p class="scale"><span>now</span><span>{last:%Y-%m-%d}</span></p>\n' if last > now else ""
    return f"<ul>\n{bars}</ul>\n{scale}"


def _bar(item: _End, now: datetime, share: float) -> str:
    left = item.at - now
    tone = "bad" if left <= timedelta() else "doubtful" if left <= item.soon else "good"
    days = counted(left.days, "day") if left.days else "less than a day"
    how = f"{days} left" if left > timedelta() else "EXPIRED"
    width = max(0.0, min(share, 1.0))
    return (
        f"<li><h3>{escape(item.name)}</h3><p>until {item.at:%Y-%m-%d %H:%M} UTC, <b class='{tone}'>{how}</b></p>"
        f"<div class='bar'><div class='{tone}' style='width:{width:.1%}'></div></div>"
        f"<p class='small'>{_told(item.said)}</p></li>\n"
    )


def _items(items: Iterable[tuple[str, str, str]]) -> str:
    """Return a list of what has a verdict: the word, what it is about, and texts."""
    heads = ((f"<b class='word {_TONES.get(word, '')}'>{escape(word)}</b>", name, text) for word, name, text in items)
    told = "".join(f"<li><h3>{head} {escape(name)}</h3><p>{_told(text)}</p></li>\n" for head, name, text in heads)
    return told and f"<ul>\n{told}</ul>\n"


def _doctor(lines: Iterable[Line]) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        remedy = line.remedy if line.verdict != "ok" else ""
        yield line.verdict, line.check, f"{line.text}\n{remedy}".strip()


def _history(records: Sequence[ChangeRecord]) -> Iterator[tuple[str, str, str]]:
    for record in reversed(records):
        name = f"{record.kind}, generation {record.generation}, {clock_time(record.entered_at)}"
        failure = record.failure or record.degraded
        text = f"{wanted(record)}\n{failure.message if failure else ''}"
        yield record.phase, name, text.strip()
