"""In which order a run of several processes takes the tests: those that wait early, beside those that compute.

Some tests wait for most of their time, for a machine that boots or a daemon that is slow to find out; the others
compute. So most processes have one that waits, as long as there are such, and some compute: what takes long first, and
then the quick ones, a file at a time, since the tests of a file share what they have made. One that has nothing left to
do asks for more, and goes on in the room that it knows: what a room's tests need is made in few processes.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

WAITING = 3 / 4  # of the processes run tests that wait, as long as there are some that compute
BOOTING = 1 / 3  # of them boot a machine, as long as there is something else
_DEPTH = 3  # folders of a room: tests/unit/fleet
MOST = 150  # quick tests that a process takes at once, even if their file has more

# Folders, and files where their folder is not of one kind; those that take longest first.
BOOTS = ("tests/system/",)  # machines, of which not all processes should boot one at the same time
WAITS = (
    "tests/integration/fleet/test_stack.py",
    "tests/integration/fleet/test_vending",
    "tests/integration/network/test_hostile_cloud.py",
    "tests/integration/daemon/test_shared_id.py",
    "tests/integration/daemon/test_daemon_faults.py",
    "tests/integration/fleet/test_fleet",
    "tests/integration/daemon/test_daemon",
    "tests/integration/",
)
COMPUTES = (  # for long
    "tests/simulation/",
    "tests/scenarios/account/test_account_on_aws.py",
    "tests/scenarios/lives/test_random_walks.py",
    "tests/crash/",
    "tests/walks/",
    "tests/fuzz/test_trust_stores.py",
)
LONG = (*BOOTS, *WAITS, *COMPUTES)


class Demand(Enum):
    """What a test does for most of its time."""

    BOOT = "boot"
    WAIT = "wait"
    COMPUTE = "compute"


@dataclass(frozen=True)
class Unit(Generic[T]):
    """What one process takes at once.

    Attributes:
        items: The tests, in the order in which it runs them.
        kind: What it does for most of its time.
        room: The folder of its file, for quick ones; empty for long ones, which are begun in their order.
    """

    items: tuple[T, ...]
    kind: Demand
    room: str = ""


def units(
    items: Sequence[T], name: Callable[[T], str], shared: Callable[[T], str | None] = lambda _: None
) -> list[Unit[T]]:
    """Return the items in units: quick ones by file, long ones one at a time.

    Args:
        items: What is to be done, in the order of the files.
        name: Returns an item's file or more, from the project's folder on, with ``::`` after the file.
        shared: Returns what an item shares with others, so that one process should do them all, or None.
    """
    together: dict[object, list[T]] = {}
    for place, item in enumerate(items):
        long = name(item).startswith(LONG)
        together.setdefault(shared(item) or (place if long else (name(item).partition("::")[0],)), []).append(item)
    found = []
    for key, those in together.items():
        size = MOST if isinstance(key, tuple) else len(those)
        kind, room = _kind(name(those[0])), _room(name(those[0]))
        found += [Unit(tuple(those[at : at + size]), kind, room) for at in range(0, len(those), size)]
    return sorted(found, key=lambda unit: rank(name(unit.items[0])))


def rank(name: str) -> int:
    """Return the place of a test among those that take long, or the number of places for a quick one."""
    return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))


def _kind(name: str) -> Demand:
    if name.startswith(BOOTS):
        return Demand.BOOT
    return Demand.WAIT if name.startswith(WAITS) else Demand.COMPUTE


def _room(name: str) -> str:
    return "" if name.startswith(LONG) else "/".join(name.partition("::")[0].split("/")[:-1][:_DEPTH])


class Work(Generic[T]):
    """The units of a run that are not begun yet, and how many of each kind are in hand."""

    def __init__(self, found: Sequence[Unit[T]], processes: int) -> None:
        """Take them in the order in which those of a kind are begun; so many processes share them."""
        self._left = {kind: deque(unit for unit in found if unit.kind == kind) for kind in Demand}
        self._processes = processes
        self._in_hand: Counter[Demand] = Counter()
        self._rooms: Counter[str] = Counter()  # in which processes are now

    def take(self, done: Unit[T] | None = None) -> Unit[T] | None:
        """Return what a process should begin with, or None where nothing is left.

        Args:
            done: What it has done before.
        """
        for kind in self._preferred():
            if self._left[kind]:
                unit = self._next(self._left[kind], done)
                self._left[kind].remove(unit)
                self._in_hand[kind] += 1
                self._rooms[unit.room] += 1
                return unit
        return None

    def _next(self, left: Sequence[Unit[T]], done: Unit[T] | None) -> Unit[T]:
        """Return the first one, or where that is quick, one of the room of before, or of one without a process."""
        known = (unit for unit in left if done and unit.room == done.room)
        without = (unit for unit in left if not self._rooms[unit.room])
        return left[0] if not left[0].room else next(known, next(without, left[0]))

    def end(self, unit: Unit[T], left: Sequence[T] = ()) -> None:
        """Take note that a process has done a unit, or has ended before it came to some, which another one will do."""
        self._in_hand[unit.kind] -= 1
        self._rooms[unit.room] -= 1
        if left:
            self._left[unit.kind].appendleft(Unit(tuple(left), unit.kind, unit.room))

    def _preferred(self) -> Iterator[Demand]:
        waiting = self._in_hand[Demand.BOOT] + self._in_hand[Demand.WAIT]
        if waiting < max(1, int(self._processes * WAITING)):
            if self._in_hand[Demand.BOOT] < max(1, int(self._processes * BOOTING)):
                yield Demand.BOOT
            yield Demand.WAIT
        yield from (Demand.COMPUTE, Demand.WAIT, Demand.BOOT)
