from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from agent.core.text import clock_time
from agent.core.values import Kind, OnChange
from agent.core.when.maintenance import MaintenanceWindow
from agent.core.when.renewal import RenewalPolicy, splay
from agent.core.when.schedule import (
    LONGEST_PAUSE,
    SETTLED,
    SETTLED_PART,
    Holds,
    Past,
    Pause,
    Plan,
    Subject,
    Wishes,
    is_free,
    plan_rotation,
)
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.shorthand.scheduling import (
    AT,
    EMERGENCY,
    FAILED_ONCE,
    INHIBITED,
    SUBJECT,
    TICK,
    UNFINISHED,
    UNSYNCHRONISED,
    USED_UP,
    WINDOW,
    YEAR,
    holding,
    plan,
    suggest,
)

# At 02:00 and 04:00 UTC; AT is at 16:00.
NIGHT = MaintenanceWindow(start=time(2), end=time(4))
NEVER = MaintenanceWindow(start=time(2), end=time(4), days=frozenset())
PAUSE = Pause(until=AT + 3 * DAY, reason="harvest")


# -- when due ----------------------------------------------------------------------------------------------------------


def test_before_its_turn_nothing_is_begun() -> None:
    """The plan names the instant and the window it lies in."""
    found = plan(AT - TICK)

    assert (found.due, found.code, found.at, found.kind) == (False, "scheduled", AT, Kind.ROTATE)
    assert (found.window, found.emergency) == (WINDOW, False)
    days = f"in the window from {clock_time(WINDOW.opens_at)} to {clock_time(WINDOW.closes_at)}"
    assert found.why == f"rotation is scheduled for {clock_time(AT)} ({days})"


def test_when_its_turn_has_come_it_is_due_to_the_microsecond() -> None:
    """The instant itself is the first at which a change begins."""
    found = plan(AT)

    assert (found.due, found.code, found.at, found.emergency) == (True, "due", AT, False)
    assert found.why.startswith(f"rotation was scheduled for {clock_time(AT)} (in the window from ")


def test_the_place_in_the_window_is_the_devices_own() -> None:
    """Two devices with certificates of the same day have turns of their own."""
    first = plan_rotation(replace(SUBJECT, splay=0.0), Wishes(), Past(), make.reading(NOW))
    later = plan_rotation(replace(SUBJECT, splay=0.9), Wishes(), Past(), make.reading(NOW))

    assert first.at == WINDOW.opens_at
    assert later.at == WINDOW.opens_at + 0.9 * (WINDOW.closes_at - WINDOW.opens_at)


# -- what holds a change that is due -------------------------------------------------------------------------------

HELD: dict[str, tuple[dict[str, Any], str, datetime | None, str]] = {
    "pause": (holding(pause=PAUSE), "paused", PAUSE.until, f"paused until {clock_time(PAUSE.until)}: harvest"),
    "inhibit file": (
        holding(inhibited_by=INHIBITED),
        "inhibited",
        EMERGENCY,
        "/run/busy exists; remove it to let changes begin",
    ),
    "window": (
        holding(windows=(NIGHT,)),
        "window",
        datetime(2027, 11, 15, 2, 45, tzinfo=UTC),
        "rotation is scheduled for the next maintenance window, at 2027-11-15 02:45:00 UTC",
    ),
    "windows that never open": (
        holding(windows=(NEVER,)),
        "window",
        EMERGENCY,
        "none of the maintenance windows ever opens",
    ),
    "clock": (
        {"state": UNSYNCHRONISED},
        "clock",
        AT + DAY,
        (
            "the clock is not synchronised yet (`timedatectl`; `vouched_clock: true` where the time comes from "
            f"elsewhere); that is waited for until {clock_time(AT + DAY)}"
        ),
    ),
    "settling": (
        {"past": Past(committed_at=AT - MINUTE)},
        "settling",
        AT - MINUTE + SETTLED,
        (
            f"the last change became final at {clock_time(AT - MINUTE)}; "
            f"the next may begin at {clock_time(AT - MINUTE + SETTLED)}"
        ),
    ),
    "failure": (
        {"past": FAILED_ONCE},
        "back-off",
        AT + timedelta(seconds=1800),
        f"the last change failed; the next is begun at {clock_time(AT + 30 * MINUTE)}",
    ),
    "budget": (
        {"past": USED_UP},
        "budget",
        AT + 20 * HOUR,
        (
            "4 certificates were asked for within 24 hours and the limit is 4; "
            f"the next may be asked for at {clock_time(AT + 20 * HOUR)}"
        ),
    ),
}
NOT_IN_AN_EMERGENCY = ["pause", "inhibit file", "window", "windows that never open", "clock", "settling"]


