"""What a gateway costs as it has more of something, drawn from the record that `make bench-growth` keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pictures.svg import Picture

RECORD = Path(__file__).with_name("growth.json")
FIGURES = {  # the figure, its name, what it is, and its colour
    "rotation": ("a rotation", "processor time", "main"),
    "look": ("a look", "processor time", "good"),
    "status": ("status", "processor time", "wary"),
    "memory": ("the idle daemon", "private memory", "bad"),
}
WIDTH, HEIGHT = 250, 130  # of one plot, in pixels
LEFT, TOP, ACROSS, DOWN = 66, 60, 306, 216


def draw() -> str:
    """Return the picture: a plot for each axis, and in each the figures beside those of the smallest input."""
    curves: list[dict[str, Any]] = json.loads(RECORD.read_text())
    axes = list(dict.fromkeys(curve["axis"] for curve in curves))
    most = max(high / curve["points"][0][1] for curve in curves for _, high in curve["points"])
    told = "; ".join(f"{curve['points'][-1][0]:,} {curve['axis']}: {_told(curve)}" for curve in curves)
    picture = Picture(960, "How it grows", f"Each figure beside its value with the fewest. {told}.")
    said = "times what it is with the fewest; what grows as its input does is a straight line"
    picture.text(24, 32, said, "small quiet")
    for number, axis in enumerate(axes):
        x, y = LEFT + number % 3 * ACROSS, TOP + number // 3 * DOWN
        with picture.group(axis=axis):
            _plot(picture, (x, y), [curve for curve in curves if curve["axis"] == axis], most)
    _legend(picture, LEFT + 2 * ACROSS, TOP + DOWN + 20)
    return picture.svg(TOP + 2 * DOWN)


def _told(curve: dict[str, Any]) -> str:
    (_, low), *_, (_, high) = curve["points"]
    return f"{FIGURES[curve['figure']][0]} {high / low:.1f} times"


def _plot(picture: Picture, at: tuple[float, float], curves: list[dict[str, Any]], most: float) -> None:
    x, y = at
    top = int(most) + 1
    for step in range(top + 1):
        height = y + HEIGHT - HEIGHT * step / top
        picture.raw(f'<path d="M{x:g},{height:g} L{x + WIDTH:g},{height:g}" opacity="0.35"/>')
        picture.text(x - 8, height + 4, f"{step}", "small quiet", "end")
    sizes = [size for size, _ in curves[0]["points"]]
    for size in sizes:
        place = x + WIDTH * size / sizes[-1]
        picture.text(place, y + HEIGHT + 18, f"{size:,}", "small quiet", "start" if size == sizes[0] else "middle")
    picture.text(x, y - 10, curves[0]["axis"], "bold")
    for curve in curves:
        across, up = WIDTH / sizes[-1], HEIGHT / top / curve["points"][0][1]
        line = [(x + across * size, y + HEIGHT - up * value) for size, value in curve["points"]]
        picture.line(*line, kind=FIGURES[curve["figure"]][2])


def _legend(picture: Picture, x: float, y: float) -> None:
    for number, (name, what, colour) in enumerate(FIGURES.values()):
        height = y + 28 * number
        picture.line((x, height), (x + 28, height), kind=colour)
        picture.text(x + 40, height + 5, f"{name}: {what}", "small")
