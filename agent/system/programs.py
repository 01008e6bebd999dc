"""Other programs, run as little as can be: no shell, a fixed environment, no descriptors, an end.

What they write goes to this process's standard error, which is the journal's, and is never read: it may hold anything.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
GRACE = 2.0  # seconds between being told to stop and being killed

_NO_TIME = "no time was left for it, so it was ended"
_ROUNDS = 3  # a process may start another while it is looked for


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom a program runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def account(name: str) -> Account:
    """Return whom a program runs as.

    Raises:
        KeyError: There is no such user.
    """
    entry = pwd.getpwnam(name)
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def run(
    command: Sequence[str],
    timeout: float,
    *,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
) -> str:
    """Run a program to its end.

    Args:
        command: The program, by an absolute path, and its arguments.
        timeout: Seconds it may take; then it and all that it started in its session is ended.
        environment: What it is told in addition to `ENVIRONMENT`.
        account: Whom it runs as, when not as this process does.

    Returns:
        How it failed, such as ``it ended with exit code 3``; empty when it ended with 0.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - root's own configuration names it
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=_stderr(),
            stderr=_stderr(),
            cwd="/",
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=account.groups if account else None,
        )
    except OSError as error:
        return f"it could not be started: {os.strerror(error.errno or 0)}"
    except ValueError as error:
        return f"it could not be started: {error}"  # a null byte
    except subprocess.SubprocessError:
        return "it could not be started as that user"
    try:
        return _ended(process.wait(max(timeout, 0.0)))
    except subprocess.TimeoutExpired:
        _end(process)
        return f"it took longer than {duration(timedelta(seconds=timeout))} and was ended" if timeout > 0 else _NO_TIME


def _stderr() -> int:
    """Return where output goes; a worker's standard output belongs to the daemon."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return subprocess.DEVNULL


def _ended(code: int) -> str:
    if code == 0:
        return ""
    return f"it ended with exit code {code}" if code > 0 else f"it was ended by signal {-code}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole session: a script's children would live on, and some have process groups of their own."""
    _signal(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    for _ in range(_ROUNDS):
        if not _signal(process.pid, signal.SIGKILL):
            break
    process.wait()


def _signal(session: int, number: signal.Signals) -> bool:
    """Send a signal to every process of a session, and return whether there was any that runs."""
    found = False
    for entry in os.scandir("/proc"):
        with suppress(ValueError, OSError):  # no process, or one that has ended meanwhile
            pid = int(entry.name)
            if os.getsid(pid) == session:
                os.kill(pid, number)
                found = True
    return found
