"""Time that passes when a test says so: for adapters that take theirs from `agent.system.clock`.

What waits on the kernel, as for a process or a socket, still waits in real time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Time:
    """Monotonic time, which sleeping moves on at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the clock's place until the test ends."""
        self.now = 1000.0
        self._due: list[tuple[float, Callable[[], object]]] = []
        monkeypatch.setattr(clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(clock, "sleep", self.advance)

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due by then happen."""
        self.now += seconds
        due = [act for at, act in self._due if at <= self.now]
        self._due = [(at, act) for at, act in self._due if at > self.now]
        for act in due:
            act()

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        """Have something happen once so much time has passed."""
        self._due.append((self.now + seconds, act))
