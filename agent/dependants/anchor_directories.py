"""Copies of the anchors that are directories: a file for each, named as OpenSSL or the system's own store wants them.

Such a directory is the agent's alone, and is marked so: what else lies in it under a name of that kind was an anchor
once, and is taken away. One that holds other things and has no mark is left as it is. Files come before others go, so
that a program which looks meanwhile finds what both sets have.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.dependants import Format
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError, decode
from agent.dependants import copies
from agent.errors import RefusedError, StoreError
from agent.store.files import disk, durable
from agent.system.processes import programs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.core.dependants import Copy

MARK = ".iot-cert-agent"  # the file that says whose a directory is
MAX_FILE = 65_536  # bytes of one anchor
PATIENCE = 120.0  # seconds for the system's store to be made anew
STORES = (  # of Debian and of what came from it, and of Red Hat
    ("/usr/sbin/update-ca-certificates",),
    ("/usr/bin/update-ca-trust", "extract"),
)

_NAMES = {
    Format.HASHED: re.compile(r"[0-9a-f]{8}\.[0-9]{1,3}"),
    Format.SYSTEM: re.compile(r"[A-Za-z0-9-]{1,120}\.crt"),
}
_READ, _ENTER = 0o444, 2  # who may read the files may enter their directory


@frozen
class Unfolded:
    """Every file that is to be written.

    Attributes:
        copies: Each of them, those of a directory in the place of the directory.
        contents: What each holds.
        problems: Why one cannot be made, by its place.
        barred: Those directories that only a person can have made.
        names: The names of the files of each directory, by its path.
    """

    copies: tuple[Copy, ...]
    contents: tuple[bytes, ...]
    problems: Mapping[int, str]
    barred: frozenset[Path]
    names: Mapping[Path, frozenset[str]]


def unfold(wanted: Sequence[Copy], contents: Sequence[bytes], problems: Mapping[int, str]) -> Unfolded:
    """Return the files of which copies consist, and make the directories that are missing."""
    files: list[tuple[Copy, bytes]] = []
    unmade: dict[int, str] = {}
    barred = set[Path]()
    names: dict[Path, frozenset[str]] = {}
    for place, (copy, content) in enumerate(zip(wanted, contents, strict=True)):
        problem = problems.get(place, "")
        if copy.format.is_directory and not problem:
            try:
                found = _files(copy, content)
                _make(copy)
            except (PlainError, StoreError, KeyError) as error:
                problem = copies.reason(copy, error)
                barred |= {copy.to} if copies.only_a_person_ends(error) else set()
            else:
                names[copy.to] = frozenset(found)
                files += [(replace(copy, to=copy.to / name, format=Format.PEM), pem) for name, pem in found.items()]
                continue
        if problem:
            unmade[len(files)] = problem
        files.append((copy, content))
    return Unfolded(
        copies=tuple(copy for copy, _ in files),
        contents=tuple(content for _, content in files),
        problems=unmade,
        barred=frozenset(barred),
        names=names,
    )


def _files(copy: Copy, content: bytes) -> dict[str, bytes]:
    """Return the files of a directory; who rendered them is as little trusted as the user that it ran as.

    Raises:
        PlainError: They have other names than such a directory's files.
    """
    node = decode(content, "the anchors", limit=copies.MAX_COPY)
    if not all(_NAMES[copy.format].fullmatch(name) for name in node.names()):
        raise PlainError("the anchors have names that no such directory holds.")
    return {name: node.text(name, limit=MAX_FILE).encode() for name in node.names()}


def _make(copy: Copy) -> None:
    """Make and mark the directory where it is missing.

    Raises:
        StoreError: It cannot be made, or holds what is not ours.
        KeyError: The owner is unknown.
    """
    with copies.directory_of(copy, copy.to) as above:
        if not disk.exists(above, copy.to.name):
            with disk.explained(f"create {copy.to}"):
                os.mkdir(copy.to.name, 0o700, dir_fd=above)
            durable.sync(above, f"{copy.to} was made")
    with copies.directory_of(copy, copy.to / MARK) as fd:
        if disk.exists(fd, MARK):
            return
        if disk.names(fd):
            hint = "Name a directory under `copies:` that is empty, or not there yet."
            raise StoreError("It holds files of others.", hint=hint)
        with disk.explained(f"dress {copy.to}"):
            os.fchown(fd, *copies.ids(copy))
            os.fchmod(fd, copy.mode | 0o100 | (copy.mode & _READ) >> _ENTER)
        durable.write_new(fd, MARK, b"", durable.Modes(public_mode=0o644, directory_mode=0o755))


def tidy(
    wanted: Sequence[Copy], unfolded: Unfolded, written: copies.Written
) -> tuple[dict[Path, str], frozenset[Path], bool]:
    """Take away the anchors that a directory is not to hold any more, unless one that it is to hold is missing.

    Args:
        wanted: The copies.
        unfolded: Their files.
        written: What became of these.

    Returns:
        Why a copy is not as it should be, by its path, which of them only a person can put right, and whether any file
        was taken away.
    """
    found = {path: text for path, text in written.problems.items() if path.parent not in unfolded.names}
    missing = {path.parent: text for path, text in written.problems.items() if path.parent in unfolded.names}
    folded = (path.parent if path.parent in unfolded.names else path for path in written.barred)
    barred, changed = unfolded.barred.union(folded), False
    for copy in wanted:
        if copy.to not in unfolded.names:
            continue
        if copy.to in missing:
            found[copy.to] = missing[copy.to]
            continue
        try:
            changed |= _take_away(copy, unfolded.names[copy.to])
        except (StoreError, KeyError) as error:
            found[copy.to] = copies.problem(copy, error)
            barred |= {copy.to} if copies.only_a_person_ends(error) else set()
    return found, barred, changed


def _take_away(copy: Copy, names: frozenset[str]) -> bool:
    with copies.directory_of(copy, copy.to / MARK) as fd:
        others = [name for name in disk.names(fd) if name not in names and _NAMES[copy.format].fullmatch(name)]
        for name in others:
            durable.remove(fd, name)
    return bool(others)


def take_in(copy: Copy, stores: Sequence[Sequence[str]] = STORES) -> str:
    """Have the system's store made anew with the anchors in a directory, and return why it was not, or nothing.

    Raises:
        RefusedError: This system cannot do that.
    """
    command = next((command for command in stores if os.access(command[0], os.X_OK)), None)
    if command is None:
        raise RefusedError(f"{copy.to} is written, but this system has no program that takes it into its store.")
    failed = programs.run(command, PATIENCE)
    return f"{copy.to} is written, but {Path(command[0]).name} failed: {failed}." if failed else ""
