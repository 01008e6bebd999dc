from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.when.maintenance import DAYS, MaintenanceWindow, next_opening
from support import make
from support.make import DAY, HOUR, MINUTE, SECOND

TICK = timedelta(microseconds=1)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
MONDAY = date(2027, 3, 1)
WEEKEND = frozenset({5, 6})
SUNDAY = frozenset({6})


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """Return an instant, UTC."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def window(
    start: str, end: str, *, days: frozenset[int] = frozenset(range(7)), zone: ZoneInfo | None = None
) -> MaintenanceWindow:
    """Return a window by its hours."""
    return MaintenanceWindow(start=time.fromisoformat(start), end=time.fromisoformat(end), days=days, zone=zone or UTC)


# -- a day like any other ----------------------------------------------------------------------------------------------


def test_without_a_window_every_time_is_welcome() -> None:
    """Nothing configured means no restriction."""
    assert next_opening((), at(2027, 3, 1, 12)) == at(2027, 3, 1, 12)


def test_a_window_is_open_from_its_start_to_just_before_its_end() -> None:
    """The first microsecond counts, the last instant does not."""
    night = window("02:00", "04:00")
    opens, closes = at(2027, 3, 1, 2), at(2027, 3, 1, 4)

    assert next_opening([night], opens - TICK) == opens
    assert next_opening([night], opens) == opens
    assert next_opening([night], closes - TICK) == closes - TICK
    assert next_opening([night], closes) == opens + DAY


def test_the_first_of_several_windows_counts() -> None:
    """Windows may overlap; where one is open the time is welcome."""
    windows = [window("20:00", "22:00"), window("02:00", "04:00"), window("03:00", "05:00")]

    assert next_opening(windows, at(2027, 3, 1)) == at(2027, 3, 1, 2)
    assert next_opening(windows, at(2027, 3, 1, 4, 30)) == at(2027, 3, 1, 4, 30)
    assert next_opening(windows, at(2027, 3, 1, 5)) == at(2027, 3, 1, 20)
    assert next_opening(iter(windows), at(2027, 3, 1, 22)) == at(2027, 3, 2, 2)


def test_a_window_past_midnight_belongs_to_the_day_it_starts_on() -> None:
    """Friday's night reaches into Saturday, Saturday's own does not exist."""
    friday = window("22:00", "02:00", days=frozenset({DAYS.index("fri")}))
    opens = at(2027, 3, 5, 22)

    assert friday.occurrence(date(2027, 3, 5)) == (opens, opens + 4 * HOUR)
    assert next_opening([friday], at(2027, 3, 6, 1, 59)) == at(2027, 3, 6, 1, 59)
    assert next_opening([friday], at(2027, 3, 6, 2)) == opens + 7 * DAY
    assert next_opening([friday], at(2027, 3, 6, 23)) == opens + 7 * DAY


def test_a_window_that_ends_when_it_starts_is_a_whole_day() -> None:
    """On one day of the week that is from midnight to midnight."""
    sunday = window("00:00", "00:00", days=SUNDAY)

    assert sunday.occurrence(date(2027, 3, 7)) == (at(2027, 3, 7), at(2027, 3, 8))
    assert next_opening([sunday], MONDAY_NOON) == at(2027, 3, 7)
    assert next_opening([window("06:00", "06:00")], MONDAY_NOON) == MONDAY_NOON


MONDAY_NOON = at(2027, 3, 1, 12)


@pytest.mark.parametrize("day", range(7))
def test_every_day_of_the_week_comes_once_a_week(day: int) -> None:
    """From Monday noon each day's next morning is found, Monday's own a week later."""
    found = next_opening([window("02:00", "04:00", days=frozenset({day}))], MONDAY_NOON)

    assert found is not None
    assert found == datetime.combine(MONDAY + timedelta(days=day or 7), time(2), tzinfo=UTC)
    assert DAYS[found.weekday()] == DAYS[day]


def test_a_window_on_no_day_never_opens() -> None:
    """That is told apart from a window that is closed now."""
    assert next_opening([window("02:00", "04:00", days=frozenset())], MONDAY_NOON) is None


def test_the_hours_are_those_of_the_zone() -> None:
    """Two in the morning in New York is seven in London; the day of the week is the zone's, too."""
    assert next_opening([window("02:00", "04:00", zone=NEW_YORK)], at(2027, 3, 1)) == at(2027, 3, 1, 7)
    late = window("22:00", "23:00", days=SUNDAY, zone=NEW_YORK)
    assert next_opening([late], at(2027, 3, 1)) == at(2027, 3, 1, 3)  # Monday in London, still Sunday there


