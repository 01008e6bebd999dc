"""How much of its campaigns a run takes, and how one case of them is repeated.

A campaign is a test that goes through very many cases of a kind: kills, mutants, walks. All of them take half an hour,
so `make test` takes a sample, which is the same each time, and `make test-all` takes the whole::

    --campaign=sample       every so many-th case, from the first on
    --campaign=sample:3     other ones: those three further on
    --campaign=whole        all of them
    --campaign=case:1234    this one alone, as a failure tells

What a campaign finds is told with the command that repeats it: see `told`. `tests/conftest.py` alone reads the option.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
U = TypeVar("U")

EXAMPLES = 100  # of each property, in the whole


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a run takes.

    Attributes:
        whole: Whether that is everything.
        phase: Where a sample begins.
        case: The only case, or None.
    """

    whole: bool = False
    phase: int = 0
    case: int | None = None

    @property
    def sampled(self) -> bool:
        """Whether it is a sample."""
        return not self.whole and self.case is None

    def __str__(self) -> str:
        if self.case is not None:
            return f"case:{self.case}"
        return "whole" if self.whole else f"sample:{self.phase}"


_FORM = re.compile(r"(sample|whole|case)(?::(\d+))?")
_made = Choice()


def choose(text: str) -> Choice:
    """Have this process take what an option says.

    Raises:
        ValueError: It says nothing that can be taken.
    """
    global _made  # noqa: PLW0603 - one for the process, set before any test is collected
    found = _FORM.fullmatch(text)
    if found is None or (found[1] == "case") != (found[2] is not None and found[1] != "sample"):
        raise ValueError(f"{text!r} is none of sample, sample:NUMBER, whole and case:NUMBER")
    number = int(found[2] or 0)
    _made = Choice(whole=found[1] == "whole", phase=number, case=number if found[1] == "case" else None)
    return _made


def chosen() -> Choice:
    """Return what this process takes."""
    return _made


def places(total: int, one_in: int) -> range:
    """Return the numbers of the cases that are taken of so many: all, or one in so many."""
    if _made.case is not None:
        return range(_made.case, _made.case + 1)
    if _made.whole:
        return range(total)
    return range(_made.phase % one_in, total, one_in)


def takes(case: int, one_in: int) -> bool:
    """Whether a case is taken, where it is not known yet how many there are; see `places`."""
    if _made.case is not None:
        return case == _made.case
    return _made.whole or case % one_in == _made.phase % one_in


def take(cases: Sequence[T], one_in: int) -> list[T]:
    """Return the cases that are taken; for parameters of a test, which a failure names by itself."""
    return list(cases) if _made.case is not None else [cases[place] for place in places(len(cases), one_in)]


def one_of_each(cases: Sequence[T], kind: Callable[[T], str]) -> list[T]:
    """Return the cases that are taken where a sample is to have one of each kind; for parameters of a test."""
    if _made.whole or _made.case is not None:
        return list(cases)
    kinds: dict[str, list[T]] = {}
    for case in cases:
        kinds.setdefault(kind(case), []).append(case)
    return [found[_made.phase % len(found)] for found in kinds.values()]


def pairs(rows: Sequence[T], columns: Sequence[U]) -> list[tuple[T, U]]:
    """Return each of some things with each of others; a sample has all of both, and each of the more numerous once."""
    if not _made.sampled:
        return list(product(rows, columns))
    turns = range(max(len(rows), len(columns)))
    return [(rows[turn % len(rows)], columns[(turn + _made.phase) % len(columns)]) for turn in turns]


def least(whole: int, one_in: int) -> int:
    """Return how many cases there must be at least, where there are at least so many in the whole."""
    if _made.case is not None:
        return 1
    return whole if _made.whole else whole // one_in


def each(total: int, act: Callable[[Random], object], *, one_in: int, seed: int) -> int:
    """Do something with each case that is taken, and return how many there were.

    Args:
        total: How many there are in the whole.
        act: What to do. It is given chance of its case's own: a case is the same with or without those before it.
        one_in: One in so many is taken for a sample.
        seed: Another one for each campaign.
    """
    taken = places(total, one_in)
    for place in taken:
        with case(place):
            act(Random(seed << 32 | place))  # noqa: S311 - the same cases in each run
    return len(taken)


@contextmanager
def case(place: int) -> Iterator[None]:
    """Have what fails in it tell the command that repeats it."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"To repeat it: {command(place)}")
        raise


def told(case: int, complaint: str) -> str:
    """Return a complaint with the command that repeats its case, or nothing for none."""
    return complaint and f"{complaint}\n    to repeat it: {command(case)}"


def command(case: int) -> str:
    """Return the command that repeats a case of the test that runs."""
    name = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    return f".venv/bin/pytest --campaign=case:{case} '{name}'"
