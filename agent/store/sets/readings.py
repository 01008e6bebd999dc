"""What was read of generations, kept for as long as their files look untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.errors import StoreError
from agent.store.files import disk
from agent.store.names import MANIFEST, final_name
from agent.store.sets import generations
from agent.system import clock

if TYPE_CHECKING:
    from agent.core.values import Generation

KEPT = 4  # readings: the current set, the one before, the one that is made, and one to compare with

# How long two changes of a file may bear the same time: a tick of the kernel's clock, or a second and what is lost in
# rounding, where a file system has whole seconds only (JFFS2, an ext4 that was made as ext3).
_TICK = 20_000_000  # nanoseconds
_SECOND = 1_000_000_000


@frozen
class GenerationLook:
    """How a generation looks from outside.

    Attributes:
        states: Its directory and files; None where that cannot be told.
        at: When that was looked at, nanoseconds since 1970.
        kept: What was read when it looked the same, or None.
    """

    states: tuple[disk.FileState, ...] | None
    at: int
    kept: Generation | None


class Readings:
    """The generations that were read last, each good for as long as its files look from outside as they did then.

    One rotation asks for the same two or three generations some forty times, and to read one is to hash its files and
    to parse its private key. What must hold for that not to be done again:

    * Any write, rename or change of mode gives a file another inode, size or time of change, and a program can set the
      time of writing but not that one. All files and the directory are compared with how they were before the reading.
    * A file that has just changed may change again within the same tick of the clock that stamps it and look the
      same (git calls that "racily clean"), so a reading of such a file is not kept.
    * A block that rots changes nothing of that. So the store reads for itself what it is about to rely on for good:
      what is to be `current` or `previous`, and what a start finds there. It forgets the reading here as it does so.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[tuple[disk.FileState, ...], Generation]] = {}

    def look(self, dir_fd: int, number: int) -> GenerationLook:
        """Return how a generation looks now, and what was read of it when it looked the same."""
        states, now, kept = _states(dir_fd, number), clock.stamp(), self._kept.get(number)
        same = kept is not None and kept[0] == states
        if not same:
            self.forget(number)
        return GenerationLook(states=states, at=now, kept=kept[1] if kept is not None and same else None)

    def keep(self, look: GenerationLook, found: Generation) -> None:
        """Keep what was read after a look, unless a further change could look the same."""
        if look.states is not None and _settled(look.states, look.at):
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[found.number] = look.states, found

    def same(self, dir_fd: int, number: int) -> Generation | None:
        """Return what was read of a generation, if it looks as it did then."""
        kept = self._kept.get(number)
        return kept[1] if kept is not None and kept[0] == _states(dir_fd, number) else None

    def forget(self, number: int) -> None:
        """Have a generation read from the disk when it is asked for next."""
        self._kept.pop(number, None)


def _states(dir_fd: int, number: int) -> tuple[disk.FileState, ...] | None:
    """Return how a generation looks from outside, or None where that cannot be told: reading it says why."""
    try:
        with disk.directory(final_name(number), dir_fd) as fd:
            return (disk.state(fd), *(disk.state(fd, name) for name in (MANIFEST, *generations.FILES)))
    except (StoreError, FileNotFoundError):
        return None


def _settled(states: tuple[disk.FileState, ...], now: int) -> bool:
    """Whether a further change would show: the last one is not of this moment, nor of one that is still to come."""
    last = max(state.changed for state in states)
    whole_seconds = all(state.changed % _SECOND == 0 for state in states)
    return last + (2 * _SECOND if whole_seconds else _TICK) < now
