"""Copies of the set for programs that cannot follow the links: looked at, written beside, and put in place together.

The directories they lie in may belong to the program's user, so every step of a path is opened from the one above it.
No step may be a link, nor belong to a user but root and the copy's owner, nor be another user's to write: else one who
owns it could have root write where it should not.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import hashlib
import os
import pwd
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.dependants import Format
from agent.core.frozen import frozen
from agent.errors import DamagedError, StoreError, StoreInDoubtError
from agent.store.files import disk, durable
from agent.system import descriptors, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent.core.dependants import Copy

MAX_COPY = 4 * 1024 * 1024  # bytes; larger than any set of anchors
MAX_PASSWORD = 4096
LABEL = "security.selinux"
SELINUX = "/sys/fs/selinux/enforce"  # there while SELinux is at work


@frozen
class Written:
    """What became of the copies.

    Attributes:
        tried: Whether any had to be written.
        changed: Whether any was, as far as is known.
        problems: Why a copy is not as it should be, by its path.
        digests: What tells later that they are right, by path, of those whose content alone does not.
        barred: Those that were not tried, since only a person can take away what is in their way.
    """

    tried: bool
    changed: bool
    problems: Mapping[Path, str]
    digests: Mapping[str, str]
    barred: frozenset[Path] = frozenset()


# What no time mends: another kind of object, a link to itself, one that is immutable or not to be touched.
LASTING = frozenset({
    errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EPERM, errno.EACCES,
})  # fmt: skip


def only_a_person_ends(error: Exception) -> bool:
    """Whether what stands somewhere, or whose it is, is wrong, and the system reported no error that may pass."""
    wrong = isinstance(error, KeyError) or (type(error) is StoreError and error.__cause__ is None)
    return wrong or (isinstance(error.__cause__, OSError) and error.__cause__.errno in LASTING)


def passwords(copies: Sequence[Copy]) -> dict[Path, bytes]:
    """Return the content of the password files that only their owner may read; where one is missing, a copy says so."""
    found = {}
    for copy in copies:
        if copy.password_file is None:
            continue
        # Step by step, too: through a link, its owner would have root use a password that is another's.
        with suppress(OSError, StoreError, KeyError), directory_of(copy, copy.password_file) as directory:
            fd = os.open(copy.password_file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                         dir_fd=directory)  # fmt: skip
            try:  # `fdopen` refuses a directory, and leaves it open then
                status = os.fstat(fd)
                if stat.S_ISREG(status.st_mode) and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    with os.fdopen(fd, "rb", closefd=False) as file:
                        found[copy.password_file] = file.read(MAX_PASSWORD)
            finally:
                descriptors.release(fd)
    return found


def write(
    copies: Sequence[Copy],
    contents: Sequence[bytes],
    known: Mapping[str, str],
    unmade: Mapping[int, str] | None = None,
    *,
    beforehand: Callable[[], object] = lambda: None,
) -> Written:
    """Put every copy in place that is not as it should be.

    All are written beside their places before the first is moved, so that a key and its certificate in two files are
    apart for a moment only. One that cannot be written keeps no other away.

    Args:
        copies: Which.
        contents: What each holds.
        known: What `Written.digests` was when this set was served last; empty for another set.
        unmade: Why one of them could not be made, by its place.
        beforehand: Called before the first is moved, if any is to be.
    """
    problems = {copies[place].to: problem(copies[place], StoreError(why)) for place, why in (unmade or {}).items()}
    digests: dict[str, str] = {}
    barred = {copies[place].to for place in unmade or {} if not _lacks_its_password(copies[place])}
    ready: list[tuple[int, Copy]] = []
    with ExitStack() as stack:
        opened = _Directories(stack)
        for copy, content in zip(copies, contents, strict=True):
            if copy.to in problems:
                continue
            try:
                directory = opened.of(copy)
                new, marks = _prepared(directory, copy, content, known)
            except (StoreError, KeyError) as error:
                problems[copy.to] = problem(copy, error)
                barred |= {copy.to} if only_a_person_ends(error) else set()
            else:
                ready += [(directory, copy)] if new else []
                digests |= marks
        if ready:
            beforehand()
        unmoved, lasting, changed = _move_in(ready)
    digests = {path: digest for path, digest in digests.items() if Path(path) not in unmoved}
    return Written(
        tried=bool(ready),
        changed=changed,
        problems=problems | unmoved,
        digests=digests,
        barred=frozenset(barred | lasting),
    )


def _lacks_its_password(copy: Copy) -> bool:
    """Whether a copy could not be made for want of a password that may be written yet; one that is wrong stays so."""
    try:
        found = copy.password_file.lstat() if copy.password_file is not None else None
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return found is not None and stat.S_ISREG(found.st_mode) and not found.st_size


def _prepared(directory: int, copy: Copy, content: bytes, known: Mapping[str, str]) -> tuple[bool, dict[str, str]]:
    """Write a copy beside its place unless it is right; return whether it was, and what tells later it is right."""
    _require_no_device(directory, copy.to.name)
    if _is_right(directory, copy, content, known):
        return False, {path: known[path] for path in _mark(copy, b"")}
    durable.overwrite(directory, durable.beside(copy.to.name))  # a crash may have left a key there
    _put_beside(directory, copy, content)
    return True, _mark(copy, content)


class _Directories:
    """The directories of copies, each opened once: a directory of anchors has a file for each of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._opened: dict[tuple[Path, str], int] = {}

    def of(self, copy: Copy) -> int:
        """Return the directory of a copy's file, which stays open until the stack ends; see `directory_of`."""
        key = copy.to.parent, copy.owner
        if key not in self._opened:
            self._opened[key] = self._stack.enter_context(directory_of(copy, copy.to))
        return self._opened[key]


