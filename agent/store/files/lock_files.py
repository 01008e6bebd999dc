"""The files of locks: opened, and made where there is none, whatever stands in their place.

A directory, a link, a pipe, a socket or a device of that name is no lock of ours, and neither is a file that this user
may not even read, as root makes one; they must not keep a gateway from its work, and are moved out of the way and kept.
What may be read can be locked. What the lock means is its holder's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

from agent.store.files import disk, durable

if TYPE_CHECKING:
    from pathlib import Path

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def opened(dir_fd: int, name: str, mode: int = 0o600) -> int:
    """Return the descriptor of a lock's file, which is made where there is none.

    Raises:
        OSError: It cannot be opened; the caller says what that means.
        StoreError: What stands in its place could not be moved.
    """
    if not _may_be_locked(dir_fd, name):
        make_way(dir_fd, name)
    try:
        return os.open(name, os.O_RDWR | os.O_CREAT | _FLAGS, mode, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        try:
            return os.open(name, os.O_RDONLY | _FLAGS, dir_fd=dir_fd)
        except OSError:
            raise error from None


def opened_at(path: Path) -> int:
    """Return the same of a lock's file by its path; the directory may be a link to one."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return opened(folder, path.name)
    finally:
        os.close(folder)


def _may_be_locked(dir_fd: int, name: str) -> bool:
    """Whether there is nothing yet, or a file that this user may open; nothing else is opened to find out."""
    try:
        mode = os.lstat(name, dir_fd=dir_fd).st_mode
    except FileNotFoundError:
        return True
    return stat.S_ISREG(mode) and os.access(name, os.R_OK, dir_fd=dir_fd, effective_ids=True)


def make_way(dir_fd: int, name: str) -> None:
    """Move out of the way what stands in the place of a lock's file and is none.

    Two processes may come here at once, and the later one must not move the file that the first has locked: the
    directory itself is locked meanwhile.

    Raises:
        StoreError: It could not be moved.
    """
    with disk.explained(f"make way for {name}"):
        fcntl.flock(dir_fd, fcntl.LOCK_EX)
    try:
        if not _may_be_locked(dir_fd, name):
            with durable.part_of(f"make way for {name}"):
                durable.put_away(dir_fd, name, f"{name}{durable.DAMAGED}")
    finally:
        fcntl.flock(dir_fd, fcntl.LOCK_UN)
