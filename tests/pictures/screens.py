"""The screens of commands, drawn as a terminal shows them, from a recording of the real ones."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from pictures.recording import COLUMNS, recorded
from pictures.svg import Picture

LETTER, LINE = 7.83, 19  # pixels: how wide a letter of the terminal is drawn, and how high its line
INK = {"1": "bold", "2": "quiet", "31": "bad", "32": "good", "33": "wary"}  # SGR, ECMA-48

TITLES = {
    "rotate": "A rotation, as a technician sees it",
    "status": "How a gateway is",
    "check": "What is wrong, and what to do",
}


def draw(screen: str) -> str:
    """Return the picture of a screen; its description is the text itself."""
    lines: list[str] = recorded()["screens"][screen]
    plain = "\n".join(re.sub(r"\x1b\[\d+m", "", line) for line in lines)
    picture = Picture(round(COLUMNS * LETTER) + 44, TITLES[screen], plain)
    with picture.group("mono"):
        for number, line in enumerate(lines):
            picture.raw(_line(22, 32 + LINE * number, line))
    return picture.svg(32 + LINE * len(lines) + 6)


def _line(x: float, y: float, line: str) -> str:
    spans, kind, at = [], "", 0
    for part in re.split(r"(\x1b\[\d+m)", line):
        if found := re.fullmatch(r"\x1b\[(\d+)m", part):
            kind = INK.get(found[1], "")
        elif part:
            drawn = f' class="{kind}"' if kind else ""
            place = f'x="{x + at * LETTER:.1f}" textLength="{len(part) * LETTER:.1f}"'
            spans.append(f"<tspan {place}{drawn}>{escape(part)}</tspan>")
            at += len(part)
    return f'<text y="{y:g}" xml:space="preserve">{"".join(spans)}</text>'
