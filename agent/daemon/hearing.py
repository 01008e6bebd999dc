"""Listens to what the kernel tells of directories: to one watch at a time, which another takes the place of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from agent.system.watches.kernel_watch import KernelWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.loop import Loop


W = TypeVar("W", bound=KernelWatch)


class Hearing(Generic[W]):
    """What a daemon listens to.

    Attributes:
        watch: What it is; None where it listens to nothing, or there is nothing to be had.
    """

    def __init__(self, loop: Loop, heard: Callable[[W], None]) -> None:
        """Listen to nothing yet.

        Args:
            loop: Where to listen.
            heard: Called when there is something to read.
        """
        self._loop = loop
        self._heard = heard
        self.watch: W | None = None

    def listen(self, watch: W | None) -> None:
        """Listen to a watch instead of the one before; with None, to nothing."""
        self.close()
        self.watch = watch
        if watch is not None:
            self._loop.watch(watch.fileno(), lambda: self._heard(watch))

    def close(self) -> None:
        """Listen to nothing more."""
        if self.watch is not None:
            self._loop.unwatch(self.watch.fileno())
            self.watch.close()
            self.watch = None
