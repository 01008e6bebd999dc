"""The code of a package: compiled without docstrings, to the same bytes wherever it is built."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCE = '''"""Of the module."""

from dataclasses import dataclass


@dataclass
class Value:
    """Of a class."""

    number: int


class Bare:
    """Of a class with nothing else."""


def fails() -> None:
    """Of a function."""
    assert Value(number=1).number == 2, "told"


def empty() -> None:
    """Of a function with nothing else."""


async def later() -> str:
    """Of another kind of function."""
    return "no docstring"
'''
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import lean_example as it
print(it.__doc__, it.fails.__doc__, it.empty.__doc__, it.empty(), it.later.__doc__, repr(it.Value.__doc__), it.Value(3))
try: it.fails()
except AssertionError as error: print(error, error.__traceback__.tb_next.tb_lineno)
"""


def compiled(folder: Path) -> bytes:
    """Return the code of the example in a folder, compiled as for a package."""
    folder.mkdir()
    source = folder / "lean_example.py"
    source.write_text(SOURCE)
    command = [sys.executable, "-I", str(ROOT / "packaging" / "lean.py"), str(folder), "/usr/lib/place"]
    subprocess.run(command, check=True)
    return Path(cache_from_source(source)).read_bytes()


def test_a_package_carries_no_docstrings_and_else_the_same_code(tmp_path: Path) -> None:
    """Lines, names, assertions, and where it says that it is; a class keeps one, so that none is written for it."""
    code = compiled(tmp_path / "one")
    assert b"/usr/lib/place/lean_example.py" in code
    assert b"Of a" not in code
    command = [sys.executable, "-I", "-c", SCRIPT, str(tmp_path / "one")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == "None None None None None ' ' Value(number=3)"
    assert said[1] == f"told {SOURCE[: SOURCE.index('assert')].count(chr(10)) + 1}"


def test_the_same_source_is_compiled_to_the_same_bytes(tmp_path: Path) -> None:
    """Wherever it is compiled, and it is not compared with its source at run time."""
    one, other = compiled(tmp_path / "one"), compiled(tmp_path / "other")
    assert one == other
    assert one[4] == 1, "unchecked, by its hash"