def test_the_clock_may_show_any_zone() -> None:
    """The same instant in another zone has the same answer."""
    night = window("02:00", "04:00", zone=BERLIN)
    local = MONDAY_NOON.astimezone(NEW_YORK)

    assert next_opening([night], local) == next_opening([night], MONDAY_NOON) == at(2027, 3, 2, 1)


# -- the two days on which clocks change -----------------------------------------------------------------------------

# Local hours of a window, and its opening and closing in UTC; None where the day has no such hours.
# Berlin goes from 02:00 to 03:00 on 28 March 2027 and from 03:00 to 02:00 on 31 October; New York from 02:00 to 03:00
# on 14 March and from 02:00 to 01:00 on 7 November.
CHANGES = [
    (BERLIN, date(2027, 3, 28), "01:00", "04:00", at(2027, 3, 28, 0), at(2027, 3, 28, 2)),
    (BERLIN, date(2027, 3, 28), "02:00", "04:00", at(2027, 3, 28, 1), at(2027, 3, 28, 2)),
    (BERLIN, date(2027, 3, 28), "01:30", "02:00", at(2027, 3, 28, 0, 30), at(2027, 3, 28, 1)),
    (BERLIN, date(2027, 3, 28), "03:00", "04:00", at(2027, 3, 28, 1), at(2027, 3, 28, 2)),
    (BERLIN, date(2027, 3, 28), "02:00", "03:00", None, None),
    (BERLIN, date(2027, 3, 28), "02:15", "02:45", None, None),
    (BERLIN, date(2027, 3, 27), "22:00", "06:00", at(2027, 3, 27, 21), at(2027, 3, 28, 4)),
    (BERLIN, date(2027, 10, 31), "01:00", "04:00", at(2027, 10, 30, 23), at(2027, 10, 31, 3)),
    (BERLIN, date(2027, 10, 31), "02:00", "03:00", at(2027, 10, 31, 0), at(2027, 10, 31, 2)),
    (BERLIN, date(2027, 10, 31), "02:00", "04:00", at(2027, 10, 31, 0), at(2027, 10, 31, 3)),
    (BERLIN, date(2027, 10, 31), "03:00", "04:00", at(2027, 10, 31, 2), at(2027, 10, 31, 3)),
    (BERLIN, date(2027, 10, 30), "22:00", "06:00", at(2027, 10, 30, 20), at(2027, 10, 31, 5)),
    (NEW_YORK, date(2027, 3, 14), "01:00", "04:00", at(2027, 3, 14, 6), at(2027, 3, 14, 8)),
    (NEW_YORK, date(2027, 3, 14), "02:00", "04:00", at(2027, 3, 14, 7), at(2027, 3, 14, 8)),
    (NEW_YORK, date(2027, 3, 14), "02:00", "03:00", None, None),
    (NEW_YORK, date(2027, 3, 13), "22:00", "06:00", at(2027, 3, 14, 3), at(2027, 3, 14, 10)),
    (NEW_YORK, date(2027, 11, 7), "00:30", "02:00", at(2027, 11, 7, 4, 30), at(2027, 11, 7, 7)),
    (NEW_YORK, date(2027, 11, 7), "01:00", "02:00", at(2027, 11, 7, 5), at(2027, 11, 7, 7)),
    (NEW_YORK, date(2027, 11, 7), "02:00", "04:00", at(2027, 11, 7, 7), at(2027, 11, 7, 9)),
    (NEW_YORK, date(2027, 11, 6), "22:00", "06:00", at(2027, 11, 7, 2), at(2027, 11, 7, 11)),
]


