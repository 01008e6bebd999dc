"""Hears of a token for the vending machine that was put into its file, so that no climb of the ladder is waited for.

It reads no token: a worker does. Where the kernel tells nothing, the next climb finds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.system.inotify import DirectoryWatch, open_directory_watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.daemon.loop import Loop, Timer

SETTLE = 1.0  # seconds after the file is complete, in which its owner and mode may still be set


class TokenWatch:
    """The token's file of one gateway."""

    def __init__(self, loop: Loop, news: Callable[[], None]) -> None:
        """Watch nothing yet.

        Args:
            loop: Where to listen.
            news: Called when there may be another token, and a moment has passed.
        """
        self._loop = loop
        self._news = news
        self._path: Path | None = None
        self._watch: DirectoryWatch | None = None
        self._settling: Timer | None = None

    def listen(self, path: Path) -> None:
        """Watch a file, which need not be there; cheap when it is watched already."""
        if self._watch is not None and self._path == path and not self._watch.gone:
            return
        self.close()
        self._path, self._watch = path, open_directory_watch(path.parent)
        if self._watch is not None:
            self._loop.watch(self._watch.fileno(), self._hear)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._loop.unwatch(self._watch.fileno())
            self._watch.close()
            self._watch = None

    def _hear(self) -> None:
        if self._watch is None or self._path is None or self._path.name not in self._watch.read():
            return
        if self._settling is None or not self._settling.pending:
            self._settling = self._loop.later(SETTLE, self._tell)

    def _tell(self) -> None:
        if self._path is not None and self._path.exists():  # the agent itself overwrites one that is spent
            self._news()
