"""What the journal was told lately, so that what goes on and on stands in it once in a while, and never fills it.

Rules:

* The same words on a subject are told once in a span; others, as of another cause, at once.
* What words anew each time is held to `CAUSES` texts on a subject, and to `MOST` on all. That more is kept back is said
  with the last of them, and how many were, with the next that is told.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.text import counted, duration
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Hashable

MOST = 64  # texts in one span, on whatever subject
CAUSES = 4  # on one subject


class Quiet:
    """Keeps repetitions apart from news."""

    def __init__(self, seconds: float) -> None:
        """Have told nothing yet.

        Args:
            seconds: For how long what was told is no news.
        """
        self._seconds = seconds
        self._told: dict[tuple[Hashable, int], float] = {}
        self._kept_back = 0

    def news(self, subject: Hashable, text: str) -> str:
        """Take down that there is something to tell, and return it as it is to be told, or an empty text.

        Args:
            subject: What it is about.
            text: A sentence.
        """
        now = monotonic()
        self._told = {told: at for told, at in self._told.items() if now - at < self._seconds}
        this = subject, hash(text)
        if this in self._told:
            return ""
        left = min(MOST - len(self._told), CAUSES - sum(other == subject for other, _ in self._told))
        if left <= 0:
            self._kept_back += 1
            return ""
        self._told[this] = now
        return f"{text}{self._of_those_before()}{self._of_those_after(left - 1)}"

    def _of_those_before(self) -> str:
        number, self._kept_back = self._kept_back, 0
        return f" {counted(number, 'more was', 'more were')} kept back before it." if number else ""

    def _of_those_after(self, left: int) -> str:
        return (
            "" if left else f" What else is met like it is kept back for {duration(timedelta(seconds=self._seconds))}."
        )
