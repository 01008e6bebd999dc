"""What reaches the process from outside: signals of the service manager, and steps of the wall clock."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.when import schedule
from agent.system.clock_timer import open_clock_watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.daemon.loop import Loop


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OutsideCalls:
    """What is called.

    Attributes:
        stop: The process is to end (SIGTERM, SIGINT).
        reload: The configuration is to be read again (SIGHUP).
        clock_set: The clock was set; `look` follows.
        look: Something may be due.
    """

    stop: Callable[[], None]
    reload: Callable[[], None]
    clock_set: Callable[[], None]
    look: Callable[[], None]


class Surroundings:
    """The surroundings of one process."""

    def __init__(self, loop: Loop, calls: OutsideCalls) -> None:
        """Hear nothing yet.

        Args:
            loop: Where to wait.
            calls: What is called.
        """
        self._loop = loop
        self._calls = calls
        self._clock_watch = open_clock_watch()

    def start(self) -> None:
        """Take over the process's signals, and hear of the clock."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self._loop.watch(read, lambda: self._on_signals(os.read(read, 64)))
        if self._clock_watch is not None:
            self._loop.watch(self._clock_watch.fileno(), self._on_clock)

    def hear_of_steps(self, now: datetime) -> None:
        """Have the clock watched on; its alarm is set for later than what a delay of the loop wakes for anyway."""
        if self._clock_watch is not None:
            self._clock_watch.arm(now + schedule.LOOK_EVERY * 2)

    def close(self) -> None:
        """Hear nothing more of the clock."""
        if self._clock_watch is not None:
            self._clock_watch.close()

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._calls.stop()
        elif signal.SIGHUP in numbers:
            self._calls.reload()

    def _on_clock(self) -> None:
        if self._clock_watch is not None and self._clock_watch.read():
            self._calls.clock_set()
        self._calls.look()
