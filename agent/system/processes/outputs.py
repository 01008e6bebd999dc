"""What other programs write, passed on to this process's standard error: so much of each, and no more.

A program that writes without end would fill the journal, which then forgets everything else, or a serial console for
hours. What is beyond the bound is read and dropped, so the program itself notices nothing. Nothing is kept in memory,
and nothing is understood: it may hold anything.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

from agent.system import children, descriptors

MOST = 65_536  # bytes of one program
LEFT_OUT = b"\n(More was written, which is left out.)\n"

_PIECE = 4_096  # bytes that whatever takes some takes at once
_FULL = 32  # pieces, twice as many as a full pipe has
_SINK = ("/bin/sh", "-c", "cat <&3 &")  # the shell ends at once, so no process of this one's is left to be reaped


class Outflow:
    """The standard output and standard error of one program.

    Attributes:
        given: The descriptor that the program is to write to; see `start`.
        read: The descriptor that can be read once it has.
    """

    def __init__(self, patience: float = 1.0) -> None:
        """Open it.

        Args:
            patience: Seconds to wait for a journal or a console that takes nothing; then no more is passed on.
        """
        self.read, self.given = os.pipe2(os.O_CLOEXEC)
        self._patience = patience
        self._left = MOST
        self._to = _stderr()

    def start(self) -> None:
        """Let go of the program's end: the program has it by now."""
        if self.given >= 0:
            descriptors.release(self.given)
            self.given = -1

    def pass_on(self) -> bool:
        """Pass a piece on, and return whether more may come; call it when `read` can be read."""
        data = os.read(self.read, _PIECE if self._left >= 0 else MOST)
        kept = data[: max(self._left, 0)]
        said = self._left < 0
        self._left -= len(data)
        self._write(kept if self._left >= 0 or said else kept + LEFT_OUT)
        return bool(data)

    def _is_at_its_end(self) -> bool:
        """Pass on what has been written by now; return whether all programs that could write have ended."""
        poll = select.poll()
        poll.register(self.read, select.POLLIN)
        for _ in range(_FULL):  # one that was left running may write as fast as this reads
            if not poll.poll(0):
                return False
            if not self.pass_on():
                return True
        return False

    def close(self) -> None:
        """Pass on what has been written by now, and close it; a program that was left running may write on."""
        self.start()
        if not self._is_at_its_end():
            self._sink()
        descriptors.release(self.read)

    def _sink(self) -> None:
        """Give what is still written to a process that drops it: without a reader, the next word ends the writer."""
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        with suppress(OSError):
            sink = [*quiet, (os.POSIX_SPAWN_DUP2, self.read, 3)]
            os.waitpid(os.posix_spawn(_SINK[0], _SINK, children.ENVIRONMENT, file_actions=sink, setsid=True), 0)

    def _write(self, data: bytes) -> None:
        if self._to is None or not data:
            return
        poll = select.poll()
        poll.register(self._to, select.POLLOUT)
        try:
            if poll.poll(self._patience * 1000):
                os.write(self._to, data)
                return
        except OSError:
            pass  # it is closed, or its disk is full
        self._to = None


def _stderr() -> int | None:
    """Return where it goes; a worker's standard output belongs to the daemon."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None
