"""A directory as a value: taken, compared, and laid out again somewhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

DIRECTORY, FILE, LINK = "d", "f", "l"

WRITTEN = 1_772_366_400  # when each file was written that is laid out, by its own word: a crash changes no times

Entry = tuple[str, int, bytes]  # kind, permission bits (0 for a link), content or target
Tree = dict[str, Entry]
Frozen = frozenset[tuple[str, Entry]]

_CONTENTS: dict[bytes, bytes] = {}  # of files, each kept once: most of a store are the pieces of its reserve


def snapshot(root: Path) -> Tree:
    """Return everything below `root`, by relative path."""
    tree: Tree = {}
    _collect(str(root), "", tree)
    return tree


def _collect(path: str, prefix: str, tree: Tree) -> None:
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            name = prefix + entry.name
            status = entry.stat(follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if entry.is_symlink():
                tree[name] = (LINK, 0, os.fsencode(Path(entry.path).readlink()))
            elif entry.is_dir():
                tree[name] = (DIRECTORY, mode, b"")
                _collect(entry.path, name + "/", tree)
            else:
                tree[name] = (FILE, mode, _read(entry.path, status.st_size))


def _read(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)  # a third of the time of a Path's
    try:
        data = os.read(fd, size)
    finally:
        os.close(fd)
    return _CONTENTS.setdefault(data, data)


def materialise(tree: Tree, root: Path) -> None:
    """Lay a tree out in `root`, which is made, with its modes whatever the umask is."""
    mask = os.umask(0)
    try:
        root.mkdir(mode=0o700)
        for name, (kind, mode, data) in sorted(tree.items()):
            path = root / name
            if kind == LINK:
                path.symlink_to(os.fsdecode(data))
            elif kind == DIRECTORY:
                path.mkdir(mode)
            else:
                _write(path, mode, data)
    finally:
        os.umask(mask)


def _write(path: Path, mode: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(fd, data)
        os.utime(fd, (WRITTEN, WRITTEN))
    finally:
        os.close(fd)


def frozen(tree: Tree) -> Frozen:
    """Return the whole tree as a value that can be a key; of what two trees share, the bytes are looked at once."""
    return frozenset(tree.items())


def differences(expected: Tree, found: Tree) -> list[str]:
    """Return the names that differ, each with what happened to it."""
    gone = [f"{name} is missing" for name in expected.keys() - found.keys()]
    new = [f"{name} is new" for name in found.keys() - expected.keys()]
    changed = [f"{name} differs" for name in expected.keys() & found.keys() if expected[name] != found[name]]
    return sorted([*gone, *new, *changed])
