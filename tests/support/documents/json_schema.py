"""Where a JSON value does not fit a schema of ours: as much of JSON Schema (2020-12) as those use, and no more."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
    "null": type(None),
}  # fmt: skip
_KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "default", "examples", "type", "properties",
    "additionalProperties", "required", "items", "prefixItems", "minItems", "maxItems", "minLength", "pattern",
    "format", "minimum", "maximum", "enum", "const", "anyOf",
}  # fmt: skip


def fits(schema: Schema, value: Any, *, whole: Schema | None = None, closed: bool = False) -> bool:
    """Whether a value fits a schema; see `misfits`."""
    return not list(misfits(schema, value, whole=whole, closed=closed))


def misfits(
    schema: Schema, value: Any, where: str = "", *, whole: Schema | None = None, closed: bool = False
) -> Iterator[str]:
    """Yield each place at which a value does not fit.

    Args:
        schema: The schema.
        value: What JSON holds.
        where: The place of the value, for what is yielded.
        whole: The file that references are looked up in.
        closed: Whether an object may have no other keys than those that its schema names.
    """
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    more: dict[str, Any] = {"whole": whole, "closed": closed}
    if "$ref" in schema:
        assert whole is not None
        yield from misfits(whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, where, **more)
    if "anyOf" in schema:
        ways = [list(misfits(one, value, where, **more)) for one in schema["anyOf"]]
        yield from min(ways, key=len) if all(ways) else ()
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{where}: {value!r} is no {schema['type']}"
    elif not _value_fits(schema, value):
        yield f"{where}: {value!r} does not fit {schema}"
    elif isinstance(value, dict):
        yield from _of_mapping(schema, value, where, more)
    elif isinstance(value, list):
        yield from _of_list(schema, value, where, more)


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _value_fits(schema: Schema, value: Any) -> bool:
    match value:
        case str():
            long_enough = len(value) >= schema.get("minLength", 0)
            at = schema.get("format") != "date-time" or datetime.fromisoformat(value).tzinfo is not None
            return long_enough and at and re.search(schema.get("pattern", ""), value) is not None
        case int() | float():
            return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
        case list():
            return bool(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)))
        case _:
            return True


def _of_mapping(schema: Schema, value: dict[str, Any], where: str, more: dict[str, Any]) -> Iterator[str]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", not (more["closed"] and known))
    yield from (f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value)
    for name, item in value.items():
        if name not in known and others is False:
            yield f"{where}.{name} is not known"
        else:
            rest = others if isinstance(others, dict) else {}
            yield from misfits(known.get(name, rest), item, f"{where}.{name}", **more)


def _of_list(schema: Schema, value: list[Any], where: str, more: dict[str, Any]) -> Iterator[str]:
    first, rest = schema.get("prefixItems", []), schema.get("items", {})
    for place, item in enumerate(value):
        yield from misfits(first[place] if place < len(first) else rest, item, f"{where}[{place}]", **more)
