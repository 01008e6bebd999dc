"""What a power cut may leave behind: records file operations and derives every disk that they allow (ALICE, OSDI '14).

The model is harsher than any one file system:

* A write is durable after an `fsync` of its file, and until then may be lost, torn in half, zeroed or junk.
* A name (created, linked, moved, removed) is durable after an `fsync` of its directory, and until then may be lost, on
  its own and in any order. A rename is one step: both names or neither.
* What is not durable may still be there. For each prefix of the operations, every one and every two of those that are
  not durable are dropped, all of them, and all but one.

The recorder replaces functions of `os` while it is on; the operations are really carried out as well. It can also stop
the world at an operation, as a kill does (`die_at`), and go on recording the next process: what the first left
unsynced stays so.
"""

from __future__ import annotations

import itertools
import os
import stat
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.crashkit import marks
from support.crashkit.disk import (
    ROOT,
    ChangeMode,
    Disk,
    DropEntry,
    MoveEntry,
    Operation,
    Resize,
    SetEntry,
    Sync,
    Told,
    Write,
)
from support.crashkit.tree import DIRECTORY, FILE, LINK, Tree, frozen
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.crashkit.marks import Mark
    from support.crashkit.tree import Frozen


class DeathError(BaseException):
    """The recorded process is dead: nothing it does from here on happens."""


_PATCHED = (
    *("open", "write", "lseek", "fsync", "ftruncate", "fchmod"),
    *("mkdir", "rename", "symlink", "unlink", "rmdir"),
)


