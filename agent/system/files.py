"""What stands at a path, and files that a person named: read once, bounded, and told of where they cannot be read.

What the system's errors mean for a person is said here once. It refuses to know what a file is for, and waits for no
pipe and no device.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from agent.system import descriptors

if TYPE_CHECKING:
    from pathlib import Path

_BROKEN = "The disk reports an error: read `dmesg`; what was there before was not touched by this step."
DEAD = {errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.EREMOTEIO}  # a bad block, and what file systems say of damage

# What a file system says of what it has not got: links (vfat), locks (NFS without its service).
_LACKING = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}

_REMEDIES = {
    **dict.fromkeys(DEAD, _BROKEN),
    **dict.fromkeys(
        _LACKING,
        "This file system lacks what that takes, as vfat has no links and some network file systems no locks: use one "
        "of the gateway's own, such as ext4.",
    ),
    errno.ENOSPC: "Free some space or inodes on this file system; what was there before is untouched.",
    errno.EDQUOT: "Raise the quota or free some space; what was there before is untouched.",
    errno.EROFS: "The file system is mounted read-only: remount it read-write (`sudo mount -o remount,rw`).",
    errno.EACCES: "Run the command as root or as the agent's user, and check owner and mode, of the directory too.",
    errno.EPERM: "Run the command as root or as the agent's user. Where these may not either, `lsattr` shows an `i` or "
    "an `a`, which keeps it as it is: `chattr -ia` ends that.",
    errno.EBUSY: "A file system is mounted there: `findmnt` shows it, `umount` ends it.",
    errno.ESTALE: "The server of this network file system has lost it: mount it again.",
    errno.EFBIG: "A limit on the size of files is in the way: `ulimit -f`, or LimitFSIZE= of the unit.",
    errno.ENOTDIR: "What stands above it in the path is no directory: move that out of the way.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "A symbolic link stands there, or links in a circle: give the path without links.",
    errno.EXDEV: "Keep the whole state directory on one file system, without bind mounts inside.",
    errno.EMFILE: "Too many open files: raise LimitNOFILE= of the unit.",
    errno.EAGAIN: "There are too many processes: end some, or raise `ulimit -u`, or TasksMax= of the unit.",
    errno.ENOMEM: "The gateway is out of memory; what was there before is untouched.",
}

_TO_READ = {
    errno.EACCES: "Run it with sudo; what the agent cannot read needs an owner and a mode by which its user may.",
    errno.ELOOP: "The links there lead in a circle: put the file itself in their place.",
}
_TO_READ[errno.EPERM] = _TO_READ[errno.EACCES]


def remedy(number: int | None) -> str:
    """Return what a person should do about an error of the system, as a sentence; empty where that is not known."""
    return _REMEDIES.get(number or 0, "")


_KINDS = {
    stat.S_IFREG: "a file", stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link", stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a block device",
}  # fmt: skip


def kind_of(mode: int) -> str:
    """Return the words for the kind of file that has a mode, such as `a directory`."""
    return _KINDS.get(stat.S_IFMT(mode), "something unknown")


def is_there(path: Path) -> bool:
    """Whether a path leads to something; what this user may not see, a loop and a name that is too long do not."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists() raises where this one says no


def is_directory(path: Path) -> bool:
    """Whether a path leads to a directory, as `is_there`."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


class UnreadableError(Exception):
    """A file cannot be read: its text is what is to be said of the file, without its name, as `is a pipe, ...`.

    Attributes:
        remedy: What a person should do about it, as a sentence; empty where that is not known.
        general: Whether that says no more than that nothing is there: what belongs there, the caller knows.
    """

    def __init__(self, text: str, remedy: str, *, general: bool = False) -> None:
        super().__init__(text)
        self.remedy = remedy
        self.general = general


def read(path: Path, limit: int) -> tuple[bytes, int]:
    """Return the content and the mode of a regular file of at most `limit` bytes, or of what a link leads to.

    The mode is that of what was read, whatever stands in its place by then.

    Raises:
        UnreadableError: There is no such file, it is too large, or it cannot be read; the cause is the system's error.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:  # `fdopen` refuses a directory, and leaves it open then
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise _another_kind(mode)
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            descriptors.release(fd)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(data) > limit:
        text = f"is larger than the {limit >> 10} KiB allowed"
        raise UnreadableError(text, "It is not what is meant here: put the right file in its place.")
    return data, stat.S_IMODE(mode)


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """Return what is to be said of a file that an error of the system kept from being read."""
    if error.errno in {errno.ENXIO, errno.ENODEV}:  # of a socket, which cannot be opened, or what has no driver
        try:
            return _another_kind(path.stat().st_mode)
        except OSError:
            pass  # it was taken away
    text = f"cannot be read: {os.strerror(error.errno or 0)}"
    if error.errno == errno.ENOENT:
        return _missing(path, text)
    return UnreadableError(text, _TO_READ.get(error.errno or 0) or remedy(error.errno))


def _another_kind(mode: int) -> UnreadableError:
    way = "Name a file in it" if stat.S_ISDIR(mode) else "Move it out of the way"
    return UnreadableError(
        f"is {kind_of(mode)}, where a file is expected", f"{way}, or put the file that is meant in its place."
    )


def _missing(path: Path, text: str) -> UnreadableError:
    """Return what is to be said of a path at which nothing is, or a link to nothing."""
    whole = path.absolute()
    gone = next((step for step in (*reversed(whole.parents), whole) if not is_there(step)), whole)
    if os.path.islink(gone):  # noqa: PTH114 - as above
        target = os.path.realpath(gone)
        way = f"{gone} is a symbolic link to {target}, which is not there: mount its file system, or put it in place."
        return UnreadableError(text, way)
    above = "" if gone == whole else f": there is no {gone}"
    return UnreadableError(text, f"Put it in place, or correct the path{above}.", general=not above)
