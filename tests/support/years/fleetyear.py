"""A fleet over a year, event by event: when gateways ask, and how many at once.

`Year` is made of the agent's own pure parts, with a clock that is passed in: the schedule decides when a change begins,
the state machine carries it on, the link's back-off brings the connection back after an outage. Only the cloud and the
weather are made up. `support.years.fleetpeaks` has a closed form for large fleets.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.change import decide, giving_up
from agent.core.change.advance import advance
from agent.core.change.events import Activated, ChangeEvent, Hastened
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure import failures
from agent.core.failure.codes import traits
from agent.core.timekeeping import ClockState, Reading
from agent.core.values import Kind, Origin
from agent.core.when.reconnect import ReconnectState, after_failure, after_loss, heals_with_network
from agent.core.when.renewal import splay
from agent.core.when.schedule import LOOK_EVERY, Holds, Subject, Wishes, past_of, plan_rotation
from support import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.core.failure.failure import Failure
    from agent.core.when.maintenance import MaintenanceWindow

# What AWS IoT Core grants an account by default ("AWS IoT Core endpoints and quotas"); both can be raised.
CONNECTS_PER_SECOND = 500
CONNECTIONS = 500_000

START = datetime(2027, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
YEAR = 365 * DAY
STEP = timedelta(seconds=1)  # what each step of a change takes
HISTORY = 40  # changes that a simulated gateway remembers; a real one has ten times as many

UNREACHABLE = failures.unreachable("abc-ats.iot.eu-west-1.amazonaws.com", 8883, "no route to host")
NO_ROOM = failures.connect_throttled("QUOTA_EXCEEDED")
ALMOST_ONE = 1 - 2**-53

Interval = tuple[datetime, datetime]

# What may go wrong with a step that needs the cloud, when it is reached.
MISHAPS: dict[type[decide.Action], tuple[Failure, ...]] = {
    decide.BeginRequest: (failures.connect_throttled("QUOTA_EXCEEDED"),),
    decide.RequestCertificate: (
        failures.no_reply("CreateCertificateFromCsr"),
        failures.garbled("CreateCertificateFromCsr", "it is not sound JSON"),
        failures.refused("CreateCertificateFromCsr", 429, "TooManyRequestsException", "slow down"),
        failures.refused("CreateCertificateFromCsr", 500, "InternalError", "sorry"),
        failures.refused("CreateCertificateFromCsr", 400, "InvalidRequest", "not today"),
    ),
    decide.RegisterThing: (
        failures.no_reply("RegisterThing"),
        failures.refused("RegisterThing", 429, "x", "slow down"),
    ),
    decide.Prove: (failures.silent(), failures.hung_up()),
    decide.HoldProbation: (failures.silent(),),
    decide.EndProbation: (failures.silent(),),
}
_UNDER_WAY = (decide.RequestCertificate, decide.RegisterThing)


@dataclass(frozen=True, kw_only=True)
class FleetStory:
    """What happens to the fleet.

    Attributes:
        gateways: How many there are; all were enrolled within the same hour.
        length: How long the story is.
        lifetime: Of every certificate.
        outages: When no gateway reaches the cloud: after how long, and for how long.
        offline: So many gateways are switched off once, for `offline_for`.
        offline_for: See there.
        windows: The maintenance windows of every gateway.
        mishaps: The part of the steps that fail although the cloud is reached.
        seed: Another one tells another story.
    """

    gateways: int
    length: timedelta = YEAR
    lifetime: timedelta = 90 * DAY
    outages: tuple[tuple[timedelta, timedelta], ...] = ()
    offline: int = 0
    offline_for: timedelta = 14 * DAY
    windows: tuple[MaintenanceWindow, ...] = ()
    mishaps: float = 0.0
    seed: int = 1


@dataclass(kw_only=True)
class Record:
    """What the cloud saw, and what became of the gateways.

    Attributes:
        requests: Every request for a certificate that arrived: which gateway, when.
        counted: Those of them that may have cost a certificate.
        connects: When a gateway's own connection came back.
        rotations: How often each gateway has rotated.
        slack: For each rotation, what was left of the old certificate when the new one came into use.
        failed: Changes that ended without success.
        left: What is left of each gateway's certificate at the end.
    """

    requests: list[tuple[int, datetime]] = field(default_factory=list)
    counted: list[tuple[int, datetime]] = field(default_factory=list)
    connects: list[datetime] = field(default_factory=list)
    rotations: Counter[int] = field(default_factory=Counter)
    slack: list[timedelta] = field(default_factory=list)
    failed: int = 0
    left: list[timedelta] = field(default_factory=list)


def busiest_minute(times: Iterable[datetime]) -> int:
    """Return the most that fell into one minute."""
    minutes = Counter(int((at - START).total_seconds() // 60) for at in times)
    return max(minutes.values(), default=0)


def most_in_a_day(times: Iterable[datetime]) -> int:
    """Return the most within any 24 hours."""
    ordered = sorted(times)
    return max((bisect_right(ordered, at + DAY - make.SECOND) - number for number, at in enumerate(ordered)), default=0)


class Year:
    """Runs a story; see `run`."""

    def __init__(self, story: FleetStory, make_gateway: Callable[[int, Year], YearlongGateway] | None = None) -> None:
        self.story = story
        self.record = Record()
        self.end = START + story.length
        self.outages = tuple((START + after, START + after + length) for after, length in story.outages)
        self._queue: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._entries = 0
        self._gateways = [(make_gateway or YearlongGateway)(number, self) for number in range(story.gateways)]

    def at(self, when: datetime, call: Callable[[datetime], None]) -> None:
        """Call something at an instant, unless the story is over by then."""
        if when < self.end:
            self._entries += 1
            heapq.heappush(self._queue, (when, self._entries, call))

    def run(self) -> Record:
        """Run to the end of the story."""
        while self._queue:
            when, _, call = heapq.heappop(self._queue)
            call(when)
        self.record.left = [gateway.subject.not_after - self.end for gateway in self._gateways]
        return self.record


class YearlongGateway:
    """One simulated gateway: a session that is kept, and a change now and then."""

    def __init__(self, number: int, year: Year) -> None:
        self._number = number
        self._year = year
        self._chance = random.Random(f"{year.story.seed}-{number}")  # noqa: S311 - the same story in each run
        self._away = self._intervals()
        self._wishes = Wishes(holds=Holds(windows=year.story.windows))
        self._history: list[ChangeRecord] = []
        self._change: ChangeRecord | None = None
        self._generation = 1
        self._looks_at = START
        self._standing, self._up, self._up_since = ReconnectState(), True, START
        self.subject = self._certificate(START - HOUR * self._chance.random())
        for begin, _ in self._away:
            year.at(begin, self._lose)
        year.at(START, self._look)

    def _intervals(self) -> list[Interval]:
        story, away = self._year.story, list(self._year.outages)
        if self._number < story.offline:
            begin = START + self._chance.random() * (story.length - story.offline_for)
            away.append((begin, begin + story.offline_for))
        return away

    def _certificate(self, not_before: datetime) -> Subject:
        thing = f"gw-{self._number}"
        place = splay(thing, f"{thing}-{self._generation}")
        return Subject(not_before=not_before, not_after=not_before + self._year.story.lifetime, splay=place)

    def _reaches(self, now: datetime) -> bool:
        return not any(begin <= now < end for begin, end in self._away)

    # -- the session -----------------------------------------------------------------------------------------------

    def _try_at(self, when: datetime) -> None:
        self._year.at(when, self._connect)

    def _lose(self, now: datetime) -> None:
        if self._up:
            self._up = False
            lasted = (now - self._up_since).total_seconds()
            verdict = after_loss(self._standing, UNREACHABLE, lasted, self._chance.random())
            self._standing = verdict.standing
            self._try_at(now + timedelta(seconds=verdict.delay))

    def _connect(self, now: datetime) -> None:
        back = max((end for begin, end in self._away if begin <= now < end), default=now)
        if now < back:
            self._try_at(self._fail_until(back, now))
            return
        self._up, self._up_since = True, now
        self._year.record.connects.append(now)
        change = self._change
        if change is None or change.retry_at is None or change.unhurried or not heals_with_network(change.failure):
            return
        self._change = advance(change, Hastened(at=now))
        self._look_at(now)

    def _fail_until(self, back: datetime, now: datetime) -> datetime:
        """Try until then in vain, at once since nothing else hears of it, and return when the next attempt comes."""
        while now < back:
            verdict = after_failure(self._standing, UNREACHABLE, self._chance.random())
            self._standing = verdict.standing
            now += timedelta(seconds=verdict.delay)
        return now

    # -- the change ------------------------------------------------------------------------------------------------

    def _look_at(self, when: datetime) -> None:
        self._looks_at = when
        self._year.at(when, self._look)

    def _look(self, now: datetime) -> None:
        """Do what is to be done until something has to be waited for."""
        if now != self._looks_at:
            return  # it was looked again meanwhile
        while True:
            clock = Reading(now=now, state=ClockState.SYNCHRONISED, floor=START)
            if self._change is None:
                plan = plan_rotation(self.subject, self._wishes, past_of(self._history), clock)
                if not plan.due:
                    self._look_at(plan.at or now + LOOK_EVERY)
                    return
                self._change = self._begin(now, plan.why)
            action = decide.next_action(self._change, self._facts(clock), self._wishes.limits)
            if isinstance(action, decide.Wait):
                self._look_at(action.until)
                return
            if isinstance(action, decide.Finish):
                self._finish(self._change)
            else:
                self._take(self._change, action, clock)
                now += STEP

    def _begin(self, now: datetime, why: str) -> ChangeRecord:
        return ChangeRecord(
            id=f"{self._chance.getrandbits(32):08x}",
            kind=Kind.ROTATE,
            origin=Origin.SCHEDULE,
            reason=why,
            generation=self._generation + 1,
            base=self._generation,
            phase=Phase.PLANNED,
            planned_at=now,
            entered_at=now,
        )

    def _facts(self, clock: Reading) -> decide.Facts:
        return decide.Facts(
            clock=clock,
            linked=self._generation,
            expected_thing=f"gw-{self._number}",
            ends=self.subject.not_after,
            requests=decide.requests_of(self._history),
        )

    def _take(self, record: ChangeRecord, action: decide.Action, clock: Reading) -> None:
        event = self._attempt(record, action, clock)
        self._change = advance(record, event)
        if isinstance(event, Activated):
            self._year.record.slack.append(self.subject.not_after - event.at)

    def _attempt(self, record: ChangeRecord, action: decide.Action, clock: Reading) -> ChangeEvent:
        failure = self._mishap(action, clock.now)
        if isinstance(action, decide.RequestCertificate) and self._reaches(clock.now):
            asked = self._number, clock.now
            self._year.record.requests.append(asked)
            if failure is None or not traits(failure.code).nothing_issued:
                self._year.record.counted.append(asked)
        if failure is None:
            return make.success(action, clock.now)
        return giving_up.after_failure(record, failure, self._facts(clock), self._chance.random(), self._wishes.limits)

    def _mishap(self, action: decide.Action, now: datetime) -> Failure | None:
        possible = MISHAPS.get(type(action), ())
        if not possible:
            return None
        if not self._reaches(now):
            return failures.session_lost("no route to host") if isinstance(action, _UNDER_WAY) else UNREACHABLE
        return self._chance.choice(possible) if self._chance.random() < self._year.story.mishaps else None

    def _finish(self, record: ChangeRecord) -> None:
        self._history = [*self._history, record][-HISTORY:]
        self._change = None
        if record.phase is not Phase.COMMITTED:
            self._year.record.failed += 1
            return
        self._year.record.rotations[self._number] += 1
        self._generation = record.generation
        assert record.issued is not None
        self.subject = self._certificate(record.issued.at)
