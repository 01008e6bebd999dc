"""The mutants of `make mutants`: each still finds its line and its tests, and the report can tell dead from alive."""

from __future__ import annotations

import ast
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest

from support.documents import sources
from support.mutantkit.copies import ROOT, Copy, Mutant, MutantFate, NotThereError, place_of, texts_of
from support.mutantkit.table import MUTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_finds_its_line(mutant: Mutant) -> None:
    """Once, in whatever file it is by now; what comes of it is a program, and another one."""
    path, changed = place_of(mutant, texts(), ROOT / "agent")
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(texts()[path]))


@cache
def texts() -> dict[Path, str]:
    """Return the agent's modules, which are read once for all mutants."""
    return texts_of(ROOT / "agent")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_tests_that_kill_a_mutant_exist(mutant: Mutant) -> None:
    """By these names."""
    assert mutant.killers
    for killer in mutant.killers:
        file, _, test = killer.partition("::")
        assert test in {name for name, _ in sources.facts(ROOT / file).functions}


def test_no_two_mutants_have_a_name() -> None:
    """By which one of them is tried alone."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


# -- the report, on a small tree ---------------------------------------------------------------------------------------


@pytest.fixture(name="small")
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copy]:
    """A copy of an agent that can do one thing, of which half is tested: by pytest without a plugin."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "__init__.py").write_text(
        "def both(a, b):\n    if (\n        a < 0\n    ):\n        return 0\n    return a + b\n"
    )
    (tmp_path / "test_it.py").write_text("from agent import both\n\ndef test_sum():\n    assert both(1, 2) == 3\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with Copy(tmp_path) as copy:
        yield copy


def a_mutant(old: str, new: str, killer: str = "test_it.py::test_sum") -> Mutant:
    """Return one of the small tree."""
    return Mutant(name="m", breaks="It is broken.", old=old, new=new, killers=(killer,))


@pytest.mark.parametrize(
    ("mutant", "fate"),
    [
        (a_mutant("return a + b", "return a - b"), MutantFate.KILLED),
        (a_mutant("if ( a < 0 ): return 0", "pass"), MutantFate.SURVIVED),
        (a_mutant("return a + b", "return a - b", "test_it.py::test_gone"), MutantFate.UNFIT),
        (a_mutant("return a + b", "return a +"), MutantFate.UNFIT),
    ],
)
def test_what_became_of_a_mutant_is_told(small: Copy, mutant: Mutant, fate: MutantFate) -> None:
    """A test that is not there kills nothing, nor does a program that is none; the copy is whole again."""
    before = (small.path / "agent" / "__init__.py").read_text()
    assert small.try_out(mutant)[0] is fate
    assert (small.path / "agent" / "__init__.py").read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("if …a(b):", "if b:", "if b:"),
        ("f(…x, …y)", "f(…x)", "f(c.x)"),
        ("f(…x, …y)", "…g(…)", "c.g()"),
    ],
)
def test_dots_stand_for_the_rest_of_a_name(tmp_path: Path, old: str, new: str, changed: str) -> None:
    """Whose method it is may change; what stood there is put where the dots are again, in their order."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "it.py").write_text("if self.a(b):\n    f(c.x, y)\n")
    agent = tmp_path / "agent"
    assert changed in place_of(a_mutant(old, new), texts_of(agent), agent)[1]


@pytest.mark.parametrize("old", ["return a * b", "return"])
def test_a_line_that_is_not_there_once_is_an_error(small: Copy, old: str) -> None:
    """It may have been reworded, or another be meant."""
    with pytest.raises(NotThereError, match="this must stand once in the agent"):
        small.try_out(a_mutant(old, "pass"))


def test_the_copy_goes_away(small: Copy) -> None:
    """And nothing is left of it."""
    small.__exit__()
    assert not small.path.exists()
    small.path.mkdir()  # for the fixture to remove
