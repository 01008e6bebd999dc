from __future__ import annotations

from agent.fleet.decide.setting_up import indexing

OTHERS = {
    "thingIndexingMode": "REGISTRY",
    "thingConnectivityIndexingMode": "STATUS",
    "namedShadowIndexingMode": "ON",
    "customFields": [{"name": "attributes.x", "type": "Number"}],
    "filter": {"namedShadowNames": ["theirs"], "geoLocations": [{"name": "g"}]},
}


def test_what_is_set_is_kept() -> None:
    """Another program's queries go on."""
    managed = {"managedFields": [{"name": "thingName", "type": "String"}]}
    new = indexing({"thingIndexingConfiguration": {**OTHERS, **managed}})
    filtered = {"namedShadowNames": ["theirs", "certificate"], "geoLocations": [{"name": "g"}]}
    assert new == {**OTHERS, "filter": filtered}


def test_from_nothing_and_from_off() -> None:
    """The whole of it."""
    wanted = {
        "thingIndexingMode": "REGISTRY_AND_SHADOW",
        "namedShadowIndexingMode": "ON",
        "filter": {"namedShadowNames": ["certificate"]},
    }
    assert indexing({}) == wanted
    assert indexing({"thingIndexingConfiguration": {"thingIndexingMode": "OFF"}}) == wanted
    assert indexing({"thingIndexingConfiguration": wanted}) is None
