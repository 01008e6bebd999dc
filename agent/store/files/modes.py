"""Whether the state directory's files, what a gateway enrols with, and its configuration are their owner's, and alone.

It changes nothing. What the group may read where the state directory lets it in, it may go on reading: a remedy takes
away what other users have, and no more.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.text import in_shell
from agent.store.files.durable import DAMAGED
from agent.store.names import CERTIFICATE, CREDENTIAL, GENERATIONS, KEY, MANIFEST, TRUST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SECRET = frozenset({KEY, CREDENTIAL, "change.json", "change.json.damaged"})
_PUBLIC = frozenset({CERTIFICATE, TRUST, MANIFEST})  # of a generation; else it may be a key's copy
_WRITE = stat.S_IWGRP | stat.S_IWOTH


@frozen
class Exposed:
    """A file whose mode or owner is wrong.

    Attributes:
        code: ``mode``, ``owner`` or ``kept``.
        text: A sentence.
        remedy: The exact command that mends it.
    """

    code: str
    text: str
    remedy: str


def exposed(state_dir: Path, secret: Path | None = None, operators: Iterable[Path] = ()) -> Iterator[Exposed]:
    """Return what is wrong with modes and owners, as far as this user may look.

    Args:
        state_dir: The state directory.
        secret: The key of the claim certificate, which opens the whole fleet's door, or a token; None where none is.
        operators: Files and directories of the operator's, which say what is run and trusted.

    Raises:
        OSError: The state directory cannot be looked at.
    """
    own = state_dir.stat()
    if os.geteuid() in {0, own.st_uid}:
        yield from _all_kept(state_dir, own.st_uid)
    mode = stat.S_IMODE(own.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IRWXO):
        yield _open(state_dir, mode, "is open to", "g-w,o-rwx")
    for path in (state_dir / GENERATIONS, *sorted(state_dir.glob(f"{GENERATIONS}/*"))):
        yield from _of_directory(path, own.st_uid, state_dir)
    for path in sorted(state_dir.glob("*")):
        yield from _of_file(path, own.st_uid, state_dir, secret=path.name in SECRET)
    for path in sorted(state_dir.glob(f"{GENERATIONS}/*/*")):
        yield from _of_file(path, own.st_uid, state_dir, secret=path.name not in _PUBLIC)
    if secret is not None and os.access(secret, os.F_OK) and secret.is_file():  # no device's
        mode = stat.S_IMODE(secret.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield _open(secret, mode, "may be read by", "go-rwx")
    for path in operators:
        yield from _of_operators(path)


def _of_operators(path: Path) -> Iterator[Exposed]:
    """Return whether every user may write; which group may is for the operator to say."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # another look tells
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield _open(path, mode, "may be written by", "o-w")


def _open(path: Path, mode: int, does: str, change: str) -> Exposed:
    text = f"{path} {does} others (mode {mode:04o})."
    return Exposed(code="mode", text=text, remedy=f"sudo chmod {change} {in_shell(path)}")


def _all_kept(state_dir: Path, owner: int) -> Iterator[Exposed]:
    mounted = bool(os.statvfs(state_dir).f_flag & os.ST_RDONLY)  # the look at the disk tells
    for path in (state_dir, *sorted(state_dir.glob("*")), *sorted(state_dir.glob(f"{GENERATIONS}/*"))):
        yield from _kept(path, owner, stat.S_IRUSR | stat.S_IWUSR, told=mounted)
    for path in sorted(state_dir.glob(f"{GENERATIONS}/*/*")):
        yield from _kept(path, owner, stat.S_IRUSR, told=mounted)


def _kept(path: Path, owner: int, file: int, *, told: bool) -> Iterator[Exposed]:
    """Return whether the agent is kept from its own.

    Args:
        path: What is its own.
        owner: Whose the state directory is.
        file: What the agent needs of a file's mode.
        told: Whether it is told already that nothing can be changed.
    """
    status = _status(path)
    if status is None:
        return
    directory = stat.S_ISDIR(status.st_mode)
    needed = stat.S_IRWXU if directory else file
    if status.st_uid != owner or not (directory or stat.S_ISREG(status.st_mode)):
        return  # another look tells
    if status.st_mode & needed != needed:
        text = f"{path} may not be used by its owner (mode {stat.S_IMODE(status.st_mode):04o})."
        yield Exposed(code="kept", text=text, remedy=f"sudo chmod u+rwX {in_shell(path)}")
    elif not told and needed & stat.S_IWUSR and not os.access(path, os.W_OK):
        text = f"{path} is kept from changes: it has the attribute `i`, or is mounted read-only."
        yield Exposed(code="kept", text=text, remedy=f"lsattr -d {in_shell(path)}; findmnt -T {in_shell(path)}")


def _of_directory(path: Path, owner: int, state_dir: Path) -> Iterator[Exposed]:
    """Return whether others may put files of their own in the place of those in a directory, and whose it is."""
    status = _status(path)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return
    mode = stat.S_IMODE(status.st_mode)
    if mode & _WRITE:
        yield _open(path, mode, "may be written by", "go-w")
    yield from _owned(path, status, owner, state_dir)


def _of_file(path: Path, owner: int, state_dir: Path, *, secret: bool) -> Iterator[Exposed]:
    status = _status(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return
    mode = stat.S_IMODE(status.st_mode)
    if secret and not stat.S_ISLNK(status.st_mode) and mode & (_WRITE | stat.S_IRWXO):
        does = "read" if mode & stat.S_IROTH else "written"
        yield _open(path, mode, f"may be {does} by", "g-w,o-rwx")
    elif stat.S_ISREG(status.st_mode) and mode & _WRITE:
        yield _open(path, mode, "may be written by", "go-w")
    yield from _owned(path, status, owner, state_dir)


def _status(path: Path) -> os.stat_result | None:
    """Return what is at a path itself; None where it was cleared away meanwhile."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _owned(path: Path, status: os.stat_result, owner: int, state_dir: Path) -> Iterator[Exposed]:
    if status.st_uid != owner and not stat.S_ISLNK(status.st_mode) and DAMAGED not in path.name:  # these are never used
        chown = "sudo chown -R" if stat.S_ISDIR(status.st_mode) else "sudo chown"
        text = f"{path} belongs to user {status.st_uid} and not to the owner of {state_dir}."
        yield Exposed(code="owner", text=text, remedy=f"{chown} --reference={in_shell(state_dir)} {in_shell(path)}")
