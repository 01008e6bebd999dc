"""What a large fleet asks of the account's APIs: the backend's own functions, at the times of the agents' own schedule.

What one rotation, retirement and deletion ask is measured, by having the functions decide about one gateway in memory;
when they come is `fleetpeaks.course`. Added are what AWS does itself in RegisterThing, and how AWS rolls a job out: so
many in a minute, at no known times within it.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING

from agent.backend.handlers import sweep
from agent.config.values import RotationConfig
from agent.core.when.retirement import wait_after
from support.aws.account import MINUTE, SETTINGS, World
from support.years import fleetpeaks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ORDER = timedelta(days=6)  # in which a fleet-wide order is carried out
ROUND = timedelta(minutes=15) - sweep.RESERVE  # of the sweep, twice an hour

# The call of AWS IoT Core that each verb of the registry's port stands for (`agent.backend.aws.registry`).
IOT = {
    "certificate": "DescribeCertificate",
    "things_of": "ListPrincipalThings",
    "certificates_of": "ListThingPrincipals",
    "policies_of": "ListAttachedPolicies",
    "attach_policy": "AttachPolicy",
    "deactivate": "UpdateCertificate",
    "detach_thing": "DetachThingPrincipal",
    "delete": "DeleteCertificate",
}
READS, WRITES = {"device", "record", "replacement"}, {"save_device", "save_record", "charge", "lease"}

# What RegisterThing does in the account's name by the rotation template; that it meets the same quotas is AWS's word.
REGISTERS = Counter(
    {
        "CreateCertificateFromCsr (MQTT)": 1,
        "RegisterThing (MQTT)": 1,
        "DescribeThing": 1,
        "UpdateCertificate": 1,
        "AttachPolicy": 2,
        "AttachThingPrincipal": 1,
        # A proof, the session that changes over to the new certificate, and a proof at the end of probation.
        "CONNECT": 3,
    }
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one gateway's events ask, of AWS IoT Core and of the tables.

    Attributes:
        rotation: Of a rotation, with one policy of an application.
        retirement: Of a retirement.
        deletion: Of a deletion, in both rounds of the sweep.
    """

    rotation: Counter[str]
    retirement: Counter[str]
    deletion: Counter[str]

    @property
    def all(self) -> Counter[str]:
        """Of all three, which is a certificate's life."""
        return self.rotation + self.retirement + self.deletion


def asked() -> Asked:
    """Return what the functions ask, by having them decide."""
    world = World()
    old = world.enrolled()
    world.registry.attach_policy("application", old)
    before = world.rotated(old)
    world.retire(before, old)
    world.verbs.clear()
    world.rotated(before)
    rotation = _verbs(world)
    (after,) = world.active() - {before}
    world.now += MINUTE
    world.retire(after, before)
    retirement = _verbs(world)
    world.store.records.pop(old)
    world.registry.entries.pop(old)
    world.now += SETTINGS.keep
    world.swept()
    return Asked(rotation=rotation + REGISTERS, retirement=retirement, deletion=_verbs(world))


def _verbs(world: World) -> Counter[str]:
    found = Counter(IOT.get(verb, verb) for verb in world.verbs)
    world.verbs.clear()
    return found


@dataclass(frozen=True, kw_only=True)
class Busiest:
    """How much is asked at once of each API, on whichever second and minute asks most of it.

    Attributes:
        second: In a second.
        minute: In a minute, as a rate a second.
    """

    second: Counter[str]
    minute: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a fleet asks.

    Attributes:
        gateways: The fleet.
        asked: What each event of one gateway asks.
        window: In a window of 30 days, in which retirements and deletions of the one before fall.
        outage: In the hours after six hours without a connection, in the middle of the window.
        order: When the fleet is ordered to rotate in six days, and a week later.
        first: Connections that are tried in the busiest second of the first minutes after the outage.
        again: The same of the time after that.
        back: In how many seconds the last gateway is connected again.
    """

    gateways: int
    asked: Asked
    window: Busiest
    outage: Busiest
    order: Busiest
    first: int
    again: int
    back: float


def load(gateways: int, seed: int) -> Load:
    """Return what a fleet asks whose certificates were all issued at the same instant."""
    course, each, chance = fleetpeaks.course(gateways, seed), asked(), random.Random(seed)  # noqa: S311 - reproducible
    grace = int(RotationConfig().grace.total_seconds())
    late = course.turns[-grace:] + course.turns[:-grace]  # as if one window followed the other
    first = int(fleetpeaks.LONGEST_DELAY.total_seconds())
    ordered = _ordered(gateways, chance)
    nothing = array("H", bytes(2 * len(ordered)))
    return Load(
        gateways=gateways,
        asked=each,
        window=_busiest(course.turns, late, each),
        outage=_busiest(*_afterwards(course, late, chance), each),
        order=_busiest(ordered + nothing, nothing + ordered, each),
        first=max(course.attempts[:first]),
        again=max(course.attempts[first:], default=0),
        back=max(course.connected),
    )


def _afterwards(
    course: fleetpeaks.Course, late: Sequence[int], chance: random.Random
) -> tuple[Sequence[int], Sequence[int]]:
    """Return what begins in each second after the outage: what has waited, and what is due by then anyway."""
    outage = fleetpeaks.OUTAGE.total_seconds()
    begins = len(course.turns) // 2 + int(outage)
    connected = course.connected[: len(course.asked)]  # as many were to be retired meanwhile
    asked = [at + wait_after(outage + at, chance.random()) for at in connected]
    span = int(max(chain(course.asked, course.connected, asked))) + 1
    rotations, retirements = course.turns[begins : begins + span], array("H", late[begins : begins + span])
    for at in course.asked:
        rotations[int(at)] += 1
    for at in asked:
        retirements[int(at)] += 1
    return rotations, retirements


def _ordered(gateways: int, chance: random.Random) -> array[int]:
    """Return how many rotations a job begins in each second: the same number in each minute, until all have it."""
    minutes = int(ORDER / MINUTE)
    per_minute = -(-gateways // minutes)
    seconds = array("H", bytes(2 * 60 * minutes))
    for number in range(gateways):
        seconds[60 * (number // per_minute) + chance.randrange(60)] += 1
    return seconds


def _busiest(rotations: Sequence[int], retirements: Sequence[int], each: Asked) -> Busiest:
    """Return the peaks of what is asked, with the sweep at work all the time."""
    looks = 1 / sweep.EACH.total_seconds()  # a second, of which a certificate takes two
    in_minutes = _most(zip(_sums(rotations), _sums(retirements), strict=True), each, 60 * looks)
    in_seconds = _most(zip(rotations, retirements, strict=True), each, looks)
    return Busiest(
        second=Counter({name: round(most) for name, most in in_seconds.items()}),
        minute={name: most / 60 for name, most in in_minutes.items()},
    )


def _sums(seconds: Sequence[int]) -> list[int]:
    return [sum(seconds[at : at + 60]) for at in range(0, len(seconds), 60)]


def _most(pairs: Iterable[tuple[int, int]], each: Asked, looks: float) -> dict[str, float]:
    """Return the most that is asked of each API, over numbers of rotations and retirements at once."""
    both = set(pairs)
    return {
        name: max(turns * each.rotation[name] + late * each.retirement[name] for turns, late in both)
        + looks * each.deletion[name] / 2
        for name in each.all
    }
