from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.core.change.advance import advance
from agent.core.change.decide import Limits
from agent.core.change.events import Retired
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import FailureClass
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState
from agent.core.values import Kind, OnChange, Origin
from agent.core.when.maintenance import MaintenanceWindow
from agent.core.when.renewal import RenewalPolicy, renewal_window, splay
from agent.core.when.schedule import (
    AFTER_FAILED_ENROLMENT,
    AFTER_FAILURE,
    EMERGENCY_FLOOR,
    EMERGENCY_PART,
    SETTLED,
    SETTLED_PART,
    UNSYNCHRONISED_PATIENCE,
    Holds,
    Past,
    Pause,
    Plan,
    Subject,
    Suggestion,
    Wishes,
    applies,
    is_free,
    past_of,
    plan_enrolment,
    plan_rotation,
    without_a_set,
)
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

TICK = timedelta(microseconds=1)
YEAR = 365 * DAY
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)

SUBJECT = Subject(not_before=NOW, not_after=NOW + YEAR, splay=0.5)
WINDOW = renewal_window(SUBJECT.not_before, SUBJECT.not_after, RenewalPolicy())
AT = WINDOW.renew_at(SUBJECT.splay)
EMERGENCY = WINDOW.emergency_at

UNSYNCHRONISED, IMPLAUSIBLE = ClockState.UNSYNCHRONISED, ClockState.IMPLAUSIBLE

# At 02:00 and 04:00 UTC; AT is at 16:00.
NIGHT = MaintenanceWindow(start=time(2), end=time(4))
NEVER = MaintenanceWindow(start=time(2), end=time(4), days=frozenset())
PAUSE = Pause(until=AT + 3 * DAY, reason="harvest")
INHIBITED = "/run/busy"
USED_UP = Past(requests=tuple(AT - number * HOUR for number in range(1, 5)))

FAILED_ONCE = Past(failures=1, failed_at=AT, jitter=0.5)
UNFINISHED = Past(unfinished=True)


def plan(
    now: datetime, *, state: ClockState = ClockState.SYNCHRONISED, past: Past | None = None, **wishes: Any
) -> Plan:
    """Return the plan for a certificate of a year, half way into its window."""
    return plan_rotation(SUBJECT, Wishes(**wishes), past or Past(), make.reading(now, state))


def holding(**holds: Any) -> dict[str, Any]:
    """Return wishes with what may hold a change."""
    return {"holds": Holds(**holds)}


def suggest(opens_at: datetime, closes_at: datetime, order: str = "") -> Suggestion:
    """Return a window that a job suggests."""
    return Suggestion(opens_at=opens_at, closes_at=closes_at, source="job j-1", order=order)


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
    """What would hold a change is of no interest while there is none to hold."""
    found = plan(AT - DAY, **HELD[name][0])

    assert (found.code, found.at) == ("scheduled", AT)


def lasting(name: str, around: datetime) -> dict[str, Any]:
    """Return what holds a change around an instant, and beyond it if nothing else ends it."""
    match name:
        case "pause":
            return holding(pause=Pause(until=around + YEAR, reason="harvest"))
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
    wishes = holding(pause=Pause(until=EMERGENCY + YEAR, reason="harvest"))

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


# -- the clock ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [YEAR_1970, NOW, AT, EMERGENCY, SUBJECT.not_after + DAY])
@pytest.mark.parametrize("past", [Past(), UNFINISHED, FAILED_ONCE], ids=["nothing", "unfinished", "failed"])
def test_an_unbelievable_clock_plans_nothing(now: datetime, past: Past) -> None:
    """It may be decades off, so no instant can be named; what the clock shows is told."""
    found = plan(now, state=IMPLAUSIBLE, past=past)

    assert (found.due, found.code, found.at, found.window) == (False, "clock", None, WINDOW)
    assert found.why == f"the clock shows {clock_time(now)}, which cannot be; nothing is planned before it is set"


def test_a_clock_that_is_never_synchronised_costs_a_day_and_no_more() -> None:
    """A gateway without a time server still rotates."""
    assert plan(AT + UNSYNCHRONISED_PATIENCE - TICK, state=UNSYNCHRONISED).code == "clock"
    assert plan(AT + UNSYNCHRONISED_PATIENCE, state=UNSYNCHRONISED).due
    assert plan(AT + 3 * DAY, state=UNSYNCHRONISED).due