@pytest.mark.parametrize("name", HELD)
def test_what_holds_a_change_that_is_due_is_named_with_its_end(name: str) -> None:
    """Each hold has its code, its sentence, and the instant at which it ends if that is known."""
    given, code, until, why = HELD[name]
    found = plan(AT, **given)

    assert (found.due, found.code, found.at, found.why) == (False, code, until, why)
    assert (found.window, found.emergency, found.kind) == (WINDOW, False, Kind.ROTATE)


@pytest.mark.parametrize("name", [name for name, held in HELD.items() if held[2] is not None])
def test_a_hold_ends_when_the_plan_said(name: str) -> None:
    """Not a microsecond earlier, and nothing comes after it."""
    given, code, until, _ = HELD[name]
    assert until is not None

    assert plan(until - TICK, **given).code == code
    assert plan(until, **given).due


@pytest.mark.parametrize("name", HELD)
def test_before_its_turn_only_the_turn_is_waited_for(name: str) -> None:
    """What would hold a change is of no interest while there is none to hold, but for hours that are known beforehand.

    The instant is what people and the fleet plan by: none is named at which nothing can begin.
    """
    found = plan(AT - DAY, **HELD[name][0])

    begins = HELD[name][2] if HELD[name][1] == "window" else AT
    assert begins is not None
    assert (found.code, found.at) == ("scheduled", begins)
    assert found.why.startswith(f"rotation is scheduled for {clock_time(begins)} (in the window from ")
    assert found.why.endswith(f", in the first maintenance window after {clock_time(AT)})") == (begins > AT)


def lasting(name: str, around: datetime) -> dict[str, Any]:
    """Return what holds a change around an instant, and beyond it if nothing else ends it."""
    match name:
        case "pause":
            return holding(pause=Pause(until=around + LONGEST_PAUSE, reason="harvest"))
        case "settling":
            return {"past": Past(committed_at=around - MINUTE)}
        case _:
            return HELD[name][0]


@pytest.mark.parametrize("name", NOT_IN_AN_EMERGENCY)
def test_nothing_that_people_want_holds_a_change_in_the_emergency_window(name: str) -> None:
    """A pause, a file, the hour, a change a moment ago and an unsynchronised clock count no more."""
    late = EMERGENCY.replace(hour=12) + DAY  # outside of the maintenance window
    found = plan(late, **lasting(name, late))

    assert (found.due, found.code, found.emergency) == (True, "due", True)
    assert found.why.endswith(f"; it expires at {clock_time(SUBJECT.not_after)}, so nothing waits any more")


def test_the_emergency_window_begins_to_the_microsecond() -> None:
    """A pause holds up to it and not in it."""
    wishes = holding(pause=Pause(until=EMERGENCY + LONGEST_PAUSE - TICK, reason="harvest"))

    assert (plan(EMERGENCY - TICK, **wishes).code, plan(EMERGENCY - TICK, **wishes).emergency) == ("paused", False)
    assert (plan(EMERGENCY, **wishes).code, plan(EMERGENCY, **wishes).emergency) == ("due", True)


@pytest.mark.parametrize("name", NOT_IN_AN_EMERGENCY)
def test_the_instant_planned_for_is_never_past_the_emergency(name: str) -> None:
    """What the emergency ends is over by then, and one that sleeps until that instant must not sleep through it."""
    now = EMERGENCY - SECOND
    turn = suggest(EMERGENCY - HOUR, EMERGENCY - HOUR)  # a day's patience with the clock begins here
    found = plan(now, **{"suggestion": turn, **lasting(name, now)})

    assert (found.due, found.code) == (False, HELD[name][1])
    assert found.at == EMERGENCY


