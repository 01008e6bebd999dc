"""In which order a run of several processes takes the tests: those that take long early, with quick ones in between.

xdist gives each process a part of the list, in one piece, and one that has nothing left the end of another's part
(``--dist worksteal``). Tests that take long wait for most of their time, the quick ones compute. So the long ones are
dealt to the parts like cards, and between two of them stand quick ones: while some processes wait others compute, from
the beginning to the end. The last quick ones come after all that take long, since only those can be shared out evenly.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

BOOTS = "tests/system/"  # machines, of which not all processes should boot one at the same time
BETWEEN = 0.75  # of the quick ones stand between the long ones
# Folders, and files where their folder is not of one kind; the longest first. They wait, boot, or kill by the hundred.
LONG = (
    BOOTS,
    "tests/integration/test_hostile_cloud.py",
    "tests/integration/test_shared_id.py",
    "tests/integration/test_daemon_faults.py",
    "tests/integration/test_fleet",
    "tests/integration/test_stack.py",
    "tests/walks/",
    "tests/crash/",
    "tests/integration/test_daemon",
    "tests/integration/",
    "tests/simulation/",
    "tests/scenarios/test_account_on_aws.py",
    "tests/scenarios/test_random_walks.py",
    "tests/fuzz/test_trust_stores.py",
)


def rank(name: str) -> int:
    """Return the place of a test among those that take long, or the number of places for a quick one."""
    return next((place for place, start in enumerate(LONG) if name.startswith(start)), len(LONG))


def dealt(
    items: Sequence[T], processes: int, name: Callable[[T], str], shared: Callable[[T], str | None] = lambda _: None
) -> list[T]:
    """Return the items in the order in which so many processes end soonest.

    Args:
        items: What is to be done, in the order of the files.
        processes: How many share it.
        name: Returns an item's file or more, from the project's folder on.
        shared: Returns what an item shares with others, so that one process should do them all, or None.
    """
    hands = _hands([item for item in items if rank(name(item)) < len(LONG)], processes, name, shared)
    quick = [item for item in items if rank(name(item)) == len(LONG)]
    order: list[T] = []
    for process, hand in enumerate(hands):
        part = (len(items) - len(order)) // (processes - process)  # what xdist gives to this one
        rest = max(0, part - sum(map(len, hand)))
        order += _mixed(hand, quick[:rest])
        quick = quick[rest:]
    return order + quick


def _mixed(hand: Sequence[Sequence[T]], quick: Sequence[T]) -> list[T]:
    between = int(len(quick) * BETWEEN) if hand else 0
    order: list[T] = []
    for place, unit in enumerate(hand):
        order += [*unit, *quick[between * place // len(hand) : between * (place + 1) // len(hand)]]
    return [*order, *quick[between:]]


def _hands(
    items: Sequence[T], processes: int, name: Callable[[T], str], shared: Callable[[T], str | None]
) -> list[list[list[T]]]:
    units: dict[object, list[T]] = {}
    for item in sorted(items, key=lambda item: rank(name(item))):
        units.setdefault(shared(item) or id(item), []).append(item)
    booting = [unit for unit in units.values() if name(unit[0]).startswith(BOOTS)]
    others = [unit for unit in units.values() if not name(unit[0]).startswith(BOOTS)]
    mixed = [unit for pair in zip_longest(booting, others) for unit in pair if unit is not None]
    return [mixed[process::processes] for process in range(processes)]
