"""The change machine, drawn from `TRANSITIONS`: each pair of the table is in the picture, and nothing else is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.change.transitions import TRANSITIONS
from pictures.svg import Picture, wrapped

if TYPE_CHECKING:
    from agent.core.change.events import ChangeEvent

SPINE = tuple(phase for phase in Phase if phase not in {Phase.REJECTED, Phase.ROLLED_BACK})
AT, WIDE = 330, 330  # pixels: where the boxes of the spine begin, and how wide they are
GAP = 30
LANES = {Phase.PLANNED: 60, Phase.KEY_READY: 165, Phase.REJECTED: 755, Phase.ROLLED_BACK: 780}
ENDS_AT, END_WIDE = 815, 160
ENDS = {Phase.REJECTED: Phase.PREPARED, Phase.ROLLED_BACK: Phase.COMMITTED}  # beside which phase each is drawn
COLUMNS, END_COLUMNS = 54, 24
BACK, OUT = (Phase.KEY_READY, Phase.PLANNED), (Phase.REJECTED, Phase.ROLLED_BACK)  # in the order of their lines


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def events(before: Phase, after: Phase) -> list[str]:
    """Return the events that lead from one phase to another, in the words of the picture."""
    return [words(event) for (phase, event), to in TRANSITIONS.items() if (phase, to) == (before, after)]


def words(event: type[ChangeEvent]) -> str:
    """Return the name of an event as words."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", event.__name__).lower()


def draw() -> str:
    """Return the picture."""
    picture = Picture(
        1000,
        "The change machine",
        "Phases of a change from planned to retired, and the events between them. Until the new set is in use a change "
        "that is given up ends as rejected; after that it is rolled back.",
    )
    boxes = _boxes()
    for before in Phase:
        for after in Phase:
            found = events(before, after)
            if found and before is not after:
                with picture.group(**{"from": before, "to": after, "events": ", ".join(found)}):
                    _edge(picture, boxes, (before, after), ", ".join(found))
    for phase in Phase:
        with picture.group(**{"from": phase, "to": phase, "events": ", ".join(events(phase, phase))}):
            _phase(picture, boxes[phase], phase)
    return picture.svg(boxes[Phase.RETIRED].y + boxes[Phase.RETIRED].height + 24)


def _boxes() -> dict[Phase, _Box]:
    found: dict[Phase, _Box] = {}
    y = 24.0
    for phase in SPINE:
        exits = max(len(_exits(phase, side)) for side in (BACK, OUT))
        height = max(30.0 + 21 * (exits - 1), _height(_stays(phase)))
        found[phase] = _Box(AT, y, WIDE, height)
        y += height + GAP
    for end, beside in ENDS.items():
        found[end] = _Box(ENDS_AT, found[beside].y, END_WIDE, _height(_stays(end, END_COLUMNS)))
    return found


def _height(stays: list[str]) -> float:
    return 30.0 + (16 * len(stays) + 6 if stays else 0)


def _stays(phase: Phase, columns: int = COLUMNS) -> list[str]:
    found = events(phase, phase)
    return wrapped(f"stays at: {', '.join(found)}", columns) if found else []


def _phase(picture: Picture, box: _Box, phase: Phase) -> None:
    ends = {Phase.COMMITTED: "good", Phase.RETIRED: "good", Phase.REJECTED: "bad", Phase.ROLLED_BACK: "bad"}
    in_use = "main" if phase.activated else ""
    picture.box(box.x, box.y, box.width, box.height, ends.get(phase, in_use))
    picture.text(box.x + 12, box.y + 20, phase, "head")
    for number, line in enumerate(_stays(phase, COLUMNS if phase in SPINE else END_COLUMNS)):
        picture.text(box.x + 12, box.y + 40 + 16 * number, line, "small quiet")


def _edge(picture: Picture, boxes: dict[Phase, _Box], way: tuple[Phase, Phase], label: str) -> None:
    before, after = way
    if after in ENDS:
        _to_an_end(picture, boxes, way, label)
    elif _follows(before, after):
        start = boxes[before].y + boxes[before].height
        picture.arrow((AT + WIDE / 2, start), (AT + WIDE / 2, boxes[after].y), kind="good")
        picture.text(AT + WIDE / 2 + 10, start + GAP / 2 + 4, label, "small")
    else:
        _back(picture, boxes, way, label)


def _exits(phase: Phase, side: tuple[Phase, ...]) -> list[Phase]:
    """Return where lines lead to that leave a phase on one side."""
    return [lane for lane in side if phase in SPINE and events(phase, lane) and not _follows(phase, lane)]


def _follows(before: Phase, after: Phase) -> bool:
    return before is after or (after in SPINE and SPINE.index(after) == SPINE.index(before) + 1)


def _back(picture: Picture, boxes: dict[Phase, _Box], way: tuple[Phase, Phase], label: str) -> None:
    before, after = way
    lane, y = LANES[after], boxes[before].y + 19 + 21 * _exits(before, BACK).index(after)
    end = boxes[after].y + (30 if after is Phase.KEY_READY else 15)
    picture.arrow((AT, y), (lane, y), (lane, end), (AT, end), kind="wary")
    picture.text(AT - 8, y - 4, label, "small wary", "end")


def _to_an_end(picture: Picture, boxes: dict[Phase, _Box], way: tuple[Phase, Phase], label: str) -> None:
    before, after = way
    lane, y = LANES[after], boxes[before].y + 19 + 21 * _exits(before, OUT).index(after)
    end = boxes[after].y + 15
    picture.arrow((AT + WIDE, y), (lane, y), (lane, end), (ENDS_AT, end), kind="bad")
    picture.text(AT + WIDE + 8, y - 4, label, "small bad")
