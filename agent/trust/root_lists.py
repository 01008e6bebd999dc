"""The lists of roots that the agent ships: what AWS IoT Core chains to, and what nobody should trust any more.

They are data files with their sources, so that they can be read, checked and replaced without reading code.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from agent.core.jsonio import Node, decode
from agent.core.trust.anchor_lint import Known, KnownRoot

_MAX = 262_144  # bytes


@cache
def known() -> Known:
    """Return both lists."""
    distrusted = _load("distrusted.json")
    return Known(
        amazon=tuple(_root(node, "") for node in _load("amazon.json").nodes("roots")),
        distrusted=tuple(_root(node, node.text("why")) for node in distrusted.nodes("roots")),
        organisations={node.text("organisation"): node.text("why") for node in distrusted.nodes("organisations")},
    )


def _load(name: str) -> Node:
    return decode(resources.files("agent").joinpath("data", name).read_bytes(), name, limit=_MAX)


def _root(node: Node, why: str) -> KnownRoot:
    return KnownRoot(name=node.text("name"), sha256=node.text("sha256"), spki_sha256=node.text("spki_sha256"), why=why)
