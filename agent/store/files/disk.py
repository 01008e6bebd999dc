"""Reading a directory: files, links and names, each with a bound and an error that says what to do.

All names are relative to an open directory, none may be a symbolic link, so a path under other hands cannot lead
anywhere else. It refuses to know what the files mean, and changes nothing; `agent.store.files.durable` does.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from agent.errors import DamagedError, StoreError
from agent.system import descriptors, files

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def explained(what: str, within: int | None = None) -> Iterator[None]:
    """Turn an `OSError` into a `StoreError` that says what failed and what to do.

    Args:
        what: What is done, as in "write history.jsonl".
        within: The open directory that it is done in, which is named then; None where `what` says it.

    Raises:
        StoreError: Any `OSError` inside the block.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = files.remedy(error.errno)
        raise StoreError(f"Cannot {what}{_named(within)}: {reason}.", hint=hint) from error


def _named(directory: int | None) -> str:
    """Return where an open directory is, as a clause; empty where the kernel does not tell."""
    try:
        return "" if directory is None else f" in {os.readlink(f'/proc/self/fd/{directory}')}"  # noqa: PTH115 - no path
    except OSError:
        return ""


def open_directory(name: str, dir_fd: int | None = None) -> int:
    """Open a directory that is no symbolic link and return its descriptor.

    Raises:
        StoreError: It is missing, no directory, a link, or not permitted.
    """
    try:
        with explained(f"open the directory {name}"):
            return os.open(name, _DIRECTORY, dir_fd=dir_fd)
    except StoreError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            raise _no_directory(name, dir_fd, error) from error.__cause__
        raise


def _no_directory(name: str, dir_fd: int | None, error: StoreError) -> StoreError:
    """Return what to say of something else in a directory's place; the kernel says the same of a link to one."""
    try:
        found = os.lstat(name, dir_fd=dir_fd).st_mode
    except OSError:
        return error  # something above it
    said = f"{name} is {files.kind_of(found)}, where a directory is expected."
    if not stat.S_ISLNK(found):
        return StoreError(said, hint="Move it out of the way.")
    real = os.path.realpath(name) if os.path.isabs(name) else ""  # noqa: PTH117 - names, not paths, are opened
    if os.path.islink(real):  # noqa: PTH114 - as above
        return StoreError(said, hint="The links there lead in a circle: put the directory itself in their place.")
    instead = f"Name {real} in its place" if real else "Put the directory itself in its place"
    if real and not os.path.lexists(real):
        instead = f"{real} is not there: mount its file system, and name it in place of the link"
    return StoreError(said, hint=f"{instead}: no link is followed here.")


@contextlib.contextmanager
def directory(name: str, dir_fd: int | None = None) -> Iterator[int]:
    """Open a directory for the length of a block."""
    fd = open_directory(name, dir_fd)
    try:
        yield fd
    finally:
        descriptors.release(fd)


def read(dir_fd: int, name: str, limit: int, *, end_of_larger: bool = False) -> bytes:
    """Return the content of a regular file of at most `limit` bytes, or the end of a larger one where that will do.

    Raises:
        DamagedError: It is no regular file, or larger.
        StoreError: It cannot be read.
        FileNotFoundError: It is not there.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        raise
    except OSError:
        with explained(f"open {name}"):
            _require_file(name, os.lstat(name, dir_fd=dir_fd).st_mode)
            raise
    try:
        with explained(f"read {name}"):
            status = os.fstat(fd)
            _require_file(name, status.st_mode)
            if end_of_larger and status.st_size > limit:
                os.lseek(fd, status.st_size - limit, os.SEEK_SET)
                return _read_all(fd, name, limit)
            data = _read_all(fd, name, limit + 1)
    finally:
        descriptors.release(fd)
    if len(data) > limit:
        raise DamagedError(f"{name} is larger than the {limit} bytes allowed.")
    return data


def _require_file(name: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise DamagedError(f"{name} is {files.kind_of(mode)}, where a regular file is expected.")


def _read_all(fd: int, name: str, limit: int) -> bytes:
    data = bytearray()
    try:
        while len(data) < limit and (part := os.read(fd, limit - len(data))):
            data += part
    except OSError as error:
        if error.errno in files.DEAD:  # a dead block stays dead: damage, not a passing error
            raise DamagedError(f"{name} cannot be read from the disk.", hint=files.remedy(errno.EIO)) from error
        raise
    return bytes(data)


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


def is_ours_alone(dir_fd: int, name: str) -> bool:
    """Whether a file may be written into, or made: it is this user's, by no other name that of another program's."""
    try:
        found = os.lstat(name, dir_fd=dir_fd)
    except OSError:
        return True  # the writing tells
    return found.st_nlink == 1 and os.access(name, os.W_OK, dir_fd=dir_fd, effective_ids=True)


def is_of_another_kind(dir_fd: int, name: str, than: str) -> bool:
    """Whether there is something under a name that is no link, nor what is there under another name.

    Raises:
        OSError: It cannot be told.
    """
    try:
        found = os.lstat(name, dir_fd=dir_fd).st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISLNK(found) and stat.S_IFMT(found) != stat.S_IFMT(os.lstat(than, dir_fd=dir_fd).st_mode)


class FileState(NamedTuple):
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


def state(dir_fd: int, name: str = "") -> FileState:
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
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)


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


def is_directory(dir_fd: int, name: str) -> bool:
    """Whether a name is that of a directory, and of no link to one.

    Raises:
        StoreError: It cannot be told.
    """
    with explained(f"look at {name}"):
        return stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode)
