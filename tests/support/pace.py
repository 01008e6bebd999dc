"""What something costs beside something else. A machine half as fast takes twice as long for both."""

from __future__ import annotations

from time import process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 0.002  # seconds; below that the clock tells chance and no cost


def cost(act: Callable[[], object], *, tries: int = 3) -> float:
    """Return the processor time that something takes, in seconds: the least of a few tries."""
    return max(LEAST, min(_once(act) for _ in range(tries)))


def _once(act: Callable[[], object]) -> float:
    start = process_time()
    act()
    return process_time() - start
