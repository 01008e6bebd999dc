"""What waits in an inbox, in one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.trust import inbox

if TYPE_CHECKING:
    from pathlib import Path


def names(path: Path) -> list[str]:
    """Return the names of what is waiting."""
    return [drop.name for drop in drops(path)]


def drops(path: Path) -> list[inbox.Drop]:
    """Return what is waiting, seen in one look."""
    survey = inbox.Survey()
    found = survey.look(path)
    assert not survey.unfinished
    return found
