"""Typed values out of plain JSON data, with the path in every complaint.

What is on disk may be old, half-written by another version or tampered with; nothing is taken on trust. Every
complaint is a `PlainError` that names the place: ``change.json: issued: at: a time is expected``.

`Node.record` reads a whole dataclass by the types of its fields, and what it reads, `encode` has written. Its rules:

* A name that the dataclass does not know is ignored: within a format, names may be added.
* A name may be missing where the field has a default, which then holds, or may be None. Null stands for None alone.
* Nothing is converted: a number in a text is no number, a boolean is none either.
* A text is valid Unicode, of at most `TEXT` characters unless its type says another size: ``Annotated[str, 64]``.
* A whole number is from 0 to `NUMBER`, one that may be broken from 0 up to `SECONDS`. A time has its zone and becomes
  UTC; a span is a number of seconds.
* What is an `object` is taken as it is: what holds it only hands it on.
* The size of the whole is bounded before it is parsed, see `decode`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum, StrEnum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

E = TypeVar("E", bound=Enum)
T = TypeVar("T")

TEXT = 1024  # characters
NUMBER = 2**32 - 1  # the largest user id
SECONDS = 10**12  # beyond any monotonic clock
_AS_IT_IS = frozenset({NoneType, str, int, float, bool})


class PlainError(ValueError):
    """Plain data that is not what it should be."""


def to_plain(value: Any) -> Any:
    """Return `value` as data that JSON can hold; times become RFC 3339, spans seconds."""
    kind: type = type(value)
    if kind in _AS_IT_IS or isinstance(value, (str, int, float)):
        return value  # at once, since most of a record is that
    names = _names(kind)
    if names is not None:
        later, plain = _later(kind), {}
        for name in names:
            item = getattr(value, name)
            if type(item) not in _AS_IT_IS:
                item = to_plain(item)
            if item or (name not in later and item not in (None, [], {})):
                plain[name] = item
        return plain
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return dict(zip(map(str, value), map(to_plain, value.values()), strict=True))
        case tuple() | list():
            return list(map(to_plain, value))
        case _:
            return value


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    """Return the names of a dataclass's fields, or None for any other type."""
    return tuple(item.name for item in fields(kind)) if is_dataclass(kind) else None


@cache
def _later(kind: Any) -> frozenset[str]:
    """Return the fields of a dataclass that came after its first records: empty or false ones are left out."""
    return frozenset(item.name for item in fields(kind) if item.metadata.get("later"))


def encode(value: Any) -> bytes:
    """Return `value` as one compact line of JSON, keys sorted, without the newline."""
    return encode_plain(to_plain(value))


