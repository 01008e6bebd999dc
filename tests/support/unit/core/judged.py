"""A gateway's status, as it is judged: one that has nothing wrong, and one change away from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.core.report.findings import judge
from agent.core.report.seen import SetInUse, WatchedEnd, WatchedFile
from agent.core.report.status import Renewal
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState
from agent.core.when.renewal import RenewalPolicy, renewal_window
from support import make
from support.make import DAY, NOW

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.exit_codes import Exit
    from agent.core.report.status import Status

IMPLAUSIBLE = make.reading(state=ClockState.IMPLAUSIBLE)
FAR_AHEAD = make.reading(state=ClockState.UNSYNCHRONISED, floor=NOW - 35 * 366 * DAY)
TOLD_AS_AHEAD = (
    f"The clock shows {clock_time(NOW)}, 35 years after all that is known to be past, and is not synchronised: "
    "`iot-cert check clock` says what to do."
)


def judged(status: Status) -> tuple[list[str], Exit]:
    """Return the sentences and the exit code."""
    found = judge(status)
    return list(found.health), found.exit


def with_anchors(*ends: datetime) -> SetInUse:
    """Return a set in use whose anchors end so."""
    return make.in_use(anchors=tuple(make.anchor(not_after=end) for end in ends))


def ending(not_after: datetime, emergency_at: datetime | None = None) -> dict[str, Any]:
    """Return the fields of a status whose certificate ends so."""
    window = renewal_window(NOW - DAY, NOW + 364 * DAY, RenewalPolicy())
    emergency = {} if emergency_at is None else {"emergency_at": emergency_at}
    return {
        "current": make.in_use(certificate=make.certificate(not_after=not_after)),
        "renewal": Renewal(splay=0.5, window=replace(window, **emergency)),
    }


def watched(*ends: datetime) -> WatchedFile:
    """Return a watched file whose certificates end so."""
    named = (
        WatchedEnd(subject=f"CN=Server {place},O=Example", sha256=f"{place:02x}" * 32, not_after=end)
        for place, end in enumerate(ends)
    )
    return WatchedFile(path="/etc/app.pem", warn=30 * DAY, certificates=len(ends), ends=tuple(named))
