"""The pages as prose: they have no slip, each rule finds what is planted, and each rule that is off has a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.documents.pages import ROOT
from support.documents.prose import DOCUMENTS, LONGEST, OFF, WORDS, read, slips

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.whole  # `make style` reads them, which `make test` begins with
@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_has_no_slip(path: Path) -> None:
    """As `make check` says."""
    assert read(path) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("It is very secure.", "weasel_words.very"),
        ("It writes the the file.", "lexical_illusions"),
        ("At the end of the day it works.", "cliches"),
        ("It wrote an ATM machine.", "redundancy"),
        ("I would argue that it works.", "hedging"),
        ("It shows an asynchronous\npriority of utmost\nimportance, in order\nto work.", "house.words"),
        ("So no" + "body knows.", "house.words"),
    ],
)
def test_what_is_planted_is_found(text: str, rule: str) -> None:
    """Repetition, weasel words, cliches, redundancy, hedging, the house's words; on a page and in a manual."""
    for roff in (False, True):
        assert any(slip.rule.startswith(rule) for slip in slips(text, roff=roff)), slips(text, roff=roff)


def test_a_slip_is_told_with_its_line() -> None:
    """The text's own, whatever stands before it."""
    assert [slip.line for slip in slips("# One\n\n```sh\nsimply\n```\n\nIt is simply\nso, `simply`.\n")] == [7]
    assert [
        slip.line for slip in slips('.TH A 1\n.B simply "so"\n.nf\nsimply\n.fi\nIt is simply so.\n', roff=True)
    ] == [6]


def test_a_sentence_has_an_end() -> None:
    """A colon, a cell, an item and an empty line end one, too; a name with dots does not."""
    words = " ".join(f"word{number}" for number in range(LONGEST))
    assert slips(f"{words}.") == slips(f"{words}: {words}.") == slips(f"| {words} | {words} |") == []
    assert slips(f"* {words}\n* {words}\n\n{words}") == slips(f".PP\n{words}\n.PP\n{words}", roff=True) == []
    for text in (f"{words} more.", f"One. {words}\n  config.yaml.", f"* A {words}"):
        assert [slip.rule for slip in slips(text)] == ["house.length"], text


@pytest.mark.parametrize("rule", OFF)
def test_a_rule_that_is_off_would_find_something(rule: str) -> None:
    """Else it may be on."""
    others = tuple(set(OFF) - {rule})
    assert any(
        slip.rule.startswith(rule)
        for path in DOCUMENTS
        for slip in slips(path.read_text(), roff=path.suffix != ".md", off=others)
    )


def test_make_reads_them() -> None:
    """Before each run of the tests, in one process."""
    style = (ROOT / "Makefile").read_text().partition("\nstyle:")[2].partition("\n\n")[0]
    assert "-m support.documents.prose\n" in style


def test_each_word_says_what_is_better() -> None:
    """A sentence of `make check` ends with it."""
    assert all(better and not better.endswith(".") for better in WORDS.values())
