"""What workers are to do: what was ordered, in which order it comes, and what it has to wait for.

Three kinds of orders wait here, and each for something else: one that was submitted only for the worker to be free, one
that was put off and one of a job also for the change in flight to end. It owns the orders. Whether anything is due that
was not ordered `agent.daemon.work.schedule_watch` says.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.change.verbs import Verb
from agent.core.values import Kind
from agent.core.worker_protocol import Do, Order

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.control.client import Client


@dataclass(frozen=True, repr=False)
class Work:
    """An order, and the client that waits for what comes of it."""

    order: Order
    client: Client | None = None

    @property
    def begins(self) -> Kind | None:
        """The kind of change that it begins where nothing is in flight, or None."""
        order = self.order
        if order.do is Do.ORDER and order.verb is not Verb.GIVE_UP:
            return Kind(order.verb.value)
        return order.kind if order.do is Do.BEGIN else None


class WorkQueue:
    """The orders of one daemon."""

    def __init__(self, news: Callable[[], None]) -> None:
        """Hold none yet.

        Args:
            news: Called when an order came in.
        """
        self._news = news
        self._submitted: deque[Work] = deque()
        self._postponed: deque[Work] = deque()
        self._of_jobs: dict[str, Order] = {}
        self._put_off: Work | None = None  # the last that was taken of the two lines above

    def submit(self, order: Order, client: Client | None = None) -> None:
        """Have a worker carry an order out as soon as none is busy; the same one twice is one, but for clients."""
        if client is None and any(waiting.order == order for waiting in self._submitted):
            return
        self._submitted.append(Work(order, client))
        self._news()

    def submit_for_job(self, order: Order) -> None:
        """Have a worker carry out what an execution orders, as soon as no change is in flight."""
        self._of_jobs[order.order] = order
        self._news()

    def withdraw(self, order: str) -> None:
        """Forget what an execution has ordered, even if a worker has it, should it not begin; takes `Order.order`."""
        self._of_jobs.pop(order, None)
        self._postponed = deque(work for work in self._postponed if work.order.order != order)
        if self._put_off is not None and self._put_off.order.order == order:
            self._put_off = None

    def postpone(self, work: Work) -> None:
        """Have a worker do this once the change in flight has ended."""
        self._postponed.append(work)

    def put_back(self, work: Work) -> None:
        """Have a worker do this where it stood, before all else: it could not begin.

        What was put off waits on for the change in flight to end, which may be one of the process that was in the way.
        What is begun because it is due is not kept: the plan says it anew as long as it is.
        """
        if work is not self._put_off:
            if work.client is not None or work.order.do is not Do.BEGIN:
                self._submitted.appendleft(work)
        elif work.client is None and work.order.order:
            self._of_jobs = {work.order.order: work.order, **self._of_jobs}
        else:
            self._postponed.appendleft(work)

    def submitted(self) -> Work | None:
        """Take the first that was submitted."""
        return self._submitted.popleft() if self._submitted else None

    def asked_for(self) -> Work | None:
        """Take the first that a client waits for: what a person orders is no repetition of what just failed."""
        for work in self._submitted:
            if work.client is not None:
                self._submitted.remove(work)
                return work
        return None

    def put_off(self) -> Work | None:
        """Take the first of those that wait for the change in flight to end."""
        self._put_off = None
        if self._postponed:
            self._put_off = self._postponed.popleft()
        elif self._of_jobs:
            self._put_off = Work(self._of_jobs.pop(next(iter(self._of_jobs))))
        return self._put_off

    @property
    def begins(self) -> Kind | None:
        """The kind of change that the first submitted order begins that begins any, or None."""
        return next((kind for work in self._submitted if (kind := work.begins) is not None), None)
