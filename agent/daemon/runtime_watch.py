"""Sees to it that the runtime directory stays the daemon's: its lock, its control socket, and what is published there.

What a person or another program takes away there, or puts something else in the place of, is put right a moment later
where the kernel tells; where it does not, or that cannot be done, it is tried again each minute. It knows no more of
the files than their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.daemon.hearing import Hearing
from agent.daemon.loop import Alarm
from agent.daemon.status_files import METRICS, STATUS
from agent.system.locks import DAEMON
from agent.system.watches.inotify import Place, open_change_watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.daemon.loop import Loop
    from agent.system.watches.inotify import ChangeWatch

SETTLE = 0.2  # seconds after the first sign, so that a program which does the same again and again costs little
AGAIN = 60.0  # seconds until what could not be put right is tried again

_OWN = frozenset({DAEMON, STATUS, METRICS})


class RuntimeWatch:
    """The runtime directory of one daemon."""

    def __init__(self, loop: Loop, socket: Path, restore: Callable[[], bool]) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to listen.
            socket: The control socket; the directory that it is in is watched.
            restore: Puts right what is not as it should be, cheap where all is, and returns whether all is now.
        """
        self._directory = socket.parent
        self._names = _OWN | {socket.name}
        self._restore = restore
        self._hearing = Hearing(loop, self._hear)
        self._next = Alarm(loop, self.look)
        self._watched: tuple[int, int] | None = None

    def look(self) -> None:
        """Put right what is not as it should be, and listen."""
        well = self._restore()
        if self._listens_anew():
            well = self._restore()  # something may have happened while there was no watch
        if not well or not self._is_told():
            self._next.bring_forward(AGAIN)

    def close(self) -> None:
        """Look no more."""
        self._next.cancel()
        self._hearing.close()

    def _hear(self, watch: ChangeWatch) -> None:
        if watch.read():
            self._watched = None  # it may have been the end of the directory, and a new one may look the same
            self._next.bring_forward(SETTLE)

    def _listens_anew(self) -> bool:
        try:
            found = self._directory.stat()
        except OSError:
            return False
        identity = found.st_dev, found.st_ino
        if identity == self._watched and self._is_told():
            return False
        self._hearing.listen(open_change_watch([Place(self._directory, self._names)]))
        self._watched = identity
        return True

    def _is_told(self) -> bool:
        """Whether the kernel tells: a user has so many watches, and this process so many descriptors."""
        return self._hearing.watch is not None and self._hearing.watch.hears
