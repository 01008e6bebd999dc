"""Maintenance windows: on which days and at which hours unattended changes are welcome, in local time.

The hours are wall-clock hours, so a window from 02:00 to 04:00 is there on every day, also on the two days of the year
on which clocks change. A window whose end is not after its start runs past midnight and belongs to the day it starts
on.
"""

from __future__ import annotations

from datetime import MAXYEAR, UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


@frozen
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
        local = datetime.combine(day, at, tzinfo=self.zone)
        late, early = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
        # A time that the spring change skips has its two readings the wrong way round; it stands for the change.
        return _change_between(early, late, self.zone) if early < late else late


MISSING_ZONE_REMEDY = "Correct `time_zone`, or install the zones: the package tzdata, for older names tzdata-legacy."


class MissingZone(tzinfo):
    """A time zone that this machine does not have: an update took it away, or an image has none.

    Its hours are taken as UTC, and said to be: a gateway whose daemon does not start is worse off than one that rotates
    some hours away from where it was wanted.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def utcoffset(self, _at: datetime | None) -> timedelta:
        """Return none."""
        return timedelta()

    def dst(self, _at: datetime | None) -> timedelta:
        """Return none."""
        return timedelta()

    def tzname(self, _at: datetime | None) -> str:
        """Return what it is taken for."""
        return "UTC"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MissingZone) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[type[MissingZone], tuple[str]]:
        return MissingZone, (self.name,)


# The last part of a window is left to changes that have begun.
_USED = 0.75


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the instant, to the second, at which the clocks of `zone` change between two instants."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def next_opening(
    windows: Iterable[MaintenanceWindow], now: datetime, *, since: datetime | None = None, place: float = 0.0
) -> datetime | None:
    """Return when a change may begin: `now` in an open window, or without any; None when none ever opens.

    Args:
        windows: The windows.
        now: The present.
        since: From when on the change has been due; None for now.
        place: This device's place in [0, 1) within a window that found it waiting: a fleet must not begin as one.
    """
    known = tuple(windows)
    if not known:
        return now
    due = now if since is None else since
    occurrences = [
        (opens + (closes - opens) * _USED * place if due < opens else opens, closes)
        for window in known
        for opens, closes in _around(window, now)
    ]
    return min((max(now, begins) for begins, closes in occurrences if closes > now), default=None)


def opening_for(splay: float, windows: Iterable[MaintenanceWindow], now: datetime, since: datetime) -> datetime | None:
    """Return when a device's change may begin that is due since then; see `next_opening`.

    Args:
        splay: The device's place in its renewal window, in [0, 1).
        windows: The windows.
        now: The present, or when it is due.
        since: From when on it is due.
    """
    if now.year >= MAXYEAR:
        return None  # no calendar goes on
    place = (splay * 1_000_003) % 1.0  # gateways due on the same day have nearly the same splay
    return next_opening(windows, now, since=since, place=place)


def _around(window: MaintenanceWindow, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    today = now.astimezone(window.zone).date()
    for offset in range(-1, 16):  # yesterday's may run past midnight; two weeks on, a swallowed one has come again
        day = today + offset * _DAY
        if day.weekday() in window.days:
            opens, closes = window.occurrence(day)
            if opens < closes:  # the hours of the spring change may swallow a window whole
                yield opens, closes
