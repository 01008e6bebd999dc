"""A gateway whose turn is known, and what the schedule says of it, asked with few words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from agent.core.timekeeping import ClockState
from agent.core.when.renewal import RenewalPolicy, renewal_window
from agent.core.when.schedule import Holds, Past, Plan, Subject, Suggestion, Wishes, plan_rotation
from support import make
from support.make import DAY, HOUR, NOW

TICK = timedelta(microseconds=1)
YEAR = 365 * DAY
YEAR_1970 = datetime(1970, 1, 1, tzinfo=UTC)

SUBJECT = Subject(not_before=NOW, not_after=NOW + YEAR, splay=0.5)
WINDOW = renewal_window(SUBJECT.not_before, SUBJECT.not_after, RenewalPolicy())
AT = WINDOW.renew_at(SUBJECT.splay)
EMERGENCY = WINDOW.emergency_at

UNSYNCHRONISED, IMPLAUSIBLE = ClockState.UNSYNCHRONISED, ClockState.IMPLAUSIBLE
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
