"""A bound on work that no busy machine reaches: so much processor time that only the wrong order of growth needs it.

Inputs are sized for it: what grows as they do takes a second or two, and what grows with their square takes hours.
"""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0  # seconds of processor time


class EndlessError(AssertionError):
    """It was ended: it would have gone on for longer than any work that grows as its input does."""


@contextmanager
def bounded_work(patience: float = PATIENCE) -> Iterator[None]:
    """Raise ``EndlessError`` within the block as soon as it has used so many seconds of processor time."""

    def end(*_: object) -> None:
        message = f"it has used {patience:g} s of processor time, and goes on"
        raise EndlessError(message)

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, patience)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
