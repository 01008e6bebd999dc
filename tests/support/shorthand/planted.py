"""Objects of a wrong kind under a name that the agent uses, as backups, scripts and other programs leave them there.

`KINDS` has them all; some take root to be made. Each is looked at afterwards: whatever the agent does about it, what
another program or a person may want back is neither written into nor gone.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORDS = "precious\n"
STRANGER = 2000
HUGE = 1 << 30  # bytes, none of them on the disk


def _file(path: Path, mode: int = 0o644, owner: int = -1) -> None:
    path.write_text(WORDS)
    path.chmod(mode)
    os.chown(path, owner, owner)


def _directory(path: Path, mode: int) -> None:
    path.mkdir()
    (path / "below").write_text(WORDS)
    path.chmod(mode)


def _other(path: Path) -> Path:
    return path.with_name(f"another-programs-{path.name}")


def _hard_link(path: Path) -> None:
    other = _other(path)
    other.write_text(WORDS)
    path.hardlink_to(other)


def _socket(path: Path) -> None:
    fd = os.open(path.parent, os.O_PATH)  # however deep that is
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{fd}/{path.name}")
    os.close(fd)


def _immutable(path: Path) -> None:
    path.write_text(WORDS)
    subprocess.run(["chattr", "+i", path], check=True)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(HUGE)


KINDS: dict[str, Callable[[Path], None]] = {
    "directory": lambda path: _directory(path, 0o755),
    "directory-0555": lambda path: _directory(path, 0o555),
    "pipe": os.mkfifo,
    "dangling": lambda path: path.symlink_to("/nowhere/at/all"),
    "null": lambda path: path.symlink_to(os.devnull),
    "loop": lambda path: path.symlink_to(path.name),
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)),
    "socket": _socket,
    "hard-link": _hard_link,
    "mode-000": lambda path: _file(path, 0o000),
    "mode-0555": lambda path: _file(path, 0o555),
    "stranger": lambda path: _file(path, 0o600, STRANGER),
    "sparse": _sparse,
    "immutable": _immutable,
}

MOVABLE = sorted(KINDS.keys() - {"immutable"})
FOREIGN = ("directory", "directory-0555", "pipe", "device", "socket")  # what no file of the agent's is


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One of them, as it was made."""

    kind: str
    path: Path
    made: os.stat_result

    @property
    def other(self) -> Path:
        """The other name of a hard link."""
        return _other(self.path)

    @property
    def stands(self) -> bool:
        """Whether it is still where it was put."""
        try:
            return os.path.samestat(self.path.lstat(), self.made)
        except FileNotFoundError:
            return False

    def require_kept(self, where: Path) -> None:
        """Require that it is there, the same one, with the mode, the owner and the content that it had."""
        found = where.lstat()
        assert os.path.samestat(found, self.made), f"{where} is not what was put there"
        assert (found.st_mode, found.st_uid, found.st_size) == (self.made.st_mode, self.made.st_uid, self.made.st_size)
        if stat.S_ISREG(found.st_mode) and self.kind != "sparse":
            assert where.read_text() == WORDS
        if stat.S_ISDIR(found.st_mode):
            assert (where / "below").read_text() == WORDS

    def require_untouched(self) -> None:
        """Require that what it leads to, or shares its content with, is as it was."""
        if self.kind == "hard-link":
            assert self.other.read_text() == WORDS
        assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """Have a file that is there be one that nothing may write, replace or take away, as `chattr +i` makes it."""
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@contextmanager
def at(path: Path, kind: str) -> Iterator[Plant]:
    """Have an object of some kind stand under a name, which must be free, and nothing of it afterwards."""
    before = set(path.parent.iterdir())
    KINDS[kind](path)
    plant = Plant(kind=kind, path=path, made=path.lstat())
    try:
        yield plant
        plant.require_untouched()
    finally:
        if kind == "immutable":
            subprocess.run(["chattr", "-i", path], check=True)
        for item in set(path.parent.iterdir()) - before:
            if item == plant.other or os.path.samestat(item.lstat(), plant.made):
                _clear(item)


@contextmanager
def read_only(path: Path) -> Iterator[Path]:
    """Have a directory be on a disk that is mounted read-only."""
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@contextmanager
def instead_of(path: Path, kind: str) -> Iterator[Plant]:
    """Have an object of some kind stand in the place of a file."""
    path.unlink()
    with at(path, kind) as plant:
        yield plant


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink()
