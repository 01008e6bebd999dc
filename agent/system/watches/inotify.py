"""Hears of what is done in directories: `DirectoryWatch` of files that are complete, `ChangeWatch` of any change.

The kernel's inotify does, and Python has no name for it, so the C library is asked. It refuses to poll: where there is
no inotify, `open_directory_watch` and `open_change_watch` return None and the caller looks from time to time.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.system.watches.kernel_watch import KernelWatch, last_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, KeysView
    from pathlib import Path

_CLOSE_WRITE, _MOVED_TO = 0x08, 0x80  # <sys/inotify.h>
_ONLYDIR, _DONT_FOLLOW = 0x0100_0000, 0x0200_0000
_DELETE_SELF, _MOVE_SELF, _UNMOUNT, _IGNORED = 0x400, 0x800, 0x2000, 0x8000
_GONE = _DELETE_SELF | _MOVE_SELF | _UNMOUNT | _IGNORED
_MODIFY, _ATTRIB, _MOVED_FROM, _CREATE, _DELETE, _OVERFLOW = 0x02, 0x04, 0x40, 0x100, 0x200, 0x4000
_ENTRIES = _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
_CONTENTS = _ENTRIES | _MODIFY | _CLOSE_WRITE

_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_HEAD = struct.Struct("iIII")
_BUFFER = 65_536  # bytes; an event has 272 at most


class DirectoryWatch(KernelWatch):
    """A watch on one directory; use `open_directory_watch`. `fileno` can be read when there is something to `read`."""

    def __init__(self, libc: ctypes.CDLL, path: Path) -> None:
        self.gone = False
        super().__init__(libc.inotify_init1(_FLAGS))
        mask = _CLOSE_WRITE | _MOVED_TO | _DELETE_SELF | _MOVE_SELF | _ONLYDIR | _DONT_FOLLOW
        if libc.inotify_add_watch(self._fd, os.fsencode(path), mask) < 0:
            error = last_error()
            self.close()
            raise error

    def read(self) -> KeysView[str]:
        """Return the names that are complete since the last time, the latest last; `gone` says that it has ended.

        What an overflowing queue lost is found by looking at the directory, as the caller does anyway.
        """
        names: dict[str, None] = {}
        for _, mask, name in _events(self._fd):
            self.gone = self.gone or bool(mask & _GONE)
            if mask & (_CLOSE_WRITE | _MOVED_TO):
                names.pop(name, None)
                names[name] = None
        return names.keys()


@dataclass(frozen=True)
class Place:
    """A directory, and what of it counts.

    Attributes:
        path: The directory.
        names: The entries that count, and only when they are made, removed, renamed or given another mode or owner;
            None for all, and for their contents as well.
    """

    path: Path
    names: frozenset[str] | None = None


class ChangeWatch(KernelWatch):
    """A watch on several directories; use `open_change_watch`. `fileno` can be read when there is something to `read`.

    Reading a file is no change, nor is what the kernel notes of that.
    """

    def __init__(self, libc: ctypes.CDLL, places: Iterable[Place]) -> None:
        super().__init__(libc.inotify_init1(_FLAGS))
        self._names: dict[int, frozenset[str] | None] = {}
        for place in places:
            mask = _CONTENTS if place.names is None else _ENTRIES
            number = libc.inotify_add_watch(self._fd, os.fsencode(place.path), mask)
            if number >= 0:  # one that is gone, or one too many for the kernel: the others are watched
                self._names[number] = place.names

    @property
    def hears(self) -> bool:
        """Whether it is told of any directory."""
        return bool(self._names)

    def read(self) -> bool:
        """Whether anything that counts was changed since the last time."""
        return any(self._counts(*event) for event in _events(self._fd))

    def _counts(self, number: int, mask: int, name: str) -> bool:
        if mask & (_GONE | _OVERFLOW) or not name:  # the directory itself, or more than was kept
            return True
        names = self._names.get(number)
        return names is None or name in names


def open_change_watch(places: Iterable[Place]) -> ChangeWatch | None:
    """Return a watch on directories, or None where there is none to be had."""
    try:
        return ChangeWatch(ctypes.CDLL(None, use_errno=True), places)
    except (OSError, AttributeError):  # as below
        return None


def _events(fd: int) -> Iterator[tuple[int, int, str]]:
    """Yield what the kernel has to tell at once: the watch's number, what happened, and to which entry."""
    try:
        data = os.read(fd, _BUFFER)
    except BlockingIOError:
        return
    position = 0
    while position + _HEAD.size <= len(data):
        number, mask, _, length = _HEAD.unpack_from(data, position)
        position += _HEAD.size
        yield number, mask, os.fsdecode(data[position : position + length].rstrip(b"\0"))
        position += length


def open_directory_watch(path: Path) -> DirectoryWatch | None:
    """Return a watch on a directory, or None where there is none to be had."""
    try:
        return DirectoryWatch(ctypes.CDLL(None, use_errno=True), path)
    except (OSError, AttributeError):  # no such directory, refused, or a C library without it
        return None
