"""Hears of a token for the vending machine that was put into its file, so that no climb of the ladder is waited for.

It reads no token: a worker does. Where the kernel tells nothing, the next climb finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.daemon.hearing import Hearing
from agent.daemon.loop import Alarm
from agent.system.files import is_there
from agent.system.watches.inotify import open_directory_watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.daemon.loop import Loop
    from agent.system.watches.inotify import DirectoryWatch

SETTLE = 1.0  # seconds after the file is complete, in which its owner and mode may still be set


class TokenWatch:
    """The token's file of one gateway."""

    def __init__(self, loop: Loop, news: Callable[[], None]) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to listen.
            news: Called when there may be another token, and a moment has passed.
        """
        self._news = news
        self._path: Path | None = None
        self._hearing = Hearing(loop, self._hear)
        self._settling = Alarm(loop, self._tell)

    def listen(self, path: Path) -> None:
        """Watch a file, which need not be there; cheap when it is watched already."""
        watch = self._hearing.watch
        if watch is None or self._path != path or watch.gone:
            self._path = path
            self._hearing.listen(open_directory_watch(path.parent))

    def close(self) -> None:
        """Stop watching."""
        self._hearing.close()

    def _hear(self, watch: DirectoryWatch) -> None:
        if self._path is None or self._path.name not in watch.read():
            return
        self._settling.set_if_unset(SETTLE)

    def _tell(self) -> None:
        if self._path is not None and is_there(self._path):  # the agent itself overwrites one that is spent
            self._news()
