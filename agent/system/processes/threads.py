"""Waiting for at most so many seconds for what may never end, such as the C library's look-up of a name."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_for(work: Callable[[], object], patience: float) -> None:
    """Do something, and wait for it for some seconds; then it goes on, and keeps no process from ending.

    Where this user may have no further thread it is done here, however long that takes.
    """
    thread = Thread(target=work, daemon=True)  # it cannot be told to stop
    try:
        thread.start()
    except RuntimeError:  # as Python tells of that
        work()
    else:
        thread.join(patience)