def test_a_clock_that_is_synchronised_at_last_is_waited_for_no_longer() -> None:
    """The hold ends with its reason."""
    assert plan(AT + HOUR, state=UNSYNCHRONISED).code == "clock"
    assert plan(AT + HOUR).due


def test_a_clock_set_forward_and_back_changes_nothing_but_the_moment() -> None:
    """Nothing is remembered: the plan for an instant is the same whatever was looked at before."""
    before = plan(AT - DAY)
    assert plan(AT + 20 * DAY).due

    assert plan(AT - DAY) == before


def test_a_failure_in_the_far_future_delays_nothing() -> None:
    """A change failed while the clock was years ahead: now that it is right, that year is not waited for."""
    ahead = Past(failures=3, failed_at=AT + 10 * YEAR, jitter=0.9)

    assert plan(AT, past=ahead).due


def test_a_failure_in_the_near_future_delays_no_longer_than_twice_the_longest_delay() -> None:
    """A clock that was set back by hours keeps the delay, and not for ever."""
    cap = timedelta(seconds=AFTER_FAILURE.cap)
    found = plan(AT, past=Past(failures=50, failed_at=AT + cap, jitter=0.999))

    assert found.code == "back-off"
    assert found.at is not None
    assert found.at - AT <= 2 * cap


@pytest.mark.parametrize("ahead", [DAY, YEAR])
def test_requests_from_the_future_use_up_no_budget(ahead: timedelta) -> None:
    """A certificate that was asked for under a clock which was ahead does not lock the gateway out."""
    assert plan(AT, past=Past(requests=(AT + ahead,) * 9)).due


# -- the budget --------------------------------------------------------------------------------------------------------


def test_the_budget_holds_in_the_emergency_window_too() -> None:
    """A gateway that has asked for its share is not let loose on the account because it is in need."""
    requests = tuple(EMERGENCY - number * HOUR for number in range(4))
    found = plan(EMERGENCY, past=Past(requests=requests))

    assert (found.code, found.emergency, found.at) == ("budget", True, EMERGENCY + 21 * HOUR)
    assert plan(EMERGENCY + 21 * HOUR, past=Past(requests=requests)).due


def test_the_budget_is_the_configured_one() -> None:
    """One request uses up a limit of one, and four do not use up a limit of five."""
    assert plan(AT, past=Past(requests=(AT - HOUR,)), limits=Limits(daily_limit=1)).at == AT + 23 * HOUR
    assert plan(AT, past=USED_UP, limits=Limits(daily_limit=5)).due


# -- the back-off ------------------------------------------------------------------------------------------------------


def held_for(failures: int, jitter: float = 0.9) -> timedelta:
    """Return how long a change that is due is held after so many failures."""
    found = plan(AT, past=Past(failures=failures, failed_at=AT, jitter=jitter))
    assert found.code == "back-off"
    assert found.at is not None
    return found.at - AT


def test_each_failure_waits_no_shorter_than_the_one_before_up_to_a_day() -> None:
    """The delays double from an hour to a day; drawn anew each time they would be monotone for one jitter only."""
    delays = [held_for(failures) for failures in range(1, 20)]

    assert delays[:4] == [timedelta(seconds=0.9 * 3600 * 2**number) for number in range(4)]
    assert delays == sorted(delays)
    assert delays[-1] == timedelta(seconds=0.9 * 86400)
    assert all(delay <= DAY for delay in delays)


@pytest.mark.parametrize("failures", [1, 2, 100, 10**9])
def test_no_failure_is_followed_by_a_change_within_the_minute(failures: int) -> None:
    """Whatever the jitter, there is a least delay."""
    assert held_for(failures, 0.0) == timedelta(seconds=AFTER_FAILURE.floor) == MINUTE


def test_the_back_off_is_the_same_at_each_look() -> None:
    """The jitter is in the record: looking again does not draw again."""
    past = past_of([make.finished(Phase.REJECTED, AT, id="8f3a11c2")])
    first = plan(AT + MINUTE, past=past)
    assert first.code == "back-off"
    assert first.at is not None
    looks = [plan(AT + part * (first.at - AT) / 10, past=past) for part in range(10)]

    assert {look.at for look in looks} == {first.at}
    assert {look.why for look in looks} == {first.why}


