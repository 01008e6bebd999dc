"""Acting as the owner of the state directory.

When root runs a command on a store that belongs to the agent's user, everything it makes must be that user's from the
first byte, or the daemon cannot go on with it. Giving files away afterwards leaves a gap in which the command may be
killed; acting as the owner leaves none. It also keeps the whole change, the network above all, away from root.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import signal
import stat
from pathlib import Path

from agent.core.text import in_shell, printable
from agent.core.values import SEARCHED
from agent.store.files.disk import explained
from agent.system.changeable import changeable_by_others

_FIRST_LINE = 256  # bytes of it that the kernel reads
_INTERPRETER = re.compile(rb"#![ \t]*([^ \t\n\0]*)")  # execve(2): what follows it the interpreter may take or not
_BY_NAME = re.compile(rb"#![ \t]*((?:/usr)?/bin/env[ \t]+)(-S[ \t]*)?([^-= \t\n\0][^=\n\0]*)")
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_DUMPABLE = 4


def become_owner(path: Path) -> None:
    """Let root give up its privileges for good and become the owner of `path`; others stay who they are.

    Raises:
        StoreError: The owner cannot be told, or cannot be become.
    """
    if os.geteuid() != 0:
        return
    with explained(f"act as the owner of {path}"):
        status = path.stat()
        if status.st_uid == 0:
            return
        try:
            owner = pwd.getpwuid(status.st_uid)
            os.initgroups(owner.pw_name, owner.pw_gid)  # which the service has, whatever the directory's group is
        except KeyError:
            os.setgroups([])  # an owner without a name has no further groups
        os.setresgid(status.st_gid, status.st_gid, status.st_gid)
        os.setresuid(status.st_uid, status.st_uid, status.st_uid)


def not_to_be_run(program: Path, user: int) -> str:
    """Return why a program that an operator configured must not be run as a user, or cannot be, or an empty text."""
    try:
        if not stat.S_ISREG(program.stat().st_mode):
            return f"{program} is no regular file."
        others = changeable_by_others(program, user)
        not_started = "" if others else cannot_start(program)
    except OSError as error:
        return f"{program} cannot be looked at: {os.strerror(error.errno or 0)}."
    return f"{others}, so {program} is not run." if others else not_started


def cannot_start(program: Path) -> str:
    """Return why the kernel would not start a file as a program, and what helps, or an empty text.

    Raises:
        OSError: It cannot be looked at.
    """
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


def keep_memory_private() -> None:
    """Let neither a core dump nor another process of the same user show this one's memory; it may hold a key."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def stop_with_parent() -> None:
    """Be told to stop when the parent dies, so that no worker outlives its daemon for long."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
