"""Tables for a terminal: as wide as 80 columns, whatever is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 80
_GAP = 2
_LEAST = 8  # columns that a cell keeps, when others need room


def table(head: Sequence[str], rows: Iterable[Sequence[str]], whole: Sequence[str] = ()) -> list[str]:
    """Return the lines of a table.

    Args:
        head: What is above the columns.
        rows: The cells of each row.
        whole: The columns, by their head, of which nothing is cut off: what has to be copied. A table with a long one
            may be wider.
    """
    cells = [list(head), *(list(row) for row in rows)]
    widths = _narrowed([max(len(row[column]) for row in cells) for column in range(len(head))], head, whole)
    return [
        "".join(f"{_cut(text, width):<{width + _GAP}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _narrowed(widths: list[int], head: Sequence[str], whole: Sequence[str]) -> list[int]:
    """Take from the widest column, again and again, until the table fits or nothing more can be taken."""
    while sum(widths) + _GAP * (len(widths) - 1) > WIDTH:
        able = [place for place, width in enumerate(widths) if head[place] not in whole and width > _LEAST]
        if not able:
            break
        widths[max(able, key=lambda place: widths[place])] -= 1
    return widths


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"
