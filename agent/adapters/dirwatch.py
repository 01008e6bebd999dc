"""Hears of files that are complete in a directory: renamed into it, or closed after writing.

The kernel's inotify does, and Python has no name for it, so the C library is asked. It refuses to poll: where there is
no inotify, `open_directory_watch` returns None and the caller looks from time to time.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CLOSE_WRITE, _MOVED_TO = 0x08, 0x80  # <sys/inotify.h>
_ONLYDIR, _DONT_FOLLOW = 0x0100_0000, 0x0200_0000
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _IGNORED = 0x400, 0x800, 0x2000, 0x8000
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED

_HEAD = struct.Struct("iIII")
_BUFFER = 65_536  # bytes; an event has 272 at most


class DirectoryWatch:
    """A watch on one directory; use `open_directory_watch`. `fileno` can be read when there is something to `read`."""

    def __init__(self, libc: ctypes.CDLL, path: Path) -> None:
        self.gone = False
        self._fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error()
        mask = _CLOSE_WRITE | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _DONT_FOLLOW
        if libc.inotify_add_watch(self._fd, os.fsencode(path), mask) < 0:
            error = _error()
            self.close()
            raise error

    def close(self) -> None:
        """Let go of the watch; its descriptor must not be watched any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._fd

    def read(self) -> set[str]:
        """Return the names that are complete since the last time; `gone` says that the directory is not there any more.

        What an overflowing queue lost is found by looking at the directory, as the caller does anyway.
        """
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            return set()
        names, position = set(), 0
        while position + _HEAD.size <= len(data):
            _, mask, _, length = _HEAD.unpack_from(data, position)
            position += _HEAD.size
            self.gone = self.gone or bool(mask & _GONE)
            if mask & (_CLOSE_WRITE | _MOVED_TO):
                names.add(os.fsdecode(data[position : position + length].rstrip(b"\0")))
            position += length
        return names


def open_directory_watch(path: Path) -> DirectoryWatch | None:
    """Return a watch on a directory, or None where there is none to be had."""
    try:
        return DirectoryWatch(ctypes.CDLL(None, use_errno=True), path)
    except (OSError, AttributeError):  # no such directory, refused, or a C library without it
        return None


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
