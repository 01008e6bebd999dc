"""A picture as SVG: boxes, words and arrows, light or dark as the reader's screen is; what they mean is elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of each kind of stroke and ink: on a light screen, and on a dark one.
COLOURS = {
    "ground": ("#ffffff", "#0d1117"),
    "fill": ("#f6f8fa", "#161b22"),
    "line": ("#8c959f", "#6e7681"),
    "ink": ("#1f2328", "#e6edf3"),
    "quiet": ("#59636e", "#9da7b3"),
    "good": ("#1a7f37", "#3fb950"),
    "wary": ("#9a6700", "#d29922"),
    "bad": ("#cf222e", "#f85149"),
    "main": ("#0969da", "#58a6ff"),
}
INKS = ("quiet", "good", "wary", "bad", "main")

_STYLE = """\
text {{ font-family: "Helvetica Neue", Helvetica, Arial, sans-serif; font-size: 14px; fill: {ink} }}
.mono, .mono text {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 13px }}
.small {{ font-size: 12px }}
.head {{ font-size: 15px; font-weight: 600 }}
.bold {{ font-weight: 600 }}
rect {{ fill: {fill}; stroke: {line}; stroke-width: 1.2 }}
.ground {{ fill: {ground}; stroke: {line} }}
path {{ fill: none; stroke: {line}; stroke-width: 1.5 }}
.tip {{ fill: {line}; stroke: none }}
"""
_INKS = """\
text.{name}, tspan.{name} {{ fill: {colour} }}
rect.{name}, path.{name} {{ stroke: {colour} }}
.bar.{name}, .tip.{name} {{ fill: {colour}; stroke: none }}
"""


def style() -> str:
    """Return the sheet: the light colours, and the dark ones where the reader's screen is dark."""
    light, dark = ({name: both[at] for name, both in COLOURS.items()} for at in (0, 1))
    return f"{_sheet(light)}@media (prefers-color-scheme: dark) {{\n{_sheet(dark)}}}\n"


def _sheet(colours: dict[str, str]) -> str:
    return _STYLE.format(**colours) + "".join(_INKS.format(name=name, colour=colours[name]) for name in INKS)


@dataclass
class Picture:
    """One picture; what is drawn later lies above.

    Attributes:
        width: In pixels, as on a page at its full size.
        title: What it shows, in a few words.
        told: The same for a reader who cannot see it, in sentences.
    """

    width: int
    title: str
    told: str
    _parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, height: float, kind: str = "") -> None:
        """Draw a box with round corners."""
        at = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        self._parts.append(f'<rect {at} rx="6"{_kind(kind)}/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write a line whose foot is at `y`; `x` is its start, middle or end."""
        at = f'x="{x:g}" y="{y:g}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        self._parts.append(f'<text {at}{_kind(kind)} xml:space="preserve">{escape(words)}</text>')

    def arrow(self, *points: tuple[float, float], kind: str = "", both: bool = False) -> None:
        """Draw a line through points, with a tip at its end, or at both."""
        tip = f"url(#tip{'-' + kind if kind else ''})"
        start = f' marker-start="{tip}"' if both else ""
        self._parts.append(f'<path d="{_through(points)}"{_kind(kind)}{start} marker-end="{tip}"/>')

    def line(self, *points: tuple[float, float], kind: str = "") -> None:
        """Draw a line through points."""
        self._parts.append(f'<path d="{_through(points)}"{_kind(kind)}/>')

    def raw(self, part: str) -> None:
        """Take SVG as it is."""
        self._parts.append(part)

    @contextmanager
    def group(self, kind: str = "", **data: str) -> Iterator[None]:
        """Draw what belongs together, marked with data that a reader of the file finds again."""
        marks = "".join(f" data-{name}={quoteattr(value)}" for name, value in data.items())
        self._parts.append(f"<g{_kind(kind)}{marks}>")
        yield
        self._parts.append("</g>")

    def svg(self, height: float) -> str:
        """Return the file."""
        tips = "".join(_tip(name) for name in ("", *INKS))
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{height:g}"'
            f' viewBox="0 0 {self.width} {height:g}" role="img" aria-labelledby="title told">\n'
            f'<title id="title">{escape(self.title)}</title>\n<desc id="told">{escape(self.told)}</desc>\n'
            f"<style>\n{style()}</style>\n<defs>{tips}</defs>\n"
        )
        ground = (
            f'<rect class="ground" x="0.6" y="0.6" width="{self.width - 1.2:g}" height="{height - 1.2:g}" rx="8"/>\n'
        )
        return head + ground + "\n".join(self._parts) + "\n</svg>\n"


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _through(points: tuple[tuple[float, float], ...]) -> str:
    return "M" + " L".join(f"{x:g},{y:g}" for x, y in points)


def _tip(name: str) -> str:
    end = f"-{name}" if name else ""
    shape = f'<path class="tip{" " + name if name else ""}" d="M0,0 L9,4.5 L0,9 z"/>'
    size = 'markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" refX="9" refY="4.5"'
    return f'<marker id="tip{end}" {size} orient="auto-start-reverse">{shape}</marker>'


def wrapped(words: str, columns: int) -> list[str]:
    """Return a text as lines of so many characters at most."""
    lines: list[str] = []
    for word in words.split():
        if lines and len(lines[-1]) + 1 + len(word) <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
