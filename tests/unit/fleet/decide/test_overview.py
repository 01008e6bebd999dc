from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.fleet.decide.overview import IndexedThing, left, overview, reported_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "shadow", [None, 7, "", "[]", "{", "[" * 100_000, '{"name": 1}', '{"name": {"certificate": []}}']
)
def test_a_shadow_of_any_shape_is_a_thing_without_the_agent(shadow: object) -> None:
    """It is the gateway's to write."""
    assert reported_of(shadow) is None
    assert overview([IndexedThing(name="x", shadow=shadow)], NOW).others == 1


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("2026-11-28T12:00:00Z", "expired"),
        ("2026-12-05T12:00:00+00:00", "7 days or less"),
        ("2026-12-05T12:00:01", "30 days or less"),
        ("2049-12-31T23:59:59Z", "more than a year"),
        ("soon", "not told"),
        (None, "not told"),
        (["2049"], "not told"),
    ],
)
def test_how_long_a_certificate_has_left(ends: object, told: str) -> None:
    """To the second at each edge."""
    assert left({"notAfter": ends}, NOW) == told


def test_values_of_any_kind_are_counted_as_not_told() -> None:
    """And name no gateway twice."""
    shadow = '{"name": {"certificate": {"reported": {"health": [], "agent": {}, "failureClass": 7}}}}'
    found = overview([IndexedThing(name="x", shadow=shadow)], NOW)
    assert found.health == {"not told": 1}
    assert found.versions == {"not told": 1}
    assert found.troubled
