"""Maintenance windows: on which days and at which hours unattended changes are welcome, in local time.

The hours are wall-clock hours, so a window from 02:00 to 04:00 is there on every day, also on the two days of the year
on which clocks change. A window whose end is not after its start runs past midnight and belongs to the day it starts
on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class MaintenanceWindow:
    """One recurring window.

    Attributes:
        days: On which days it starts, as positions in `DAYS`.
        start: When it opens, local time.
        end: When it closes, local time; not after `start` means on the next day.
        zone: The time zone of both.
    """

    start: time
    end: time
    days: frozenset[int] = frozenset(range(7))
    zone: tzinfo = UTC

    def occurrence(self, day: date) -> tuple[datetime, datetime]:
        """Return opening and closing of the window that starts on `day`, UTC."""
        last = day if self.end > self.start else day + _DAY
        return self._instant(day, self.start), self._instant(last, self.end)

    def _instant(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, tzinfo=self.zone).astimezone(UTC)


def next_opening(windows: Iterable[MaintenanceWindow], now: datetime) -> datetime | None:
    """Return `now` when a window is open or there are none, else when the next opens; None when none ever does."""
    known = tuple(windows)
    if not known:
        return now
    openings = [max(now, opens) for window in known for opens, closes in _around(window, now) if closes > now]
    return min(openings, default=None)


def _around(window: MaintenanceWindow, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    today = now.astimezone(window.zone).date()
    for offset in range(-1, 9):  # yesterday's may run past midnight; a week on, every day has come
        day = today + offset * _DAY
        if day.weekday() in window.days:
            opens, closes = window.occurrence(day)
            if opens < closes:  # the hours of the spring change may swallow a window whole
                yield opens, closes
