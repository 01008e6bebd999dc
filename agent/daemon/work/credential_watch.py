"""Hears of changes to the set in use, and has it looked at a second later. It reads no file and judges nothing.

What is watched: the links in the state directory, the directory of generations, and the files of the current one. It
moves with `current`. Before there is a state directory, its coming is waited for. What a worker does there is heard as
well, and harmless: the daemon compares what it finds with what the worker has seen, and a look changes nothing that is
heard of here. Where the kernel does not tell, the daemon notices at its next look of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.daemon.hearing import Hearing
from agent.daemon.loop import Alarm
from agent.store.names import CURRENT, GENERATIONS, PREVIOUS
from agent.system.clock import monotonic
from agent.system.watches.inotify import Place, open_change_watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.daemon.loop import Loop
    from agent.system.watches.inotify import ChangeWatch

SETTLE = 1.0  # seconds after the first sign: a copy is seldom one system call
HALF = 30.0  # seconds in which a person who has replaced one file of a pair may replace the other

_OWN = frozenset({CURRENT, PREVIOUS, GENERATIONS})


class CredentialWatch:
    """The credential files in one state directory."""

    def __init__(self, loop: Loop, news: Callable[[], None]) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to listen.
            news: Called when something was touched and a moment has passed.
        """
        self._settling = Alarm(loop, news)
        self._hearing = Hearing(loop, self._hear)
        self._watched: tuple[object, ...] = ()
        self._last: float | None = None

    @property
    def busy(self) -> bool:
        """Whether something was touched so lately that more may follow."""
        return self._last is not None and monotonic() - self._last < HALF

    def listen(self, state_dir: Path) -> None:
        """Watch what is in use now; cheap when that is watched already."""
        places = tuple(_places(state_dir))
        wanted = tuple((place, _identity(place.path)) for place in places)
        if self._hearing.watch is None or wanted != self._watched:
            self._hearing.listen(open_change_watch(places))
            self._watched = wanted

    def close(self) -> None:
        """Stop watching."""
        self._hearing.close()

    def _hear(self, watch: ChangeWatch) -> None:
        if not watch.read():
            return
        self._last = monotonic()
        self._settling.set_if_unset(SETTLE)


def _places(state_dir: Path) -> Iterable[Place]:
    if not os.path.isdir(state_dir):  # noqa: PTH112 - Path.is_dir() raises where this one says no
        yield Place(state_dir.parent, frozenset({state_dir.name}))
        return
    yield Place(state_dir, _OWN)
    current = Path(os.path.realpath(state_dir / CURRENT))
    yield Place(state_dir / GENERATIONS, frozenset({current.name}))
    yield Place(current)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
