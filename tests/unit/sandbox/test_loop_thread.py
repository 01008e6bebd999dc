"""A loop in a thread of its own: what is served there lasts from the start to the stop."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.loop_thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def test_what_is_served_lasts_from_the_start_to_the_stop() -> None:
    """In the loop's own thread, where calls are carried out, too; stopping twice is harmless."""
    seen: list[tuple[str, str]] = []

    def note(what: str) -> None:
        seen.append((what, threading.current_thread().name))

    @asynccontextmanager
    async def served() -> AsyncIterator[None]:
        note("entered")
        yield
        note("left")

    async def asked() -> int:
        note("asked")
        return 7

    thread = LoopThread("loop", served)
    started = [thread.started]
    thread.stop()
    thread.start()
    started.append(thread.started)
    thread.post(lambda: note("posted"))
    assert thread.call(asked) == 7
    thread.stop()
    thread.stop()
    assert started == [False, True]
    assert seen == [(what, "loop") for what in ("entered", "posted", "asked", "left")]
    with pytest.raises(RuntimeError):
        thread.start()


def test_what_keeps_it_from_starting_is_raised_where_it_was_started() -> None:
    """And no thread is left."""

    def listen() -> None:
        raise OSError("the port is taken")

    @asynccontextmanager
    async def served() -> AsyncIterator[None]:
        listen()
        yield

    thread = LoopThread("loop", served)
    with pytest.raises(OSError, match="the port is taken"):
        thread.start()
    assert "loop" not in {item.name for item in threading.enumerate()}
