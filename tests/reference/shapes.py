"""JSON Schemas of the agent's own values: by the types of a dataclass's fields, and the words of its docstring."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum, IntEnum
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from agent.core.change.lifecycle import ChangeRecord
from agent.core.dependants import Step
from agent.core.exit_codes import Exit
from agent.core.report.checks import Verdict
from agent.core.report.seen import WatchedEnd
from agent.core.trust.anchor_lint import Severity
from agent.core.values import CertificateFacts, Id, Kind, LongText, Provenance
from agent.core.when.renewal import RenewalWindow

Schema = dict[str, Any]

# What annotations may name that their own modules import for a reader of types alone.
_NAMES = {
    kind.__name__: kind
    for kind in (
        datetime, timedelta, ChangeRecord, Step, Exit, Verdict, WatchedEnd, Severity, CertificateFacts, Kind,
        Provenance, RenewalWindow,
    )
} | {"Id": Id, "LongText": LongText, "Mapping": Mapping}  # fmt: skip


def said(schema: Schema, description: str) -> Schema:
    """Return a schema with what it means."""
    return {**schema, "description": description}


def or_null(schema: Schema) -> Schema:
    """Return the schema of a value that may be missing, and is null then."""
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    description = {key: value for key, value in schema.items() if key == "description"}
    rest = {key: value for key, value in schema.items() if key != "description"}
    return {**description, "anyOf": [rest, {"type": "null"}]}


def ref(name: str) -> Schema:
    """Return a reference to a part that several documents have."""
    return {"$ref": f"#/$defs/{name}"}


def many(schema: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": schema}


def of(kind: type, *, without: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a dataclass as `agent.core.jsonio.to_plain` writes it: what is empty is left out.

    Args:
        kind: The dataclass.
        without: Fields that are not told.
    """
    hints, told = get_type_hints(kind, localns=_NAMES, include_extras=True), described(kind)
    known = [field for field in fields(kind) if field.name not in without]
    return an_object(
        {field.name: {"description": told[field.name], **of_type(hints[field.name])} for field in known},
        needed=[field.name for field in known if field.default is MISSING and not _may_be_empty(hints[field.name])],
    )


def of_row(kind: type) -> Schema:
    """Return the schema of a dataclass of which each field is told: null where it is None."""
    told = described(kind)
    properties = {
        name: said(_null_if_none(hint), told[name]) for name, hint in get_type_hints(kind, localns=_NAMES).items()
    }
    return said(an_object(properties), cleandoc(kind.__doc__ or "").partition("\n")[0])


def _null_if_none(hint: Any) -> Schema:
    return or_null(of_type(hint)) if NoneType in get_args(hint) else of_type(hint)


def an_object(properties: dict[str, Schema], *, needed: list[str] | None = None) -> Schema:
    """Return the schema of an object; all its keys are there, or those that are named."""
    needed = list(properties) if needed is None else needed
    return {"type": "object", "properties": properties, **({"required": needed} if needed else {})}


def described(kind: type) -> dict[str, str]:
    """Return what a docstring says of each attribute."""
    lines = cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2].splitlines()
    found: dict[str, str] = {field.name: "" for field in fields(kind)}
    name = ""
    for line in lines:
        start = re.match(r"    (\w+): (.*)", line)
        if start and start[1] in found:
            name, found[start[1]] = start[1], start[2]
        elif name:
            found[name] += f" {line.strip()}"
    return {key: _of_json(said.strip()) for key, said in found.items()}


def _of_json(text: str) -> str:
    """Return what is said of an attribute as it is true of JSON, where None is left out."""
    return re.sub(r"\bNone\b", "not there", text.replace("``", "`"))


def _may_be_empty(hint: Any) -> bool:
    return get_origin(hint) in {tuple, list, dict, Mapping} or NoneType in get_args(hint)


def of_type(hint: Any) -> Schema:
    """Return the schema of a type, as it is written in JSON."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return of_type(parts[0])
    if origin in {Union, UnionType}:
        (known,) = (part for part in parts if part is not NoneType)
        return of_type(known)  # None is not written
    if origin is tuple and parts[-1] is not Ellipsis:
        return {"type": "array", "prefixItems": [of_type(part) for part in parts]}
    if origin is tuple:
        return {"type": "array", "items": of_type(parts[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": of_type(parts[1])}
    if is_dataclass(hint) and isinstance(hint, type):
        return of(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return words(hint)
    return _PLAIN[hint]


def words(kind: type[Enum]) -> Schema:
    """Return the schema of an enumeration; a later version may add a word, so its words are examples."""
    plain = "integer" if issubclass(kind, IntEnum) else "string"
    return {"type": plain, "examples": [member.value for member in kind]}


_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    datetime: {"type": "string", "format": "date-time"},
    timedelta: {"type": "number", "description": "seconds"},
}