def encode_plain(plain: Any) -> bytes:
    """Return what is plain already, such as JSON that was read, as `encode` does."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


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
    if not all(map(_is_unicode, result)):
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

    def _take(self, name: str, read: Callable[[Any], T], default: Any = None) -> T:
        try:
            return read(self._plain.get(name, default))
        except PlainError as error:
            raise PlainError(f"{self.path}: {name}: {error}") from None

    def record(self, kind: type[T], *, needed: Iterable[str] = ()) -> T:
        """Return the object as a value of a dataclass, by the types of its fields; see the module's rules.

        Args:
            kind: The dataclass.
            needed: Names that must be there although their fields have defaults.
        """
        for name in needed:
            self._take(name, _reader_of(kind, name))
        try:
            return _record(kind, self._plain)
        except PlainError as error:
            raise PlainError(f"{self.path}: {error}") from None

    def has(self, name: str) -> bool:
        """Whether `name` is there and not null."""
        return self._plain.get(name) is not None

    def without(self, name: str) -> dict[str, object]:
        """Return the plain object without one name."""
        return {key: value for key, value in self._plain.items() if key != name}

    def text(self, name: str, *, limit: int = TEXT) -> str:
        """Return a string of at most `limit` characters that is valid Unicode."""
        return self._take(name, partial(_text, limit=limit))

    def optional_text(self, name: str, *, limit: int = TEXT) -> str | None:
        """Return the same, or None when it is missing."""
        return self.text(name, limit=limit) if self.has(name) else None

    def number(self, name: str, default: int | None = None) -> int:
        """Return a whole number from 0 to `NUMBER`."""
        return self._take(name, _number, default)

    def flag(self, name: str) -> bool:
        """Return true or false; false when it is missing."""
        return self._take(name, _flag, default=False)

    def time(self, name: str) -> datetime:
        """Return an instant with its time zone, as UTC."""
        return self._take(name, _time)

    def optional_time(self, name: str) -> datetime | None:
        """Return the same, or None when it is missing."""
        return self.time(name) if self.has(name) else None

    def nodes(self, name: str) -> tuple[Node, ...]:
        """Return a list of objects; empty when it is missing."""
        return tuple(Node(value, f"{self.path}: {name}") for value in self._take(name, _list, []))

    def plain(self) -> dict[str, object]:
        """Return the object as it is, unchecked."""
        return dict(self._plain)

    def names(self) -> list[str]:
        """Return the names in this object."""
        return list(self._plain)

    def node(self, name: str) -> Node:
        """Return the object below `name`."""
        return Node(self._plain.get(name), f"{self.path}: {name}")

    def optional_node(self, name: str) -> Node | None:
        """Return the same, or None when it is missing."""
        return self.node(name) if self.has(name) else None


# -- values, each by its type ------------------------------------------------------------------------------------------


def _unfit(expected: str) -> PlainError:
    return PlainError(f"{expected} is expected")


def _text(value: Any, *, limit: int = TEXT) -> str:
    if not isinstance(value, str) or len(value) > limit or not _is_unicode(value):
        raise _unfit(f"text of at most {limit} characters")
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # a lone surrogate, which JSON can spell and no file can hold
    return True


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= NUMBER:
        raise _unfit("a whole number")
    return value


def _broken_number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < SECONDS:
        raise _unfit("a number")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unfit("true or false")
    return value


def _time(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value.upper() if isinstance(value, str) else "")  # RFC 3339 also knows t and z
        known = None if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _unfit("a time") from None
    if known is None:
        raise _unfit("a time with its zone")
    return known


def _span(value: Any) -> timedelta:
    return timedelta(seconds=_broken_number(value))


def _member(enum: type[E], value: Any) -> E:
    if not isinstance(value, str | int) or isinstance(value, bool) or value not in _members(enum):
        raise _unfit("one of " + ", ".join(map(str, enum)))
    return enum(value)


@cache
def _members(enum: type[Enum]) -> frozenset[object]:
    return frozenset(enum)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _unfit("a list")
    return value


def _items(read: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    return tuple(map(read, _list(value)))


def _row(readers: tuple[Callable[[Any], Any], ...], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list) or len(value) != len(readers):
        raise _unfit(f"a list of {len(readers)}")
    return tuple(read(item) for read, item in zip(readers, value, strict=True))


def _mapping(read: Callable[[Any], Any], value: Any) -> dict[str, Any]:
    found = {}
    for name, item in _object(value).items():
        try:
            found[name] = read(item)
        except PlainError as error:
            raise PlainError(f"{name}: {error}") from None
    return found


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unfit("an object")
    return value


def _record(kind: type[T], plain: Any) -> T:
    found, given = {}, _object(plain)
    plan = _plan(kind)  # type: ignore[arg-type]  # a class is hashable; the checker loses that
    for name, read, is_needed in plan:
        if is_needed or name in given:
            try:
                found[name] = read(given.get(name))
            except PlainError as error:
                raise PlainError(f"{name}: {error}") from None
    return kind(**found)


# -- how a type is read ------------------------------------------------------------------------------------------------

_READERS: dict[Any, Callable[[Any], Any]] = {
    str: _text, int: _number, float: _broken_number, bool: _flag, datetime: _time, timedelta: _span,
    object: lambda value: value,
}  # fmt: skip

# What modules name in annotations without having it at run time.
_NAMES = {"Mapping": Mapping, "datetime": datetime, "timedelta": timedelta}


@cache
def _plan(kind: Any) -> tuple[tuple[str, Callable[[Any], Any], bool], ...]:
    """Return the name of each field of a dataclass, what reads it, and whether it must be there."""
    hints = get_type_hints(kind, localns=_NAMES, include_extras=True)
    return tuple(
        (item.name, _reader(hints[item.name]), item.default is MISSING and item.default_factory is MISSING)
        for item in fields(kind)
    )


def _reader_of(kind: Any, name: str) -> Callable[[Any], Any]:
    return next(read for known, read, _ in _plan(kind) if known == name)


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return what reads a value of a type.

    Raises:
        TypeError: No rule is for it, which is a mistake of ours.
    """
    if hint in _READERS:
        return _READERS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return partial(_text, limit=inner[1])
    if origin in {Union, UnionType}:
        (one,) = (item for item in inner if item is not NoneType)
        return partial(_if_any, _reader(one))
    if origin is tuple:
        return partial(_items, _reader(inner[0])) if inner[-1] is ... else partial(_row, tuple(map(_reader, inner)))
    if origin is Mapping:
        return partial(_mapping, _reader(inner[1]))
    if issubclass(hint, StrEnum | IntEnum):
        return partial(_member, hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return partial(_record, hint)
    raise TypeError(f"there is no rule for reading {hint}")


def _if_any(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)
