"""The lists of roots that the agent ships: what AWS IoT Core chains to, and what is to be distrusted.

They are data files with their sources, so that they can be read, checked and replaced without reading code.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from agent.core.jsonio import Node, decode
from agent.core.trust.anchor_lint import KnownRoot, KnownRoots

_DATA = Path(__file__).parents[1] / "data"  # `importlib.resources` would bring temporary files and archives with it
_MAX = 262_144  # bytes


@cache
def known() -> KnownRoots:
    """Return both lists."""
    distrusted = _load("distrusted.json")
    return KnownRoots(
        amazon=tuple(replace(node.record(KnownRoot), why="") for node in _load("amazon.json").nodes("roots")),
        distrusted=tuple(node.record(KnownRoot, needed=["why"]) for node in distrusted.nodes("roots")),
        organisations={node.text("organisation"): node.text("why") for node in distrusted.nodes("organisations")},
    )


def _load(name: str) -> Node:
    return decode((_DATA / name).read_bytes(), name, limit=_MAX)
