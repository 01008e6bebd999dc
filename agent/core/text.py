"""Instants, spans and names in the words of the output. Imports next to nothing: `iot-cert status` must be quick."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta


def printable(text: str, limit: int) -> str:
    """Return the beginning of a text, on one line, with a blank in the place of all that a terminal may not show."""
    cut = text[:limit]
    return cut if cut.isprintable() else "".join(char if char.isprintable() else " " for char in cut)


def sentence_of(text: str) -> str:
    """Return a text as the beginning of a sentence: its first letter is large, and the others are as they were."""
    return text[:1].upper() + text[1:]


def in_shell(word: object) -> str:
    """Return a path or another word as it is typed in a shell, in quotes where it needs them."""
    text = str(word)
    plain = all(char.isalnum() or char in "/._-+:=@%," for char in text)
    return text if text and plain else "'" + text.replace("'", "'\\''") + "'"


def clock_time(at: datetime) -> str:
    """Return an instant for people: UTC, to the second."""
    year, month, day, hour, minute, second, *_ = at.utctimetuple()
    return f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"


def duration(span: timedelta) -> str:
    """Return a time span for people: ``20 ms``, ``90 s``, ``10 min``, ``5 h``, ``30 d``."""
    seconds = span.total_seconds()
    for size, unit, least in ((86400, "d", 2 * 86400), (3600, "h", 7200), (60, "min", 120)):
        if seconds >= least:
            return f"{seconds / size:.0f} {unit}"
    if 0 < seconds < 0.1:  # noqa: PLR2004 - a tenth is the least that the seconds tell
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.0f} s" if seconds == int(seconds) else f"{seconds:.1f} s"


def seconds_of(text: str) -> int:
    """Return the seconds of a duration as a person types it, such as ``90m``; 0 for a text that is none."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    plain = number.isdecimal() and len(number) <= 12  # noqa: PLR2004 - 30,000 years in seconds
    return int(number) * units[unit] if unit in units and plain else 0


def counted(number: int, name: str, names: str = "") -> str:
    """Return a number with what it counts: ``1 thing``, ``2 things``; `names` where an s does not make the plural."""
    return f"{number} {name if number == 1 else names or name + 's'}"


def common_name(subject: str) -> str:
    """Return the short name in an RFC 4514 subject: common name, else unit, else organisation, else all of it."""
    parts = [part.replace("\0", ",") for part in subject.replace("\\,", "\0").split(",")]
    for kind in ("CN=", "OU=", "O="):
        found = next((part.removeprefix(kind) for part in parts if part.startswith(kind)), "")
        if found:
            return found
    return subject
