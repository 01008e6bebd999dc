"""Durable changes to a directory: the one module that syncs, renames and links.

What it promises, each by the order of its system calls:

* A file is created exclusively, with its final mode before the first byte, and is synced before it has
  a name that anyone reads.
* A name is replaced by renaming over it; there is no instant without it. The directory is synced after: a rename may
  be durable before the data, or not at all, unless both are (ALICE, OSDI '14).
* A failed sync is never tried again on the same file: the kernel has marked the pages clean. The caller throws the
  file away and writes another.
* When the last sync of a directory fails *after* the rename, the step was taken but a power cut may undo it. That is
  `StoreInDoubtError`, and the caller reads the outcome back.

All names are relative to an open directory, none may be a symbolic link, so a path under other hands cannot lead
anywhere else. It refuses to know what the files mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, NamedTuple

from agent.errors import DamagedError, StoreError, StoreInDoubtError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEMPORARY = ".new-"  # a name that begins so is litter after a crash

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_REMEDIES = {
    errno.ENOSPC: "Free some space or inodes on this file system; the set in use is untouched.",
    errno.EDQUOT: "Raise the quota or free some space; the set in use is untouched.",
    errno.EROFS: "The file system is mounted read-only: remount it read-write (`mount -o remount,rw`).",
    errno.EACCES: "Run the command as root or as the agent's user, and check the owner of the directory.",
    errno.EPERM: "Run the command as root or as the agent's user, and check the owner of the directory.",
    errno.EIO: "The disk reports an error: read `dmesg`; the set in use was not touched by this step.",
    errno.EXDEV: "Keep the whole state directory on one file system, without bind mounts inside.",
    errno.EMFILE: "Too many open files: raise LimitNOFILE= of the unit.",
    errno.ENOMEM: "The gateway is out of memory; the set in use is untouched.",
}


@dataclass(frozen=True, kw_only=True)
class Modes:
    """The modes of what the agent writes. The owner is whoever runs it; see `agent.store.ownership`.

    Attributes:
        secret_mode: Mode of files that hold a key.
        public_mode: Mode of all other files.
        directory_mode: Mode of directories.
    """

    secret_mode: int = 0o600
    public_mode: int = 0o600
    directory_mode: int = 0o700


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn an `OSError` into a `StoreError` that says what failed and what to do.

    Raises:
        StoreError: Any `OSError` inside the block.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = _REMEDIES.get(error.errno or 0, "")
        raise StoreError(f"Cannot {what}: {reason}.", hint=hint) from error


def create_path(path: Path) -> None:
    """Create a directory below an existing one, for its owner alone, unless it is there.

    Raises:
        StoreError: It could not be created.
    """
    with explained(f"create {path}"):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return
    with directory(str(path.parent)) as fd:
        sync(fd, f"{path} was created")


def open_directory(name: str, dir_fd: int | None = None) -> int:
    """Open a directory that is no symbolic link and return its descriptor.

    Raises:
        StoreError: It is missing, no directory, a link, or not permitted.
    """
    with explained(f"open the directory {name}"):
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


@contextlib.contextmanager
def directory(name: str, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory for the length of a block."""
    fd = open_directory(name, dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def read(dir_fd: int, name: str, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        DamagedError: It is no regular file, or larger.
        StoreError: It cannot be read.
        FileNotFoundError: It is not there.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedError(f"{name} is a symbolic link, where a regular file is expected.") from None
        with explained(f"open {name}"):
            raise
    try:
        with explained(f"read {name}"):
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DamagedError(f"{name} is not a regular file.")
            data = _read_all(fd, name, limit + 1)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise DamagedError(f"{name} is larger than the {limit} bytes allowed.")
    return data


def _read_all(fd: int, name: str, limit: int) -> bytes:
    data = bytearray()
    try:
        while len(data) < limit and (part := os.read(fd, limit - len(data))):
            data += part
    except OSError as error:
        if error.errno == errno.EIO:  # a dead block stays dead: damage, not a passing error
            raise DamagedError(f"{name} cannot be read from the disk.", hint=_REMEDIES[errno.EIO]) from error
        raise
    return bytes(data)


def make_directory(dir_fd: int, name: str, modes: Modes) -> None:
    """Create a directory durably.

    Raises:
        StoreError: It could not be created; it may be left empty.
    """
    with explained(f"create the directory {name}"):
        os.mkdir(name, modes.directory_mode, dir_fd=dir_fd)
        with directory(name, dir_fd) as fd:
            _set_mode(fd, modes.directory_mode)
            os.fsync(fd)
        os.fsync(dir_fd)


def write_new(dir_fd: int, name: str, data: bytes, modes: Modes, *, secret: bool = False) -> None:
    """Create a file with its final mode, and sync it. The directory is not synced yet.

    Raises:
        StoreError: It exists, or could not be written whole; what was written is removed again.
    """
    mode = modes.secret_mode if secret else modes.public_mode
    _write_dressed(dir_fd, name, data, lambda fd: _set_mode(fd, mode))


def _write_dressed(dir_fd: int, name: str, data: bytes, dress: Callable[[int], None]) -> None:
    with explained(f"write {name}"):
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=dir_fd)
        try:
            dress(fd)
            _write_all(fd, data)
            os.fsync(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=dir_fd)
            raise
        finally:
            os.close(fd)


def set_mode(fd: int, mode: int, name: str) -> None:
    """Give something open another mode, unless it has that.

    Raises:
        StoreError: It is not permitted.
    """
    with explained(f"change the mode of {name}"):
        _set_mode(fd, mode)


def _set_mode(fd: int, mode: int) -> None:
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
    temporary = TEMPORARY + name
    remove(dir_fd, temporary)
    write_new(dir_fd, temporary, data, modes, secret=secret)
    _move_over(dir_fd, temporary, name)


def scribble(dir_fd: int, name: str, data: bytes, modes: Modes) -> None:
    """Replace a file whole without syncing anything, for what may get lost.

    Raises:
        StoreError: It was not replaced.
    """
    temporary = TEMPORARY + name
    remove(dir_fd, temporary)
    with explained(f"write {name}"):
        fd = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd
        )
        try:
            _set_mode(fd, modes.public_mode)
            _write_all(fd, data)
        finally:
            os.close(fd)
        move_unsynced(dir_fd, temporary, name)


