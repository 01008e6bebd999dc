"""The files of locks: opened, and made where there is none, whatever stands in their place.

A directory, a link, a pipe or a socket of that name is no lock of ours, and must not keep a gateway from its work: it
is moved out of the way and kept. What the lock means is its holder's.
"""

from __future__ import annotations

import errno
import fcntl
import os

from agent.store import disk, durable

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_IN_THE_WAY = {errno.EISDIR, errno.ELOOP, errno.ENXIO}  # a directory, a link, a socket


def opened(dir_fd: int, name: str, mode: int = 0o600) -> int:
    """Return the descriptor of a lock's file, which is made where there is none.

    Raises:
        OSError: It cannot be opened; the caller says what that means.
        StoreError: What stands in its place could not be moved.
    """
    try:
        return os.open(name, _FLAGS, mode, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
    make_way(dir_fd, name)
    return os.open(name, _FLAGS, mode, dir_fd=dir_fd)


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
        if disk.exists(dir_fd, name) and not disk.is_file(dir_fd, name):
            with durable.part_of(f"make way for {name}"):
                durable.put_away(dir_fd, name, f"{name}{durable.ASIDE}")
    finally:
        fcntl.flock(dir_fd, fcntl.LOCK_UN)
