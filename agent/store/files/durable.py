"""Durable changes to a directory: the one module that syncs, renames and links.

What it promises, each by the order of its system calls:

* A file is created exclusively, with its final mode before the first byte, and is synced before it has
  a name that a program reads.
* A name is replaced by renaming over it; there is no instant without it. The directory is synced after: a rename may
  be durable before the data, or not at all, unless both are (ALICE, OSDI '14).
* A failed sync is never tried again on the same file: the kernel has marked the pages clean. The caller throws the
  file away and writes another.
* When the last sync of a directory fails *after* the rename, the step was taken but a power cut may undo it. That is
  `StoreInDoubtError`, and the caller reads the outcome back.

All names are relative to an open directory, none may be a symbolic link, so a path under other hands cannot lead
anywhere else. It refuses to know what the files mean. What reads is in `agent.store.files.disk`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from itertools import chain, count
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.errors import StoreError, StoreInDoubtError
from agent.store.files import disk
from agent.system import descriptors, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEMPORARY = ".new-"  # a name that begins so is litter after a crash
DAMAGED = ".damaged"  # a name that ends so was moved out of the way, and is kept for a person who asks

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Modes:
    """The modes of what the agent writes. The owner is the user that runs it; see `agent.store.files.ownership`.

    Attributes:
        secret_mode: Mode of files that hold a key.
        public_mode: Mode of all other files.
        directory_mode: Mode of directories.
    """

    secret_mode: int = 0o600
    public_mode: int = 0o600
    directory_mode: int = 0o700


def write_new(dir_fd: int, name: str, data: bytes, modes: Modes, *, secret: bool = False) -> None:
    """Create a file with its final mode, and sync it. The directory is not synced yet.

    Raises:
        StoreError: It exists, or could not be written whole; what was written is removed again.
    """
    mode = modes.secret_mode if secret else modes.public_mode
    _write_dressed(dir_fd, name, data, lambda fd: _give_mode(fd, mode))


def _write_dressed(dir_fd: int, name: str, data: bytes, dress: Callable[[int], None], *, lasting: bool = True) -> None:
    with disk.explained(f"write {name.removeprefix(TEMPORARY)}", dir_fd):
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=dir_fd)
        try:
            dress(fd)
            _write_all(fd, data)
            if lasting:
                os.fsync(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=dir_fd)
            raise
        finally:
            descriptors.release(fd)


def set_mode(fd: int, mode: int, name: str) -> None:
    """Give something open another mode, unless it has that.

    Raises:
        StoreError: It is not permitted.
    """
    with disk.explained(f"change the mode of {name}"):
        _give_mode(fd, mode)


def _give_mode(fd: int, mode: int) -> None:
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.fchmod(fd, mode)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(dir_fd: int, name: str, data: bytes, modes: Modes, *, secret: bool = False) -> None:
    """Replace a file whole: readers see the old content or the new, never less.

    Raises:
        StoreInDoubtError: It was replaced, but a power cut may bring the old content back.
        StoreError: It was not replaced.
    """
    replace_unsettled(dir_fd, name, data, modes, secret=secret)
    sync(dir_fd, f"{name} was put in place")


def replace_unsettled(dir_fd: int, name: str, data: bytes, modes: Modes, *, secret: bool = False) -> None:
    """Replace a file whole; until its directory is synced, a power cut may bring the old content back, whole.

    Raises:
        StoreError: It was not replaced.
    """
    temporary = cleared(dir_fd, name)
    write_new(dir_fd, temporary, data, modes, secret=secret)
    _move_into_place(dir_fd, temporary, name)


def scribble(dir_fd: int, name: str, data: bytes, modes: Modes) -> None:
    """Replace a file whole without syncing anything, for what may get lost.

    Raises:
        StoreError: It was not replaced.
    """
    temporary = cleared(dir_fd, name)
    _write_dressed(dir_fd, temporary, data, lambda fd: _give_mode(fd, modes.public_mode), lasting=False)
    _move_into_place(dir_fd, temporary, name)


def beside(name: str) -> str:
    """Return the name that a file has until it replaces another, which may have the longest name, of 255 bytes."""
    return os.fsdecode(os.fsencode(TEMPORARY + name)[:255])


def cleared(dir_fd: int, name: str) -> str:
    """Free the name of the file that is to replace another, and return it.

    A file or a link there is what an earlier try left, and is removed. Anything else is another program's, and is moved
    out of the way and kept.

    Raises:
        StoreError: It is taken still.
    """
    temporary = beside(name)
    with disk.explained(f"write {name}, since {temporary} is in its way", dir_fd):
        free(dir_fd, temporary, name)
    return temporary


def free(dir_fd: int, taken: str, name: str) -> None:
    """Remove a file or a link of ours if it is there; anything else is moved out of the way, to `name`.damaged.

    Raises:
        OSError: It cannot be removed.
        StoreError: It cannot be moved.
    """
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(taken, dir_fd=dir_fd).st_mode
        if stat.S_ISREG(found) or stat.S_ISLNK(found):
            os.unlink(taken, dir_fd=dir_fd)
        else:
            _keep(dir_fd, taken, name)


def _keep(dir_fd: int, found: str, name: str) -> None:
    with part_of(f"move {found} out of the way"):
        put_away(dir_fd, found, f"{name}{DAMAGED}")


def _move_into_place(dir_fd: int, old: str, new: str) -> None:
    """Rename over what has the new name, without syncing.

    What is neither a link nor of the kind that replaces it is moved out of the way and kept: a directory comes from a
    backup that followed links, a pipe, a socket or a device is another program's. Where nothing can be renamed over, as
    where a file system is mounted on it, what had the old name is removed, and the StoreError goes on.
    """
    try:
        with disk.explained(f"put {new} in place", dir_fd):
            _make_way(dir_fd, old, new)
            move_unsynced(dir_fd, old, new)
    except StoreError:
        with contextlib.suppress(OSError):
            os.unlink(old, dir_fd=dir_fd)
        raise


def _make_way(dir_fd: int, old: str, new: str) -> None:
    if disk.is_of_another_kind(dir_fd, new, old):
        _keep(dir_fd, new, new)


def move_unsynced(dir_fd: int, old: str, new: str) -> None:
    """Rename over what has the new name, without syncing: for what no restart of the system outlives, as a socket.

    Raises:
        OSError: It still has the old name; the caller says what that means.
    """
    os.rename(old, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def put_beside(dir_fd: int, name: str, data: bytes, dress: Callable[[int], None]) -> None:
    """Write what is to replace a file beside it, and sync it; `move_in` puts it in its place.

    `dress` gives the open, empty file its owner, mode and labels; it may raise OSError.

    Raises:
        StoreError: It could not be written whole; nothing is left of it.
    """
    _write_dressed(dir_fd, cleared(dir_fd, name), data, dress)


def move_in(dir_fd: int, name: str) -> None:
    """Put in place what `put_beside` wrote, and keep what is there and is neither a file nor a link.

    Raises:
        StoreInDoubtError: It is in place, but a power cut may bring the old content back.
        StoreError: The old content is in place.
    """
    with disk.explained(f"put {name} in place", dir_fd):
        _make_way(dir_fd, beside(name), name)
    _move_over(dir_fd, beside(name), name)


def link_unsynced(dir_fd: int, name: str, target: str) -> None:
    """Make a symbolic link under a free name, without syncing.

    Raises:
        StoreError: It could not be made.
    """
    with disk.explained(f"make the link {name}", dir_fd):
        os.symlink(target, name, dir_fd=dir_fd)


def point(dir_fd: int, name: str, target: str) -> None:
    """Make the symbolic link `name` point at `target`, in one step.

    Raises:
        StoreInDoubtError: It points there, but a power cut may bring the old target back.
        StoreError: It still points where it did.
    """
    temporary = cleared(dir_fd, name)
    link_unsynced(dir_fd, temporary, target)
    _move_into_place(dir_fd, temporary, name)
    sync(dir_fd, f"{name} was put in place")


def rename(dir_fd: int, old: str, new: str) -> None:
    """Give a directory its final name, which must be free.

    Raises:
        StoreInDoubtError: It has the new name, but a power cut may bring the old one back.
        StoreError: It still has the old name.
    """
    if disk.exists(dir_fd, new):
        raise StoreError(f"Cannot put {new} in place: the name is taken.")
    _move_over(dir_fd, old, new)


def put_away(dir_fd: int, name: str, kept: str) -> str:
    """Move what stands under a name out of the way, be it a file or a directory, and return where it is now.

    Args:
        dir_fd: The directory.
        name: Its name.
        kept: The name it gets; when something stands there already, a number is added.

    Raises:
        StoreInDoubtError: It was moved, but a power cut may bring it back.
        StoreError: It could not be moved.
    """
    names_left = chain((kept,), (f"{kept}.{number}" for number in count(2)))
    unused = next(other for other in names_left if not disk.exists(dir_fd, other))
    _move_over(dir_fd, name, unused)
    return unused


def _move_over(dir_fd: int, old: str, new: str) -> None:
    with disk.explained(f"put {new} in place" if old.startswith(TEMPORARY) else f"rename {old} to {new}", dir_fd):
        move_unsynced(dir_fd, old, new)
    sync(dir_fd, f"{new} was put in place")


def sync(dir_fd: int, done: str) -> None:
    """Make the names in a directory durable.

    Raises:
        StoreInDoubtError: They are there, but a power cut may undo them. `done` says what was done.
    """
    try:
        os.fsync(dir_fd)
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:  # CIFS and some of FUSE have no such step
            return  # to refuse each change for that would let the certificate expire
        reason = os.strerror(error.errno or 0)
        message = f"In doubt: {done}, but the disk did not confirm it ({reason}), so a power cut may undo it."
        raise StoreInDoubtError(message, hint=files.remedy(errno.EIO)) from error


@contextlib.contextmanager
def part_of(what: str) -> Iterator[None]:
    """Say plainly that a step did not happen when only a part of it is in doubt.

    Raises:
        StoreError: In place of a StoreInDoubtError inside the block.
    """
    try:
        yield
    except StoreInDoubtError as error:
        raise StoreError(f"Cannot {what}: a part of it was not confirmed by the disk.", hint=error.hint) from error


def sync_file(dir_fd: int, name: str) -> None:
    """Make the content of a file durable that another process may have written and not synced.

    Raises:
        StoreError: It could not be synced.
    """
    with disk.explained(f"sync {name}"):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.fsync(fd)
        finally:
            descriptors.release(fd)


def append(dir_fd: int, name: str, line: bytes, modes: Modes) -> None:
    """Add one line to a file and sync it; a torn last line is ended first.

    A file that has a line has a durable name: that of a new one is synced first.

    Raises:
        StoreInDoubtError: It was added, but a power cut may undo that.
        StoreError: It could not be added whole; what was added is cut off again where possible.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with disk.explained(f"add a line to {name}", dir_fd):
        fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
        try:
            _give_mode(fd, modes.public_mode)
            end = os.lseek(fd, 0, os.SEEK_END)
            if end == 0:
                os.fsync(dir_fd)
            torn = end > 0 and os.pread(fd, 1, end - 1) != b"\n"
            try:
                _write_all(fd, b"\n" + line if torn else line)
            except OSError:
                os.ftruncate(fd, end)
                raise
            _confirm(fd, name, end)
        finally:
            descriptors.release(fd)


def _confirm(fd: int, name: str, end: int) -> None:
    """Sync a line that was added at `end`, or cut it off: the pages of a sync that failed are never written again."""
    try:
        sync(fd, f"a line was added to {name}")
    except StoreInDoubtError as error:
        try:
            os.ftruncate(fd, end)
        except OSError:
            raise error from error.__cause__
        raise StoreError(f"Cannot add a line to {name}: the disk did not confirm it.", hint=error.hint) from error


def remove(dir_fd: int, name: str) -> None:
    """Remove a file or link if it is there; nothing is synced.

    Raises:
        StoreError: It is there and cannot be removed.
    """
    with disk.explained(f"remove {name}", dir_fd), contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


def overwrite(dir_fd: int, name: str) -> None:
    """Overwrite a regular file if it is there, unless it has another name, under which it may be in use."""
    with contextlib.suppress(OSError):  # a full or failing disk must not keep the file from being removed
        status = os.lstat(name, dir_fd=dir_fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            return
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            wipe(fd)
        finally:
            descriptors.release(fd)


def wipe(fd: int) -> None:
    """Overwrite an open file with zeros; may raise OSError."""
    _write_all(fd, bytes(os.fstat(fd).st_size))
    os.fsync(fd)
