"""What an account needs besides the stack: settings of the whole account, of which nothing that is set is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.backend.names import SHADOW

if TYPE_CHECKING:
    from collections.abc import Mapping


def indexing(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what fleet indexing of things is to be, or None when it holds the agent's shadow already.

    An update replaces all of it (UpdateIndexingConfiguration), so what is set is in it again: modes, custom fields and
    the shadows of others. `managedFields` is AWS's own, and is not sent back.

    Args:
        configuration: What is set (GetIndexingConfiguration).
    """
    old = dict(configuration.get("thingIndexingConfiguration", {}))
    old.pop("managedFields", None)
    chosen = dict(old.get("filter", {}))
    names = list(chosen.get("namedShadowNames", ()))
    off = old.get("thingIndexingMode", "OFF") == "OFF"
    if not off and old.get("namedShadowIndexingMode") == "ON" and SHADOW in names:
        return None
    new = {**old, "namedShadowIndexingMode": "ON"}
    new["thingIndexingMode"] = "REGISTRY_AND_SHADOW" if off else old["thingIndexingMode"]
    new["filter"] = {**chosen, "namedShadowNames": names if SHADOW in names else [*names, SHADOW]}
    return new