def _move_in(ready: Sequence[tuple[int, Copy]]) -> tuple[dict[Path, str], set[Path], bool]:
    """Put what is ready in place.

    Returns:
        Why some is not surely there, where only a person can change that, and whether anything has changed.
    """
    problems, barred, changed = {}, set[Path](), False
    for directory, copy in ready:
        try:
            with _overwriting_the_old(directory, copy.to.name):
                durable.move_in(directory, copy.to.name)
            changed = True
        except StoreError as error:
            problems[copy.to] = problem(copy, error)
            barred |= {copy.to} if only_a_person_ends(error) else set()
            changed |= isinstance(error, StoreInDoubtError)
            with suppress(StoreError):  # it may hold the key
                durable.overwrite(directory, durable.beside(copy.to.name))
                durable.remove(directory, durable.beside(copy.to.name))
    return problems, barred, changed


@contextmanager
def _overwriting_the_old(directory: int, name: str) -> Iterator[None]:
    """Overwrite what a name stands for once the block has durably replaced it; it may hold a key.

    It stays whole under another name, and for a program that has it open: that may be reading. The kernel tells so by
    granting no lease, which it grants to the owner alone.
    """
    with ExitStack() as stack:
        fd = -1
        with suppress(OSError):
            fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            stack.callback(descriptors.release, fd)
        yield
        with suppress(OSError):
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                os.fchown(fd, os.geteuid(), -1)
                fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
                durable.wipe(fd)


def _mark(copy: Copy, content: bytes) -> dict[str, str]:
    """Return what tells later that a copy is as it was wanted, by its path, where its content alone does not.

    With another content, format or password it is another copy; the password itself cannot be guessed from this.
    """
    if copy.heal and copy.format is not Format.PKCS12:
        return {}
    stamp = 0
    if copy.password_file is not None:
        with suppress(OSError):
            stamp = copy.password_file.stat().st_mtime_ns
    wanted = f"{copy.content} {copy.format} {stamp}\n".encode()
    return {str(copy.to): hashlib.sha256(wanted + content if copy.heal else wanted).hexdigest()}


def problem(copy: Copy, error: Exception) -> str:
    """Return why a copy is not as it should be, a sentence that names it."""
    return f"{copy.to} is not written: {reason(copy, error)}"


def reason(copy: Copy, error: Exception) -> str:
    """Return the same without its name."""
    if isinstance(error, KeyError):
        return f"there is no user {copy.owner} or no group {copy.group}."
    return f"{error} {getattr(error, 'hint', '')}".rstrip()


