"""The page of the figures: what `make figures` writes between two marks of docs/figures.md, and nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.rows import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.rows import Measured, Results, Row

BEGIN, END = "<!-- written by make figures -->\n", "<!-- end of what is written -->\n"

_HEAD = ("| figure | measured | floor | ratio | to reach | |", "| --- | ---: | ---: | ---: | --- | --- |")
_VERDICTS = {True: "reached", False: "**not reached**", None: ""}


def write(page: Path, results: Results, machine: Mapping[str, object], day: str) -> None:
    """Put the figures of a run on the page, in place of those of an earlier run."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + "\n" + "\n".join(_lines(results, machine, day)) + "\n\n" + END + after)


def _lines(results: Results, machine: Mapping[str, object], day: str) -> Iterator[str]:
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    yield f"Measured on {day}; the load is that of the minute before. The machine: {facts}."
    yield ""
    yield from _HEAD
    for row in results.rows:
        measured = results.found.get(row.key)
        yield _missing(row, results) if measured is None else _line(row, measured)


def _line(row: Row, measured: Measured) -> str:
    floor = "" if measured.floor is None else shown(measured.floor, row.unit)
    ratio = "" if measured.ratio is None else f"{measured.ratio:.2f} x"
    remarks = "; ".join(filter(None, (_VERDICTS[measured.reaches(row)], measured.note)))
    return _cells(_title(row), shown(measured.value, row.unit), floor, ratio, row.goal, remarks)


def _missing(row: Row, results: Results) -> str:
    why = results.missing.get(row.key, "")
    return _cells(_title(row), "", "", "", row.goal, f"not measured: {why}".rstrip(": "))


def _title(row: Row) -> str:
    return row.title if row.title == row.title.strip() else f"- {row.title.strip()}"


def _cells(*texts: str) -> str:
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"
