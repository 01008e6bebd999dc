"""Rows as DynamoDB has them, and back: one letter of type before each value, instants as whole seconds.

A row has an attribute for each field of its value. What it lacks is None or nothing; DynamoDB has no empty set. An
attribute that this version does not know is ignored when it is read, and gone when the row is written; the stack's
functions are all of one version.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, get_args, get_origin, get_type_hints
from zlib import crc32

from agent.backend.names import DUE_REPLACEMENT, DUE_SHARDS, REPLACING, SIGNER
from agent.backend.values import Device, Record, Replacement, Signer

if TYPE_CHECKING:
    from collections.abc import Iterable

Attribute: TypeAlias = "dict[str, Any]"
Item: TypeAlias = "dict[str, Attribute]"
T = TypeVar("T")


def text(value: str) -> dict[str, str]:
    """Return a text."""
    return {"S": value}


def instant(value: datetime) -> dict[str, str]:
    """Return an instant, as whole seconds since 1970."""
    return {"N": str(int(value.timestamp()))}


def number(value: int) -> dict[str, str]:
    """Return a number."""
    return {"N": str(value)}


def names(value: Iterable[str]) -> dict[str, list[str]]:
    """Return a set of texts, which is not empty."""
    return {"SS": sorted(value)}


def of_device(device: Device) -> Item:
    """Return the row that follows the one whose version a device bears."""
    return _row(replace(device, version=device.version + 1))


def device_of(item: Item) -> Device:
    """Return the device of a row."""
    return _value(Device, item)


def of_record(record: Record) -> Item:
    """Return the row that follows the one whose version a record bears; it is in the index if it waits for deletion."""
    row = _row(replace(record, version=record.version + 1))
    return row if record.delete_after is None else {**row, "due": text(shard(record.certificate_id))}


def record_of(item: Item) -> Record:
    """Return the record of a row."""
    return _value(Record, item)


def of_replacement(replacement: Replacement) -> Item:
    """Return the row that follows the one whose version a replacement bears; it is in the index until it has ended."""
    row = _row(replace(replacement, version=replacement.version + 1))
    row["certificate_id"] = text(REPLACING + row.pop("thing")["S"])
    if "look_at" in row:
        row |= {"due": text(DUE_REPLACEMENT), "delete_after": row.pop("look_at")}
    return row


def replacement_of(item: Item) -> Replacement:
    """Return the replacement of a row."""
    looked = {"look_at": item["delete_after"]} if "delete_after" in item else {}
    thing = text(item["certificate_id"]["S"].removeprefix(REPLACING))
    return _value(Replacement, {**item, **looked, "thing": thing})


def of_signer(signer: Signer) -> Item:
    """Return the row that follows the one whose version a signer bears."""
    return {"certificate_id": text(SIGNER), **_row(replace(signer, version=signer.version + 1))}


def signer_of(item: Item) -> Signer:
    """Return the signer of a row."""
    return _value(Signer, item)


def shard(certificate_id: str) -> str:
    """Return the part of the index that a certificate waits in: a single part would be throttled on a day of many."""
    return DUE_SHARDS[crc32(certificate_id.encode()) % len(DUE_SHARDS)]


def _row(value: Any) -> Item:
    """Return an attribute for each field of a dataclass that is not empty."""
    told = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: _attribute(one) for name, one in told.items() if one not in _EMPTY}


_EMPTY: tuple[object, ...] = (None, "", frozenset())


def _attribute(value: Any) -> Attribute:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return number(value)
        case datetime():
            return instant(value)
        case frozenset():
            return names(value)
        case tuple():
            return {"L": [{"M": _row(one)} for one in value]}
        case _:
            return text(value)


def _value(kind: type[T], item: Item) -> T:
    """Return the value whose fields are a row's attributes; a field that the row lacks has its default."""
    hints = _hints(kind)  # type: ignore[arg-type]  # a class is hashable; the checker loses that
    return kind(**{name: _read(hint, item[name]) for name, hint in hints.items() if name in item})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(hint: Any, attribute: Attribute) -> Any:
    """Return the value of an attribute, by the type of its field."""
    (value,) = attribute.values()
    if hint == datetime | None or hint is datetime:
        return datetime.fromtimestamp(int(value), UTC)
    if get_origin(hint) is tuple:
        return tuple(_value(get_args(hint)[0], one["M"]) for one in value)
    return (get_origin(hint) or hint)(value)  # a text, a number, a flag, an enumeration, or a set of texts