def test_a_short_lived_certificate_does_not_sleep_through_its_emergency() -> None:
    """An hour's certificate with a failed change: the emergency is three minutes, the delay may be longer than life."""
    subject = Subject(not_before=NOW, not_after=NOW + HOUR, splay=0.0)
    failed_at = NOW + 45 * MINUTE
    past = Past(failures=3, failed_at=failed_at, jitter=0.9)
    found = plan_rotation(subject, Wishes(), past, make.reading(failed_at + SECOND))

    assert found.code == "back-off"
    assert found.at is not None
    assert found.at < subject.not_after


def test_the_holds_are_asked_in_the_order_of_their_weight() -> None:
    """Where several hold, the one is named that even the emergency does not end."""
    everything = Past(failures=1, failed_at=AT, jitter=0.5, requests=USED_UP.requests)
    wishes = holding(pause=PAUSE, inhibited_by=INHIBITED, windows=(NIGHT,))

    assert plan(AT, state=UNSYNCHRONISED, past=everything, **wishes).code == "budget"
    assert plan(AT, state=UNSYNCHRONISED, past=FAILED_ONCE, **wishes).code == "back-off"
    settling = Past(committed_at=AT)
    assert plan(AT, state=UNSYNCHRONISED, past=settling, **wishes).code == "clock"
    assert plan(AT, past=settling, **wishes).code == "settling"
    assert plan(AT, **wishes).code == "paused"
    assert plan(AT, **holding(inhibited_by=INHIBITED, windows=(NIGHT,))).code == "inhibited"


@pytest.mark.parametrize("now", [PAUSE.until, PAUSE.until + YEAR / 100])
def test_a_pause_that_is_over_holds_nothing(now: datetime) -> None:
    """It need not be taken away."""
    assert plan(now, **holding(pause=PAUSE)).due


def test_an_open_maintenance_window_holds_nothing() -> None:
    """From this gateway's place in the window on a change begins, at the window's end it does not."""
    night = datetime(2027, 11, 15, 2, tzinfo=UTC)
    wishes = holding(windows=(NIGHT,))
    place = night + 45 * MINUTE

    assert not plan(place - TICK, **wishes).due
    assert plan(place, **wishes).due
    assert plan(night + 2 * HOUR - TICK, **wishes).due
    assert not plan(night + 2 * HOUR, **wishes).due


def test_a_turn_that_comes_in_an_open_window_is_not_put_off() -> None:
    """Turns are spread by themselves; only those that waited for the opening need spreading."""
    hours = MaintenanceWindow(start=(AT - HOUR).time(), end=(AT + HOUR).time())

    assert plan(AT, **holding(windows=(hours,))).due


def test_a_turn_at_the_end_of_the_calendar_has_a_plan() -> None:
    """A certificate may run to 9999-12-31 23:59:59 (RFC 5280, 4.1.2.5), and the configuration ask for no more."""
    end = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    policy = RenewalPolicy(max_age=timedelta(days=9_999_999), before_expiry=SECOND, window=SECOND)
    wishes = Wishes(policy=policy, holds=Holds(windows=(NIGHT,)))
    found = plan_rotation(Subject(not_before=NOW, not_after=end, splay=0.5), wishes, Past(), make.reading(NOW))

    assert (found.code, found.due) == ("scheduled", False)
    assert found.at is not None
    assert found.at <= end


def test_a_maintenance_window_does_not_bring_a_fleet_together() -> None:
    """Of a thousand gateways whose turn came in the day no crowd begins in the window's first minute."""
    noon = datetime(2027, 11, 25, 12, tzinfo=UTC)
    wishes = Wishes(holds=Holds(windows=(NIGHT,)))
    minutes: Counter[datetime] = Counter()
    for number in range(1000):
        subject = replace(SUBJECT, splay=splay(f"gw-{number}", "ab" * 32) / 4)
        found = plan_rotation(subject, wishes, Past(), make.reading(noon))
        assert found.code == "window"
        assert found.at is not None
        assert noon < found.at < datetime(2027, 11, 26, 4, tzinfo=UTC)
        minutes[found.at.replace(second=0, microsecond=0)] += 1

    assert max(minutes.values()) < 100


def test_a_short_lived_certificate_settles_for_a_part_of_its_life() -> None:
    """An hour between two rotations would be the whole life of an hour's certificate."""
    subject = Subject(not_before=NOW, not_after=NOW + HOUR, splay=0.0)
    committed_at = NOW + 45 * MINUTE
    found = plan_rotation(subject, Wishes(), Past(committed_at=committed_at), make.reading(committed_at))

    assert found.code == "settling"
    assert found.at == committed_at + HOUR / SETTLED_PART


