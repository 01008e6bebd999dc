"""News of the network where no uplink is heard of: from the routes, while it is wanted, and not a moment longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.daemon.cloud.network_watch import ROUTES_LOOK, NetworkWatch
from agent.daemon.loop import Loop
from support.office import HandClock

if TYPE_CHECKING:
    from collections.abc import Iterator


class Scene:
    """A gateway whose routes, and whose wish for news of them, the test sets."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.loop = Loop()
        self.routes = b"one"
        self.wanted = True
        self.looks = self.news = 0
        self.watch = NetworkWatch(self.loop, lambda: self.wanted, self._hear)

    def _hear(self) -> None:
        self.news += 1

    def look(self) -> bytes:
        """Return the routes."""
        self.looks += 1
        return self.routes

    def wait(self, seconds: float = ROUTES_LOOK) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.loop.post(lambda: None)
        self.loop.turn()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """Give a gateway whose sandbox allows no socket for the uplink."""
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.loop.monotonic", clock)
    monkeypatch.setattr("agent.daemon.cloud.network_watch.open_uplink", lambda: None)
    made = Scene(clock)
    monkeypatch.setattr("agent.daemon.cloud.network_watch.routes", made.look)
    yield made
    made.watch.close()
    made.loop.close()


def test_routes_that_change_are_news(scene: Scene) -> None:
    """Those that stay are not."""
    scene.watch.start()
    scene.watch.connection_missing()
    scene.wait()
    assert scene.news == 0
    scene.routes = b"two"
    scene.wait()
    assert scene.news == 1
    scene.wait()
    assert scene.news == 1


def test_nothing_is_looked_at_while_there_is_a_connection(scene: Scene) -> None:
    """An idle daemon wakes for nothing."""
    scene.wait()
    assert scene.looks == 0
    scene.watch.connection_missing()
    scene.wanted = False
    scene.wait()
    looks = scene.looks
    for _ in range(3):
        scene.wait()
    assert scene.looks == looks
    scene.wanted = True
    scene.watch.connection_missing()
    scene.routes = b"two"
    scene.wait()
    assert scene.news == 1


def test_each_failed_attempt_adds_no_further_look(scene: Scene) -> None:
    """One look every few seconds, however often there is no connection."""
    for _ in range(5):
        scene.watch.connection_missing()
    looks = scene.looks
    scene.wait()
    assert scene.looks <= looks + 2
