"""Ends a silence: a person at a terminal who has read nothing new for two seconds is told that the command is at work.

A timer's signal asks each second, whatever the command waits for: a name server, the broker, the daemon. Nothing is
said where standard error is no terminal, and nothing while the last line has said what is waited for.
"""

from __future__ import annotations

import os
import signal
import sys

from agent.cli.writing import standard

SECOND = 1.0
_LONGEST = 2  # seconds without a word
_AGAIN = 30  # seconds until it is said again


class Silence:
    """Counts the seconds of one command, and those since its last line."""

    def __init__(self) -> None:
        self._seconds = 0
        self._silent = 0
        self._lines = 0

    def second(self) -> str:
        """Let a second have passed; return what is to be said, or nothing."""
        self._seconds += 1
        lines = standard.lines()
        self._silent = self._silent + 1 if lines == self._lines else 1
        self._lines = lines
        due = self._silent == _LONGEST or self._silent % _AGAIN == 0
        return f"          still at work after {self._seconds} s" if due and not standard.waits() else ""


def end() -> None:
    """Have each longer silence of this process ended, from now on."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    silence = Silence()

    def ring(*_: object) -> None:
        text = silence.second()
        if text:
            os.write(2, f"{text}\n".encode())  # not by the stream, which may be in the middle of a line

    signal.signal(signal.SIGALRM, ring)
    signal.siginterrupt(signal.SIGALRM, False)  # noqa: FBT003 - its only form
    signal.setitimer(signal.ITIMER_REAL, SECOND, SECOND)


def over() -> None:
    """Have no silence ended any more: what a signal meets in the interpreter's own end is its default, which kills."""
    signal.setitimer(signal.ITIMER_REAL, 0)
