"""What has no end of its own is waited for no longer than that."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agent.system.processes import threads

if TYPE_CHECKING:
    import pytest


def test_what_is_done_in_time_is_done() -> None:
    """In a thread that keeps no process from ending."""
    done: list[bool] = []
    threads.wait_for(lambda: done.append(threading.current_thread().daemon), 60)
    assert done == [True]


def test_what_takes_longer_is_left_behind() -> None:
    """It goes on."""
    go_on, over = threading.Event(), threading.Event()

    def work() -> None:
        go_on.wait()
        over.set()

    threads.wait_for(work, 0)
    assert not over.is_set()
    go_on.set()
    assert over.wait(60)


def test_where_no_thread_can_be_had_it_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a user may have no more processes: Python raises no error of the system's then."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    done: list[threading.Thread] = []
    threads.wait_for(lambda: done.append(threading.current_thread()), 0)
    assert done == [threading.current_thread()]
