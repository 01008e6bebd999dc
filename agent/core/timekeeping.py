"""Whether the wall clock can be believed, and what may be concluded from it.

A gateway without a battery clock boots in 1970 or at its image's build date. An unbelievable clock judges
nothing: no expiry alarm, no rollback, no pruning. The floor is the newest instant that certainly lies in the
past: the build of this software, the last good time on disk, the start of the current certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

# The month this version was made in; no honest clock shows an earlier one.
BUILD_TIME = datetime(2026, 11, 1, tzinfo=UTC)

# A certificate authority may date a certificate a little ahead of a slow clock.
TOLERANCE = timedelta(minutes=10)


class ClockState(StrEnum):
    """How far the wall clock can be believed."""

    SYNCHRONISED = "synchronised"  # the kernel or the time service says so, and the floor agrees
    UNSYNCHRONISED = "unsynchronised"  # at or after the floor, but nobody vouches for it
    IMPLAUSIBLE = "implausible"  # before the floor: certainly wrong


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One look at the clock.

    Attributes:
        now: The wall clock, UTC.
        state: Whether to believe it.
        floor: The newest instant that certainly lies in the past.
    """

    now: datetime
    state: ClockState
    floor: datetime

    @property
    def believable(self) -> bool:
        """Whether conclusions may be drawn from `now`."""
        return self.state is not ClockState.IMPLAUSIBLE

    @property
    def reference_time(self) -> datetime | None:
        """The time to judge validity by, or None when nothing may be judged."""
        return self.now if self.state is ClockState.SYNCHRONISED else None


def read(now: datetime, *, synchronised: bool, floors: tuple[datetime, ...]) -> Reading:
    """Judge the clock.

    Args:
        now: What the wall clock shows.
        synchronised: Whether the system says that its clock is synchronised.
        floors: Instants known to lie in the past; the build time is always one.
    """
    floor = max((BUILD_TIME, *floors))
    if now + TOLERANCE < floor:
        state = ClockState.IMPLAUSIBLE
    else:
        state = ClockState.SYNCHRONISED if synchronised else ClockState.UNSYNCHRONISED
    return Reading(now=now, state=state, floor=floor)
