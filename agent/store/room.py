"""Room: whether a change finds enough of it, and what is set aside for falling back."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from agent.core.change.reserve import (
    GENERATION_BYTES,
    GENERATION_INODES,
    NEEDED_BYTES,
    NEEDED_INODES,
    SPENT,
    Standing,
)
from agent.errors import StoreError
from agent.store import reserve
from agent.store.files import directories, disk, durable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.store.sets.directory import GenerationDirectory

P = ParamSpec("P")
T = TypeVar("T")

PROBES = f"{durable.TEMPORARY}preflight", f"{durable.TEMPORARY}preflight.moved"  # before and after its renaming
_PROBE_BYTES = 65_536  # what a quota has to let in besides: `statvfs` knows of none


class Room:
    """The room on the file system of one state directory."""

    def __init__(self, path: Path, root: int, directory: GenerationDirectory, modes: durable.Modes) -> None:
        self._path = path
        self._root = root
        self._directory = directory
        self._modes = modes

    def reserve(self) -> Standing:
        """Return how the room stands that is set aside for falling back.

        Raises:
            StoreError: It cannot be told.
        """
        return reserve.standing(self._root)

    def clear_way(self) -> str:
        """Move a reserve out of the way that this user may not look into, and return a note; empty without one.

        Raises:
            StoreError: It could not be moved.
        """
        try:
            self.reserve()
        except StoreError as error:
            if error.denied:
                return f"{error} It was moved to {durable.put_away(self._root, reserve.NAME, reserve.DAMAGED)}."
        return ""

    def on_reserve(self, tell: Callable[[str], object], step: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Take a step that leads back to a set that works; for want of room give the reserve up, and try once more.

        Args:
            tell: Takes a sentence about that.
            step: The step, which may be taken again.
            args: For the step.
            named: For the step.

        Raises:
            StoreError: The step failed.
        """
        try:
            return step(*args, **named)
        except StoreError as error:
            if not (error.no_room and reserve.give_up(self._root)):
                raise
        tell(SPENT)
        return step(*args, **named)

    def keep_reserve(self) -> None:
        """Set room aside for steps that lead back, unless that is done or there is too little; only with no change.

        Raises:
            StoreError: It could not be set aside though there is room.
        """
        if self.reserve() is Standing.MISSING:
            reserve.make(self._root, self._modes)

    def preflight(self, *, back: bool = False) -> None:
        """Prove that there is room, and that files can be written, renamed and linked here.

        Args:
            back: Whether the change leads back to a set that works: it then needs no more than it uses.

        Raises:
            StoreError: Something is missing; the message says what.
        """
        with disk.explained(f"look at the file system of {self._path}"):
            space = os.fstatvfs(self._root)
        needed_bytes, needed_inodes = (GENERATION_BYTES, GENERATION_INODES) if back else (NEEDED_BYTES, NEEDED_INODES)
        used_up = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if space.f_bavail * space.f_frsize < needed_bytes:
            raise StoreError(
                f"{self._path} has {space.f_bavail * space.f_frsize // 1024} KiB free and a change needs "
                f"{needed_bytes // 1024} KiB. No certificate was asked for.",
                hint="Free some space on this file system and try again.",
            ) from used_up
        if space.f_files and space.f_favail < needed_inodes:
            raise StoreError(
                f"{self._path} has {space.f_favail} inodes free and a change needs {needed_inodes}. "
                "No certificate was asked for.",
                hint="Remove some files from this file system and try again.",
            ) from used_up
        with disk.explained(f"make a generation in {self._path}"):
            try:
                self._try_writing()
            except StoreError as error:  # the names that it writes are none that a person looks for
                raise error.__cause__ or error from None

    def _try_writing(self) -> None:
        """Take each kind of step, and take it back.

        None is synced: nothing here is to outlive the call, and the key's own syncs come before anything is asked for.
        So the room is taken and given back without a byte of it reaching the flash.
        """
        probe, moved = PROBES
        self._discard()
        directories.begin_directory(self._directory.fd, probe, self._modes)
        try:
            with disk.directory(probe, self._directory.fd) as fd:
                directories.try_out(fd, _PROBE_BYTES)
            with disk.explained(f"rename {probe} to {moved}"):
                durable.move_unsynced(self._directory.fd, probe, moved)
        finally:
            self._discard()

    def _discard(self) -> None:
        for name in PROBES:
            directories.discard(self._directory.fd, name, directories.TRIED_OUT)
