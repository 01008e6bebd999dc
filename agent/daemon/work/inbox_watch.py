"""Which drop in the inbox is complete, and when to look again. It reads no drop: a worker does.

A drop is complete when it was renamed into place, or closed after writing, while this daemon watched. One that was
there before, or where the kernel tells nothing, is complete when nothing about it changed for `QUIET`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.daemon.hearing import Hearing
from agent.errors import StoreError
from agent.system.clock import monotonic
from agent.system.watches.inotify import open_directory_watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.daemon.loop import Loop
    from agent.system.watches.inotify import DirectoryWatch
    from agent.trust.inbox import Drop, Survey

QUIET = 30.0  # seconds without a change
AGAIN = 600.0  # seconds before a drop that had to wait is looked at again
GO_ON = 1.0  # seconds before the next part of an inbox that is too large for one look
_MAX_HELD = 5_000  # drops that had to wait, the latest; of more, the earliest are taken for new ones
_MAX_HEARD = 500  # names, the latest, of drops that are complete and were not looked at yet


class InboxWatch:
    """The inbox of one gateway."""

    def __init__(self, loop: Loop, news: Callable[[], None]) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to listen.
            news: Called when something may be ready.
        """
        self._news = news
        self._path: Path | None = None
        self._hearing = Hearing(loop, self._hear)
        self._survey: Survey | None = None
        self._closed: dict[str, None] = {}  # the latest last
        self._complete: dict[str, Drop] = {}
        self._given: Drop | None = None
        self._newest_first = False
        self._first_seen: dict[str, tuple[Drop, float]] = {}
        self._held: dict[str, tuple[Drop, float]] = {}
        self.delay: float | None = None

    def next(self, path: Path) -> str | None:
        """Return a drop that is complete and need not wait; `delay` says when to ask again.

        The oldest comes first, and then the newest and the oldest by turns: a heap of bad ones keeps no good one away.
        The newest is what the kernel told of last, whatever the clock was when the others came. What had to wait comes
        after all that was not looked at yet: a heap of such drops keeps no other away.

        Args:
            path: Where the inbox is.
        """
        self._listen(path)
        found, now = self._drops(path), monotonic()
        self._forget({drop.name for drop in found})
        waits = [GO_ON] if self._survey is not None and self._survey.unfinished else []
        turns = self._in_turn(found)
        self._note(turns, now)
        for drop in turns:
            until = self._ready_at(drop, now)
            if until <= now:
                self._given = drop
                return drop.name
            waits.append(until - now)
        self.delay = min(waits, default=None)
        return None

    def _drops(self, path: Path) -> list[Drop]:
        if self._survey is None:
            if not _holds_anything(path):
                return []
            from agent.trust.inbox import Survey  # noqa: PLC0415 - seldom needed, and the idle daemon is small

            self._survey = Survey()
        try:
            return self._survey.look(path, self._closed, self._held)
        except StoreError:
            return []  # `config check` says so

    def _in_turn(self, found: list[Drop]) -> list[Drop]:
        if self._newest_first:
            newest_first, told = found[::-1], {name: at for at, name in enumerate((*self._complete, *self._closed))}
            found = sorted(newest_first, key=lambda drop: -told.get(drop.name, -1))
        return sorted(found, key=self._held_until)

    def _held_until(self, drop: Drop) -> float:
        """Return until when a drop as it is now has to wait, by the monotonic clock; 0 where it was not looked at."""
        held = self._held.get(drop.name)
        return held[1] if held is not None and held[0] == drop else 0.0

    def _note(self, found: list[Drop], now: float) -> None:
        """Take down which drops are complete as they are now, and since when the others are so."""
        for drop in found:
            closed = drop.name in self._closed
            self._closed.pop(drop.name, None)
            if self._held_until(drop):
                continue
            if closed:  # written to again it is complete once that is closed
                self._complete[drop.name] = drop
            elif self._first_seen.get(drop.name, (None, now))[0] != drop and self._complete.get(drop.name) != drop:
                self._first_seen[drop.name] = (drop, now)

    def _ready_at(self, drop: Drop, now: float) -> float:
        """Return when a drop may be taken, by the monotonic clock."""
        held_until = self._held_until(drop)
        if held_until:
            return held_until
        return now if self._complete.get(drop.name) == drop else self._first_seen[drop.name][1] + QUIET

    def _forget(self, names: set[str]) -> None:
        for known in (self._closed, self._first_seen, self._held, self._complete):
            for name in known.keys() - names:
                del known[name]

    def taken(self, name: str, path: Path) -> None:
        """A worker has looked at a drop; if it is still there it has to wait."""
        drop, self._given = self._given, None
        self._newest_first = not self._newest_first
        if drop is not None and drop.name == name and drop == _as_it_is(path, name):
            self._held.pop(name, None)
            self._held[name] = (drop, monotonic() + AGAIN)  # the latest last
            for early in list(self._held)[:-_MAX_HELD]:
                del self._held[early]

    def clock_was_set(self) -> None:
        """What drops wait for may have come."""
        self._held.clear()

    def close(self) -> None:
        """Stop watching."""
        self._hearing.close()
        if self._survey is not None:
            self._survey.close()

    def _listen(self, path: Path) -> None:
        watch = self._hearing.watch
        if watch is None or self._path != path or watch.gone:
            self._path = path
            self._hearing.listen(open_directory_watch(path))

    def _hear(self, watch: DirectoryWatch) -> None:
        for name in watch.read():
            self._closed.pop(name, None)
            self._closed[name] = None
        for name in list(self._closed)[:-_MAX_HEARD]:
            del self._closed[name]
        self._news()


def _as_it_is(path: Path, name: str) -> Drop | None:
    from agent.trust.inbox import look  # noqa: PLC0415 - as above

    try:
        return look(path, name)
    except StoreError:
        return None


def _holds_anything(path: Path) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
