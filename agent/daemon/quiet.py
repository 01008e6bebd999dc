"""What the journal was told lately, so that what goes on and on stands in it once in a while, and never fills it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Hashable

MOST = 64  # subjects that are told of in one span: of more there is no news


class Quiet:
    """Keeps repetitions apart from news."""

    def __init__(self, seconds: float) -> None:
        """Have told nothing yet.

        Args:
            seconds: For how long what was told of a subject is no news.
        """
        self._seconds = seconds
        self._told: dict[Hashable, float] = {}

    def is_news(self, subject: Hashable) -> bool:
        """Take down that a subject is to be told of, and return whether it was not for so long."""
        now = monotonic()
        self._told = {other: at for other, at in self._told.items() if now - at < self._seconds}
        if subject in self._told or len(self._told) >= MOST:
            return False
        self._told[subject] = now
        return True
