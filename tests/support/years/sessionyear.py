"""A year of one gateway in each session mode: what it notices how late, and what it asks of the account.

The agent's own parts decide: the schedule, the state machine, the back-off of the link, and `agent.core.when.looks`.
The cloud and the weather are made up: outages, certificates that are deactivated while they are in use, and boots at
which the clock shows 1970 for hours. ``PYTHONPATH=tests python -m support.years.sessionyear`` prints a line for each
mode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import TYPE_CHECKING

from agent.core.failure import failures
from agent.core.timekeeping import ClockState, Reading
from agent.core.when import looks
from agent.core.when.looks import Looks
from agent.core.when.reconnect import after_failure, after_loss
from agent.core.when.schedule import LOOK_EVERY, past_of, plan_rotation
from support.years.fleetyear import DAY, HOUR, START, YEAR, FleetStory, Year, YearlongGateway

if TYPE_CHECKING:
    from agent.core.change import decide
    from agent.core.change.lifecycle import ChangeRecord

MODES: dict[str, Looks | None] = {
    "always": None,
    "every 1h for 1m": Looks(every=HOUR),
    "every 6h for 1m": Looks(),
    "every 1d for 1m": Looks(every=DAY),
}
OUTAGES = ((20 * DAY, 6 * HOUR), (63 * DAY, 12 * HOUR), (200 * DAY, 3 * DAY), (300 * DAY + 7 * HOUR, HOUR))
REVOCATIONS = (30 * DAY, 64 * DAY + 5 * HOUR, 150 * DAY, 250 * DAY, 330 * DAY)
CLOCKLESS = ((40 * DAY, 5 * HOUR), (66 * DAY, 8 * HOUR), (220 * DAY, 2 * HOUR))  # after so long, for so long
STORY = FleetStory(gateways=20, outages=OUTAGES, mishaps=0.08, seed=16)

_1970 = datetime(1970, 1, 1, tzinfo=UTC)

# List prices of us-east-1, from memory, in USD: a minute connected, and a message of at most 5 KB.
MINUTE, MESSAGE = 0.08 / 1e6, 1 / 1e6
MESSAGES = 8  # of a look: shadow and jobs, asked for and answered, a report and its answer, and what is heard of both


@dataclass(kw_only=True)
class YearVisited:
    """What a mode came to, of all gateways together.

    Attributes:
        connects: How often a session was made.
        minutes: How long there was one.
        noticed: From each deactivation to the ladder that it is climbed for.
        mended: From each deactivation to another set in use.
        rotations: Sets that came into use.
        requests: Certificates that were asked for.
        least: The least that was left of a certificate when another came into use.
        gateways: How many there are.
    """

    connects: int = 0
    minutes: float = 0.0
    noticed: list[timedelta] = field(default_factory=list)
    mended: list[timedelta] = field(default_factory=list)
    rotations: int = 0
    requests: int = 0
    least: timedelta = YEAR
    gateways: int = 1

    @property
    def cost(self) -> float:
        """What a gateway's sessions cost in a year, in USD."""
        return (self.minutes * MINUTE + self.connects * MESSAGES * MESSAGE) / self.gateways