class Recorder:
    """Records what is done below `root` while it is on. It sees only what goes through directory descriptors."""

    def __init__(self, root: Path, base: Tree, *, die_at: int | None = None) -> None:
        self.root = root
        self.base = Disk(base)
        self.operations: list[Operation] = []
        self.dead = False
        self._die_at = die_at
        self._live = self.base.copy()
        self._inodes: dict[int, int] = {}  # by file descriptor
        self._offsets: dict[int, int] = {}
        self._numbers = itertools.count(len(self._live.inodes))
        self._real: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> Self:
        for name in _PATCHED:
            self._real[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"on_{name}"))
        marks.LISTENERS.append(self._told)
        return self

    def __exit__(self, *exception: object) -> None:
        marks.LISTENERS.remove(self._told)
        for name, function in self._real.items():
            setattr(os, name, function)

    def revive(self) -> None:
        """Let another process go on where the dead one was cut off."""
        self.dead = False
        self._die_at = None

    def _told(self, mark: Mark, value: int) -> None:
        if not self.dead:
            self.operations.append(Told(-1, mark, value))

    def _may_go_on(self) -> None:
        if self.dead or len(self.operations) == self._die_at:
            self.dead = True
            raise DeathError

    def _do(self, operation: Operation) -> None:
        operation.apply(self._live)
        self.operations.append(operation)

    def _entries(self, dir_fd: int) -> dict[str, int]:
        return self._live.inodes[self._inodes[dir_fd]].entries

    # -- what is called instead of the functions of os ---------------------------------------------------------------

    def on_open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Record a new file, and remember which inode the descriptor is."""
        if dir_fd not in self._inodes:
            fd = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
            self._inodes.pop(fd, None)
            if Path(path) == self.root:
                self._inodes[fd] = ROOT
            return fd
        assert dir_fd is not None
        is_new = path not in self._entries(dir_fd)
        if is_new and flags & os.O_CREAT:
            self._may_go_on()
        fd = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        if is_new:
            real_mode = stat.S_IMODE(os.fstat(fd).st_mode)
            self._do(SetEntry(self._inodes[dir_fd], path, next(self._numbers), FILE, real_mode))
        self._inodes[fd] = self._entries(dir_fd)[path]
        self._offsets[fd] = 0
        return fd

    def on_write(self, fd: int, data: Any) -> int:
        """Record bytes."""
        if fd not in self._inodes:
            return int(self._real["write"](fd, data))
        self._may_go_on()
        size = int(self._real["write"](fd, data))
        self._do(Write(self._inodes[fd], self._offsets[fd], bytes(data[:size])))
        self._offsets[fd] += size
        return size

    def on_lseek(self, fd: int, position: int, how: int) -> int:
        """Follow the position."""
        self._offsets[fd] = int(self._real["lseek"](fd, position, how))
        return self._offsets[fd]

    def on_fsync(self, fd: int) -> None:
        """Record that what came before is durable."""
        self._may_go_on()
        self._do(Sync(self._inodes[fd]))  # the real one is left out: no power is cut here

    def on_ftruncate(self, fd: int, size: int) -> None:
        """Record a cut."""
        self._may_go_on()
        self._real["ftruncate"](fd, size)
        self._do(Resize(self._inodes[fd], size))

    def on_fchmod(self, fd: int, mode: int) -> None:
        """Record a mode."""
        self._may_go_on()
        self._real["fchmod"](fd, mode)
        self._do(ChangeMode(self._inodes[fd], mode))

    def on_mkdir(self, path: str, mode: int = 0o777, *, dir_fd: int) -> None:
        """Record a directory."""
        self._may_go_on()
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        real_mode = stat.S_IMODE(os.lstat(path, dir_fd=dir_fd).st_mode)
        self._do(SetEntry(self._inodes[dir_fd], path, next(self._numbers), DIRECTORY, real_mode))

    def on_symlink(self, target: str, path: str, *, dir_fd: int) -> None:
        """Record a link."""
        self._may_go_on()
        self._real["symlink"](target, path, dir_fd=dir_fd)
        self._do(SetEntry(self._inodes[dir_fd], path, next(self._numbers), LINK, 0, target.encode()))

    def on_rename(self, old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        """Record a move within one directory."""
        self._may_go_on()
        assert src_dir_fd == dst_dir_fd, "moves between directories are not modelled"
        self._real["rename"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        self._do(MoveEntry(self._inodes[src_dir_fd], old, new, self._entries(src_dir_fd)[old]))

    def on_unlink(self, path: str, *, dir_fd: int) -> None:
        """Record a removed file."""
        self._may_go_on()
        self._real["unlink"](path, dir_fd=dir_fd)
        self._do(DropEntry(self._inodes[dir_fd], path))

    def on_rmdir(self, path: str, *, dir_fd: int) -> None:
        """Record a removed directory."""
        self._may_go_on()
        self._real["rmdir"](path, dir_fd=dir_fd)
        self._do(DropEntry(self._inodes[dir_fd], path))


@dataclass(frozen=True, kw_only=True)
class CrashState:
    """One disk that a power cut may leave.

    Attributes:
        tree: What is on it.
        told: What had been acknowledged by then.
        how: Which operations got lost, for people.
    """

    tree: Tree
    told: dict[Mark, int]
    how: str


def crash_states(base: Disk, operations: list[Operation]) -> Iterator[CrashState]:
    """Return every distinct disk that a cut during `operations` may leave, with what had been acknowledged."""
    return (state for _, state in numbered_states(base, operations, one_in=1))


def numbered_states(
    base: Disk, operations: list[Operation], *, one_in: int, first: int = 0
) -> Iterator[tuple[int, CrashState]]:
    """Return the distinct ones among the cases that a run takes, each with its number from `first` on.

    The others are not made. Where all are taken of each run, one in one, so they are for whatever case is asked for.
    """
    seen: set[tuple[Frozen, frozenset[tuple[Mark, int]]]] = set()
    number = first
    for cut in range(len(operations) + 1):
        prefix = operations[:cut]
        told = {item.mark: item.value for item in prefix if isinstance(item, Told)}
        for made in _disks(base, prefix):
            number += 1
            if one_in > 1 and not campaigns.takes(number - 1, one_in):
                continue
            tree, how = made()
            key = frozen(tree), frozenset(told.items())
            if key not in seen:
                seen.add(key)
                yield number - 1, CrashState(tree=tree, told=told, how=f"cut after {cut} operations, {how}")


def _disks(base: Disk, prefix: list[Operation]) -> Iterator[Callable[[], tuple[Tree, str]]]:
    """Yield what makes each disk, with what is lost of it: a sample makes few."""
    pending = _pending(prefix)
    first = pending[0] if pending else len(prefix)
    settled = cache(partial(_settled, base, prefix, first))
    rest = list(enumerate(prefix))[first:]

    def without(dropped: tuple[int, ...]) -> tuple[Tree, str]:
        how = "; ".join(f"lost: {prefix[place]}"[:120] for place in dropped) or "nothing lost"
        return _apply(settled(), [item for place, item in rest if place not in dropped]), how

    def torn(torn_place: int, write: Operation) -> tuple[Tree, str]:
        replaced = [write if place == torn_place else item for place, item in rest]
        return _apply(settled(), replaced), f"torn: write {torn_place}"

    yield from (partial(without, dropped) for dropped in _drops(pending))
    for place in pending:
        operation = prefix[place]
        yield from (partial(torn, place, write) for write in (operation.torn() if isinstance(operation, Write) else ()))


def _settled(base: Disk, prefix: list[Operation], first: int) -> Disk:
    """Return the disk with all that is durable for certain."""
    settled = base.copy()
    for operation in prefix:
        if isinstance(operation, SetEntry):
            operation.make_inode(settled)
    for operation in prefix[:first]:
        operation.apply(settled)
    return settled


def _pending(prefix: list[Operation]) -> list[int]:
    """Return the places of the operations that are not durable."""
    synced: set[int] = set()
    pending = []
    for place in reversed(range(len(prefix))):
        operation = prefix[place]
        if isinstance(operation, Sync):
            synced.add(operation.subject)
        elif not isinstance(operation, Told) and operation.subject not in synced:
            pending.append(place)
    return pending[::-1]


def _drops(pending: list[int]) -> set[tuple[int, ...]]:
    few = [combination for size in (0, 1, 2) for combination in itertools.combinations(pending, size)]
    all_but_one = list(itertools.combinations(pending, max(0, len(pending) - 1)))
    return {*few, tuple(pending), *all_but_one}


def _apply(settled: Disk, operations: list[Operation]) -> Tree:
    disk = settled.copy()
    for operation in operations:
        operation.apply(disk)
    return disk.tree()