@pytest.mark.parametrize(("zone", "day", "start", "end", "opens", "closes"), CHANGES)
def test_on_the_days_when_clocks_change_the_hours_are_those_on_the_wall(
    zone: ZoneInfo, day: date, start: str, end: str, opens: datetime | None, closes: datetime | None
) -> None:
    """A window gets longer or shorter by an hour, or is swallowed whole and comes again a week later."""
    hours = window(start, end, days=frozenset({day.weekday()}), zone=zone)
    before = datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
    a_week_later = datetime.combine(day + 7 * DAY, time.fromisoformat(start), tzinfo=zone)
    if opens is None or closes is None:
        assert next_opening([hours], before) == a_week_later
        return

    assert hours.occurrence(day) == (opens, closes)
    assert next_opening([hours], before) == opens
    assert next_opening([hours], closes - SECOND) == closes - SECOND
    assert next_opening([hours], closes) == a_week_later


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK], ids=str)
@pytest.mark.parametrize(("start", "end"), [("01:00", "04:00"), ("23:00", "03:30"), ("00:00", "00:00")])
def test_an_ordinary_window_is_there_on_every_day_of_the_year(zone: ZoneInfo, start: str, end: str) -> None:
    """No change of clocks takes one away, and one opens after the other."""
    hours = window(start, end, zone=zone)
    found = [hours.occurrence(date(2027, 1, 1) + number * DAY) for number in range(365)]

    assert all(opens < closes for opens, closes in found)
    assert all(
        opens.astimezone(zone).date() == date(2027, 1, 1) + number * DAY for number, (opens, _) in enumerate(found)
    )
    lengths = {closes - opens for opens, closes in found}
    assert len(lengths) == 3
    assert max(lengths) - min(lengths) == 2 * HOUR


@pytest.mark.parametrize("days_before", range(1, 14))
def test_a_weekly_window_that_the_spring_change_swallows_comes_a_week_later(days_before: int) -> None:
    """A Sunday's hour that is not there does not mean that the window never opens."""
    sunday = window("02:00", "03:00", days=SUNDAY, zone=BERLIN)
    now = at(2027, 3, 28) - days_before * DAY + 12 * HOUR
    expected = at(2027, 3, 21, 1) if now < at(2027, 3, 21, 1) else at(2027, 4, 4)

    assert next_opening([sunday], now) == expected


@pytest.mark.parametrize(("start", "end"), [("02:30", "03:30"), ("02:45", "03:15")])
def test_a_window_that_starts_in_the_hour_that_is_skipped_opens_when_the_hour_is_over(start: str, end: str) -> None:
    """At 02:00 the clocks in Berlin show 03:00, which is inside of both windows."""
    three = at(2027, 3, 28, 1)

    assert next_opening([window(start, end, zone=BERLIN)], at(2027, 3, 28)) == three


# -- a fleet in one window -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "begins"), [(0.0, "02:00"), (0.25, "02:22:30"), (0.5, "02:45"), (0.999, "03:29:54.600000")]
)
def test_who_waited_for_a_window_begins_at_its_own_place_in_it(place: float, begins: str) -> None:
    """The places fill three quarters of it; what is left belongs to changes that have begun."""
    night, yesterday = window("02:00", "04:00"), at(2027, 3, 1, 12)
    expected = datetime.combine(MONDAY + DAY, time.fromisoformat(begins), tzinfo=UTC)

    for now in (yesterday, at(2027, 3, 2, 1, 59), at(2027, 3, 2, 2)):
        assert next_opening([night], now, since=yesterday, place=place) == expected
    assert next_opening([night], expected + TICK, since=yesterday, place=place) == expected + TICK


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_whose_turn_comes_within_an_open_window_begins_at_once(place: float) -> None:
    """There is no crowd to be kept apart: every turn comes at its own time."""
    night = window("02:00", "04:00")
    for turn in (at(2027, 3, 2, 2), at(2027, 3, 2, 2, 7)):
        assert next_opening([night], turn, since=turn, place=place) == turn
        assert next_opening([night], turn + HOUR, since=turn, place=place) == turn + HOUR


