"""One run of the operator's command that is told of findings, and its end.

It runs as the daemon's user in a session of its own, with a fixed environment and none of the daemon's descriptors.
What it is told is a file in memory, so it need not read; of what it writes so much goes to the journal as of
any program, see `agent.system.processes.outputs`.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.text import duration
from agent.system import children, descriptors
from agent.system.processes import memory, outputs
from agent.system.processes.runnable import why_not

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.daemon.loop import Loop

LIMIT = 60.0  # seconds; mail and HTTP give up sooner


class NoticeCommand:
    """One run, from its start to its end."""

    def __init__(
        self, loop: Loop, command: tuple[str, ...], told: bytes, on_end: Callable[[str], None], limit: float = LIMIT
    ) -> None:
        """Start it.

        Args:
            loop: Where to wait.
            command: The program, by an absolute path, and its arguments, which may be secret.
            told: What it may read.
            on_end: Takes how it failed, a sentence, or an empty text; called exactly once, and never at once.
            limit: Seconds that it may take.
        """
        self._loop = loop
        self._command = command
        self._seconds = limit
        self._on_end = on_end
        self._overdue = False
        self._pid = 0
        self._output = outputs.Outflow(patience=0.0)  # the loop waits for nothing
        problem = why_not(Path(command[0]), os.geteuid(), follow=True) or self._start(told)
        self._output.start()
        if problem:
            self._output.close()
            loop.post(lambda: on_end(problem))
            return
        self._end = children.end_of(self._pid)
        self._limit = loop.later(limit, self._overrun)
        loop.watch(self._end, self._ended)
        loop.watch(self._output.read, self._heard)

    def _start(self, told: bytes) -> str:
        fd = memory.file_of(told)
        descriptors.keep()
        output = [(os.POSIX_SPAWN_DUP2, self._output.given, number) for number in (1, 2)]
        try:
            self._pid = os.posix_spawn(
                self._command[0],
                self._command,
                children.ENVIRONMENT,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0), *output],
                setsid=True,
                setsigdef=[signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE],
                setsigmask=[],
            )
        except OSError as error:
            return f"{self._command[0]} could not be started: {os.strerror(error.errno or 0)}."
        finally:
            os.close(fd)
        return ""

    def _heard(self) -> None:
        if not self._output.pass_on():
            self._loop.unwatch(self._output.read)

    def _overrun(self) -> None:
        self._overdue = True
        with suppress(OSError):  # it has ended meanwhile, and is not reaped yet
            os.killpg(self._pid, signal.SIGKILL)

    def _ended(self) -> None:
        self._loop.unwatch(self._end)
        self._loop.unwatch(self._output.read)
        self._output.close()
        self._limit.cancel()
        _, status = os.waitpid(self._pid, 0)
        os.close(self._end)
        how = children.ended(os.waitstatus_to_exitcode(status))
        if self._overdue:
            how = f"it took longer than {duration(timedelta(seconds=self._seconds))} and was ended"
        self._on_end(f"{self._command[0]} failed: {how}." if how else "")
