"""What reaches the process: each signal does what it stands for, and none ends the process by itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.daemon.loop import Loop
from agent.daemon.surroundings import OutsideCalls, Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class CalledProcess:
    """A process, and what it was called for."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.called: list[str] = []
        calls = OutsideCalls(
            stop=lambda: self.called.append("stop"),
            reload=lambda: self.called.append("reload"),
            clock_set=lambda: self.called.append("clock set"),
            look=lambda: self.called.append("look"),
            keep_runtime=lambda: True,
        )
        self.surroundings = Surroundings(self.loop, calls, Path("/nowhere/control.sock"))


@pytest.fixture
def scene() -> Iterator[CalledProcess]:
    """Give a process that hears of its signals, and put them back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    made = CalledProcess()
    made.surroundings.start()
    yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)
    made.surroundings.close()
    made.loop.close()


@pytest.mark.parametrize(
    ("number", "call"), [(signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")]
)
def test_a_signal_is_heard_in_the_loop(scene: CalledProcess, number: signal.Signals, call: str) -> None:
    """Not in a handler, where nothing may be done."""
    os.kill(os.getpid(), number)
    assert scene.called == []
    scene.loop.turn()
    assert scene.called == [call]


def test_an_end_goes_over_a_reload(scene: CalledProcess) -> None:
    """Both came before the loop turned."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
    scene.loop.turn()
    assert scene.called == ["stop"]


@pytest.mark.parametrize(("was_set", "called"), [(True, ["clock set", "look"]), (False, ["look"])])
def test_a_clock_that_was_set_is_told_before_the_daemon_looks(
    scene: CalledProcess, called: list[str], *, was_set: bool
) -> None:
    """An alarm that only went off is a reason to look, and no more."""

    class TellingWatch:
        """A clock watch that has something to tell."""

        def read(self) -> bool:
            """Say whether the clock was set."""
            return was_set

        def close(self) -> None:
            """There is nothing to let go of."""

    if scene.surroundings._clock_watch is not None:
        scene.surroundings._clock_watch.close()
    scene.surroundings._clock_watch = TellingWatch()  # type: ignore[assignment] # as much as is needed
    scene.surroundings._on_clock()
    assert scene.called == called
