"""When the dependants are looked after outside of a change: at the start, every hour, and again after a failure.

It serves none itself: a worker asks the process that may. That worker needs neither store nor cloud, so the session
goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure.retry import Backoff
from agent.core.worker_protocol import Do, Order
from agent.dependants import report_file
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.config.values import Config
    from agent.core.dependants import Report
    from agent.core.worker_protocol import End
    from agent.daemon.loop import Loop
    from agent.daemon.work.worker_process import Running

EVERY = 3600.0  # seconds between two looks while all is well
_TROUBLE = Backoff(base=60, cap=3600, floor=20)


class DependantsWatch:
    """The dependants of one gateway."""

    def __init__(
        self, loop: Loop, start_worker: Callable[..., Running], chance: Callable[[], float], news: Callable[[], None]
    ) -> None:
        """Look after nothing yet.

        Args:
            loop: Where to listen.
            start_worker: How a worker is started.
            chance: Draws a number in [0, 1).
            news: Called when it is known how they stand.
        """
        self._loop = loop
        self._start_worker = start_worker
        self._chance = chance
        self._news = news
        self._running: Running | None = None
        self._due = 0.0
        self._failures = 0
        self._served: int | None = None
        self._changing = False  # a change may end with the generation that it began with, and with trouble
        self._directory: Path | None = None
        self._problem = ""
        self._found: Report | None = None  # when that came up

    @property
    def delay(self) -> float:
        """How many seconds there are before the next look."""
        return max(self._due - monotonic(), 0.0) if self._running is None else EVERY

    @property
    def problem(self) -> str:
        """Why they could not be served the last time, or empty, as once another process has served them.

        What the report says of each is not in it, since root may put that right without the daemon.
        """
        served = self._problem and self._report() != self._found
        return "" if served else self._problem

    def _report(self) -> Report | None:
        return report_file.last_report(self._directory) if self._directory else None

    def look_soon(self) -> None:
        """Look at once: something may have been put right."""
        self._due = 0.0

    def consider(self, config: Config, generation: int | None) -> None:
        """Have them served if it is time.

        Args:
            config: The configuration in force.
            generation: The generation in use; None while a change is at work on it.
        """
        self._changing = self._changing or generation is None
        if self._running is not None or generation is None:
            return
        changed, self._changing = self._changing or generation != self._served, False
        if self._served is not None and changed and not self._just_served(config, generation):
            self._due = 0.0
        if monotonic() < self._due:
            return
        self._due, self._served = monotonic() + EVERY, generation
        if not report_file.any_configured(config.dependants):
            self._problem = ""
            return
        self._directory = config.deploy_dir
        order = Order(do=Do.SERVE, configuration=config.source)
        self._running = self._start_worker(self._loop, config.path, order, lambda _: None, self._on_end)

    def stop(self) -> None:
        """Ask for nothing more; a helper that serves them goes on by itself."""
        if self._running is not None:
            self._running.kill()

    def _just_served(self, config: Config, generation: int) -> bool:
        """Whether the change that put this generation in use has seen to them already."""
        report = report_file.last_report(config.deploy_dir)
        # One that names none was begun and cut off.
        whole = report is not None and bool(report.steps) and not report.problems
        served = report is not None and report.generation == generation and whole
        if served:
            self._served = generation
        return served

    def _on_end(self, end: End) -> None:
        self._running = None
        if end.error is None:
            self._problem, self._failures = "", 0
        else:
            self._found = report = self._report()
            in_report = report is not None and report.problems
            self._problem = "" if in_report else f"{end.error.message} {end.error.hint}".rstrip()
            self._failures += 1
            self._due = monotonic() + _TROUBLE.delay(self._failures, 0.5 + 0.5 * self._chance())
        self._news()
