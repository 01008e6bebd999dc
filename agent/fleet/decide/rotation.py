"""Orders to rotate, as jobs and as wishes of a shadow: their shape, their window, and what AWS takes of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.backend.decide.orders import JobOrder, Pace, job_id
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SEARCHED = 500  # things that are looked at one by one; a group takes more
SOONEST = timedelta(minutes=30)  # that a schedule may begin from now (AWS IoT jobs, "scheduling jobs")
LONGEST = timedelta(days=365)
_FASTEST = 1000  # things in a minute (AWS IoT jobs quotas)


@frozen
class Window:
    """When gateways are told.

    Attributes:
        opens_at: From when.
        closes_at: Until when.
    """

    opens_at: datetime
    closes_at: datetime


def window_of(text: str, now: datetime, *, by_job: bool) -> Window:
    """Return a window that was typed as START/END.

    Raises:
        ValueError: It is none, or AWS would not take it; the text is a sentence.
    """
    start, slash, end = text.partition("/")
    try:
        opens_at, closes_at = (_instant(part) for part in (start, end))
    except (ValueError, OverflowError):
        slash = ""
    if not slash:
        raise ValueError("A window is two times, such as 2026-12-01T01:00Z/2026-12-01T05:00Z.")
    if closes_at <= opens_at or closes_at <= now or closes_at - now > LONGEST:
        raise ValueError("The window must end after it begins, after now, and within a year.")
    if by_job and opens_at < now + SOONEST:
        raise ValueError("A job's window begins 30 minutes from now at the earliest. Without --window it begins now.")
    if by_job and closes_at < opens_at + SOONEST:
        raise ValueError("A job's window lasts 30 minutes at least.")
    return Window(opens_at=opens_at, closes_at=closes_at)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def pace_of(per_minute: int, abort_percent: float, abort_after: int) -> Pace:
    """Return a pace that was typed.

    Raises:
        ValueError: AWS would not take it; the text is a sentence.
    """
    if not 1 <= per_minute <= _FASTEST:
        raise ValueError(f"--per-minute is 1 to {_FASTEST}.")
    if not 0 < abort_percent <= 100 or abort_after < 1:  # noqa: PLR2004 - percent
        raise ValueError("--abort-percent is more than 0 and at most 100, and --abort-after at least 1.")
    return Pace(per_minute=per_minute, abort_percent=round(abort_percent, 2), abort_after=abort_after)


def of_group(group: str, task: str, reason: str, pace: Pace) -> JobOrder:
    """Return the order to those that are in a thing group now."""
    return JobOrder(job_id=job_id(f"group {task}", [group]), things=(), reason=reason, pace=pace)


def job(order: JobOrder, arn: Callable[[str, str], str], window: Window | None, group: str = "") -> dict[str, Any]:
    """Return the request for a job (CreateJob).

    Args:
        order: The order.
        arn: Returns the ARN of something of AWS IoT Core, by its kind and name.
        window: When gateways are told; None for now.
        group: The thing group, when the order is to one.
    """
    targets = [arn("thinggroup", group)] if group else [arn("thing", thing) for thing in order.things]
    request = order.request(targets)
    if window is not None:
        start, end = (f"{at:%Y-%m-%dT%H:%M}" for at in (window.opens_at, window.closes_at))  # UTC, and no zone
        request["schedulingConfig"] = {"startTime": start, "endTime": end, "endBehavior": "STOP_ROLLOUT"}
    return request


def wish(window: Window) -> dict[str, Any]:
    """Return what a shadow wishes for: that the certificate is renewed within a window."""
    opens_at, closes_at = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (window.opens_at, window.closes_at))
    return {"renew": {"opens_at": opens_at, "closes_at": closes_at}}