class Visitor(YearlongGateway):
    """A gateway whose session comes and goes, and whose certificate is deactivated now and then."""

    def __init__(self, number: int, year: Year, mode: Looks | None, told: YearVisited) -> None:
        super().__init__(number, year)
        self._mode, self._told = mode, told
        self._refused: datetime | None = None  # since when the set in use is
        self._unnoticed = self._resting = False
        self._tries_at = START
        for after in REVOCATIONS:
            year.at(START + after + HOUR * self._chance.random(), self._revoke)
        year.at(START, self._leave)

    # -- the session -----------------------------------------------------------------------------------------------

    def _try_at(self, when: datetime) -> None:
        self._tries_at = when
        super()._try_at(when)

    def _connect(self, now: datetime) -> None:
        if now != self._tries_at or self._up:
            return  # it is tried at another time
        self._resting = False
        reaches = self._reaches(now)
        if self._refused is None or not reaches:
            super()._connect(now)
            if reaches:
                self._told.connects += 1
                self._year.at(now + self._lasts(), self._leave)
            return
        verdict = after_failure(self._standing, failures.hung_up(), self._chance.random())
        self._standing = verdict.standing
        if verdict.doubt:
            self._climb(now)
        self._try_at(now + timedelta(seconds=verdict.delay))

    def _lasts(self) -> timedelta:
        return self._mode.lasts if self._mode else YEAR

    def _leave(self, now: datetime) -> None:
        """End a look that is over; a later call sees to one that goes on."""
        if not self._up or self._mode is None:
            return
        if self._change is not None or now - self._up_since < self._lasts():
            self._year.at(now + self._lasts(), self._leave)
            return
        self._end(now)
        self._resting = True
        self._try_at(now + timedelta(seconds=looks.rest(self._mode, self._chance.random())))

    def _end(self, now: datetime) -> None:
        self._up = False
        self._told.minutes += (now - self._up_since).total_seconds() / 60

    def _lose(self, now: datetime) -> None:
        if self._up:
            self._told.minutes += (now - self._up_since).total_seconds() / 60
            super()._lose(now)

    def close(self, end: datetime) -> None:
        """Count the session that is there when the year ends."""
        if self._up:
            self._end(end)

    # -- what is done to it ----------------------------------------------------------------------------------------

    def _revoke(self, now: datetime) -> None:
        self._refused, self._unnoticed = now, True
        if self._up:  # the cloud hangs up
            lasted = (now - self._up_since).total_seconds()
            self._end(now)
            verdict = after_loss(self._standing, failures.hung_up(), lasted, self._chance.random())
            self._standing = verdict.standing
            self._try_at(now + timedelta(seconds=verdict.delay))

    def _climb(self, now: datetime) -> None:
        """Get another set, from the set before or by the claim."""
        if self._unnoticed and self._refused is not None:
            self._told.noticed.append(now - self._refused)
            self._unnoticed = False
        if self._change is None:
            self._change = self._begin(now, "the set in use is refused")
            self._look_at(now)

    # -- the change ------------------------------------------------------------------------------------------------

    def _look(self, now: datetime) -> None:
        if any(START + after <= now < START + after + length for after, length in CLOCKLESS):
            clock = Reading(now=_1970 + (now - START) % DAY, state=ClockState.IMPLAUSIBLE, floor=START)
            assert not plan_rotation(self.subject, self._wishes, past_of(self._history), clock).due
            self._look_at(now + LOOK_EVERY)
            return
        super()._look(now)
        if self._change is not None and self._resting:  # what the change comes to is to be seen
            self._resting = False
            self._try_at(now)

    def _take(self, record: ChangeRecord, action: decide.Action, clock: Reading) -> None:
        before = len(self._year.record.slack)
        super()._take(record, action, clock)
        if len(self._year.record.slack) > before:
            self._told.least = min(self._told.least, self._year.record.slack[-1])
            self._told.rotations += 1
            if self._refused is not None:
                self._told.mended.append(clock.now - self._refused)
                self._refused, self._unnoticed = None, False


def visited(mode: Looks | None, story: FleetStory = STORY) -> YearVisited:
    """Return what a year in this mode comes to."""
    told = YearVisited(gateways=story.gateways)
    gateways: list[Visitor] = []

    def made(number: int, year: Year) -> YearlongGateway:
        gateways.append(Visitor(number, year, mode, told))
        return gateways[-1]

    year = Year(story, made)
    record = year.run()
    for gateway in gateways:
        gateway.close(year.end)
    told.requests = len(record.requests)
    told.least = min(told.least, *record.left)
    return told


def line(name: str, told: YearVisited) -> str:
    """Return what a mode came to, for a gateway and a year."""
    each = told.gateways
    noticed, mended = ([span / HOUR for span in spans] for spans in (told.noticed, told.mended))
    return (
        f"{name:16} {told.connects / each:7.0f} connects {told.minutes / each:8.0f} min "
        f"{told.cost:.4f} USD {told.requests / each:5.1f} certificates asked for, "
        f"a deactivation noticed after {fmean(noticed):5.2f} h ({max(noticed):.2f} at most) and mended "
        f"{fmean(mended) - fmean(noticed):.2f} h later, never less than {told.least / DAY:.0f} d left"
    )


if __name__ == "__main__":
    for name_, mode_ in MODES.items():
        print(line(name_, visited(mode_)))
