"""A disk in memory, and what a process may do to it: each operation may be lost in a power cut, as `alice` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from support.crashkit.tree import DIRECTORY, LINK, Tree

if TYPE_CHECKING:
    from support.crashkit.marks import Mark

ROOT = 0

# Thousands of disks have nearly all of their files in common, so each content is kept once.
_CONTENTS: dict[bytes, bytes] = {}


@dataclass
class Inode:
    """A file, a directory or a link, without its names."""

    kind: str
    mode: int
    data: bytearray = field(default_factory=bytearray)
    entries: dict[str, int] = field(default_factory=dict)

    def copy(self) -> Inode:
        """Return a copy that shares nothing."""
        return Inode(self.kind, self.mode, bytearray(self.data), dict(self.entries))


class Disk:
    """Inodes by number; 0 is the state directory."""

    def __init__(self, tree: Tree | None = None) -> None:
        self.inodes = {ROOT: Inode(DIRECTORY, 0o700)}
        for name, (kind, mode, data) in sorted((tree or {}).items()):
            parent, _, last = name.rpartition("/")
            number = len(self.inodes)
            self.inodes[number] = Inode(kind, mode, bytearray(data))
            self.inodes[self.find(parent)].entries[last] = number

    def find(self, name: str) -> int:
        """Return the inode that a path leads to."""
        number = ROOT
        for part in filter(None, name.split("/")):
            number = self.inodes[number].entries[part]
        return number

    def copy(self) -> Disk:
        """Return a copy that shares nothing."""
        disk = Disk()
        disk.inodes = {number: inode.copy() for number, inode in self.inodes.items()}
        return disk

    def tree(self) -> Tree:
        """Return what can be reached."""
        tree: Tree = {}
        self._collect(ROOT, "", tree)
        return tree

    def _collect(self, number: int, prefix: str, tree: Tree) -> None:
        for name, child in self.inodes[number].entries.items():
            inode = self.inodes[child]
            data = bytes(inode.data)
            data = _CONTENTS.setdefault(data, data)
            tree[prefix + name] = (inode.kind, 0 if inode.kind == LINK else inode.mode, data)
            if inode.kind == DIRECTORY:
                self._collect(child, f"{prefix}{name}/", tree)


class Operation(Protocol):
    """One thing done to a disk. `subject` is the inode whose fsync makes it durable."""

    @property
    def subject(self) -> int:
        """The inode."""

    def apply(self, disk: Disk) -> None:
        """Do it; without effect where something it needs was dropped."""


@dataclass(frozen=True)
class SetEntry:
    """A name for a new inode."""

    subject: int
    name: str
    number: int
    kind: str
    mode: int
    target: bytes = b""

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
        self.make_inode(disk)
        disk.inodes[self.subject].entries[self.name] = self.number

    def make_inode(self, disk: Disk) -> None:
        """Make the inode alone: it is there even if this name of it is lost, since it may get another."""
        if self.number not in disk.inodes:
            disk.inodes[self.number] = Inode(self.kind, self.mode, bytearray(self.target))


@dataclass(frozen=True)
class DropEntry:
    """A name removed."""

    subject: int
    name: str

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
        disk.inodes[self.subject].entries.pop(self.name, None)


@dataclass(frozen=True)
class MoveEntry:
    """A name changed, over whatever had the new one. It does not need the old name to have been durable."""

    subject: int
    old: str
    new: str
    number: int

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
        entries = disk.inodes[self.subject].entries
        entries.pop(self.old, None)
        entries[self.new] = self.number


@dataclass(frozen=True)
class Write:
    """Bytes in a file."""

    subject: int
    offset: int
    data: bytes

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
        inode = disk.inodes[self.subject]
        gap = self.offset - len(inode.data)
        inode.data.extend(bytes(max(0, gap)))
        inode.data[self.offset : self.offset + len(self.data)] = self.data

    def torn(self) -> tuple[Write, ...]:
        """Return what else may have come of it."""
        half, size = len(self.data) // 2, len(self.data)
        return (
            Write(self.subject, self.offset, self.data[:half]),
            Write(self.subject, self.offset, bytes(size)),
            Write(self.subject, self.offset, b"\xa5" * size),
        )


@dataclass(frozen=True)
class Resize:
    """A file cut or grown."""

    subject: int
    size: int

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
        del disk.inodes[self.subject].data[self.size :]


@dataclass(frozen=True)
class ChangeMode:
    """Permissions."""

    subject: int
    mode: int

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
        disk.inodes[self.subject].mode = self.mode


@dataclass(frozen=True)
class Sync:
    """All earlier operations with this subject are durable."""

    subject: int

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""


@dataclass(frozen=True)
class Told:
    """A mark: something was acknowledged."""

    subject: int
    mark: Mark
    value: int

    def apply(self, disk: Disk) -> None:
        """See `Operation`."""
