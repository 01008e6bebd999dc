"""Whether the copies are as they were put in place, by what any user may see of them: no content is read.

And whether what stands where a dependant's file belongs is a file at all.

What a program does to a copy that is its own to write (`heal: false`) is its business, as long as it is there.
"""

from __future__ import annotations

import grp
import pwd
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.dependants import names_of
from agent.system.files import kind_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.core.dependants import Copy, Dependants, Step

PUT_BACK = "`sudo iot-cert deploy` puts it back at once, and the daemon within the hour."


def trace(path: Path) -> str:
    """Return what changes when a file is written, or an empty text where that cannot be seen."""
    try:
        status = path.lstat()
    except OSError:
        return ""
    return f"{status.st_size}.{status.st_mtime_ns}"


def traces(copies: Iterable[Copy]) -> dict[str, str]:
    """Return the traces of the copies that no program but the agent writes to, by path."""
    return {str(copy.to): found for copy in copies if _is_a_file(copy) and (found := trace(copy.to))}


def _is_a_file(copy: Copy) -> bool:
    return copy.heal and not copy.format.is_directory


def with_looks(steps: Iterable[Step], dependants: Dependants, known: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the steps of a report, with what is wrong by now with a copy that was right then.

    Args:
        steps: The steps of the report.
        dependants: What is configured.
        known: What `traces` was at the end of it.
    """
    copies = dict(zip(names_of(dependants, ()), dependants.copies, strict=False))
    wrong = misplaced(dependants)
    looked = {step.name: problem(copies[step.name], known) if step.name in copies else wrong.get(step.name, "")
              for step in steps}  # fmt: skip
    return tuple(step if step.problem else replace(step, problem=looked[step.name]) for step in steps)


def misplaced(dependants: Dependants) -> dict[str, str]:
    """Return what keeps a dependant from being served before that is tried, by its name, as far as this user may know.

    Of a copy or a file with a process's number that is what stands in its place and is of another kind.
    """
    files = [
        *((copy.to, "a copy", copy.format.is_directory) for copy in dependants.copies),
        *((item.pid_file, f"the number of {item.process}", False) for item in dependants.signals),
    ]
    found = zip(names_of(dependants, ()), (_another_kind(*item) for item in files), strict=False)
    return {name: text for name, text in found if text}


def _another_kind(path: Path, what: str, directory: bool) -> str:  # noqa: FBT001 - a column of the list above
    try:
        mode = path.lstat().st_mode
    except OSError:
        return ""  # it is not there, or this user may not look
    if stat.S_ISLNK(mode) or (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        return ""
    return f"{path} is {kind_of(mode)}, where {what} is expected: move it out of the way."


def problem(copy: Copy, known: Mapping[str, str]) -> str:
    """Return what is wrong with a copy, as far as this user may know, or an empty text."""
    try:
        status = copy.to.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return f"{copy.to} is gone. {PUT_BACK}"
    except OSError:
        return ""  # in a directory that this user may not enter
    if copy.format.is_directory:  # what is in it is looked at when it is served
        return "" if stat.S_ISDIR(status.st_mode) else f"{copy.to} is no directory any more. {PUT_BACK}"
    if not stat.S_ISREG(status.st_mode):
        return f"{copy.to} is no file any more. {PUT_BACK}"
    wrong = _wrong(copy, status, known.get(str(copy.to), "")) if copy.heal else ""
    return f"{copy.to} {wrong}. {PUT_BACK}" if wrong else ""


def _wrong(copy: Copy, status: os.stat_result, known: str) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if mode != copy.mode:
        return f"has mode {mode:04o}, and is to have {copy.mode:04o}"
    try:
        wanted = pwd.getpwnam(copy.owner).pw_uid, grp.getgrnam(copy.group).gr_gid
    except KeyError:
        return ""  # which serving it tells
    if (status.st_uid, status.st_gid) != wanted:
        return f"belongs to {status.st_uid}:{status.st_gid}, and is to belong to {copy.owner}:{copy.group}"
    if not status.st_size:
        return "is empty"
    return "was changed by another program" if known and known != f"{status.st_size}.{status.st_mtime_ns}" else ""
