"""Hooks: the executables in a directory of root's, run in the order of their names.

Who may write to a hook decides what root runs, so that is looked at each time.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from typing import TYPE_CHECKING

from agent.config.values import GATES_DIRECTORY, HOOKS_DIRECTORY
from agent.core.dependants import MAX_HOOKS, MAX_PROBLEM
from agent.core.text import printable
from agent.system import files
from agent.system.processes.runnable import may_be_looked_at, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent.core.dependants import GateCommands, Hooks

_DANGLING = "is a symbolic link to what is not there: mount its file system, or take the link away."

# What package managers and editors leave beside a file; run-parts passes over the same.
_LEFTOVER = re.compile(r"\..*|.*~|.*\.(dpkg-[a-z]+|ucf-[a-z]+|rpm(new|save|orig)|bak|orig|old|swp|disabled)")


def find(directory: Path) -> tuple[list[Path], str]:
    """Return the hooks in order, and why they are not all that are there, or an empty text."""
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if not _LEFTOVER.fullmatch(entry.name))
    except FileNotFoundError:
        return [], f"{directory} {_DANGLING}" if directory.is_symlink() else ""
    except OSError as error:
        return [], _unreadable(directory, error)
    if len(names) > MAX_HOOKS:
        return [], f"{directory} has {len(names)} hooks, and at most {MAX_HOOKS} are run: none was."
    return [directory / name for name in names], ""


def _unreadable(directory: Path, error: OSError) -> str:
    if isinstance(error, NotADirectoryError) and files.is_there(directory):
        kind = files.kind_of(directory.stat().st_mode)
        return f"{directory} is {kind}, where a directory is expected: move it out of the way."
    return f"{directory} cannot be read: {os.strerror(error.errno or 0)}. {files.remedy(error.errno)}".strip()


def any_in(directory: Path) -> bool:
    """Whether there is a hook to be run or complained about."""
    found, problem = find(directory)
    return bool(found or problem)


def run(hook: Path, user: str, timeout: float, environment: Mapping[str, str]) -> tuple[str, str]:
    """Run a hook as a user; return why it could not be run, a sentence, and how it failed, see `programs.run`.

    Args:
        hook: The hook.
        user: Who runs it.
        timeout: Seconds it may take.
        environment: What it is told.
    """
    from agent.system.processes import programs  # noqa: PLC0415 - who only looks whether there are hooks runs nothing

    problem = why_not(hook, 0, follow=False) or _unknown(hook, user)
    if problem:
        return problem, ""
    account = programs.account(user)
    told = {**environment, "HOME": account.home, "USER": account.name}
    mine = account.uid == os.geteuid()
    failed = programs.run([str(hook)], timeout, environment=told, account=None if mine else account)
    return (f"{hook} is not run: {failed}.", "") if failed.startswith(programs.NOT_STARTED) else ("", failed)


def unfit(*all_of_them: Hooks | GateCommands | None) -> Iterator[str]:
    """Yield which hooks and gates would not be run, as far as this user may look, a sentence each."""
    for named in all_of_them:
        if named is not None and _may_be_read(named.directory):
            found, problem = find(named.directory)
            seen = (hook for hook in found if may_be_looked_at(hook))
            looked = (_unknown(hook, named.user) or why_not(hook, 0, follow=False) for hook in seen)
            told = (problem or _gone(named.directory), *looked)
            yield from (printable(text, MAX_PROBLEM) for text in told if text)


def _may_be_read(directory: Path) -> bool:
    """Whether this user can tell what is in a directory, or that it is none: root may go where the user may not."""
    try:
        return not stat.S_ISDIR(directory.stat().st_mode) or os.access(directory, os.R_OK | os.X_OK)
    except PermissionError:
        return False
    except OSError:
        return True


def _gone(directory: Path) -> str:
    """Return that a directory is not there which the configuration names; the ones of their own need not be."""
    if os.path.lexists(directory) or directory in (HOOKS_DIRECTORY, GATES_DIRECTORY):
        return ""
    return f"{directory} is not there, so nothing in it is run: make it, or take it out of the configuration."


def _unknown(hook: Path, user: str) -> str:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return f"{hook} is not run: there is no user {user}."
    return ""
