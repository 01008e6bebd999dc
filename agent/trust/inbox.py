"""The inbox: a directory in which an OTA pipeline drops signed bundles, and in which it finds what became of them.

A program that may write here is not trusted for it: the signature is the gate, not the permission. Rules:

* Names are taken relative to the open directory, and no link is followed, so nothing leads anywhere else.
* A drop is read once, with a bound, and those bytes are what is verified. One that changed meanwhile is left for later.
* Links, devices, pipes and sockets are removed unread; a directory is left alone and said to be no bundle.
* Beside the drop `NAME` stands `NAME.outcome.json`, replaced whole at each news.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.core.jsonio import PlainError, decode, encode_plain
from agent.core.trust.updates import MAX_ARCHIVE, BundleOutcome
from agent.errors import BundleError, DamagedError, StoreError
from agent.store import disk, durable

if TYPE_CHECKING:
    from pathlib import Path

OUTCOME = ".outcome.json"
MAX_LISTED = 1_000  # names; an inbox that is flooded keeps the agent busy no longer
_MAX_LOOKED_AT = 20_000  # names, of which the oldest and the newest are listed

_LONGEST = 100  # characters of a drop's name
_LONGEST_FILE = 255  # bytes, of the outcome's name too
_UNFINISHED = (".part", ".tmp", ".partial", ".filepart", ".crdownload", "~")
_MAX_OUTCOME = 65_536  # bytes

# Drops and outcomes are for the pipeline to read and remove.
_MODES = durable.Modes(public_mode=0o640)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """Something in the inbox.

    Attributes:
        name: Its name.
        stamp: What changes when a program writes to it or puts another in its place.
        changed_at: When that was, Unix seconds.
    """

    name: str
    stamp: tuple[int, ...]
    changed_at: float


def drops(inbox: Path) -> list[Drop]:
    """Return what has been dropped, the oldest first; empty where there is no inbox.

    Of more than `MAX_LISTED` it is the oldest and the newest, half of each, so that a flood hides no drop after it.

    Raises:
        StoreError: It cannot be listed.
    """
    if not inbox.exists():
        return []
    with disk.directory(str(inbox)) as fd:
        names = disk.names(fd)
        found = [_drop(fd, name) for name in [name for name in names if _may_be_drop(name)][:_MAX_LOOKED_AT]]
        left_alone = {name.removesuffix(OUTCOME) for name in names if name.endswith(OUTCOME)}
        waiting = [drop for drop in found if drop and not (drop.name in left_alone and _is_directory(fd, drop.name))]
    waiting.sort(key=lambda drop: (drop.changed_at, drop.name))
    return waiting if len(waiting) <= MAX_LISTED else waiting[: MAX_LISTED // 2] + waiting[-MAX_LISTED // 2 :]


def _may_be_drop(name: str) -> bool:
    return not _is_for_others(name) and _can_be_told_of(name)


def _is_for_others(name: str) -> bool:
    """Whether a name is that of an upload in progress, of an outcome, or of what systems keep for themselves."""
    return name.startswith(".") or name.endswith((OUTCOME, *_UNFINISHED)) or name == "lost+found"


def _can_be_told_of(name: str) -> bool:
    """Whether a record, a line and the name of an outcome can hold a name; what a person or a download chose can be."""
    return name.isprintable() and len(name) <= _LONGEST and len(os.fsencode(name + OUTCOME)) <= _LONGEST_FILE


def passed_over(inbox: Path) -> list[str]:
    """Return the names of what would be a drop under another name; empty where there is no inbox.

    Raises:
        StoreError: It cannot be listed.
    """
    if not os.path.lexists(inbox):
        return []
    with disk.directory(str(inbox)) as fd:
        return [name for name in disk.names(fd) if not (_is_for_others(name) or _can_be_told_of(name))]


def _drop(dir_fd: int, name: str) -> Drop | None:
    try:
        status = os.lstat(name, dir_fd=dir_fd)
    except OSError:
        return None  # it was taken away again
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return Drop(name=name, stamp=stamp, changed_at=max(status.st_mtime, status.st_ctime))


def _is_directory(dir_fd: int, name: str) -> bool:
    try:
        return disk.is_directory(dir_fd, name)
    except StoreError:
        return False


def read(inbox: Path, name: str) -> bytes:
    """Return a drop's content.

    Raises:
        BundleError: It is no plain file, too large, or was changed while it was read.
        FileNotFoundError: It is not there any more.
        StoreError: The inbox cannot be opened.
    """
    with disk.directory(str(inbox)) as fd:
        before = _drop(fd, name)
        if before is None:
            raise FileNotFoundError(name)
        mode = os.lstat(name, dir_fd=fd).st_mode
        if not stat.S_ISREG(mode):
            raise BundleError("not-a-file", f"{name} is no plain file, and only plain files are taken from the inbox.")
        if before.stamp[1] > MAX_ARCHIVE:
            raise BundleError("too-large", f"{name} is larger than the {MAX_ARCHIVE >> 20} MiB that are looked at.")
        try:
            data = disk.read(fd, name, MAX_ARCHIVE)
        except DamagedError as error:
            raise BundleError("not-a-file", str(error)) from None
        except StoreError as error:
            hint = "Drop it with a mode that lets the agent's user read it."
            raise BundleError("unreadable", str(error), hint=hint) from None
        if _drop(fd, name) != before:
            hint = "Rename it into the inbox when it is complete."
            raise BundleError("changing", f"{name} changed while it was read.", hint=hint, passing=True)
    return data


def look(inbox: Path, name: str) -> Drop | None:
    """Return a drop as it is now, or None when it is gone.

    Raises:
        StoreError: The inbox cannot be opened.
    """
    with disk.directory(str(inbox)) as fd:
        return _drop(fd, name)


def remove(inbox: Path, name: str, seen: Drop | None = None) -> None:
    """Remove a drop; a directory is left where it is.

    Args:
        inbox: Where.
        name: Its name.
        seen: The drop that was looked at; another that has come in its place since is left there.

    Raises:
        StoreError: It could not be removed.
    """
    with disk.directory(str(inbox)) as fd:
        if not _is_directory(fd, name) and seen in (None, _drop(fd, name)):
            durable.remove(fd, name)


def write_outcome(inbox: Path, name: str, told: BundleOutcome) -> None:
    """Say what became of a drop, in place of what was said before.

    Raises:
        StoreError: It could not be written.
    """
    with disk.directory(str(inbox)) as fd:
        durable.replace(fd, f"{name}{OUTCOME}", encode_plain(told.plain()) + b"\n", _MODES)


def read_outcome(inbox: Path, name: str) -> BundleOutcome:
    """Return what was said last of a drop; empty when nothing was.

    Raises:
        StoreError: The inbox cannot be opened.
    """
    with disk.directory(str(inbox)) as fd:
        try:
            data = disk.read(fd, f"{name}{OUTCOME}", _MAX_OUTCOME)
            return BundleOutcome.read(decode(data, OUTCOME, limit=_MAX_OUTCOME))
        except (FileNotFoundError, PlainError, DamagedError):
            return BundleOutcome()


def told_of(inbox: Path) -> list[str]:
    """Return the names of drops that something was said of."""
    if not inbox.exists():
        return []
    with disk.directory(str(inbox)) as fd:
        told = [name.removesuffix(OUTCOME) for name in disk.names(fd) if name.endswith(OUTCOME)]
        return told[:MAX_LISTED]
