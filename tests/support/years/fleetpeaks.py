"""A million gateways in a few seconds: how many of them ask at once, in closed form.

`peaks` is made of the agent's own pure parts. A turn in the window is one number per gateway. After hours of failed
attempts the time until the next one has the stationary distribution of a renewal process, so it is drawn directly: an
interval with a probability that grows with its length, and a place in it. What comes above the account's quota is told
so and comes again later. What is due in the outage is followed attempt by attempt, which few gateways are.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.failure.retry import unhurried_delay
from agent.core.when.reconnect import ReconnectState, after_failure
from agent.core.when.renewal import RenewalPolicy, renewal_window, splay
from agent.core.when.schedule import AFTER_FAILURE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


from support.years.fleetyear import ALMOST_ONE, CONNECTS_PER_SECOND, HOUR, NO_ROOM, START, UNREACHABLE, YEAR

OUTAGE = 6 * HOUR
AWS_LIFETIME = 22 * YEAR  # AWS IoT Core's own certificates run to 2049
LONG_DOWN = ReconnectState(failures=40)  # so many failures in a row that every delay is drawn from the longest
LONGEST_DELAY = timedelta(seconds=after_failure(LONG_DOWN, UNREACHABLE, ALMOST_ONE).delay)


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """How many at once, per second.

    Attributes:
        gateways: The fleet.
        window: The length of the renewal window, which all of them share.
        even: Rotations, spread evenly over the window.
        turns: Rotations that begin in its busiest second.
        due: How many gateways have their turn in six hours without a connection, in the middle of the window.
        connects: Attempts to connect in the busiest second of the first minutes after these.
        again: The same of the time after that, in which those come that the broker had no room for.
        requests: Requests for certificates in the busiest second after these.
        refused: Requests in the busiest second when every change of these six hours was refused instead.
        back: In how many seconds the last gateway is connected again.
    """

    gateways: int
    window: timedelta
    even: float
    turns: int
    due: int
    connects: int
    again: int
    requests: int
    refused: int
    back: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """When a fleet asks, in its window and after the six hours without a connection in the middle of it.

    Attributes:
        window: The length of the renewal window.
        turns: How many rotations begin in each second of it.
        asked: When each of those that were due in the outage asks for its certificate, in seconds after its end.
        refused: The same, when every change of these six hours was refused instead.
        connected: When each gateway is connected again.
        attempts: How many try to connect in each second after the outage.
    """

    window: timedelta
    turns: array[int]
    asked: list[float]
    refused: list[float]
    connected: list[float]
    attempts: list[int]


def course(devices: int, seed: int) -> Course:
    """Return when a fleet asks whose certificates were all issued at the same instant, the worst there is."""
    chance = random.Random(seed)  # noqa: S311 - the same figures in each run
    window = renewal_window(START, START + AWS_LIFETIME, RenewalPolicy())
    length = window.closes_at - window.opens_at
    turns, waited = _turns(devices, seed, length.total_seconds())
    longest = _link_delay(ALMOST_ONE)
    tried = [_until_next(chance, _link_delay, longest) for _ in range(devices)]
    connected, attempts = _admitted(tried, chance)
    return Course(
        window=length,
        turns=turns,
        asked=[_after(since, chance, _patiently) for since in waited],
        refused=[_after(since, chance, AFTER_FAILURE.delay) for since in waited],
        connected=connected,
        attempts=attempts,
    )


def peaks(devices: int, seed: int) -> Peaks:
    """Return the peaks of a fleet's course."""
    found, first = course(devices, seed), int(LONGEST_DELAY.total_seconds())
    return Peaks(
        gateways=devices,
        window=found.window,
        even=devices / found.window.total_seconds(),
        turns=max(found.turns),
        due=len(found.asked),
        connects=max(found.attempts[:first]),
        again=max(found.attempts[first:], default=0),
        requests=_busiest_second(found.asked),
        refused=_busiest_second(found.refused),
        back=max(found.connected, default=0.0),
    )


def _turns(devices: int, seed: int, seconds: float) -> tuple[array[int], list[float]]:
    """Return how many turns come in each second of the window, and how long before the outage's end each in it came."""
    turns, waited = array("H", bytes(2 * (int(seconds) + 1))), []
    end, length = seconds / 2 + OUTAGE.total_seconds(), OUTAGE.total_seconds()
    for number in range(devices):
        turn = seconds * splay(f"gw-{number}", f"{seed}-{number}")
        turns[int(turn)] += 1
        if 0 < end - turn <= length:
            waited.append(end - turn)
    return turns, waited


def _admitted(tried: list[float], chance: random.Random) -> tuple[list[float], list[int]]:
    """Return when each gateway is connected, and how many try in each second; the broker takes its quota of them.

    Args:
        tried: When each tries first.
        chance: For the delays of those that there is no room for.
    """
    connected, attempts = list(tried), list[int]()
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for number, at in enumerate(tried):
        waiting[int(at)].append(number)
    while waiting:
        here = waiting.pop(len(attempts), [])
        for number in here[CONNECTS_PER_SECOND:]:
            connected[number] += after_failure(LONG_DOWN, NO_ROOM, chance.random()).delay
            waiting[int(connected[number])].append(number)
        attempts.append(len(here))
    return connected, attempts


def _link_delay(chance: float) -> float:
    return after_failure(LONG_DOWN, UNREACHABLE, chance).delay


def _patiently(attempt: int, chance: float) -> float:
    return unhurried_delay(attempt, chance, AWS_LIFETIME.total_seconds() / 2)


def _until_next(chance: random.Random, delay: Callable[[float], float], longest: float) -> float:
    """Return how long after an arbitrary instant the next attempt comes, when there have been many."""
    while True:
        length = delay(chance.random())
        if chance.random() * longest < length:  # an arbitrary instant falls into a long interval more often
            return chance.random() * length


def _after(waited: float, chance: random.Random, delay: Callable[[int, float], float]) -> float:
    """Return how long after the end of an outage the next attempt comes, when the first was `waited` seconds before."""
    at, attempt = -waited, 0
    while at < 0:
        attempt += 1
        at += delay(attempt, chance.random())
    return at


def _busiest_second(times: Iterable[float]) -> int:
    return max(Counter(int(at) for at in times).values(), default=0)
