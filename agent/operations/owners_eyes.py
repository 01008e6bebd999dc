"""What one user sees and another does not: files that root may read and the agent may not, or the agent and this user.

For root it looks as that user, who owns the state directory, in a process of its own: groups, access lists and
the way to a file count. The files of parameters are another matter: root hands these over.
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

    from agent.config.values import Config, EnrollmentConfig
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
    enrolls = to_enrol_with(config)
    paths = (config.path.absolute(), *(path for _, path in named(config)), *(enrolls.files if enrolls else ()))
    there = list(dict.fromkeys(path for path in paths if files.is_there(path)))
    return tuple(
        f"{path} may be read by root and not by the user that the agent works as ({owner}): give it one that this user "
        "may read."
        for path in _denied(there, config.state_dir, os.R_OK)
    )


def not_told(config: Config) -> str:
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


def named(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the files that the configuration names for the agent to read or to run: the key that names each, and it."""
    yield "trust.anchors", config.anchors
    yield from (("watch", item.path) for item in config.watch)
    if config.trust.root is not None:
        yield "trust.root", config.trust.root
    if config.proxy is not None and config.proxy.password_file is not None:
        yield "proxy.password_file", config.proxy.password_file
    if config.notices is not None:
        yield "notices.command", Path(config.notices.command[0])


def to_enrol_with(config: Config) -> EnrollmentConfig | None:
    """Return what the agent may yet enrol with; None where there is nothing, or it has enrolled by a claim."""
    enrollment = config.enrollment
    enrolled = os.path.islink(config.state_dir / "current")  # noqa: PTH114 - Path's raises for who may not look
    return enrollment if enrollment and (enrollment.token or not enrolled) else None  # a token is for a rescue, too


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
