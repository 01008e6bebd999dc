"""What systemd does with the daemon of a story, and what a story does to it."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager, suppress
from subprocess import TimeoutExpired
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.running.daemon import RunningDaemon

AGAIN = 2.0  # seconds between two starts of a daemon that ended by itself; systemd waits for ten


class Keeper:
    """Starts, stops and ends a daemon, each where it can be done; a context manager, which ends it with its workers.

    Each returns what came of it, for the story.
    """

    def __init__(self, daemon: RunningDaemon, tell: Callable[[str], None]) -> None:
        self._daemon, self._tell = daemon, tell
        self._started = False
        self._ended_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._started:
            self._daemon.__exit__(*exception)

    @property
    def runs(self) -> bool:
        """Whether the daemon runs."""
        return self._started and self._daemon.process.poll() is None

    def start(self) -> str:
        """Start it, unless it runs."""
        if self.runs:
            return "it runs already"
        self._daemon.start()
        self._started = True
        return "started"

    def stop(self) -> str:
        """Stop it as systemd does: with a word, and without one when that takes too long."""
        if not self.runs:
            return "it does not run"
        try:
            return f"ended with {self._daemon.stop()}"
        except TimeoutExpired:
            self._daemon.kill()
            return "did not end and was killed"

    def kill(self) -> str:
        """End it without a word."""
        if not self.runs:
            return "it does not run"
        self._daemon.kill()
        return "killed"

    def kill_worker(self) -> str:
        """End its worker without a word."""
        return "killed" if self.runs and self._daemon.kill_worker() else "there is none"

    def keep_running(self) -> None:
        """Start it again some time after it ended by itself, as systemd does."""
        if self.runs:
            self._ended_at = None
        elif self._ended_at is None:
            self._ended_at = monotonic()
            if self._started:
                self._tell(f"the daemon ended by itself with {self._daemon.process.returncode}")
        elif monotonic() - self._ended_at > AGAIN:
            self.start()

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Let neither the daemon nor its worker do anything for the length of a block."""
        stopped: list[int] = []
        if self.runs:
            _send(self._daemon.pid, signal.SIGSTOP)
            stopped = [self._daemon.pid, *self._daemon.workers()]
        for pid in stopped:
            _send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(stopped):
                _send(pid, signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
