"""How large a file and a class may become, before it is divided by subject."""

from __future__ import annotations

import ast
from pathlib import Path

AGENT = Path(__file__).parents[2] / "agent"
LINES, METHODS, ATTRIBUTES = 400, 20, 12

# Of the rehearsal cloud: all of one client's protocol.
LARGER = {"ClientConnection"}

# A port and the class behind it are one thing; how a gateway stands never meets the state of a certificate in AWS.
NAMED_TWICE = {"OtherSets", "RetiredKeys", "Room", "Store", "Status"}

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


def test_a_file_and_its_classes_can_be_read_at_a_sitting() -> None:
    """One subject each: what grows beyond that is two."""
    texts = {path.relative_to(AGENT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
    assert [name for name, text in texts.items() if text.count("\n") > LINES] == []
    classes = [
        (name, found)
        for name, text in texts.items()
        for found in ast.walk(ast.parse(text))
        if isinstance(found, ast.ClassDef) and found.name not in LARGER
    ]
    assert [(name, found.name) for name, found in classes if public_methods(found) > METHODS] == []
    assert [(name, found.name) for name, found in classes if len(attributes(found)) > ATTRIBUTES] == []


def test_a_name_means_one_thing() -> None:
    """A reader who meets a class by its name alone knows which it is."""
    files: dict[str, set[str]] = {}
    for path in FILES:
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(found, ast.ClassDef):
                files.setdefault(found.name, set()).add(path.relative_to(AGENT).as_posix())
    assert {name for name, where in files.items() if len(where) > 1} == NAMED_TWICE
