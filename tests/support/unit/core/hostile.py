"""Messages of a cloud with something wrong in them, and how a reader takes ten thousand of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from agent.core.jsonio import PlainError
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

T = TypeVar("T")


def read_hostile(
    read: Callable[[bytes], T], message: Callable[[Random], bytes], look: Callable[[T], None], *, seed: int
) -> None:
    """Have each message either understood, and looked at, or answered with a PlainError; many of both kinds."""
    outcomes = Counter(understood=0, complaints=0)

    def hear(chance: Random) -> None:
        payload = message(chance)
        try:
            found = read(payload)
        except PlainError:
            outcomes["complaints"] += 1
            return
        outcomes["understood"] += 1
        look(found)

    number = campaigns.each(10_000, hear, one_in=5, seed=seed)
    assert min(outcomes.values()) >= number // 20
