"""The pictures of the pages: each is what its source draws today, and says the same to a reader who cannot see it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.transitions import TRANSITIONS
from pictures import machine
from pictures.__main__ import PICTURES
from pictures.ladder import moves
from support.documents.pages import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAWN = ROOT / "docs" / "pictures"
SVG = "{http://www.w3.org/2000/svg}"
LETTER = {
    "small": 6.4,
    "head": 8.6,
    "bold": 7.9,
    "mono": 7.9,
}  # pixels: a usual letter of each kind, with some to spare


def root(name: str) -> ET.Element:
    """Return a picture's root element."""
    return ET.fromstring((DRAWN / name).read_text())  # noqa: S314 - a file of this tree


def edges(name: str, *marks: str) -> set[tuple[str, ...]]:
    """Return the marks of each group in a picture that has all of them."""
    found = [group.attrib for group in root(name).iter(f"{SVG}g")]
    return {tuple(of[f"data-{mark}"] for mark in marks) for of in found if all(f"data-{mark}" in of for mark in marks)}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_its_source_draws(name: str) -> None:
    """From the code of today, or from the recording that is kept."""
    assert (DRAWN / name).read_text() == PICTURES[name](), "run `make pictures`"


def test_every_picture_is_on_a_page() -> None:
    """With words for a reader who cannot see it, and none is left over."""
    shown = [
        match
        for page in [ROOT / "README.md", *PAGES]
        for match in re.findall(r"!\[([^\]]+)\]\((?:docs/|\.\./)?pictures/([a-z]+\.svg)\)", page.read_text())
    ]
    assert {name for _, name in shown} == set(PICTURES) == {path.name for path in DRAWN.iterdir()}


def test_the_machine_shows_the_table_and_no_more() -> None:
    """Each pair of phase and event leads in the picture where it leads in `TRANSITIONS`."""
    shown = {
        (before, event, after)
        for before, after, events in edges("machine.svg", "from", "to", "events")
        for event in filter(None, events.split(", "))
    }
    assert shown == {(before, machine.words(event), after) for (before, event), after in TRANSITIONS.items()}
    assert {before for before, after, _ in edges("machine.svg", "from", "to", "events") if before == after} == set(
        Phase
    )


def test_the_ladder_shows_what_is_decided() -> None:
    """Each rung, and each answer that leads to another one."""
    shown = {
        (rung, answer, to)
        for rung, to, told in edges("ladder.svg", "from", "to", "answers")
        for answer in told.split(", ")
    }
    assert shown == {tuple(move) for move in moves() if move.to is not None}
    assert {rung for (rung,) in edges("ladder.svg", "rung")} == set(Rung) - {Rung.VENDING}


def test_no_network_leads_to_no_other_rung() -> None:
    """As the foot of the ladder says."""
    assert {to for _, answer, to in moves() if answer == "no network"} == {None}


def texts(name: str) -> Iterator[tuple[str, float, float]]:
    """Yield each line of words in a picture, with the pixel where it begins and, about, where it ends."""
    for text in root(name).iter(f"{SVG}text"):
        if "x" in text.attrib:
            x, said = float(text.attrib["x"]), text.text or ""
            kind = next((kind for kind in LETTER if kind in text.get("class", "")), "")
            wide = len(said) * LETTER.get(kind, 7.5)
            start = x - wide * {"middle": 0.5, "end": 1}.get(text.get("text-anchor", ""), 0)
            yield said, start, start + wide


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_off(name: str) -> None:
    """Every line of words ends inside of its picture."""
    width = float(root(name).attrib["width"])
    assert [said for said, start, end in texts(name) if start < 4 or end > width - 4] == []


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_told_and_readable_in_the_dark(name: str) -> None:
    """A title, a description, and colours for a dark screen."""
    picture = root(name)
    told = {child.tag: child.text or "" for child in picture}
    assert told[f"{SVG}title"]
    assert len(told[f"{SVG}desc"]) > 60
    assert "prefers-color-scheme: dark" in told[f"{SVG}style"]
