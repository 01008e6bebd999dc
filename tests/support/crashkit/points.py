"""How many points each method visited, for the last line of a test run: a method that visits none proves nothing."""

from __future__ import annotations

from collections import Counter

COUNTS: Counter[str] = Counter()


def visited(method: str, number: int, *, at_least: int) -> None:
    """Note `number` more points of a method.

    Raises:
        AssertionError: There were fewer than could be: the harness itself is broken.
    """
    COUNTS[method] += number
    assert number >= at_least, f"{method}: only {number} points were visited and at least {at_least} are expected"
