"""Copies of files for programs beside the agent, asked for with few words, and what tests do to them."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

from agent.core.dependants import Content, Copy, Format
from agent.dependants.copies import Written, write
from support.running.systemd import ME
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from pathlib import Path


MINE = grp.getgrgid(os.getegid()).gr_name
OTHER_USER, OTHER_GROUP = pwd.getpwuid(NOBODY).pw_name, grp.getgrgid(NOBODY).gr_name
OLD, NEW = b"old content\n", b"new content of another length\n"


def a_copy(to: Path, owner: str = ME, group: str = MINE, mode: int = 0o640, form: Format = Format.PEM) -> Copy:
    """Return a copy to a place."""
    return Copy(to=to, content=Content.PAIR, format=form, owner=owner, group=group, mode=mode)


def put(*wanted: Copy, content: bytes = NEW) -> Written:
    """Write copies that hold the same."""
    return write(wanted, [content] * len(wanted), {})


def problem(copy: Copy) -> str:
    """Write one copy in vain, and return why that failed."""
    done = put(copy)
    assert not done.changed
    assert list(done.problems) == [copy.to]
    said = done.problems[copy.to]
    assert said.startswith(f"{copy.to} is not written: ")
    assert said.endswith(".")
    return said


def names(place: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in place.iterdir())


def dress(path: Path) -> tuple[int, int, int]:
    """Return a file's owner, group and mode."""
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
