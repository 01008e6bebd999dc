"""Directories: made, tried out, erased, and moved out of the way. `agent.store.files.durable` renames and syncs."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.errors import StoreError
from agent.store.files import disk, durable
from agent.system import descriptors

if TYPE_CHECKING:
    from pathlib import Path

TRIED_OUT = frozenset({"file", "link", f"{durable.TEMPORARY}file", f"{durable.TEMPORARY}link"})  # by `try_out`

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create_path(path: Path) -> None:
    """Create a directory below an existing one, for its owner alone, unless it is there.

    Raises:
        StoreError: It could not be created.
    """
    with disk.explained(f"create {path}"):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return
    with disk.directory(str(path.parent)) as fd:
        durable.sync(fd, f"{path} was created")


def make_directory(dir_fd: int, name: str, modes: durable.Modes) -> None:
    """Create a directory durably.

    Raises:
        StoreError: It could not be created; it may be left empty.
    """
    begin_directory(dir_fd, name, modes)
    with disk.directory(name, dir_fd) as fd, durable.part_of(f"create the directory {name}"):
        durable.sync(fd, f"{name} was created")
        durable.sync(dir_fd, f"{name} was created")


def begin_directory(dir_fd: int, name: str, modes: durable.Modes) -> None:
    """Create a directory; it is the caller's to sync it and the one that it is in, once something is in it.

    Raises:
        StoreError: It could not be created; it may be left empty.
    """
    with disk.explained(f"create the directory {name}"):
        os.mkdir(name, modes.directory_mode, dir_fd=dir_fd)
        with disk.directory(name, dir_fd) as fd:
            durable.set_mode(fd, modes.directory_mode, name)


def try_out(dir_fd: int, size: int) -> None:
    """Have a directory hold a file of `size` bytes, none written, and a link to it, both renamed once and unsynced.

    Raises:
        StoreError: One of these cannot be done here.
    """
    file, link = "file", "link"
    with disk.explained(f"write {file}"):
        fd = os.open(durable.TEMPORARY + file, _NEW, 0o600, dir_fd=dir_fd)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            descriptors.release(fd)
    _try_link(dir_fd, durable.TEMPORARY + link, file)
    for name in (file, link):
        with disk.explained(f"rename {durable.TEMPORARY + name} to {name}"):
            durable.move_unsynced(dir_fd, durable.TEMPORARY + name, name)


def _try_link(dir_fd: int, name: str, target: str) -> None:
    """Make a link beside a file that was just made, so that what forbids it is the file system and no mode."""
    try:
        durable.link_unsynced(dir_fd, name, target)
    except StoreError as error:
        if not isinstance(error.__cause__, PermissionError):
            raise
        raise error from OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def erase_directory(dir_fd: int, name: str, public: frozenset[str] = frozenset()) -> None:
    """Remove every file below a directory, then the directory itself; all but the public ones are overwritten before.

    That helps on disks that write in place; on flash a hardware key or an encrypted file system is what protects.

    The removal is not synced. A power cut may bring the name back, as litter: what was secret in it is overwritten.

    Args:
        dir_fd: The directory that it is in.
        name: Its name.
        public: Names of files that hold no secret.

    Raises:
        StoreError: Something could not be removed; calling again goes on.
    """
    with disk.directory(name, dir_fd) as fd:
        for file in disk.names(fd):
            if disk.is_directory(fd, file):
                erase_directory(fd, file)
                continue
            with disk.explained(f"erase {name}/{file}"):
                if file not in public:
                    durable.overwrite(fd, file)
                os.unlink(file, dir_fd=fd)
    with disk.explained(f"remove the directory {name}"):
        os.rmdir(name, dir_fd=dir_fd)


def discard(dir_fd: int, name: str, public: frozenset[str] = frozenset()) -> None:
    """Erase a directory that a crash may have left unfinished, if it is there; anything else is moved out of the way.

    So is another user's directory, which only root can erase. See `erase_directory` for what is public.

    Raises:
        StoreError: It is there and cannot be erased or moved.
    """
    with disk.explained(f"look at {name}"), suppress(FileNotFoundError):
        found = os.lstat(name, dir_fd=dir_fd)
        if stat.S_ISDIR(found.st_mode) and os.geteuid() in {0, found.st_uid}:
            erase_directory(dir_fd, name, public)
        else:
            durable.put_away(dir_fd, name, f"{name.removeprefix(durable.TEMPORARY)}{durable.DAMAGED}")


def withdraw(dir_fd: int, name: str) -> None:
    """Remove a file of ours if it is there; what is no file is moved out of the way. Nothing is synced.

    Raises:
        StoreError: It is there and cannot be removed.
    """
    with disk.explained(f"remove {name}"):
        durable.free(dir_fd, name, name)
