"""How much a piece of work does, as a number that is the same everywhere: calls of functions, the library's too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called by the second of two times: the first one reads modules and fills caches."""
    work()
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def grows_no_faster(prepare: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Whether work takes no more for each further item of a large input than of a small one.

    Args:
        prepare: Makes an input of a size and returns the work on it.
        size: The smallest; there are a large one of twice that, and one of four times.
    """
    small, middle, large = (calls(prepare(size * times)) for times in (1, 2, 4))
    return large - middle <= 2.2 * max(middle - small, size)