def test_several_failures_are_counted_in_the_sentence() -> None:
    """The reader learns how often it went wrong."""
    found = plan(AT, past=Past(failures=3, failed_at=AT, jitter=0.5))

    assert found.why == f"the last 3 changes failed; the next is begun at {clock_time(AT + 2 * HOUR)}"


def test_in_the_emergency_window_the_back_off_shrinks_with_what_is_left() -> None:
    """An eighth of the time that is left is the most that is waited, and at the end a minute."""
    for left in (4 * DAY, DAY, HOUR, 10 * MINUTE):
        now = SUBJECT.not_after - left
        past = Past(failures=9, failed_at=now, jitter=0.999)
        found = plan(now, past=past)
        assert (found.code, found.emergency) == ("back-off", True)
        assert found.at == now + max(EMERGENCY_FLOOR, left / EMERGENCY_PART)
        assert plan(found.at, past=past).due


@pytest.mark.parametrize("late", [timedelta(), DAY, YEAR])
def test_after_the_end_a_change_is_tried_every_minute(late: timedelta) -> None:
    """There is nothing left to lose."""
    now = SUBJECT.not_after + late
    past = Past(failures=9, failed_at=now, jitter=0.999)

    assert plan(now, past=past).at == now + MINUTE
    assert plan(now + MINUTE, past=past).due


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


# -- suggestions -------------------------------------------------------------------------------------------------------


def test_a_suggestion_moves_the_instant_forward_or_back() -> None:
    """The device keeps its place, in the suggested window now; who suggested it is told."""
    for opens_at in (NOW + 30 * DAY, AT + 30 * DAY):
        found = plan(NOW + DAY, suggestion=suggest(opens_at, opens_at + 2 * DAY))
        assert found.at == opens_at + DAY
        assert found.why == f"rotation is scheduled for {clock_time(opens_at + DAY)} (as job j-1 suggests)"


def test_a_change_that_was_suggested_answers_to_its_order() -> None:
    """The job learns of the change; one that came of its own accord has no order."""
    window = suggest(AT - 3 * DAY, AT - 2 * DAY, "job:j-1:1")

    assert plan(AT - 2.5 * DAY, suggestion=window).order == "job:j-1:1"
    assert plan(AT - 3 * DAY, suggestion=window).order == ""
    assert plan(AT).order == ""
    early = plan(NOW + DAY, past=UNFINISHED, suggestion=window)
    assert (early.due, early.order) == (True, "")


@pytest.mark.parametrize("opens_at", [EMERGENCY - SECOND, EMERGENCY + DAY, SUBJECT.not_after + YEAR])
def test_no_suggestion_reaches_past_the_emergency(opens_at: datetime) -> None:
    """Whatever the fleet wants, the certificate is replaced before it ends."""
    window = suggest(opens_at, opens_at + YEAR)

    assert plan(NOW + DAY, suggestion=window).at == EMERGENCY
    assert plan(EMERGENCY, suggestion=window).due


@pytest.mark.parametrize("opens_at", [NOW, NOW - TICK, NOW - YEAR])
def test_a_certificate_that_is_no_older_than_the_suggestion_is_left_alone(opens_at: datetime) -> None:
    """A wish that stands for ever is fulfilled once."""
    found = plan(NOW + DAY, suggestion=suggest(opens_at, opens_at + YEAR))

    assert (found.code, found.at) == ("scheduled", AT)


def test_a_certificate_that_the_suggestion_brought_is_not_replaced_again() -> None:
    """AWS dates its certificates two minutes back, so one of the window's first instant says it was made before."""
    opens_at = NOW + 30 * DAY
    window = suggest(opens_at, opens_at)
    assert plan(opens_at, suggestion=window).due
    made = Subject(not_before=opens_at - 2 * MINUTE, not_after=opens_at + YEAR, splay=0.3)
    past = Past(committed_at=opens_at + 12 * MINUTE)
    found = plan_rotation(made, Wishes(suggestion=window), past, make.reading(opens_at + DAY))

    assert found.code == "scheduled"


def test_a_suggestion_that_closes_before_it_opens_is_an_instant() -> None:
    """Parsers refuse it; if one is made nevertheless it moves nothing backwards."""
    found = plan(NOW, suggestion=suggest(NOW + 10 * DAY, NOW + 5 * DAY))

    assert found.at == NOW + 10 * DAY


