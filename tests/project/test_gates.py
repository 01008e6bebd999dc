"""How large a file and a class may become, before it is divided by subject."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agent"
LINES, METHODS, ATTRIBUTES = 400, 20, 12

# Of the rehearsal cloud: what a test may ask it about is kept, and so is all of one client's protocol.
LARGER = {"Connection", "Front", "LocalCloud"}

FILES = sorted(AGENT.rglob("*.py"))


def public_methods(found: ast.ClassDef) -> int:
    """Return how many methods and properties other modules may use."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return sum(isinstance(item, kinds) and not item.name.startswith("_") for item in found.body)


def attributes(found: ast.ClassDef) -> set[str]:
    """Return what an instance is given in its own methods."""
    return {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(AGENT)))
def test_a_file_and_its_classes_can_be_read_at_a_sitting(path: Path) -> None:
    """One subject each: what grows beyond that is two."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LINES
    for found in ast.walk(ast.parse(text)):
        if isinstance(found, ast.ClassDef) and found.name not in LARGER:
            assert public_methods(found) <= METHODS, found.name
            assert len(attributes(found)) <= ATTRIBUTES, found.name
