"""Gives what root has left in a state directory back to its owner, as after a `cp -r` of root's from a backup.

The agent can neither read the keys in it nor put a new set beside them, so a gateway would wait for a person. Root does
this where another user may put what that user likes, so nothing is followed, no file is given away that has another
name as well, and nothing on another file system. What other programs drop in the inbox is theirs.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.errors import StoreError
from agent.store.files import disk
from agent.store.names import GENERATIONS
from agent.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PARTS = (GENERATIONS, "trust")  # directories of the agent's own, with all that is in them
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DEPTH = 3  # directories, below the state directory; the agent makes no more


def give_back(state_dir: Path) -> tuple[str, ...]:
    """Give what belongs to root in a state directory to its owner, and return its paths.

    Nothing is done by another user than root, and where the directory is root's, or is not there.

    Raises:
        StoreError: The directory cannot be looked at.
    """
    if os.geteuid() != 0 or not state_dir.is_dir():
        return ()
    with disk.directory(str(state_dir)) as fd:
        owner = os.fstat(fd)
        if owner.st_uid == 0:
            return ()
        return tuple(f"{state_dir}/{name}" for name in _given(fd, owner, "", 0))


def _given(directory: int, owner: os.stat_result, above: str, depth: int) -> Iterator[str]:
    for name in sorted(os.listdir(directory)):
        with suppress(OSError, StoreError):  # it has gone meanwhile, or is what the doctor tells of
            mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            if stat.S_ISREG(mode):
                fd = os.open(name, _FILE, dir_fd=directory)
            elif stat.S_ISDIR(mode) and (above or name in _PARTS):
                fd = disk.open_directory(name, directory)
            else:
                continue
            try:
                if _give(fd, owner):
                    yield f"{above}{name}"
                if stat.S_ISDIR(mode) and depth < _DEPTH and os.fstat(fd).st_dev == owner.st_dev:
                    yield from _given(fd, owner, f"{above}{name}/", depth + 1)
            finally:
                descriptors.release(fd)


def _give(fd: int, owner: os.stat_result) -> bool:
    """Give what is open to a user, and return whether that was to be done."""
    status = os.fstat(fd)
    only = stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1)
    if status.st_uid != 0 or status.st_dev != owner.st_dev or not only:
        return False
    os.fchown(fd, owner.st_uid, owner.st_gid)
    return True