def test_what_holds_a_change_holds_a_suggested_one() -> None:
    """A suggestion is no order: pause and windows hold it, and the patience with the clock counts from its instant."""
    window = suggest(AT - 30 * DAY, AT - 30 * DAY)
    day = AT - 30 * DAY

    assert plan(day, suggestion=window, **holding(inhibited_by=INHIBITED)).code == "inhibited"
    assert plan(day, state=UNSYNCHRONISED, suggestion=window).at == day + DAY


# -- the first certificate ---------------------------------------------------------------------------------------------


def enrolment(now: datetime = NOW, *, past: Past | None = None, state: ClockState = ClockState.SYNCHRONISED) -> Plan:
    """Return the plan of a gateway that has no certificate yet."""
    return plan_enrolment(past or Past(), make.reading(now, state), Limits(), configured=True)


def test_a_gateway_without_a_certificate_enrols_at_once() -> None:
    """Neither window nor splay: it is of no use before."""
    found = enrolment()

    assert (found.due, found.code, found.at, found.kind) == (True, "due", NOW, Kind.ENROLL)
    assert (found.window, found.emergency) == (None, False)


def test_a_gateway_without_enrolment_waits_for_its_owner() -> None:
    """What is missing is told."""
    found = plan_enrolment(Past(), make.reading(), Limits(), configured=False)

    assert (found.due, found.code, found.at, found.kind) == (False, "not-configured", None, Kind.ENROLL)
    assert found.why == "this gateway has no certificate, and enrolment is not configured"


def test_enrolment_waits_for_a_believable_clock_but_not_for_a_synchronised_one() -> None:
    """A gateway fresh from its box has no time server before it has a network, and must get on."""
    assert enrolment(state=UNSYNCHRONISED).due
    found = enrolment(YEAR_1970, state=IMPLAUSIBLE)
    assert (found.due, found.code, found.at, found.kind) == (False, "clock", None, Kind.ENROLL)


def test_enrolment_keeps_the_budget() -> None:
    """A claim certificate is shared by a fleet."""
    found = enrolment(past=Past(requests=(NOW - HOUR,) * 4))

    assert (found.code, found.at, found.kind) == ("budget", NOW + 23 * HOUR, Kind.ENROLL)


def test_enrolment_is_tried_again_sooner_than_a_rotation() -> None:
    """A technician may stand next to it; up to an hour is waited, where a rotation waits up to a day."""
    first = enrolment(past=Past(failures=1, failed_at=NOW, jitter=0.5))
    last = enrolment(past=Past(failures=99, failed_at=NOW, jitter=0.999))

    assert (first.code, first.at, first.kind) == ("back-off", NOW + MINUTE, Kind.ENROLL)
    assert last.at is not None
    assert last.at <= NOW + timedelta(seconds=AFTER_FAILED_ENROLMENT.cap) == NOW + HOUR


def test_without_a_usable_set_the_ladder_is_climbed() -> None:
    """A gateway that had a certificate does not simply enrol again."""
    found = without_a_set()

    assert (found.due, found.code, found.at) == (True, "due", None)
    assert "ladder" in found.why


# -- what the history means --------------------------------------------------------------------------------------------

OUTCOMES = {"committed": Phase.COMMITTED, "retired": Phase.RETIRED, "rejected": Phase.REJECTED}


def footing(at: datetime = NOW, phase: Phase = Phase.COMMITTED, **changes: Any) -> ChangeRecord:
    """Return the rollback by which the ladder found footing."""
    return make.finished(phase, at, **{"kind": Kind.ROLLBACK, "origin": Origin.LADDER, **changes})


def test_an_empty_history_means_nothing() -> None:
    """A new gateway has no past."""
    assert past_of([]) == Past()


@pytest.mark.parametrize("success", [Phase.COMMITTED, Phase.RETIRED])
def test_failures_are_counted_since_the_last_success(success: Phase) -> None:
    """A success wipes the slate clean, also one whose certificate was retired since."""
    history = [
        make.finished(Phase.REJECTED, NOW - 9 * DAY),
        make.finished(success, NOW - 8 * DAY),
        make.finished(Phase.REJECTED, NOW - 2 * DAY),
        make.finished(Phase.ROLLED_BACK, NOW - DAY),
    ]
    past = past_of(iter(history))

    assert (past.failures, past.failed_at, past.unfinished) == (2, NOW - DAY, False)
    assert past.committed_at == NOW - 8 * DAY
    assert (past_of(history[:2]).failures, past_of(history[:2]).failed_at) == (0, None)


