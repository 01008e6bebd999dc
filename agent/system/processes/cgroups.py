"""A control group for one program, where systemd has delegated this process's own: nothing that it starts escapes it.

It refuses groups that are not delegated: those are systemd's alone to divide. Without one, on a machine with the first
version of control groups and before Linux 5.14, there is none.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
DELEGATED = "user.delegate"  # what systemd marks a delegated group with

_NUMBERS = count(1)


@frozen
class Group:
    """A control group.

    Attributes:
        path: Its directory.
        entrance: What a process writes a nought to that enters it; opened as the user who may do so.
    """

    path: Path
    entrance: int

    def enter(self) -> None:
        """Put the calling process into it, one that is about to become another program, if the kernel lets it.

        Before Linux 5.16 it asks who writes, and not who opened: a user who may not is outside, and runs all the same.
        """
        with suppress(OSError):
            os.write(self.entrance, b"0")

    def processes(self) -> frozenset[int]:
        """Return those that are in it."""
        with suppress(OSError, ValueError):
            return frozenset(int(pid) for pid in (self.path / "cgroup.procs").read_text().split())
        return frozenset()

    def kill(self) -> None:
        """End all that is in it, at once."""
        with suppress(OSError):
            fd = os.open(self.path / "cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"1")
            finally:
                os.close(fd)


@contextmanager
def group_of_its_own() -> Iterator[Group | None]:
    """Have a group for a program; it goes when it is empty, and with this process's unit where it is not."""
    path = _made()
    if path is None:
        yield None
        return
    entrance = -1
    try:
        entrance = os.open(path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        yield Group(path=path, entrance=entrance)
    finally:
        if entrance >= 0:
            os.close(entrance)
        with suppress(OSError):
            path.rmdir()


def _made() -> Path | None:
    with suppress(OSError):
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        above = next((place / own.lstrip("/") for place in PLACES if (place / "cgroup.procs").exists()), None)
        if above is None or os.getxattr(above, DELEGATED) != b"1":
            return None
        made = above / f"program-{os.getpid()}-{next(_NUMBERS)}"
        made.mkdir()
        if (made / "cgroup.kill").exists():
            return made
        made.rmdir()
    return None
