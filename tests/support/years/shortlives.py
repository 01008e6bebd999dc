"""A year of certificates that live a day, for a thousand gateways: who needs a person, and who does not.

`make short-lives` prints it, once with outages of up to half a day and once with longer ones. The schedule and the
delays are the agent's own; the weather and the operator are made up. Each delay is taken at its longest, so what comes
out is the worst; tests/simulation/test_short_lives.py holds it to `fleetyear.Year`, which follows gateways step by step
and is a thousand times slower.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.failure.retry import unhurried_delay
from agent.core.when.renewal import RenewalPolicy, renewal_window, splay
from agent.core.when.schedule import AFTER_FAILED_ENROLMENT
from support.years.fleetpeaks import LONGEST_DELAY
from support.years.fleetyear import ALMOST_ONE, DAY, HOUR, START, YEAR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

MONTH = 30 * DAY
ENROLS_WITHIN = timedelta(seconds=AFTER_FAILED_ENROLMENT.cap)  # once the account has opened it
_MANY = 50  # tries that failed, after which a delay is the longest


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What happens to the fleet.

    Attributes:
        policy: When gateways renew.
        gateways: How many there are.
        length: How long the story is.
        lifetime: Of every certificate.
        outages: How many each gateway has meanwhile, of up to `longest`; none that comes near a common one.
        longest: See there.
        common: When none of them reaches the cloud, for `longest`: after how long.
        away: So many gateways are off once, for a month; for every other one the operator knows it beforehand.
        reaction: How long it takes an operator to let a gateway in that is off line.
        seed: Another one tells another story.
    """

    policy: RenewalPolicy = field(default_factory=RenewalPolicy)
    gateways: int = 1000
    length: timedelta = YEAR
    lifetime: timedelta = DAY
    outages: int = 6
    longest: timedelta = 12 * HOUR
    common: tuple[timedelta, ...] = (90 * DAY + 3 * HOUR, 200 * DAY + 11 * HOUR)
    away: int = 50
    reaction: timedelta = 8 * HOUR
    seed: int = 1


@dataclass(kw_only=True)
class ShortLivesToll:
    """What became of the fleet.

    Attributes:
        certificates: How many were asked for, by gateway.
        people: How often a gateway needed a person when it was off line, by gateway.
        armed: How often a gateway came back by an enrolment that was opened beforehand, by gateway.
        longest: The longest time that a gateway was off line though it reached the cloud.
        least: What was left of a certificate at the least when the next one came into use, where no person was needed.
    """

    certificates: Counter[int] = field(default_factory=Counter)
    people: Counter[int] = field(default_factory=Counter)
    armed: Counter[int] = field(default_factory=Counter)
    longest: timedelta = timedelta()
    least: timedelta = YEAR


@dataclass(frozen=True, kw_only=True)
class _Gap:
    """A time without the cloud.

    Attributes:
        begin: From when.
        end: Until when.
        known: Whether the operator has opened an enrolment beforehand.
    """

    begin: datetime
    end: datetime
    known: bool = False


def story(fleet: Fleet) -> ShortLivesToll:
    """Return what becomes of a fleet."""
    told = ShortLivesToll()
    for number in range(fleet.gateways):
        _live(number, fleet, told)
    return told


def _live(number: int, fleet: Fleet, told: ShortLivesToll) -> None:
    gaps, end = _gaps(number, fleet), START + fleet.length
    begin, generation = START - fleet.lifetime / 24 * (number % 24) / 24, 1
    while True:
        window = renewal_window(begin, begin + fleet.lifetime, fleet.policy)
        at = window.renew_at(splay(f"gw-{number}", f"{number}-{generation}"))
        gap = next((gap for gap in gaps if gap.begin <= at < gap.end), None)
        asks = at if gap is None else _after(gap, window.not_after)
        if gap is not None and asks >= window.not_after:
            asks = _let_in(number, gap, fleet, told)
        else:
            told.least = min(told.least, window.not_after - asks)
        if asks >= end:
            return
        told.certificates[number] += 1
        begin, generation = asks, generation + 1


