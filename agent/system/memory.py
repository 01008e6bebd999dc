"""Giving memory back: what starting needed, an idle daemon does not."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def give_back() -> None:
    """Collect what no object holds and return free pages to the kernel, where the C library can do that."""
    gc.collect()
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)