def move_unsynced(dir_fd: int, old: str, new: str) -> None:
    """Rename over what has the new name, without syncing: for what no restart of the system outlives, as a socket.

    Raises:
        OSError: It still has the old name; the caller says what that means.
    """
    os.rename(old, new, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def put_beside(dir_fd: int, name: str, data: bytes, dress: Callable[[int], None]) -> None:
    """Write what is to replace a file beside it, and sync it; `move_in` puts it in its place.

    Args:
        dir_fd: The directory.
        name: The file that is to be replaced.
        data: Its new content.
        dress: Gives the open, empty file its owner, mode and labels; may raise OSError.

    Raises:
        StoreError: It could not be written whole; nothing is left of it.
    """
    remove(dir_fd, TEMPORARY + name)
    _write_dressed(dir_fd, TEMPORARY + name, data, dress)


def move_in(dir_fd: int, name: str) -> None:
    """Put in place what `put_beside` wrote.

    Raises:
        StoreInDoubtError: It is in place, but a power cut may bring the old content back.
        StoreError: The old content is in place.
    """
    _move_over(dir_fd, TEMPORARY + name, name)


def point(dir_fd: int, name: str, target: str) -> None:
    """Make the symbolic link `name` point at `target`, in one step.

    Raises:
        StoreInDoubtError: It points there, but a power cut may bring the old target back.
        StoreError: It still points where it did.
    """
    temporary = TEMPORARY + name
    remove(dir_fd, temporary)
    with explained(f"make the link {name}"):
        os.symlink(target, temporary, dir_fd=dir_fd)
    _move_over(dir_fd, temporary, name)


def rename(dir_fd: int, old: str, new: str) -> None:
    """Give a directory its final name, which must be free.

    Raises:
        StoreInDoubtError: It has the new name, but a power cut may bring the old one back.
        StoreError: It still has the old name.
    """
    if exists(dir_fd, new):
        raise StoreError(f"Cannot rename {old} to {new}: the name is taken.")
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
    free = next(other for other in names_left if not exists(dir_fd, other))
    _move_over(dir_fd, name, free)
    return free


def _move_over(dir_fd: int, old: str, new: str) -> None:
    with explained(f"rename {old} to {new}"):
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
        reason = os.strerror(error.errno or 0)
        message = f"In doubt: {done}, but the disk did not confirm it ({reason}), so a power cut may undo it."
        raise StoreInDoubtError(message, hint=_REMEDIES[errno.EIO]) from error


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
    with explained(f"sync {name}"):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def append(dir_fd: int, name: str, line: bytes, modes: Modes) -> None:
    """Add one line to a file and sync it; a torn last line is ended first.

    Raises:
        StoreError: It could not be added whole; what was added is cut off again where possible.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with explained(f"add a line to {name}"):
        fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
        try:
            _set_mode(fd, modes.public_mode)
            end = os.lseek(fd, 0, os.SEEK_END)
            torn = end > 0 and os.pread(fd, 1, end - 1) != b"\n"
            try:
                _write_all(fd, b"\n" + line if torn else line)
            except OSError:
                os.ftruncate(fd, end)
                raise
            os.fsync(fd)
        finally:
            os.close(fd)
    sync(dir_fd, f"a line was added to {name}")


def exists(dir_fd: int, name: str) -> bool:
    """Whether there is anything under this name, a dangling link included.

    Raises:
        StoreError: It cannot be told.
    """
    try:
        os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    except OSError:
        with explained(f"look at {name}"):
            raise
    return True


class State(NamedTuple):
    """What the file system tells of a file without reading it. Each write changes `changed`, which no program can set.

    Attributes:
        inode: Its number; another one after a file was replaced.
        size: Bytes.
        written: When its content was written last, nanoseconds since 1970.
        changed: When anything about it changed last, nanoseconds since 1970.
        mode: Its kind and who may read it.
    """

    inode: int
    size: int
    written: int
    changed: int
    mode: int


def state(dir_fd: int, name: str = "") -> State:
    """Return how a file looks from outside, and no link is followed; without a name, the directory itself.

    Raises:
        StoreError: It cannot be told.
        FileNotFoundError: It is not there.
    """
    try:
        found = os.lstat(name, dir_fd=dir_fd) if name else os.fstat(dir_fd)
    except FileNotFoundError:
        raise
    except OSError:
        with explained(f"look at {name}"):
            raise
    return State(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)


def link_target(dir_fd: int, name: str) -> str | None:
    """Return where a symbolic link points, or None when it is not there.

    Raises:
        DamagedError: It is something else than a link.
        StoreError: It cannot be told.
    """
    try:
        return os.readlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise DamagedError(f"{name} is not a symbolic link.", hint="Move it out of the way.") from None
        with explained(f"read the link {name}"):
            raise


def names(dir_fd: int) -> list[str]:
    """Return the names in a directory, sorted.

    Raises:
        StoreError: It cannot be listed.
    """
    with explained("list a directory"):
        return sorted(os.listdir(dir_fd))


def remove(dir_fd: int, name: str) -> None:
    """Remove a file or link if it is there; nothing is synced.

    Raises:
        StoreError: It is there and cannot be removed.
    """
    with explained(f"remove {name}"), contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


def erase_directory(dir_fd: int, name: str) -> None:
    """Overwrite and remove every file below a directory, then the directory itself, and sync.

    Overwriting is worth little on flash, which writes elsewhere; a hardware key or an encrypted file system is what
    protects there. It costs little and helps on disks that overwrite in place.

    Raises:
        StoreError: Something could not be removed; calling again goes on.
    """
    with directory(name, dir_fd) as fd:
        for file in names(fd):
            if is_directory(fd, file):
                erase_directory(fd, file)
                continue
            with explained(f"erase {name}/{file}"):
                _overwrite(fd, file)
                os.unlink(file, dir_fd=fd)
    with explained(f"remove the directory {name}"):
        os.rmdir(name, dir_fd=dir_fd)
    sync(dir_fd, f"{name} was removed")


def is_directory(dir_fd: int, name: str) -> bool:
    """Whether a name is that of a directory, and of no link to one.

    Raises:
        StoreError: It cannot be told.
    """
    with explained(f"look at {name}"):
        return stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode)


def _overwrite(dir_fd: int, name: str) -> None:
    status = os.lstat(name, dir_fd=dir_fd)
    if not stat.S_ISREG(status.st_mode):
        return
    with contextlib.suppress(OSError):  # a full or failing disk must not keep the file from being removed
        fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            _write_all(fd, bytes(status.st_size))
            os.fsync(fd)
        finally:
            os.close(fd)