def test_every_request_of_every_change_is_remembered() -> None:
    """The budget counts over all of them, whatever became of them."""
    history = [
        make.finished(Phase.REJECTED, NOW - DAY, requests=(NOW - DAY, NOW - HOUR)),
        make.finished(Phase.COMMITTED, NOW, requests=(NOW - MINUTE,)),
    ]

    assert past_of(history).requests == (NOW - DAY, NOW - HOUR, NOW - MINUTE)


def test_the_jitter_belongs_to_the_failure() -> None:
    """The same at each look, another for each failure, and always a number in [0, 1)."""
    jitters = {past_of([make.finished(Phase.REJECTED, id=f"{number:08x}")]).jitter for number in range(500)}

    assert past_of([make.finished(Phase.REJECTED, id="8f3a11c2")]) == past_of(
        [make.finished(Phase.REJECTED, id="8f3a11c2")]
    )
    assert len(jitters) == 500
    assert all(0 <= jitter < 1 for jitter in jitters)


def test_the_jitter_spreads_a_fleet_that_failed_together() -> None:
    """Random ids of eight hexadecimal digits give numbers all over the range, give or take a fifth."""
    ids = (f"{number * 2_654_435_761 % 2**32:08x}" for number in range(10_000))
    tenths = Counter(int(past_of([make.finished(Phase.REJECTED, id=name)]).jitter * 10) for name in ids)

    assert sorted(tenths) == list(range(10))
    assert all(800 <= share <= 1200 for share in tenths.values())


def test_footing_that_was_found_is_unfinished_until_a_rotation_follows() -> None:
    """The ladder put an older set back; a technician who does so means it."""
    assert past_of([footing()]).unfinished
    assert not past_of([footing(), make.finished(at=NOW + HOUR)]).unfinished
    assert not past_of([footing(origin=Origin.TECHNICIAN)]).unfinished
    assert not past_of([footing(phase=Phase.REJECTED)]).unfinished
    assert not past_of([footing(kind=Kind.ENROLL)]).unfinished


def test_only_a_change_that_brought_a_certificate_settles_anything() -> None:
    """To go back takes nothing from the account; a set that was put in place by hand is a new one, too."""
    rotated = make.finished(at=NOW - 9 * DAY)

    assert past_of([rotated, footing(origin=Origin.TECHNICIAN)]).committed_at == NOW - 9 * DAY
    assert past_of([rotated, make.finished(Phase.REJECTED, NOW)]).committed_at == NOW - 9 * DAY
    for kind in (Kind.ENROLL, Kind.ROTATE, Kind.IMPORT):
        assert past_of([rotated, make.finished(at=NOW, kind=kind)]).committed_at == NOW
    assert past_of([advance(rotated, Retired(at=NOW))]).committed_at == NOW - 9 * DAY


def test_the_patience_with_the_clock_counts_from_the_footing() -> None:
    """A day after the older set was put back, and not a day after its own turn."""
    past = past_of([footing(NOW)])
    assert past.unfinished_since == NOW

    assert plan(NOW + DAY - TICK, state=UNSYNCHRONISED, past=past).at == NOW + DAY
    assert plan(NOW + DAY - TICK, state=UNSYNCHRONISED, past=past).code == "clock"
    assert plan(NOW + DAY, state=UNSYNCHRONISED, past=past).due
    assert past_of([make.finished()]).unfinished_since is None


@pytest.mark.parametrize(
    ("opens_at", "committed_at", "expected"),
    [
        (NOW + DAY, None, True),
        (NOW, None, False),
        (NOW + DAY, NOW, True),
        (NOW + DAY, NOW + DAY - TICK, True),
        (NOW + DAY, NOW + DAY, False),
        (NOW + DAY, NOW + 2 * DAY, False),
    ],
)
def test_a_suggestion_applies_until_it_was_followed(
    opens_at: datetime, committed_at: datetime | None, *, expected: bool
) -> None:
    """The certificate must be older than its window, and none may have been got since it opened."""
    window = suggest(opens_at, opens_at + 9 * DAY)

    assert applies(window, SUBJECT, Past(committed_at=committed_at)) == expected
    assert not applies(None, SUBJECT, Past())


