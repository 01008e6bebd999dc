"""Who but root could change what is at a path: it, or anything that leads there."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.text import in_shell

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LINKS = 40  # path_resolution(7)


def changeable_by_others(path: Path, mine: int = 0) -> str:
    """Return who but root could change what is at a path, it and all that leads to it, or an empty text.

    Args:
        path: The path.
        mine: A further user who may.

    Raises:
        OSError: It cannot be looked at.
    """
    for step in reversed(list(_way(path))):
        status = step.lstat()
        if status.st_uid not in {0, mine}:
            return f"{step} belongs to {_name_of(status.st_uid)} and not to root"
        if stat.S_ISLNK(status.st_mode):
            continue  # its mode says nothing; the directory that it is in does
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX  # where no user may rename another's
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            return f"{step} may be written by others than root (`sudo chmod go-w {in_shell(step)}`)"
    return ""


def _way(path: Path) -> Iterator[Path]:
    """Yield whatever leads to a path: directories, links, and what these go through.

    Only where a path ends up is not enough: a user who may move a link has it end up elsewhere after the look.

    Raises:
        OSError: It cannot be looked at, or it goes in circles.
    """
    here, links = path.absolute().anchor, 0
    left = list(path.absolute().parts[1:])
    yield Path(here)
    while left:
        name = left.pop(0)
        if name == os.pardir:
            here = os.path.dirname(here)  # noqa: PTH120 - no link is left in it
            continue
        found = Path(here, name)
        yield found
        if not stat.S_ISLNK(found.lstat().st_mode):
            here = str(found)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = found.readlink()
        here = target.anchor or here
        left[:0] = target.parts[1:] if target.anchor else target.parts


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
