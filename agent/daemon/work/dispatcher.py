"""Starts a worker for what is next, one at a time, and hears it until it ends.

What is next the `ScheduleWatch` says, and what follows from an end the `WorkerResults`. It owns the worker that runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.change.progress import Progress
    from agent.core.values import Kind
    from agent.core.worker_protocol import End, Order
    from agent.daemon.control.client import Client
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.work.queue import Work, WorkQueue
    from agent.daemon.work.results import WorkerResults
    from agent.daemon.work.schedule_watch import ScheduleWatch
    from agent.daemon.work.worker_process import Running


@frozen
class DispatchCalls:
    """What is called on a worker's way.

    Attributes:
        start: Start a worker. Takes its order, what hears of its steps, and what hears how it ended.
        progressed: A worker has told of a step, and clients and journal know.
        looked: A worker has told what it saw, and the facts are up to date; its end is not concluded yet.
        ended: A worker has ended, and its end is concluded.
        idle: No worker runs, and none is to be started. Returns the seconds until something else is to be looked at, or
            None.
    """

    start: Callable[[Order, Callable[[Progress], None], Callable[[End], None]], Running]
    progressed: Callable[[], None]
    looked: Callable[[], None]
    ended: Callable[[End], None]
    idle: Callable[[], float | None]


class Dispatcher:
    """The worker of one daemon."""

    def __init__(
        self,
        facts: GatewayFacts,
        queue: WorkQueue,
        schedule: ScheduleWatch,
        results: WorkerResults,
        calls: DispatchCalls,
    ) -> None:
        """Start none yet.

        Args:
            facts: What is known of the gateway.
            queue: What was ordered.
            schedule: What is next.
            results: Concludes what a worker says.
            calls: What is called on its way.
        """
        self._facts = facts
        self._queue = queue
        self._schedule = schedule
        self._results = results
        self._calls = calls
        self._running: Running | None = None
        self._work: Work | None = None

    def making(self) -> Kind | None:
        """Return the kind of change that was ordered and may not be on record yet, or None."""
        return self._queue.begins or (self._work.begins if self._work is not None else None)

    def submit(self, order: Order, client: Client | None = None) -> None:
        """Have a worker carry an order out as soon as none is busy."""
        self._queue.submit(order, client)

    def dispatch(self) -> None:
        """Start a worker for what is next if none runs; sleep when nothing is."""
        self._schedule.listen()
        if self._running is not None:
            return
        work = self._schedule.next()
        if work is not None:
            self._start(work)
            return
        other = self._calls.idle()
        self._schedule.look_after_dependants()
        self._schedule.sleep(other)

    def interrupt(self) -> None:
        """Stop the worker between two steps."""
        if self._running is not None:
            self._running.stop()

    def stop(self) -> bool:
        """Have nothing more done, and stop the worker between two steps; return whether one runs."""
        self._schedule.stop()
        self.interrupt()
        return self.busy

    @property
    def busy(self) -> bool:
        """Whether a worker runs."""
        return self._running is not None

    def kill(self) -> None:
        """End the worker now."""
        if self._running is not None:
            self._running.kill()

    def close(self) -> None:
        """Watch nothing more."""
        self._schedule.close()

    def _start(self, work: Work) -> None:
        self._work = work
        self._results.started(work)
        order = replace(work.order, orderly=self._schedule.orderly)  # whatever it is: each takes the change up first
        self._running = self._calls.start(order, self._on_progress, self._on_end)

    def _on_progress(self, progress: Progress) -> None:
        self._facts.refresh(at_work=True)
        self._results.progress(progress)
        self._calls.progressed()

    def _on_end(self, end: End) -> None:
        work, self._work, self._running = self._work, None, None
        self._facts.take(end.seen, end.change, end.traces)
        self._calls.looked()
        if work is not None:
            self._results.ended(work, end)
        self._calls.ended(end)
