"""How large a file and a class may become, before it is divided by subject."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from support import sources

ROOT = Path(__file__).parents[2]
AGENT, TESTS = ROOT / "agent", ROOT / "tests"
LINES, METHODS, ATTRIBUTES = 400, 20, 12

# Of the rehearsal cloud: all of one client's protocol.
LARGER = {"ClientConnection"}

# Of the tests: two places, with all that a test may set of them, and a gateway's year. The list only becomes shorter.
LARGER_TESTS = {"ConnectedPlace", "Depot", "YearlongGateway"}

# A port and the class behind it are one thing; how a gateway stands never meets the state of a certificate in AWS.
NAMED_TWICE = {"OtherSets", "RetiredKeys", "Room", "Store", "Status"}

_CLASS = re.compile(r"^\s*class ", re.MULTILINE)  # of most files nothing is parsed
FILES, TEST_FILES = sorted(AGENT.rglob("*.py")), sorted(TESTS.rglob("*.py"))


def classes_of(source: str) -> list[ast.ClassDef]:
    """Return a file's classes, those within functions included; only statements can hold one."""
    found = sources.statements(ast.parse(source)) if _CLASS.search(source) else []
    return [node for node in found if isinstance(node, ast.ClassDef)]


def public_methods(found: ast.ClassDef) -> int:
    """Return how many methods and properties other modules may use."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return sum(isinstance(item, kinds) and not item.name.startswith("_") for item in found.body)


def attributes(found: ast.ClassDef) -> set[str]:
    """Return what an instance is given in its own methods."""
    return {
        node.attr
        for node in sources.walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


@cache
def sizes(path: Path) -> list[tuple[str, int, int]]:
    """Return each class of a file, with how much it offers and how much it keeps; the tree is not kept."""
    found = classes_of(path.read_text(encoding="utf-8"))
    return [(item.name, public_methods(item), len(attributes(item))) for item in found]


def long(files: list[Path]) -> list[Path]:
    """Return the files that cannot be read at a sitting."""
    return [path for path in files if path.read_text(encoding="utf-8").count("\n") > LINES]


def wide(files: list[Path]) -> set[str]:
    """Return the classes that offer or keep too much for one subject."""
    found = [item for path in files for item in sizes(path)]
    return {name for name, methods, kept in found if methods > METHODS or kept > ATTRIBUTES}


def test_a_file_and_its_classes_can_be_read_at_a_sitting() -> None:
    """One subject each, also of the tests: what grows beyond that is two."""
    assert long(FILES + TEST_FILES) == []
    assert wide(FILES) == LARGER
    assert wide(TEST_FILES) == LARGER_TESTS


def named_twice(room: Path, files: list[Path]) -> set[str]:
    """Return the names of classes that stand in more than one file."""
    found: dict[str, set[str]] = {}
    for path in files:
        for name, _, _ in sizes(path):
            found.setdefault(name, set()).add(path.relative_to(room).as_posix())
    return {name for name, where in found.items() if len(where) > 1}


def test_a_name_means_one_thing() -> None:
    """A reader who meets a class by its name alone knows which it is."""
    assert named_twice(AGENT, FILES) == NAMED_TWICE
    assert named_twice(TESTS, TEST_FILES) == set()
