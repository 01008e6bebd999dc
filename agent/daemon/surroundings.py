"""What reaches the process from outside: signals, steps of the wall clock, and hands on the runtime directory."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.when import schedule
from agent.daemon.runtime_watch import RuntimeWatch
from agent.system.watches.clock_timer import open_clock_watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from agent.daemon.loop import Loop


@frozen
class OutsideCalls:
    """What is called.

    Attributes:
        stop: The process is to end (SIGTERM, SIGINT).
        reload: The configuration is to be read again (SIGHUP).
        clock_set: The clock was set; `look` follows.
        look: Something may be due.
        keep_runtime: The runtime directory is to be put right; see `agent.daemon.runtime_watch`.
    """

    stop: Callable[[], None]
    reload: Callable[[], None]
    clock_set: Callable[[], None]
    look: Callable[[], None]
    keep_runtime: Callable[[], bool]


class Surroundings:
    """The surroundings of one process."""

    def __init__(self, loop: Loop, calls: OutsideCalls, socket: Path) -> None:
        """Hear nothing yet.

        Args:
            loop: Where to wait.
            calls: What is called.
            socket: The control socket, in the runtime directory.
        """
        self._loop = loop
        self._calls = calls
        self._clock_watch = open_clock_watch()
        self._runtime = RuntimeWatch(loop, socket, calls.keep_runtime)

    def start(self) -> None:
        """Take over the process's signals, put the runtime directory right, and hear of both and of the clock."""
        self._runtime.look()
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
        """Hear nothing more of the clock and the runtime directory."""
        self._runtime.close()
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
