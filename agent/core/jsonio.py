"""Typed values out of plain JSON data, with the path in every complaint.

What is on disk may be old, half-written by another version or tampered with; nothing is taken on trust. Every
complaint is a `PlainError` that names the place: ``change.json: issued.at: a time is expected``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

E = TypeVar("E", bound=StrEnum)


class PlainError(ValueError):
    """Plain data that is not what it should be."""


def to_plain(value: Any) -> Any:
    """Return `value` as data that JSON can hold; times become RFC 3339, spans seconds."""
    if is_dataclass(value) and not isinstance(value, type):
        plain = {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
        return {name: item for name, item in plain.items() if item not in (None, [], {})}
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {str(key): to_plain(item) for key, item in value.items()}
        case tuple() | list():
            return [to_plain(item) for item in value]
        case _:
            return value


def encode(value: Any) -> bytes:
    """Return `value` as one compact line of JSON, keys sorted, without the newline."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode(data: bytes, what: str, *, limit: int) -> Node:
    """Parse JSON that must be one object.

    Args:
        data: The bytes.
        what: What they are, for complaints.
        limit: The largest size allowed, in bytes.

    Raises:
        PlainError: Too large, not UTF-8, not JSON, not an object, duplicate names, not finite, or nested too deep for
            the parser.
    """
    if len(data) > limit:
        raise PlainError(f"{what}: it has {len(data)} bytes and {limit} are allowed")
    try:
        plain = json.loads(data.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise PlainError(f"{what}: it is not sound JSON ({_short(error)})") from None
    return Node(plain, what)


def _short(error: BaseException) -> str:
    return str(error).split("\n", maxsplit=1)[0][:100]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise PlainError("a name stands twice in one object")
    if not all(_is_unicode(name) for name in result):
        raise PlainError("a name is no Unicode text")
    return result


def _no_constants(name: str) -> Any:
    raise PlainError(f"{name} is no number")


class Node:
    """One JSON object and the path that leads to it."""

    def __init__(self, plain: Any, path: str) -> None:
        if not isinstance(plain, dict):
            raise PlainError(f"{path}: an object is expected")
        self._plain: dict[str, Any] = plain
        self.path = path

    def _complain(self, name: str, expected: str) -> PlainError:
        return PlainError(f"{self.path}: {name}: {expected} is expected")

    def has(self, name: str) -> bool:
        """Whether `name` is there and not null."""
        return self._plain.get(name) is not None

    def names(self) -> list[str]:
        """Return the names in this object."""
        return list(self._plain)

    def without(self, name: str) -> dict[str, Any]:
        """Return the plain object without one name."""
        return {key: value for key, value in self._plain.items() if key != name}

    def text(self, name: str, *, limit: int = 1024) -> str:
        """Return a string of at most `limit` characters that is valid Unicode."""
        value = self._plain.get(name)
        if not isinstance(value, str) or len(value) > limit or not _is_unicode(value):
            raise self._complain(name, f"text of at most {limit} characters")
        return value

    def optional_text(self, name: str, *, limit: int = 1024) -> str | None:
        """Return the same, or None when it is missing."""
        return self.text(name, limit=limit) if self.has(name) else None

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number from 0 to 10^9."""
        value = self._plain.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10**9:
            raise self._complain(name, "a whole number")
        return value

    def optional_number(self, name: str) -> int | None:
        """Return the same, or None when it is missing."""
        return self.number(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        """Return true or false; false when it is missing."""
        value = self._plain.get(name, False)
        if not isinstance(value, bool):
            raise self._complain(name, "true or false")
        return value

    def time(self, name: str) -> datetime:
        """Return an instant with its time zone, as UTC."""
        return self._time(self._plain.get(name), name)

    def optional_time(self, name: str) -> datetime | None:
        """Return the same, or None when it is missing."""
        return self.time(name) if self.has(name) else None

    def times(self, name: str) -> tuple[datetime, ...]:
        """Return a list of instants; empty when it is missing."""
        return tuple(self._time(value, name) for value in self._list(name))

    def _time(self, value: object, name: str) -> datetime:
        try:
            at = datetime.fromisoformat(value if isinstance(value, str) else "")
            known = None if at.tzinfo is None else at.astimezone(UTC)
        except (ValueError, OverflowError):
            raise self._complain(name, "a time") from None
        if known is None:
            raise self._complain(name, "a time with its zone")
        return known

    def choice(self, name: str, enum: type[E]) -> E:
        """Return a member of `enum`."""
        return self._choice(self._plain.get(name), name, enum)

    def _choice(self, value: object, name: str, enum: type[E]) -> E:
        if not isinstance(value, str) or value not in set(enum):
            raise self._complain(name, "one of " + ", ".join(enum))
        return enum(value)

    def steps(self, name: str, enum: type[E]) -> tuple[tuple[E, datetime], ...]:
        """Return a list of pairs of a member of `enum` and an instant."""
        pairs = self._list(name)
        if any(not isinstance(pair, list) or len(pair) != len(("phase", "time")) for pair in pairs):
            raise self._complain(name, "a list of pairs")
        return tuple((self._choice(pair[0], name, enum), self._time(pair[1], name)) for pair in pairs)

    def nodes(self, name: str) -> tuple[Node, ...]:
        """Return a list of objects; empty when it is missing."""
        return tuple(Node(value, f"{self.path}: {name}") for value in self._list(name))

    def plain(self) -> dict[str, Any]:
        """Return the object as it is, unchecked."""
        return dict(self._plain)

    def _list(self, name: str) -> list[Any]:
        value = self._plain.get(name, [])
        if not isinstance(value, list):
            raise self._complain(name, "a list")
        return value

    def node(self, name: str) -> Node:
        """Return the object below `name`."""
        return Node(self._plain.get(name), f"{self.path}: {name}")

    def optional_node(self, name: str) -> Node | None:
        """Return the same, or None when it is missing."""
        return self.node(name) if self.has(name) else None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # a lone surrogate, which JSON can spell and no file can hold
    return True
