"""Where a dashboard is none to Grafana, by the types that Grafana's makers generate from its schema.

Their package reads a dashboard without a word about what it does not know or what has another type, so both are looked
for here: a key that is gone once the dashboard is written again, and a value that the annotation does not allow.
"""

from __future__ import annotations

import json
import types
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

if TYPE_CHECKING:
    from collections.abc import Iterator

plugins.register_default_plugins()  # the panels' own options, and Prometheus's queries


def complaints(dashboard: dict[str, Any]) -> list[str]:
    """Return each place of a dashboard that Grafana does not know, or that has another type there."""
    try:
        known = Dashboard.from_json(dashboard)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"it cannot be read: {error!r}"]
    return [*_lost(dashboard, _written(known), ""), *_mistyped(known, Dashboard, "")]


def _written(known: Any) -> Any:
    return json.loads(JSONEncoder().encode(known))


def _lost(before: Any, after: Any, where: str) -> Iterator[str]:
    """Yield what is not there any more; defaults that were added are none of it."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from _lost(value, after[key], f"{where}.{key}") if key in after else [f"{where}.{key} is not known"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _lost(one, other, f"{where}[{number}]")
    elif before != after:
        yield f"{where} is read as {after!r}"


def _mistyped(value: Any, hint: Any, where: str) -> Iterator[str]:
    kind, parts = get_origin(hint), get_args(hint)
    if kind in {Union, types.UnionType}:
        possible = [part for part in parts if (part is type(None)) == (value is None)] or parts
        named = [part for part in possible if isinstance(part, type) and isinstance(value, part)] or possible
        ways = [list(_mistyped(value, part, where)) for part in named]
        yield from min(ways, key=len) if all(ways) else ()
    elif kind in {list, dict} and isinstance(value, kind):
        items = value.items() if kind is dict else enumerate(value)
        for key, item in items:
            yield from _mistyped(item, parts[-1], f"{where}[{key}]")
    elif isinstance(value, dict) and hasattr(hint, "from_json"):  # a part that is left for its own type to read
        made = hint.from_json(value)
        yield from [*_lost(value, _written(made), where), *_mistyped(made, hint, where)]
    elif not _is(value, hint):
        yield f"{where} is {value!r:.60}, and not of {hint}"
    elif type(value).__module__.startswith("grafana_foundation_sdk.models."):
        for name, part in get_type_hints(type(value)).items():
            yield from _mistyped(getattr(value, name), part, f"{where}.{name}")


def _is(value: Any, hint: Any) -> bool:
    if hint in {Any, object}:
        return True
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value in {member.value for member in hint}
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