def test_footing_that_was_found_stays_unfinished_when_the_rotation_fails() -> None:
    """The one try that follows at once may meet a bad hour; the older set is not what the gateway is to stay on."""
    past = past_of([footing(), make.finished(Phase.REJECTED, NOW + HOUR)])

    assert past.unfinished
    assert past.failures == 1


def test_footing_that_was_found_stays_unfinished_when_the_refused_set_is_retired() -> None:
    """That the cloud was rid of the refused certificate does not make the older one a fresh one."""
    record = advance(footing(), Retired(at=NOW + 7 * DAY))

    assert record.phase is Phase.RETIRED
    assert past_of([record]).unfinished


# -- what always holds -------------------------------------------------------------------------------------------------

PLACES = st.floats(0, 1, exclude_max=True)
LIFETIMES = st.one_of(st.timedeltas(10 * MINUTE, DAY), st.timedeltas(DAY, 90 * DAY), st.timedeltas(90 * DAY, 30 * YEAR))
SUBJECTS = st.builds(
    lambda lifetime, place: Subject(not_before=NOW, not_after=NOW + lifetime, splay=place), LIFETIMES, PLACES
)
POLICIES = st.builds(
    RenewalPolicy,
    before_expiry=st.timedeltas(MINUTE, YEAR),
    max_age=st.timedeltas(HOUR, 3 * YEAR),
    window=st.timedeltas(timedelta(), 60 * DAY),
)
PARTS = st.floats(0, 1.1)  # of a lifetime
HOURS = st.integers(0, 23).map(time)
WINDOWS = st.builds(MaintenanceWindow, start=HOURS, end=HOURS, days=st.frozensets(st.integers(0, 6)))


@st.composite
def gateways(draw: st.DrawFn) -> tuple[Subject, Wishes, Past, datetime]:
    """Return any gateway at any time of its certificate's life, with a past that does lie in the past."""
    subject = draw(SUBJECTS)
    lifetime = subject.not_after - subject.not_before

    def instant() -> datetime:
        return subject.not_before + lifetime * draw(PARTS)

    now = instant()
    pause = Pause(until=instant(), reason="why not") if draw(st.booleans()) else None
    suggestion = suggest(instant(), instant()) if draw(st.booleans()) else None
    failures = draw(st.integers(0, 12))
    failed_at = now - draw(st.timedeltas(timedelta(), 2 * DAY)) if failures else None
    requests = tuple(now - ago for ago in draw(st.lists(st.timedeltas(timedelta(), 2 * DAY), max_size=6)))
    holds = Holds(
        pause=pause, inhibited_by=draw(st.sampled_from(["", "/run/busy"])), windows=tuple(draw(st.lists(WINDOWS)))
    )
    past = Past(
        failures=failures,
        failed_at=failed_at,
        jitter=draw(PLACES),
        committed_at=now - draw(st.timedeltas(timedelta(), 2 * HOUR)) if draw(st.booleans()) else None,
        unfinished=draw(st.booleans()),
        requests=requests,
    )
    return subject, Wishes(policy=draw(POLICIES), holds=holds, suggestion=suggestion), past, now


STATES = st.sampled_from([ClockState.SYNCHRONISED, ClockState.UNSYNCHRONISED])


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_the_turn_lies_in_the_window_or_before_the_emergency(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState
) -> None:
    """A turn by the policy lies inside of its window, a suggested one never past the emergency."""
    subject, wishes, _, now = gateway
    assume(now < subject.not_after)
    found = plan_rotation(subject, wishes, Past(), make.reading(now, state))
    assert found.window is not None
    if found.code == "scheduled":
        assert found.at is not None
        assert now < found.at <= found.window.emergency_at
    plain = plan_rotation(subject, replace(wishes, suggestion=None), Past(), make.reading(NOW))
    assert plain.at is not None
    assert found.window.opens_at <= plain.at <= found.window.closes_at


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_a_plan_says_when_it_is_looked_at_again(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState
) -> None:
    """What is due is due now; any other instant lies ahead, and there always is one."""
    subject, wishes, past, now = gateway
    found = plan_rotation(subject, wishes, past, make.reading(now, state))

    assert found.due == (found.code == "due")
    assert found.why
    if found.due:
        assert found.at == now
    else:
        assert found.at is not None
        assert found.at > now