def _after(gap: _Gap, not_after: datetime) -> datetime:
    """Return when a gateway asks whose turn came while it did not reach the cloud, at the latest."""
    left = max((not_after - gap.end).total_seconds(), 0)
    return gap.end + LONGEST_DELAY + timedelta(seconds=unhurried_delay(_MANY, ALMOST_ONE, left))


def _let_in(number: int, gap: _Gap, fleet: Fleet, told: ShortLivesToll) -> datetime:
    """Return when a gateway is back whose certificate has expired: by a person, or by what a person did beforehand."""
    if gap.known:
        told.armed[number] += 1
        back = gap.end + LONGEST_DELAY
    else:
        told.people[number] += 1
        back = gap.end + fleet.reaction + ENROLS_WITHIN
    told.longest = max(told.longest, back - gap.end)
    return back


def _gaps(number: int, fleet: Fleet) -> list[_Gap]:
    """Return when a gateway does not reach the cloud, joined where two of them overlap or follow upon each other."""
    joined: list[_Gap] = []
    for gap in sorted(_drawn(number, fleet), key=lambda gap: gap.begin):
        last = joined[-1] if joined else None
        if last is not None and gap.begin <= last.end:
            joined[-1] = _Gap(begin=last.begin, end=max(last.end, gap.end), known=last.known or gap.known)
        else:
            joined.append(gap)
    return joined


def _drawn(number: int, fleet: Fleet) -> Iterator[_Gap]:
    chance = random.Random(f"{fleet.seed}-{number}")  # noqa: S311 - the same story in each run
    common = [_Gap(begin=START + after, end=START + after + fleet.longest) for after in fleet.common]
    yield from common
    for turn in range(fleet.outages):
        begin = START + (turn + 0.6 * chance.random()) * fleet.length / fleet.outages
        end = begin + chance.random() * fleet.longest
        # One that follows upon another within a life is a longer one, which is not what is looked at here.
        if all(end + fleet.lifetime <= gap.begin or gap.end + fleet.lifetime <= begin for gap in common):
            yield _Gap(begin=begin, end=end)
    if number < fleet.away:
        begin = START + chance.random() * (fleet.length - 2 * MONTH)
        yield _Gap(begin=begin, end=begin + MONTH, known=number % 2 == 0)


def lines(fleet: Fleet) -> list[str]:
    """Return what became of a fleet, to be printed."""
    told = story(fleet)
    some, asked = sorted(told.people), sum(told.certificates.values())
    longest, minutes = fleet.longest / HOUR, LONGEST_DELAY / timedelta(minutes=1)
    lives = f"{fleet.gateways} gateways, certificates of {fleet.lifetime / HOUR:.0f} h, {fleet.length / DAY:.0f} days"
    short = len(set(some) - set(range(fleet.away)))
    waited = f"{told.longest / HOUR:.1f} h, of which the operator took {fleet.reaction / HOUR:.0f} h"
    return [
        f"{lives}; {fleet.outages} outages of up to {longest:.0f} h each, {len(fleet.common)} of all at once",
        f"  never needed a person     {fleet.gateways - len(some)} gateways",
        f"  needed a person           {len(some)} gateways, {short} of them were never off for a month",
        f"  let in beforehand         {len(told.armed)} gateways, back within {minutes:.0f} minutes",
        f"  longest wait for a person {waited}",
        f"  least time left           {told.least / HOUR:.1f} h, where no person was needed",
        f"  certificates asked for    {asked}, {asked / fleet.gateways / (fleet.length / DAY):.2f} a day and gateway",
    ]


if __name__ == "__main__":
    print("\n".join([*lines(Fleet()), "", *lines(Fleet(longest=16 * HOUR))]))
