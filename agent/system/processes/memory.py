"""Memory: giving it back, since an idle daemon needs less than its start; and files in it, for what a child reads."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress


def give_back() -> None:
    """Collect what no object holds and return free pages to the kernel, where the C library can do that."""
    sys.path_importer_cache.clear()  # the names in each folder of modules; an import lists its folder again
    gc.collect()
    with suppress(AttributeError):  # a C library other than glibc
        ctypes.CDLL(None).malloc_trim(0)


def file_of(data: bytes) -> int:
    """Return a descriptor of a file in memory, to be read from its start: it may hold more than a pipe does."""
    fd = os.memfd_create("told", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
