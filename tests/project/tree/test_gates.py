"""How large a file, a class and a room may become, before it is divided by subject, and what each test can do: fail.

Both are read off the same files, here, so that one process reads them once for both.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.documents import sources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.documents.sources import SourceFacts

ROOT = Path(__file__).parents[3]
AGENT, TESTS = ROOT / "agent", ROOT / "tests"
LINES, METHODS, ATTRIBUTES = 400, 20, 12
MODULES = 17  # in one folder of the agent
TEST_MODULES = 24  # in one of the tests, where a module of the agent may have several

# Of the rehearsal cloud: all of one client's protocol.
LARGER = {"ClientConnection"}

# Of the tests: two places, with all that a test may set of them, and a gateway's year. The list only becomes shorter.
LARGER_TESTS = {"ConnectedPlace", "YearlongGateway"}

# A port and the class behind it are one thing; how a gateway stands never meets the state of a certificate in AWS.
NAMED_TWICE = {"OtherSets", "RetiredKeys", "Room", "Store", "Status"}

FILES, TEST_FILES = sorted(AGENT.rglob("*.py")), sorted(TESTS.rglob("*.py"))


def long(files: list[Path]) -> list[Path]:
    """Return the files that cannot be read at a sitting."""
    return [path for path in files if path.read_text(encoding="utf-8").count("\n") > LINES]


def wide(files: list[Path]) -> set[str]:
    """Return the classes that offer or keep too much for one subject."""
    found = [item for path in files for item in sources.facts(path).classes]
    return {name for name, methods, kept in found if methods > METHODS or kept > ATTRIBUTES}


def test_a_file_and_its_classes_can_be_read_at_a_sitting() -> None:
    """One subject each, also of the tests: what grows beyond that is two."""
    assert long(FILES + TEST_FILES) == []
    assert wide(FILES) == LARGER
    assert wide(TEST_FILES) == LARGER_TESTS


def test_a_room_is_seen_at_a_glance() -> None:
    """A list of thirty modules is searched; a stranger sees what is in a room by its name."""
    full = Counter(path.parent.relative_to(AGENT).as_posix() for path in FILES if path.name != "__init__.py")
    assert {room: modules for room, modules in full.items() if modules > MODULES} == {}
    tests = Counter(path.parent.relative_to(ROOT).as_posix() for path in TEST_FILES)
    assert {room: modules for room, modules in tests.items() if modules > TEST_MODULES} == {}


def named_twice(room: Path, files: list[Path]) -> set[str]:
    """Return the names of classes that stand in more than one file."""
    found: dict[str, set[str]] = {}
    for path in files:
        for name, _, _ in sources.facts(path).classes:
            found.setdefault(name, set()).add(path.relative_to(room).as_posix())
    return {name for name, where in found.items() if len(where) > 1}


def test_a_name_means_one_thing() -> None:
    """A reader who meets a class by its name alone knows which it is."""
    assert named_twice(AGENT, FILES) == NAMED_TWICE
    assert named_twice(TESTS, TEST_FILES) == set()


# -- assertions --------------------------------------------------------------------------------------------------------


def judging(files: Iterable[SourceFacts]) -> set[str]:
    """Return the names of functions that can fail for what they see, by way of others too."""
    called = [item for file in files for item in file.functions]
    found = {"raises", "warns", "fail"}
    while more := {name for name, its in called if its & found} - found:
        found |= more
    return found


def test_each_test_can_fail_for_what_it_sees() -> None:
    """One that only runs something proves that it does not raise, and passes when it does nothing."""
    files = {path: sources.facts(path) for path in TEST_FILES}
    found = judging(files.values())
    tests = {
        (path.name, name) for path, file in files.items() for name, _ in file.functions if name.startswith("test_")
    }
    assert [test for test in sorted(tests) if test[1] not in found] == []


@pytest.mark.parametrize(
    ("body", "judged"),
    [
        ("assert made()", True),
        ("with pytest.raises(ValueError):\n        made()", True),
        ("helper.look()", True),
        ("made()", False),
        ('"""It must not raise."""\n    made()', False),
    ],
)
def test_a_test_that_only_runs_something_is_seen(body: str, *, judged: bool) -> None:
    """Also when what it calls looks for it."""
    helpers = "def look():\n    see()\n\ndef see():\n    assert 1\n\ndef made():\n    return 1\n"
    assert ("test_it" in judging(map(sources.facts_of, [helpers, f"def test_it():\n    {body}\n"]))) is judged