def test_whose_window_has_passed_unused_waits_for_its_place_in_the_next() -> None:
    """A gateway that was switched off at its place of last night has one tonight."""
    night = window("02:00", "04:00")
    turn = at(2027, 3, 1, 12)

    assert next_opening([night], at(2027, 3, 2, 4), since=turn, place=0.5) == at(2027, 3, 3, 2, 45)


@make.MANY
@given(
    start=st.integers(0, 23),
    hours=st.integers(1, 23),
    low=st.floats(0, 1, exclude_max=True),
    high=st.floats(0, 1, exclude_max=True),
    ago=st.timedeltas(timedelta(), 3 * DAY),
)
def test_every_place_lies_in_the_window_and_in_order(
    start: int, hours: int, low: float, high: float, ago: timedelta
) -> None:
    """No gateway waits past three quarters of the window, and a later place is no earlier."""
    low, high = sorted((low, high))
    hour = MaintenanceWindow(start=time(start), end=time((start + hours) % 24))
    opens, closes = hour.occurrence(MONDAY)
    found = [next_opening([hour], opens, since=opens - TICK - ago, place=place) for place in (low, high)]

    assert found[0] is not None
    assert found[1] is not None
    assert opens <= found[0] <= found[1] <= opens + (closes - opens) * 0.75


# -- what always holds -------------------------------------------------------------------------------------------------

ZONES = st.sampled_from(
    [
        ZoneInfo(name)
        for name in ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia")
    ]
)
MINUTES = st.integers(0, 24 * 60 - 1).map(lambda minutes: time(minutes // 60, minutes % 60))
WINDOWS = st.builds(
    MaintenanceWindow, start=MINUTES, end=MINUTES, days=st.frozensets(st.integers(0, 6), min_size=1), zone=ZONES
)
NOWS = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones


@make.MANY
@given(windows=st.lists(WINDOWS, min_size=1, max_size=4), now=NOWS)
def test_an_opening_is_open_and_the_first_one(windows: list[MaintenanceWindow], now: datetime) -> None:
    """At the instant that is found a window is open, and at none that is tried before it."""
    found = next_opening(windows, now)

    assert found is not None
    assert now <= found <= now + 15 * DAY
    assert next_opening(windows, found) == found
    for part in (0.0, 0.3, 0.9):
        early = now + part * (found - now)
        assert next_opening(windows, early) == found or early == found


@make.MANY
@given(hours=WINDOWS, now=NOWS)
def test_a_window_lies_on_one_of_its_days(hours: MaintenanceWindow, now: datetime) -> None:
    """Where it opens the wall shows its start or the first hour after a change, on a day that was asked for."""
    found = next_opening([hours], now)
    assert found is not None
    if found > now:
        local = found.astimezone(hours.zone)
        assert local.weekday() in hours.days
        shown = local.hour * 60 + local.minute - hours.start.hour * 60 - hours.start.minute
        assert 0 <= shown <= 60


@make.FEW
@given(hours=WINDOWS, now=NOWS)
def test_a_window_is_open_where_its_occurrences_say(hours: MaintenanceWindow, now: datetime) -> None:
    """Open means: between opening and closing of an occurrence that starts today or yesterday."""
    today = now.astimezone(hours.zone).date()
    starts = [today - DAY, today]
    found = [hours.occurrence(day) for day in starts if day.weekday() in hours.days]

    assert (next_opening([hours], now) == now) == any(opens <= now < closes for opens, closes in found)


def test_the_days_are_those_of_the_calendar() -> None:
    """The position of a name is what `weekday` gives."""
    names = [f"{MONDAY + number * DAY:%a}".lower() for number in range(7)]

    assert list(DAYS) == names
    assert {DAYS[day] for day in WEEKEND} == {"sat", "sun"}


def test_a_minute_is_the_smallest_window() -> None:
    """It is there for a minute each day."""
    short = window("02:00", "02:01")

    assert short.occurrence(MONDAY) == (at(2027, 3, 1, 2), at(2027, 3, 1, 2) + MINUTE)
