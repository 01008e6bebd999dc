"""What is told of the ladder: each finding once until a set is accepted, and whether there is a set left to try.

A gateway that waits for its certificate to be activated again climbs every few minutes, for days.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure.failure import KEEPS_TRYING
from agent.core.report.journal_events import Event
from agent.core.text import sentence_of

if TYPE_CHECKING:
    from collections.abc import Callable


class LadderNews:
    """The findings of one gateway's ladder."""

    def __init__(self, log: Callable[[Event, str], None]) -> None:
        """Know of none yet.

        Args:
            log: Writes to the journal.
        """
        self._log = log
        self._told = set[str]()
        self._stuck = ""

    @property
    def stuck(self) -> str:
        """Why no set of this gateway is accepted and what helps, as sentences; empty while one may be."""
        return self._stuck

    def is_new(self, text: str) -> bool:
        """Take a finding down, and return whether it was not told since a set was accepted last."""
        new = text not in self._told
        self._told.add(text)
        return new

    def locked_out(self, why: str, remedy: str) -> None:
        """There is no set left to try."""
        before, self._stuck = self._stuck, f"{sentence_of(why)}. {remedy} {KEEPS_TRYING}"
        if self._stuck != before:
            self._log(Event.LOCKED_OUT, self._stuck)

    def found_a_set(self) -> None:
        """There is a set to try."""
        self._stuck = ""

    def accepted(self) -> None:
        """The broker has accepted a set: what is found from now on is told anew."""
        self._stuck = ""
        self._told.clear()
