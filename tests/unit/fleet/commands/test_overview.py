from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator


def thing(name: str, **reported: Any) -> dict[str, Any]:
    """Return what the index has of a thing."""
    return {"thingName": name, "shadow": json.dumps({"name": {"certificate": {"reported": reported}}})}


def test_a_fleet_is_counted_over_all_pages(operator: Operator) -> None:
    """By what certificates have left, by health and by the class of failures."""
    operator.answers("GetStatistics", {"statistics": {"count": 3}})
    pages = (
        {"things": [thing("gw-1", agent="1.0", health=0, notAfter="2027-06-01T00:00:00Z")], "nextToken": "more"},
        {
            "things": [
                thing("gw-2", health=3, notAfter="2026-11-01T00:00:00Z", failureClass="network"),
                {"thingName": "x"},
            ]
        },
    )
    operator.answers("SearchIndex", *pages)
    code, said = operator.runs("status")
    assert code == 1
    assert "2 gateways with the agent, of 3 things." in said
    for word in ("expired", "a year or less", "healthy", "no usable set", "network", "gw-2"):
        assert word in said
    assert all(len(line) <= 80 for line in said.splitlines())
    operator.answers("SearchIndex", *pages)
    (row,) = operator.rows("status")
    assert row["left"] == {"a year or less": 1, "expired": 1}


def test_without_an_index_it_says_what_to_turn_on(operator: Operator) -> None:
    """It is off in every new account."""
    operator.refuses("GetStatistics", "IndexNotReadyException", "x", 400)
    code, said = operator.runs("status")
    assert code == 2
    assert "Fleet indexing is off" in said


def test_an_index_without_the_agents_shadow_says_so(operator: Operator) -> None:
    """Named shadows are a setting of their own."""
    operator.answers("GetStatistics", {"statistics": {"count": 1}})
    operator.answers("SearchIndex", {"things": [{"thingName": "x"}]})
    code, said = operator.runs("status")
    assert code == 0
    assert "`iot-cert cloud check`" in said
