"""News of the network where no uplink is heard of: from the routes, while it is wanted, and not a moment longer."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from agent.daemon.cloud.network_watch import ROUTES_LOOK, SETTLE, NetworkWatch
from support.running.office import HandClock, HandLoop

if TYPE_CHECKING:
    from collections.abc import Iterator


class WatchedRoutes(HandLoop):
    """A gateway whose routes, and whose wish for news of them, the test sets."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.routes = b"one"
        self.wanted = True
        self.cut_off = False
        self.looks = self.news = self.lost = 0
        self.watch = NetworkWatch(self.loop, lambda: self.wanted, self._hear, self._lose)

    def _hear(self) -> None:
        self.news += 1

    def _lose(self) -> None:
        self.lost += 1

    def look(self) -> bytes:
        """Return the routes."""
        self.looks += 1
        return self.routes

    def wait(self, seconds: float = ROUTES_LOOK) -> None:
        """Let time pass."""
        super().wait(seconds)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedRoutes]:
    """Give a gateway whose sandbox allows no socket for the uplink."""
    clock = HandClock()
    monkeypatch.setattr("agent.daemon.loop.monotonic", clock)
    monkeypatch.setattr("agent.daemon.cloud.network_watch.open_uplink", lambda: None)
    made = WatchedRoutes(clock)
    monkeypatch.setattr("agent.daemon.cloud.network_watch.cut_off", lambda: made.cut_off)
    monkeypatch.setattr("agent.daemon.cloud.network_watch.routes", made.look)
    yield made
    made.watch.close()
    made.loop.close()


def test_routes_that_change_are_news(scene: WatchedRoutes) -> None:
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


def test_nothing_is_looked_at_while_there_is_a_connection(scene: WatchedRoutes) -> None:
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


def test_each_failed_attempt_adds_no_further_look(scene: WatchedRoutes) -> None:
    """One look every few seconds, however often there is no connection."""
    for _ in range(5):
        scene.watch.connection_missing()
    looks = scene.looks
    scene.wait()
    assert scene.looks <= looks + 2


# -- with a socket of systemd's ----------------------------------------------------------------------------------------


class Kernel:
    """A socket pair in the kernel's place: what the watch hears is what the test says."""

    def __init__(self, scene: WatchedRoutes, monkeypatch: pytest.MonkeyPatch) -> None:
        self._scene = scene
        self._here, self.there = socket.socketpair()
        monkeypatch.setattr("agent.daemon.cloud.network_watch.adopted_uplink", lambda _fd: self)
        self.heard = b""

    def fileno(self) -> int:
        """What the loop watches."""
        return self.there.fileno()

    def read(self) -> bool:
        """Return whether something came up."""
        return b"up" in self.there.recv(64)

    def close(self) -> None:
        """Hear nothing more."""
        self._here.close()
        self.there.close()

    def say(self, word: bytes) -> None:
        """Announce that something came up, or something else."""
        self._here.sendall(word)
        self._scene.wait(0)


@pytest.fixture
def kernel(scene: WatchedRoutes, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """Give a kernel whose socket is handed over by systemd."""
    made = Kernel(scene, monkeypatch)
    assert scene.watch.adopt(99)
    scene.watch.start()
    return made


def test_what_goes_is_looked_into_once_it_has_settled(scene: WatchedRoutes, kernel: Kernel) -> None:
    """A connection that cannot go on then is lost; one whose address came back is not."""
    kernel.say(b"down")
    scene.wait(SETTLE)
    assert (scene.lost, scene.news) == (0, 0)
    scene.cut_off = True
    kernel.say(b"down")
    assert scene.lost == 0
    scene.wait(SETTLE)
    assert scene.lost == 1
    scene.wait(SETTLE)
    assert scene.lost == 1


def test_a_storm_of_words_is_looked_into_once(scene: WatchedRoutes, kernel: Kernel) -> None:
    """When it is over."""
    scene.cut_off = True
    for _ in range(9):
        kernel.say(b"down")
        scene.wait(SETTLE / 2)
    assert scene.lost == 0
    scene.wait(SETTLE)
    assert scene.lost == 1


def test_what_comes_up_is_news_at_once(scene: WatchedRoutes, kernel: Kernel) -> None:
    """The routes are not looked at: the kernel tells."""
    kernel.say(b"up")
    assert scene.news == 1
    scene.watch.connection_missing()
    scene.wait()
    assert scene.looks == 0


def test_another_descriptor_is_left_to_its_owner(scene: WatchedRoutes) -> None:
    """Such as that of the control socket."""
    with socket.socket(socket.AF_UNIX) as other:
        assert not scene.watch.adopt(other.fileno())
