"""The reserve on disk: room that is held by files of no use, and given up for a step that leads back.

::

    <state_dir>/reserve/00 ... 15    each holds its blocks and an inode

Rules:

* It comes whole, by one rename, and goes with its last piece first. So that piece alone tells whether it is there, and
  what is there is never written again: flash wears out.
* Its content is written, and cannot be compressed. Preallocating makes real blocks on some file systems only: on others
  the C library writes zeros instead, and one that compresses keeps next to nothing of them.
* The content is the same in every reserve, and no secret.
* What is no directory in its place, or another user's, as a restored backup may leave it, is moved out of the way and
  kept.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.core.change import reserve
from agent.errors import StoreError
from agent.store.files import directories, disk, durable

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.change.reserve import Standing

NAME = "reserve"
DAMAGED = NAME + durable.DAMAGED
UNFINISHED = durable.TEMPORARY + NAME
_SEED = b"iot-cert-agent reserve"


def _piece(number: int) -> str:
    return f"{number:02}"


def standing(root: int) -> Standing:
    """Return how the reserve of an open state directory stands.

    Raises:
        StoreError: It cannot be told.
    """
    with disk.explained("look at the reserve"):
        space = os.fstatvfs(root)
        free_inodes = space.f_favail if space.f_files else None
        return reserve.standing(space.f_bavail * space.f_frsize, free_inodes, kept=_is_kept(root))


def standing_at(state_dir: Path) -> Standing | None:
    """Return how the reserve of a state directory stands; None where this user cannot tell."""
    try:
        with disk.directory(str(state_dir)) as root:
            return standing(root)
    except StoreError:
        return None


def _is_kept(root: int) -> bool:
    try:
        if not stat.S_ISDIR(os.lstat(NAME, dir_fd=root).st_mode):
            return False
        status = os.lstat(f"{NAME}/{_piece(reserve.PIECES - 1)}", dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == reserve.PIECE_BYTES


def make(root: int, modes: durable.Modes) -> None:
    """Set room aside, in place of what is left of a reserve that was given up.

    Raises:
        StoreInDoubtError: It is there, but a power cut may undo that.
        StoreError: It could not be made; nothing is left of the try.
    """
    import hashlib  # noqa: PLC0415 - the daemon, which only looks, does without

    directories.discard(root, UNFINISHED, frozenset(map(_piece, range(reserve.PIECES))))
    give_up(root)
    content = memoryview(hashlib.shake_256(_SEED).digest(reserve.PIECES * reserve.PIECE_BYTES))
    try:
        directories.make_directory(root, UNFINISHED, modes)
        with disk.directory(UNFINISHED, root) as fd, durable.part_of("set room aside"):
            for number in range(reserve.PIECES):
                part = content[number * reserve.PIECE_BYTES :][: reserve.PIECE_BYTES]
                durable.write_new(fd, _piece(number), bytes(part), modes)
            durable.sync(fd, "room was set aside")
        if disk.exists(root, NAME) and not disk.is_directory(root, NAME):
            durable.put_away(root, NAME, DAMAGED)
        durable.rename(root, UNFINISHED, NAME)
    except StoreError:
        _remove(root, UNFINISHED)
        raise


def give_up(root: int) -> bool:
    """Give the room back to the file system; return whether there was any to give."""
    given = _remove(root, NAME)
    if given:
        with suppress(StoreError):  # a journal may hold freed blocks back until then; if not, the step will tell
            durable.sync(root, "the reserve was given up")
    return given


def _remove(root: int, name: str) -> bool:
    """Remove a directory of pieces as far as that is possible; return whether anything was."""
    removed = False
    with suppress(StoreError):
        if not disk.exists(root, name):
            return False
        with disk.directory(name, root) as fd:
            for piece in reversed(disk.names(fd)):
                durable.remove(fd, piece)
                removed = True
        with disk.explained(f"remove {name}"):
            os.rmdir(name, dir_fd=root)
        removed = True
    return removed
