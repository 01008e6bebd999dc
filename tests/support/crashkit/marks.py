"""What a script tells the harness that breaks it: that it ends, and what it acknowledged to the world.

A mark is a system call whose number no kernel knows. It does nothing, and a tracer sees it with its argument. The
recorder of `support.crashkit.alice` listens in the same process instead.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)

LISTENERS: list[Callable[[Mark, int], None]] = []


class Mark(IntEnum):
    """The numbers of the calls."""

    END = 4243
    CURRENT = 4244  # "generation N is in use", told to the cloud, the journal or a caller
    SAVED = 4245  # the N-th record of the change in flight is durable
    FINISHED = 4246  # the change is over and in the history


def make(mark: Mark, value: int = 0) -> None:
    """Make a mark."""
    _LIBC.syscall(ctypes.c_long(mark), ctypes.c_long(value))
    for listener in LISTENERS:
        listener(mark, value)
