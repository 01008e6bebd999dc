"""Where a result goes for which a person names a file: a file is replaced whole, and nothing else is ever replaced.

A device, a pipe and a link stay what they are. As root, a file that is renamed over ``/dev/null`` or ``/dev/stdout``
breaks the machine. So what is no regular file is written into, as any program does, or refused where that cannot be
meant.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from agent.errors import ConfigError, RefusedError, StoreError, StoreInDoubtError
from agent.store.files import disk, durable
from agent.system import files

if TYPE_CHECKING:
    from pathlib import Path

STANDARD_OUTPUT = "-"
_STDOUT = 1

_INTO = os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC

_REFUSED = {
    stat.S_IFDIR: ("it is a directory", "Name a file in it."),
    stat.S_IFBLK: ("it is a block device, and what is on it would be lost", "Mount it and name a file there."),
    stat.S_IFSOCK: ("it is a socket", "Name a file."),
}
_TOLD = {
    errno.ENXIO: ("no process reads from this pipe", "Start the reader first, or name a file."),
    errno.ENOENT: ("it is a link that leads to nothing", "Name a file, or remove the link."),
    errno.ELOOP: ("it is a link that leads in a circle", "Name a file, or remove the link."),
    errno.ENAMETOOLONG: ("File name too long", "Choose a shorter name."),
}


def require_usable(path: Path) -> None:
    """Refuse what cannot take a result, before there is one.

    Raises:
        ConfigError: The path leads to a directory, a block device or a socket, or its directory does not exist.
        RefusedError: This user may not look.
    """
    if str(path) == STANDARD_OUTPUT:
        return
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        told = {errno.EACCES, errno.ENAMETOOLONG}
        if os.path.islink(path) or error.errno in told:  # noqa: PTH114 - it raises nothing
            raise _unusable(path, error) from None
        folder = path.absolute().parent
        if not os.path.isdir(folder):  # noqa: PTH112
            hint = "`mkdir -p` makes one, where no file is in the way."
            raise ConfigError(f"Cannot write {path}: there is no directory {folder}.", hint=hint) from None
        return
    if kind in _REFUSED:
        what, hint = _REFUSED[kind]
        raise ConfigError(f"Cannot write {path}: {what}.", hint=hint)


def shown(path: Path) -> str:
    """Return what people are told of where it is."""
    return "standard output" if str(path) == STANDARD_OUTPUT else str(path.absolute())


def write(path: Path, data: bytes, modes: durable.Modes) -> bool:
    """Write a result, and return whether it went to standard output, where nothing else may go then.

    Args:
        path: What was named; `-` is standard output.
        data: The result.
        modes: The mode of a file that is made or replaced.

    Raises:
        ConfigError: Nothing can be written there.
        RefusedError: This user may not.
        StoreError: The disk does not let it; a regular file is as it was then.
    """
    require_usable(path)
    if str(path) == STANDARD_OUTPUT:
        _pour(os.dup(_STDOUT), path, data)
        return True
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            return _write_into(path, data)
    try:
        with disk.directory(os.path.realpath(path.absolute().parent)) as fd:
            durable.replace(fd, path.name, data, modes)
    except StoreInDoubtError:
        raise
    except StoreError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        if cause.errno != errno.EBUSY:
            raise _unusable(path, cause) from cause
        return _write_into(path, data)  # a file that is mounted there, as into a container
    return False


def _write_into(path: Path, data: bytes) -> bool:
    """Write into what is there; the kernel follows a link, and refuses one that another user has laid out in /tmp."""
    try:
        fd = os.open(path, _INTO)
        ours = os.path.samestat(os.fstat(fd), os.fstat(_STDOUT))
    except OSError as error:
        raise _unusable(path, error) from error
    _pour(fd, path, data)
    return ours


def _pour(fd: int, path: Path, data: bytes) -> None:
    try:
        os.set_blocking(fd, True)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError) -> ConfigError | RefusedError | StoreError:
    number = error.errno or 0
    if number in _TOLD:
        reason, hint = _TOLD[number]
        return ConfigError(f"Cannot write {path}: {reason}.", hint=hint)
    if number == errno.EACCES:
        or_as_root = ", or run it with sudo" if os.geteuid() else ""  # root meets links of others in /tmp, and NFS
        hint = f"Name a file where this user may write{or_as_root}."
        return RefusedError(f"Cannot write {path}: {os.strerror(number)}.", hint=hint)
    return StoreError(f"Cannot write {path}: {os.strerror(number)}.", hint=files.remedy(number))
