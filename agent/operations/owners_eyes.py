"""As root: forks, becomes the agent's user, and says which configured files that user cannot read.

That user owns the state directory. It looks in a process of its own, so that groups, access lists and the way to a file
count. The files of parameters are another matter: root hands these over. For others it says what this user may not read
and the agent may, and for each why the agent would not run the command of `notices`.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.store.files import disk
from agent.store.files.ownership import become_owner
from agent.system import files
from agent.system.processes import forks
from agent.system.processes.runnable import why_not

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config.values import Config
    from agent.errors import AgentError


def hidden(config: Config) -> tuple[str, ...]:
    """Return what is there and the agent cannot use, a sentence each: files, which root alone finds, and `runtime_dir`.

    Raises:
        StoreError: There is no further process to be had.
    """
    return (*_unreadable(config), *_unusable_runtime(config))


def _unreadable(config: Config) -> tuple[str, ...]:
    if os.geteuid() != 0 or not files.is_directory(config.state_dir):
        return ()
    owner = config.state_dir.stat().st_uid
    if owner == 0:
        return ()
    enrolls = config.to_enrol_with
    paths = (config.path.absolute(), *(path for _, path in config.named), *(enrolls.files if enrolls else ()))
    there = list(dict.fromkeys(path for path in paths if files.is_there(path)))
    return tuple(
        f"{path} may be read by root and not by the user that the agent works as ({owner}): give it one that this user "
        "may read."
        for path in _denied(there, config.state_dir, os.R_OK)
    )


def why_notices_not_run(config: Config) -> str:
    """Return why the agent's user would not run the command that is told of findings, or an empty text."""
    if config.notices is None:
        return ""
    try:
        user = config.state_dir.stat().st_uid
    except OSError:
        user = os.geteuid()  # there is none yet, or this user may not look
    return why_not(Path(config.notices.command[0]), user, follow=True)


def not_for_this_user(config: Config, error: AgentError) -> str:
    """Return that this user may not read what the agent may, as a clause; empty where that explains no error."""
    try:
        agent = config.state_dir.stat().st_uid
    except OSError:
        agent = 0  # or it is not there yet
    return f"{str(error).rstrip('.')}; run it with sudo" if error.denied and os.geteuid() not in {0, agent} else ""


def _unusable_runtime(config: Config) -> Iterator[str]:
    """Yield why no daemon would start with its runtime directory; one that is not there it makes, or systemd does."""
    state_dir, path = config.state_dir, config.runtime_dir
    try:
        path.lstat()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            yield f"runtime_dir {path} cannot be used: {error.strerror}: choose a shorter one."
            return
    there = next(step for step in (path, *path.parents) if os.path.lexists(step))
    if not files.is_directory(there):
        kind = files.kind_of(there.lstat().st_mode)
        yield f"runtime_dir {path}: {there} is {kind}, where a directory is expected: move it out of the way."
    elif there == path and files.is_directory(state_dir) and os.geteuid() in {0, state_dir.stat().st_uid}:
        for denied in _denied([path], state_dir, os.W_OK | os.X_OK):
            yield f"runtime_dir {denied} cannot be written by the agent's user: see owner, mode and `findmnt -T`."


def _denied(paths: Sequence[Path], state_dir: Path, mode: int) -> list[Path]:
    """Return which of the paths the owner of the state directory may not read, or do with what a mode says."""

    def look(pipe: int) -> None:
        become_owner(state_dir)
        os.write(pipe, bytes(os.access(path, mode) for path in paths))

    with disk.explained("look at files as the user that the agent works as"):
        child, told = forks.fork(look)
    with os.fdopen(told, "rb") as pipe:
        may = pipe.read()
    os.waitpid(child, 0)
    return [path for path, allowed in zip(paths, may, strict=False) if not allowed]