@make.MANY
@given(gateway=gateways(), state=STATES, later=st.timedeltas(timedelta(), YEAR))
def test_what_is_due_stays_due_until_something_changes(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState, later: timedelta
) -> None:
    """Time alone never takes a turn away, apart from the hours of the maintenance windows."""
    subject, wishes, past, now = gateway
    wishes = replace(wishes, holds=replace(wishes.holds, windows=()))
    assume(plan_rotation(subject, wishes, past, make.reading(now, state)).due)

    assert plan_rotation(subject, wishes, past, make.reading(now + later, state)).due


@make.MANY
@given(gateway=gateways(), state=STATES, late=st.timedeltas(timedelta(), 2 * YEAR))
def test_no_hold_lasts_into_the_emergency_but_budget_and_back_off(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState, late: timedelta
) -> None:
    """Whatever people want, the certificate is replaced while there is time."""
    subject, wishes, past, _ = gateway
    window = renewal_window(subject.not_before, subject.not_after, wishes.policy)
    found = plan_rotation(subject, wishes, past, make.reading(window.emergency_at + late, state))

    assert found.emergency
    assert found.code in {"due", "budget", "back-off"}


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_nothing_is_begun_before_its_turn(gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState) -> None:
    """A change that is due without an unfinished one before it has reached the turn that was told."""
    subject, wishes, past, now = gateway
    found = plan_rotation(subject, wishes, replace(past, unfinished=False), make.reading(now, state))
    turn = plan_rotation(subject, wishes, Past(), make.reading(subject.not_before - DAY)).at
    assert turn is not None

    assert not found.due or now >= turn


@make.MANY
@given(gateway=gateways(), state=STATES)
def test_a_gateway_that_follows_the_plan_rotates_before_the_end(
    gateway: tuple[Subject, Wishes, Past, datetime], state: ClockState
) -> None:
    """Looking again when the plan says leads to a change, however many holds there are, in a few dozen looks."""
    subject, wishes, past, now = gateway
    window = renewal_window(subject.not_before, subject.not_after, wishes.policy)
    for _ in range(60):
        found = plan_rotation(subject, wishes, past, make.reading(now, state))
        if found.due:
            break
        now = found.at or max(window.emergency_at, now)
    else:
        pytest.fail(f"nothing was due after 60 looks: {found}")

    assert now <= max(window.emergency_at, subject.not_before) + 2 * DAY + 2 * 1.1 * (
        subject.not_after - subject.not_before
    )


@make.MANY
@given(failures=st.integers(0, 40), jitter=PLACES, ago=st.timedeltas(timedelta(), 2 * DAY))
def test_the_back_off_never_exceeds_its_cap(failures: int, jitter: float, ago: timedelta) -> None:
    """A day after the last failure nothing is held for it any more, and a minute after it everything is."""
    past = Past(failures=failures, failed_at=AT if failures else None, jitter=jitter)
    found = plan(AT + ago, past=past)

    if not failures or ago >= DAY:
        assert found.due
    elif ago < MINUTE:
        assert found.code == "back-off"


def test_a_failed_change_of_any_kind_counts() -> None:
    """A rollback or an import that failed is a reason for patience, too; an operator's word is no exception."""
    given_up = make.failure(FailureClass.OPERATOR, "given-up", decisive=True)
    changes: list[dict[str, Any]] = [{"kind": Kind.ROLLBACK}, {"kind": Kind.IMPORT}, {"failure": given_up}]
    for change in changes:
        assert past_of([make.finished(Phase.REJECTED, **change)]).failures == 1


# -- changes of trust anchors ------------------------------------------------------------------------------------------

ENDS = [phase for phase in Phase if phase.ended]


@pytest.mark.parametrize("phase", ENDS)
@pytest.mark.parametrize("origin", Origin)
def test_a_change_of_trust_anchors_says_nothing_about_the_certificate(phase: Phase, origin: Origin) -> None:
    """However it ended and whatever its origin, before, between and after what counts."""
    trust = make.finished(phase, NOW, kind=Kind.TRUST, origin=origin)
    history = [make.finished(at=NOW - 9 * DAY), make.finished(Phase.REJECTED, NOW - 2 * DAY)]
    mixed = [item for record in history for item in (trust, record)]

    assert past_of([*mixed, trust]) == past_of(history)
    assert past_of([footing(), trust]) == past_of([footing()])
    assert past_of([trust]) == Past()


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
