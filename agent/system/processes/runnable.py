"""Whether a program that a person configured may be run, and can be: told before it is tried, with what helps.

Who may change a program decides what its caller does. And where an interpreter is missing, the kernel says that the
script is not there.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from agent.core.text import in_shell, printable
from agent.core.values import SEARCHED
from agent.system.changeable import changeable_by_others

_RUN = 0o111
_FIRST_LINE = 256  # bytes of it that the kernel reads
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\n\0]*)")  # execve(2): what follows it the interpreter may take or not
_BY_NAME = re.compile(rb"#![ \t]*((?:/usr)?/bin/env[ \t]+)(-S[ \t]*)?([^-= \t\n\0][^=\n\0]*)")


def why_not(program: Path, owner: int | None, *, follow: bool) -> str:
    """Return why a program must not or cannot be run, a sentence, or an empty text.

    Args:
        program: The program.
        owner: Which user besides root may change it; None where any user may.
        follow: Whether it may be a link.
    """
    try:
        if not stat.S_ISREG(program.stat(follow_symlinks=follow).st_mode):
            return f"{program} is no regular file, so it is not run."
        others = "" if owner is None else changeable_by_others(program, owner)
        not_started = "" if others else _cannot_start(program)
    except OSError as error:
        return f"{program} cannot be looked at: {os.strerror(error.errno or 0)}."
    return f"{others}, so {program.name} is not run." if others else not_started


def may_be_looked_at(program: Path) -> bool:
    """Whether this user can tell if it would be run: what the user may not run, another may."""
    try:
        return os.geteuid() == 0 or os.access(program, os.X_OK) or not program.stat().st_mode & _RUN
    except OSError:
        return True


def _cannot_start(program: Path) -> str:
    if not os.access(program, os.X_OK):
        return _not_executable(program)
    try:
        with program.open("rb") as file:
            first = file.readline(_FIRST_LINE)
    except OSError:
        return ""  # what this user may not read it may run
    interpreter = _missing_interpreter(first)
    if not interpreter:
        return ""
    if interpreter.endswith("\r"):
        return f"{program} has line ends of another system: `sudo sed -i 's/\\r$//' {in_shell(program)}`."
    return f"{program} begins with `#!{printable(interpreter, _FIRST_LINE)}`, which is not there to run it."


def _not_executable(program: Path) -> str:
    if os.statvfs(program).f_flag & os.ST_NOEXEC:
        return f"{program} is on a file system from which nothing is run (mounted `noexec`): move it to another."
    return f"{program} is not executable: `sudo chmod +x {in_shell(program)}`."


def _missing_interpreter(first: bytes) -> str:
    """Return what the first line of a script has run that is not there, or an empty text."""
    found = _INTERPRETER.match(first)
    if found is None:
        return ""
    if not os.access(found[1], os.X_OK):
        return os.fsdecode(found[1])
    by_name = _BY_NAME.match(first)
    if by_name is None:
        return ""
    env, splits, rest = by_name.groups()  # without -S all that follows is one name, blanks included
    name = os.fsdecode(rest.split(maxsplit=1)[0] if splits else rest.rstrip(b" \t"))
    there = any(os.access(Path(place, name), os.X_OK) for place in SEARCHED.split(":"))
    return "" if there else os.fsdecode(env) + name
