"""Whether the wall clock can be believed, and what may be concluded from it.

A gateway without a battery clock boots in 1970 or at its image's build date. An unbelievable clock judges
nothing: no expiry alarm, no rollback, no pruning. The floor is the newest instant that certainly lies in the
past: the build of this software, and the start of the current certificate, which is the cloud's time.

What this gateway noted by its own clock, the last proofs, counts against a clock that is not synchronised, and not
against one that is: a clock that was ahead for an hour once would make the right one impossible for as long as it was
ahead. A time server that lies gains nothing: it keeps a rotation away as well by making the clock impossible.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum

from agent.core.frozen import frozen

# The month this version was made in; no honest clock shows an earlier one.
BUILD_TIME = datetime(2026, 11, 1, tzinfo=UTC)

# No gateway waits for longer between two certificates; a clock that no time service keeps, and that shows a later one
# than what is known to be past, is taken for one that ran away.
FAR = timedelta(days=3653)

# A certificate authority may date a certificate a little ahead of a slow clock.
TOLERANCE = timedelta(minutes=10)


class ClockState(StrEnum):
    """How far the wall clock can be believed."""

    SYNCHRONISED = "synchronised"  # the kernel or the time service says so, and the floor agrees
    UNSYNCHRONISED = "unsynchronised"  # at or after the floor, but the system does not vouch for it
    IMPLAUSIBLE = "implausible"  # before the floor: certainly wrong


@frozen
class Reading:
    """One look at the clock.

    Attributes:
        now: The wall clock, UTC.
        state: Whether to believe it.
        floor: The newest instant that lies in the past, as far as this clock is judged by it.
        certain: The newest instant that lies in the past whatever this gateway's clock showed before.
    """

    now: datetime
    state: ClockState
    floor: datetime
    certain: datetime = BUILD_TIME

    @property
    def believable(self) -> bool:
        """Whether conclusions may be drawn from `now`."""
        return self.state is not ClockState.IMPLAUSIBLE

    @property
    def far_ahead(self) -> bool:
        """Whether no time service vouches for `now`, and it is years after all that is known to be past."""
        return self.state is ClockState.UNSYNCHRONISED and self.now - self.floor > FAR

    @property
    def reference_time(self) -> datetime | None:
        """The time to judge validity by, or None when nothing may be judged."""
        return self.now if self.state is ClockState.SYNCHRONISED else None


def is_ahead(at: datetime | None, now: datetime) -> bool:
    """Whether what this gateway dated itself is more than a day to come: a clock dated it that was ahead."""
    return at is not None and at > now + timedelta(days=1)


def read(
    now: datetime, *, synchronised: bool, floors: tuple[datetime, ...], notes: tuple[datetime, ...] = ()
) -> Reading:
    """Judge the clock.

    Args:
        now: What the wall clock shows.
        synchronised: Whether the system says that its clock is synchronised.
        floors: Instants known to lie in the past; the build time is always one.
        notes: Instants that a synchronised clock of this gateway has shown.
    """
    certain = max((BUILD_TIME, *floors))
    floor = certain if synchronised else max((certain, *notes))
    if now + TOLERANCE < floor:
        state = ClockState.IMPLAUSIBLE
    else:
        state = ClockState.SYNCHRONISED if synchronised else ClockState.UNSYNCHRONISED
    return Reading(now=now, state=state, floor=floor, certain=certain)
