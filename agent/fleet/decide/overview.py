"""How a fleet stands, from what fleet indexing holds of its shadows; a gateway may write its shadow in any shape."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.backend.names import SHADOW
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EXAMPLES = 5  # things that are named for each trouble
_DAY = timedelta(days=1)
_LEFT = (
    (0, "expired"),
    (7, "7 days or less"),
    (30, "30 days or less"),
    (90, "90 days or less"),
    (365, "a year or less"),
)
_LONGER, _UNTOLD = "more than a year", "not told"
LIFE = (*(text for _, text in _LEFT), _LONGER, _UNTOLD)
_HEALTH = {0: "healthy", 1: "needs attention", 3: "no usable set"}


@frozen
class IndexedThing:
    """What fleet indexing has of a thing.

    Attributes:
        name: Its name.
        attributes: Its attributes.
        shadow: Its shadows, as a text of JSON where it has any.
    """

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    shadow: object = None


@dataclass(kw_only=True)
class Overview:
    """A fleet, counted.

    Attributes:
        gateways: The things with the agent's shadow.
        others: The things without it.
        left: How long certificates have left, by the words of `LIFE`.
        health: What gateways say of themselves.
        failures: The class of the last failure.
        versions: The agent's version.
        examples: Things, by the trouble that they are in.
    """

    gateways: int = 0
    others: int = 0
    left: Counter[str] = field(default_factory=Counter)
    health: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def troubled(self) -> bool:
        """Whether a gateway has expired, is about to, or says that something is wrong."""
        return bool(self.left[LIFE[0]] or self.left[LIFE[1]] or set(self.health) - {_HEALTH[0]})


def overview(things: Iterable[IndexedThing], now: datetime) -> Overview:
    """Count a fleet.

    Args:
        things: What fleet indexing has of each.
        now: The present time.
    """
    found = Overview()
    for thing in things:
        reported = reported_of(thing.shadow)
        if reported is None:
            found.others += 1
            continue
        found.gateways += 1
        _count(found, thing.name, reported, now)
    return found


def reported_of(shadow: object) -> Mapping[str, Any] | None:
    """Return what the agent's named shadow reports, from an index's document; None where there is none."""
    try:
        document = json.loads(shadow) if isinstance(shadow, str) else None
    except (ValueError, RecursionError):
        return None
    for name in ("name", SHADOW, "reported"):
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else None


def left(reported: Mapping[str, Any], now: datetime) -> str:
    """Return how long a certificate has left, by the words of `LIFE`."""
    try:
        ends = datetime.fromisoformat(str(reported.get("notAfter")))
        days = ((ends if ends.tzinfo else ends.replace(tzinfo=UTC)) - now) / _DAY
    except (ValueError, OverflowError):
        return _UNTOLD
    return next((text for most, text in _LEFT if days <= most), _LONGER)


def _count(found: Overview, thing: str, reported: Mapping[str, Any], now: datetime) -> None:
    life, health = left(reported, now), reported.get("health")
    said = _HEALTH.get(health, f"exit {health}") if isinstance(health, int) else _UNTOLD
    found.left[life] += 1
    found.health[said] += 1
    found.versions[_word(reported.get("agent"))] += 1
    if reported.get("failureClass"):
        found.failures[_word(reported["failureClass"])] += 1
    for trouble in ([life] if life in LIFE[:2] else []) + ([said] if said != _HEALTH[0] else []):
        named = found.examples.setdefault(trouble, [])
        named += [thing] if len(named) < EXAMPLES else []


def _word(value: object) -> str:
    return value[:40] if isinstance(value, str) and value else _UNTOLD
