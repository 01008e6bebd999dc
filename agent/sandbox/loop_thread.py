"""An event loop in a thread of its own, for a synchronous program.

What is served there is an asynchronous context: it is entered before `start` returns, and left before `stop` does.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

_CALL = 30.0  # seconds for what is called in the loop

_T = TypeVar("_T")


class LoopThread:
    """The thread; for one use."""

    def __init__(self, name: str, served: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        self._served = served
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ready: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    @property
    def started(self) -> bool:
        """Whether it was started, even if it has ended since."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Start, and return once the context is entered; what that raises is raised here."""
        self._thread.start()
        try:
            self._ready.result()
        except Exception:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Leave the context and end the thread; harmless when it does not run."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def call(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do something in the loop, from another thread, and return what comes of it."""

        async def run() -> _T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_CALL)

    def post(self, call: Callable[[], None]) -> None:
        """Have something done in the loop soon, from any thread."""
        self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        async with self._served():
            self._ready.set_result(None)
            await self._stopping.wait()
