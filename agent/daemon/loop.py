"""The loop: file descriptors, delays, and calls that other threads hand over. One thread, no polling.

It sleeps until something happens, so an idle daemon costs nothing. Nothing that it calls may block. The SDK's callbacks
come on a thread of its own and do nothing but `post`.
"""

from __future__ import annotations

import heapq
import os
import selectors
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], None]

LONGEST_WAIT = 86_400.0  # seconds; the kernel takes no more than 24 days at once, and waking daily costs nothing


class Timer:
    """A call that is due at a time, unless it is cancelled before."""

    def __init__(self, due: float, call: Call) -> None:
        self.due = due
        self._call: Call | None = call

    def cancel(self) -> None:
        """Never make the call; harmless afterwards."""
        self._call = None

    @property
    def pending(self) -> bool:
        """Whether the call is still to be made."""
        return self._call is not None

    def fire(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Alarm:
    """One call that is put off, brought forward or left as it is, and is ahead once at the most."""

    def __init__(self, loop: Loop, call: Call) -> None:
        """Set for no time yet.

        Args:
            loop: Where to wait.
            call: What to call.
        """
        self._loop = loop
        self._call = call
        self._timer: Timer | None = None

    def set(self, seconds: float) -> None:
        """Call after this delay, and not when it was set for before."""
        self.cancel()
        self._timer = self._loop.later(seconds, self._call)

    def set_if_unset(self, seconds: float) -> None:
        """Call after this delay, unless a call is ahead already."""
        if not self.pending:
            self.set(seconds)

    def bring_forward(self, seconds: float) -> None:
        """Call after this delay, unless a call is ahead that comes no later."""
        if self._timer is None or not self._timer.pending or self._timer.due > monotonic() + seconds:
            self.set(seconds)

    def cancel(self) -> None:
        """Do not call before it is set again."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def pending(self) -> bool:
        """Whether a call is ahead."""
        return self._timer is not None and self._timer.pending


class Loop:
    """Waits for what happens next and calls the part that waits for it."""

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._crowded = 64  # timers
        self._posted: deque[Call] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._running = False

    def close(self) -> None:
        """Let go of the loop's own descriptors."""
        self._selector.close()
        os.close(self._wake)

    def watch(self, fd: int, call: Call, *, write: bool = False) -> None:
        """Call whenever `fd` can be read (or written); replaces an earlier watch of the same descriptor."""
        events = selectors.EVENT_WRITE if write else selectors.EVENT_READ
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, call)
        else:
            self._selector.register(fd, events, call)

    def unwatch(self, fd: int) -> None:
        """Stop watching; must come before the descriptor is closed. Harmless when it is not watched."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def later(self, seconds: float, call: Call) -> Timer:
        """Call once, after a delay by the monotonic clock."""
        timer = Timer(monotonic() + max(0.0, seconds), call)
        if len(self._timers) >= self._crowded:
            self._clear_cancelled()
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def post(self, call: Call) -> None:
        """Call soon, in the loop's own thread; may be called from any thread."""
        self._posted.append(call)
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Go on until `stop`."""
        self._running = True
        while self._running:
            self.turn()

    def stop(self) -> None:
        """Let `run` return after the present turn."""
        self._running = False

    def turn(self) -> None:
        """Wait for what comes next and see to it."""
        for key, _ in self._selector.select(self._patience()):
            if key.fd == self._wake:
                os.eventfd_read(self._wake)
            elif self._selector.get_map().get(key.fd) is key:  # an earlier call may have ended or replaced the watch
                key.data()
        for _ in range(len(self._posted)):
            self._posted.popleft()()
        now = monotonic()
        while self._timers and (self._timers[0][0] <= now or not self._timers[0][2].pending):
            heapq.heappop(self._timers)[2].fire()

    def _patience(self) -> float | None:
        while self._timers and not self._timers[0][2].pending:
            heapq.heappop(self._timers)
        return None if not self._timers else min(LONGEST_WAIT, max(0.0, self._timers[0][0] - monotonic()))

    def _clear_cancelled(self) -> None:
        """Most timers are deadlines that were met: they must not stay until they would have been due."""
        self._timers = [item for item in self._timers if item[2].pending]
        heapq.heapify(self._timers)
        self._crowded = 64 + 2 * len(self._timers)
