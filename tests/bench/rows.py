"""The table: what is measured, its floor from the same run, and what the design wants to reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MIB, KIB, MS = "MiB", "KiB", "ms"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row as the design wants it.

    Attributes:
        key: Its name in the record.
        title: Its name in the table.
        unit: What the numbers are in; empty for a count.
        times: How many times the floor may be measured; None where the design says nothing about it.
        most: The most that may be measured.
        reach: What to reach, in words.
    """

    key: str
    title: str
    unit: str = ""
    times: float | None = None
    most: float | None = None
    reach: str = ""

    @property
    def goal(self) -> str:
        """What to reach, for people."""
        if self.reach or self.times is None:
            return self.reach
        return f"≤ {self.times:g} x"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured for a row.

    Attributes:
        values: One for each repetition.
        floors: The same of the floor.
        most: The most that it may be, where the row does not know.
        note: What a reader should know.
    """

    values: Sequence[float]
    floors: Sequence[float] = ()
    most: float | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def floor(self) -> float | None:
        """The median of the floor."""
        return median(self.floors) if self.floors else None

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is."""
        return self.value / self.floor if self.floor else None

    def reaches(self, row: Row) -> bool | None:
        """Whether it is what the design wants; None where it wants nothing."""
        verdicts: list[bool] = []
        if row.times is not None and self.ratio is not None:
            verdicts.append(self.ratio <= row.times)
        verdicts += [self.value <= most for most in (row.most, self.most) if most is not None]
        return all(verdicts) if verdicts else None


@dataclass
class Results:
    """What came out, by row."""

    rows: Sequence[Row]
    found: dict[str, Measured] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    profiles: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def put(
        self, key: str, values: Iterable[float], floors: Iterable[float] = (), note: str = "", most: float | None = None
    ) -> None:
        """Enter what was measured."""
        self.found[key] = Measured(values=tuple(values), floors=tuple(floors), most=most, note=note)

    def excuse(self, why: str, prefixes: tuple[str, ...]) -> None:
        """Say why rows that begin so were not measured, for those that were not."""
        for row in self.rows:
            if row.key.startswith(prefixes) and row.key not in self.found:
                self.missing.setdefault(row.key, why)

    def table(self) -> str:
        """Return the table, with notes below the rows."""
        lines = [_line("figure", ("measured", "floor", "ratio"), "to reach", "")]
        lines.append("-" * len(lines[0]))
        for row in self.rows:
            measured = self.found.get(row.key)
            if measured is None:
                why = self.missing.get(row.key, "it was not measured")
                lines.append(_line(row.title, ("-", "-", "-"), row.goal, "not measured"))
                lines.append(f"    {why}")
                continue
            lines.append(_row(row, measured))
            if measured.note:
                lines.append(f"    {measured.note}")
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """Return all numbers, for a record."""
        numbers: dict[str, Any] = {}
        for row in self.rows:
            measured = self.found.get(row.key)
            if measured is None:
                numbers[row.key] = {"missing": self.missing.get(row.key, "")}
                continue
            numbers[row.key] = {
                "unit": row.unit,
                "value": _rounded(measured.value),
                "values": [_rounded(value) for value in measured.values],
                "floor": _rounded(measured.floor),
                "floors": [_rounded(value) for value in measured.floors],
                "ratio": _rounded(measured.ratio),
                "reached": measured.reaches(row),
            }
        return {"figures": numbers, "profiles": self.profiles}


def profile(title: str, steps: Iterable[tuple[str, float]]) -> str:
    """Return where the time goes: each step with the seconds since the beginning and since the step before."""
    lines, before = [title], 0.0
    for name, at in steps:
        lines.append(f"  {at:7.3f} s  +{(at - before) * 1000:6.0f} ms  {name}")
        before = at
    return "\n".join(lines)


def middle(runs: Sequence[Sequence[tuple[str, float]]]) -> list[tuple[str, float]]:
    """Return the median of each step over the runs that all took the steps of the first."""
    if not runs:
        return []
    alike = [dict(run) for run in runs if [name for name, _ in run] == [name for name, _ in runs[0]]]
    found = [(name, round(median(run[name] for run in alike), 4)) for name, _ in runs[0]]
    return sorted(found, key=lambda step: step[1])


def facts(values: Mapping[str, Any]) -> str:
    """Return the machine's facts, one a line."""
    return "\n".join(f"{name:<12} {value}" for name, value in values.items())


def _row(row: Row, measured: Measured) -> str:
    floor = "-" if measured.floor is None else shown(measured.floor, row.unit)
    ratio = "-" if measured.ratio is None else f"{measured.ratio:.2f} x"
    verdict = {True: "reached", False: "NOT REACHED", None: ""}[measured.reaches(row)]
    return _line(row.title, (shown(measured.value, row.unit), floor, ratio), row.goal, verdict)


def _line(title: str, numbers: tuple[str, str, str], goal: str, verdict: str) -> str:
    first, second, third = numbers
    return f"{title:<58} {first:>12} {second:>12} {third:>9}  {goal:<25} {verdict:<12}".rstrip()


def shown(value: float, unit: str) -> str:
    """Return a number as a reader wants it, with its unit."""
    if unit in {"", "/s"}:  # counts, which a median or a rate may have broken
        return f"{value:,.0f} {unit}".rstrip() if value == int(value) else f"{value:,.2f} {unit}".rstrip()
    digits = {"s": 3, MS: 1, MIB: 2, KIB: 1}.get(unit, 0)
    return f"{value:,.{digits}f} {unit}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
