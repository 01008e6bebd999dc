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
from itertools import islice
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.jsonio import PlainError, decode, encode_plain
from agent.core.trust.updates import MAX_ARCHIVE, BundleOutcome
from agent.errors import BundleError, DamagedError, StoreError
from agent.store.files import disk, durable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

OUTCOME = ".outcome.json"
MAX_LISTED = 1_000  # drops; an inbox that is flooded keeps the agent busy no longer
FLOOD = 20_000  # names that a person who asks waits for, a fraction of a second
PART = 5_000  # names that one look goes through, some 20 ms on a gateway

_LONGEST = 100  # characters of a drop's name
_LONGEST_FILE = 255  # bytes, of the outcome's name too
_UNFINISHED = (".part", ".tmp", ".partial", ".filepart", ".crdownload", "~")
_MAX_OUTCOME = 65_536  # bytes

# Drops and outcomes are for the pipeline to read and remove.
_MODES = durable.Modes(public_mode=0o640)


@frozen
class Drop:
    """Something in the inbox.

    Attributes:
        name: Its name.
        stamp: What changes when a program writes to it or puts another in its place.
        changed_at: When the kernel saw that, Unix seconds; no program can set it, as it can the time of its content.
    """

    name: str
    stamp: tuple[int, ...]
    changed_at: float


class Survey:
    """Looks through an inbox a part at a time: neither the time nor the memory of one look grows with what lies there.

    Attributes:
        unfinished: Whether names are left that the next look goes on to.
    """

    def __init__(self, part: int = PART) -> None:
        """Have seen nothing yet.

        Args:
            part: The names that one look goes through, besides those it keeps and those it is told of.
        """
        self._part = part
        self._place: tuple[int, int] | None = None
        self._entries: os._ScandirIterator[str] | None = None
        self._kept: list[str] = []
        self.unfinished = False

    def look(self, inbox: Path, heard: Iterable[str] = (), waiting: Collection[str] = ()) -> list[Drop]:
        """Return what has been dropped, as far as it was seen, the oldest first; empty where there is no inbox.

        Of more than `MAX_LISTED` it is the oldest and the newest, half of each, so that a flood hides no drop after it;
        those that wait come besides, so that they hide none either.

        Args:
            inbox: Where.
            heard: Names to look at first, wherever in the directory they are.
            waiting: Names of drops that were looked at and have to wait.

        Raises:
            StoreError: It cannot be listed.
        """
        if not os.path.lexists(inbox):
            self.close()
            return []
        with disk.directory(str(inbox)) as fd, disk.explained("list a directory"):
            names = {*heard, *waiting, *self._kept_in(fd), *self._part_of(fd)}
            seen = [drop for name in names if _may_be_drop(name) and (drop := _waiting(fd, name))]
        seen.sort(key=lambda drop: (drop.changed_at, drop.name))
        self._kept = [drop.name for drop in seen if drop.name not in waiting]
        if len(self._kept) > MAX_LISTED:
            self._kept = self._kept[: MAX_LISTED // 2] + self._kept[-MAX_LISTED // 2 :]
        listed = {*self._kept, *waiting}
        return [drop for drop in seen if drop.name in listed]

    def _kept_in(self, fd: int) -> list[str]:
        status = os.fstat(fd)
        if self._place != (status.st_dev, status.st_ino):  # another directory in its place
            self.close()
            self._place = (status.st_dev, status.st_ino)
        return self._kept

    def _part_of(self, fd: int) -> list[str]:
        entries = self._entries or os.scandir(fd)
        part = [entry.name for entry in islice(entries, self._part)]
        self.unfinished = len(part) == self._part
        self._entries = entries if self.unfinished else None
        return part

    def close(self) -> None:
        """Forget what was seen; the next look begins anew."""
        if self._entries is not None:
            self._entries.close()
        self._place, self._entries, self._kept, self.unfinished = None, None, [], False


def _may_be_drop(name: str) -> bool:
    return not _is_for_others(name) and _can_be_told_of(name)


def _is_for_others(name: str) -> bool:
    """Whether a name is that of an upload in progress, of an outcome, or of what systems keep for themselves."""
    return name.startswith(".") or name.endswith((OUTCOME, *_UNFINISHED)) or name == "lost+found"


def _can_be_told_of(name: str) -> bool:
    """Whether a record, a line and the name of an outcome can hold a name; what a person or a download chose can be."""
    return name.isprintable() and len(name) <= _LONGEST and len(os.fsencode(name + OUTCOME)) <= _LONGEST_FILE


def passed_over(inbox: Path, most: int = FLOOD) -> list[str]:
    """Return the names of what would be a drop under another name; empty where there is no inbox.

    Of more than `most` names in it some are looked at: a person who mends those asks again.

    Raises:
        StoreError: It cannot be listed.
    """
    if not os.path.lexists(inbox):
        return []
    with disk.directory(str(inbox)) as fd, disk.explained("list a directory"), os.scandir(fd) as entries:
        names = (entry.name for entry in islice(entries, most))
        return sorted(name for name in names if not (_is_for_others(name) or _can_be_told_of(name)))


def _drop(dir_fd: int, name: str) -> Drop | None:
    status = _status(dir_fd, name)
    return None if status is None else _drop_of(name, status)


def _waiting(dir_fd: int, name: str) -> Drop | None:
    """Return a drop unless it is a directory of which it was said that it is none."""
    status = _status(dir_fd, name)
    if status is None or (stat.S_ISDIR(status.st_mode) and disk.exists(dir_fd, f"{name}{OUTCOME}")):
        return None
    return _drop_of(name, status)


def _status(dir_fd: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=dir_fd)
    except OSError:
        return None  # it was taken away again


def _drop_of(name: str, status: os.stat_result) -> Drop:
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return Drop(name=name, stamp=stamp, changed_at=status.st_ctime)


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