def test_a_success_in_the_future_does_not_settle_the_present() -> None:
    """A clock that was ahead when a change became final does not hold the next one back."""
    assert plan(AT, past=Past(committed_at=AT + TICK)).due


# -- an older set was put back -------------------------------------------------------------------------------------


def test_an_older_set_that_was_put_back_is_replaced_at_once() -> None:
    """Its turn may be months away; it was put back to find footing and not to stay."""
    found = plan(NOW + DAY, past=UNFINISHED)

    assert (found.due, found.code, found.order) == (True, "due", "")
    assert found.why == "an older set was put back to find footing, and is replaced at once"


@pytest.mark.parametrize("name", ["pause", "inhibit file", "window", "windows that never open"])
def test_nothing_holds_the_replacement_of_an_older_set(name: str) -> None:
    """The gateway stands on its last leg."""
    assert plan(NOW + DAY, past=UNFINISHED, **HELD[name][0]).due


def test_the_replacement_of_an_older_set_need_not_settle() -> None:
    """The rollback that put it back has just become final, and that is the reason to go on."""
    assert plan(NOW + DAY, past=replace(UNFINISHED, committed_at=NOW + DAY)).due


def test_budget_and_back_off_hold_the_replacement_of_an_older_set() -> None:
    """Need is no licence to hammer."""
    failed = replace(FAILED_ONCE, unfinished=True, failed_at=NOW + DAY)
    asked = Past(unfinished=True, requests=(NOW + DAY,) * 4)

    assert plan(NOW + DAY, past=failed).code == "back-off"
    assert plan(NOW + DAY, past=asked).code == "budget"


def test_the_replacement_of_an_older_set_does_not_wait_months_for_the_clock() -> None:
    """A clock that is never synchronised costs a day, counted from when the replacement was due."""
    found = plan(NOW + 2 * DAY, state=UNSYNCHRONISED, past=UNFINISHED)

    assert found.due


@pytest.mark.parametrize("ahead", [-SECOND, timedelta(), SECOND, DAY])
@pytest.mark.parametrize("inhibited", ["", INHIBITED])
def test_a_gateway_is_free_while_no_operator_holds_changes(ahead: timedelta, inhibited: str) -> None:
    """A pause holds until its end, to the second, an inhibit file as long as it is there; windows hold nothing here."""
    holds = Holds(pause=Pause(until=NOW + ahead, reason="harvest"), inhibited_by=inhibited, windows=(NEVER,))

    assert is_free(holds, NOW) is (ahead <= timedelta() and not inhibited)
    assert is_free(Holds(inhibited_by=inhibited, windows=(NEVER,)), NOW) is (not inhibited)


def planned(subject: Subject, now: datetime, **wishes: Any) -> Plan:
    """Return the plan for a certificate."""
    return plan_rotation(subject, Wishes(**wishes), Past(), make.reading(now))


def test_a_changed_configuration_makes_a_rotation_due_where_that_is_wished() -> None:
    """It waits for the next one otherwise; what holds a rotation holds this one, too."""
    differs, now = replace(SUBJECT, differs=True), NOW + DAY
    assert planned(differs, now).code == "scheduled"
    assert planned(SUBJECT, now, on_change=OnChange.ROTATE).code == "scheduled"
    due = planned(differs, now, on_change=OnChange.ROTATE)
    assert due.due
    assert "`rotation.on_change` is rotate" in due.why
    held = planned(differs, now, on_change=OnChange.ROTATE, holds=Holds(inhibited_by=INHIBITED))
    assert held.code == "inhibited"
    after = suggest(now + DAY, now + 2 * DAY, order="job-1")
    assert not planned(differs, now, on_change=OnChange.ROTATE, suggestion=after).order


def test_a_set_for_another_thing_is_renewed_only_when_it_is_nearly_over() -> None:
    """The gateway must not be cut off over a name in its configuration."""
    other = replace(SUBJECT, other_thing="it is for another thing")
    assert (planned(other, AT).code, planned(other, AT).at) == ("other-thing", EMERGENCY)
    assert planned(other, AT).why == "it is for another thing"
    assert planned(other, EMERGENCY).due