def ids(copy: Copy) -> tuple[int, int]:
    """Return whose a copy is to be, user and group.

    Raises:
        KeyError: There is no such user or group.
    """
    return pwd.getpwnam(copy.owner).pw_uid, grp.getgrnam(copy.group).gr_gid


@contextmanager
def directory_of(copy: Copy, file: Path) -> Iterator[int]:
    """Open the directory of a copy's file, step by step, each step checked on what was opened.

    Raises:
        StoreError: A step is missing, a link, or another user's.
        KeyError: The owner is unknown.
    """
    trusted = {0, os.geteuid(), ids(copy)[0]}
    fd = disk.open_directory("/")
    try:
        path = "/"
        for step in file.parent.parts[1:]:
            path = os.path.join(path, step)  # noqa: PTH118 - names, not paths, are opened
            below = _step(fd, step, path)
            descriptors.release(fd)
            fd = below
            _check(fd, path, trusted)
        yield fd
    finally:
        descriptors.release(fd)


def _step(above: int, name: str, path: str) -> int:
    with disk.explained(f"go through {path}"):
        if stat.S_ISLNK(os.lstat(name, dir_fd=above).st_mode):
            raise StoreError(f"{path} is a link.", hint="Give the path without links under `copies:`.")
    return disk.open_directory(name, above)


def _check(fd: int, path: str, trusted: set[int]) -> None:
    status = os.fstat(fd)
    shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if status.st_uid not in trusted or shared:
        whose = "may be written by others" if shared else f"belongs to user {status.st_uid}"
        hint = "It and all above it must be root's or the copy's owner's, and no other user may write there."
        raise StoreError(f"{path} {whose}.", hint=hint)


def _is_right(directory: int, copy: Copy, content: bytes, known: Mapping[str, str]) -> bool:
    try:
        status = os.lstat(copy.to.name, dir_fd=directory)
        # Once for each set; what became of it since, however large, is its program's business.
        if not copy.heal and stat.S_ISREG(status.st_mode):
            return known.get(str(copy.to)) == _mark(copy, b"")[str(copy.to)]
        found = disk.read(directory, copy.to.name, MAX_COPY)
    except (OSError, DamagedError):
        return False
    if not copy.heal:
        return False  # no file any more
    dressed = _is_dressed(status, copy)
    if copy.format is Format.PKCS12:
        return dressed and known.get(str(copy.to)) == _mark(copy, found)[str(copy.to)]
    return dressed and found == content


def _is_dressed(status: os.stat_result, copy: Copy) -> bool:
    return (status.st_uid, status.st_gid) == ids(copy) and stat.S_IMODE(status.st_mode) == copy.mode


def _put_beside(directory: int, copy: Copy, content: bytes) -> None:
    uid, gid = ids(copy)
    label = _label(directory, copy.to.name)

    def dress(fd: int) -> None:
        os.fchown(fd, uid, gid)
        os.fchmod(fd, copy.mode)
        if not _is_dressed(os.fstat(fd), copy):  # as on vfat, which says nothing
            hint = "Any user may read a key there: put it on another file system."
            raise StoreError("The file system keeps no owner or mode.", hint=hint)
        if label:
            _set_label(fd, label)

    durable.put_beside(directory, copy.to.name, content, dress)


def _require_no_device(directory: int, name: str) -> None:
    """Refuse to put a file in the place of a device, on which the whole machine may rest, or of a directory."""
    with disk.explained(f"look at {name}"), suppress(FileNotFoundError):
        mode = os.lstat(name, dir_fd=directory).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise StoreError(f"{files.kind_of(mode).capitalize()} is there.", hint="Name a file under `copies:`.")


def _set_label(fd: int, label: bytes) -> None:
    try:
        os.setxattr(fd, LABEL, label)
    except OSError:
        if os.access(SELINUX, os.F_OK):
            raise  # where nothing heeds labels, one that a former system left behind must not keep a copy away


def _label(directory: int, name: str) -> bytes:
    """Return the SELinux label of the file that is replaced, or nothing: a new file then gets its directory's."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return b""
    try:
        return os.getxattr(fd, LABEL)
    except OSError:
        return b""
    finally:
        descriptors.release(fd)
