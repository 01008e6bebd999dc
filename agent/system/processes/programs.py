"""Other programs, run as little as can be: no shell, a fixed environment, no descriptors, an end.

What they write goes to this process's standard error, which is the journal's, up to a bound; see
`agent.system.processes.outputs`.
"""

from __future__ import annotations

import errno
import os
import pwd
import select
import signal
import subprocess
from contextlib import closing, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.text import duration
from agent.system import children
from agent.system.clock import monotonic
from agent.system.processes import outputs
from agent.system.processes.cgroups import group_of_its_own

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.system.processes.cgroups import Group

GRACE = 2.0  # seconds between being told to stop and being killed

NOT_STARTED = "it could not be started"  # how it is told that a program was not run, and will not be by itself

_LASTING = {errno.EACCES, errno.ELOOP, errno.ENOENT, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM}

_NO_TIME = "no time was left for it, so it was ended"
_MOMENT = 0.05  # seconds for what was killed to be gone
_ROUNDS = 20  # a process may start another while it is looked for
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@frozen
class UnixAccount:
    """Whom a program runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def account(name: str) -> UnixAccount:
    """Return whom a program runs as.

    Raises:
        KeyError: There is no such user.
    """
    entry = pwd.getpwnam(name)
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return UnixAccount(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def run(
    command: Sequence[str],
    timeout: float,
    *,
    environment: Mapping[str, str] | None = None,
    account: UnixAccount | None = None,
) -> str:
    """Run a program to its end.

    What it started and left behind in sessions of its own is ended with it when its time is over: it has a control
    group of its own where there may be one, and this process adopts orphans from its first program on, so that nothing
    which descends from it gets out of sight elsewhere.

    Args:
        command: The program, by an absolute path, and its arguments.
        timeout: Seconds it may take; then it and all that it started is ended.
        environment: What it is told in addition to `children.ENVIRONMENT`.
        account: Whom it runs as, when not as this process does.

    Returns:
        How it failed, such as ``it ended with exit code 3``; empty when it ended with 0.
    """
    with group_of_its_own() as group:
        return _run(command, timeout, environment or {}, account, group)


def _run(
    command: Sequence[str],
    timeout: float,
    environment: Mapping[str, str],
    account: UnixAccount | None,
    group: Group | None,
) -> str:
    adopted_before = _descendants(os.getpid())
    _adopt_orphans()
    try:
        with closing(outputs.Outflow()) as output:
            process = _started(command, environment, account, group, output.given)
            output.start()
            if _ends(process.pid, output, max(timeout, 0.0)):
                return children.ended(process.wait())
            _end(process, adopted_before, group)
    except OSError as error:
        lasting = error.errno in _LASTING  # else there was no memory, or the file is being written
        return f"{NOT_STARTED if lasting else 'for now ' + NOT_STARTED}: {os.strerror(error.errno or 0)}"
    except ValueError as error:
        return f"{NOT_STARTED}: {error}"  # a null byte
    except subprocess.SubprocessError:
        return f"for now {NOT_STARTED} as that user"
    return f"it took longer than {duration(timedelta(seconds=timeout))} and was ended" if timeout > 0 else _NO_TIME


def _started(
    command: Sequence[str],
    environment: Mapping[str, str],
    account: UnixAccount | None,
    group: Group | None,
    output: int,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - root's own configuration names it
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env={**children.ENVIRONMENT, **environment},
        start_new_session=True,
        umask=0o077,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=account.groups if account else None,
        preexec_fn=group.enter if group else None,  # noqa: PLW1509 - one write, and no other thread holds a lock of it
    )


def _ends(pid: int, output: outputs.Outflow, seconds: float) -> bool:
    """Whether a program ends within so many seconds; what it writes meanwhile is passed on."""
    deadline, end = monotonic() + seconds, children.end_of(pid)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(output.read, select.POLLIN)
    try:
        while True:
            left = deadline - monotonic()
            ready = {fd for fd, _ in poll.poll(max(left, 0.0) * 1000)}
            if output.read in ready and not output.pass_on():
                poll.unregister(output.read)
            if end in ready or left <= 0:
                return end in ready
    finally:
        os.close(end)


def _end(process: subprocess.Popen[bytes], others: frozenset[int], group: Group | None) -> None:
    """End the program and its descendants, whatever session or process group they are in; `others` are not its."""
    grouped = group.processes() if group else frozenset()
    _signal((_descendants(os.getpid()) - others) | grouped, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    if group is not None:
        group.kill()
    for _ in range(_ROUNDS):
        left = _descendants(os.getpid()) - others
        if not left:
            break
        _signal(left, signal.SIGKILL)
        _reap(left - {process.pid})
        with suppress(subprocess.TimeoutExpired):
            process.wait(_MOMENT)
    process.wait()


def _reap(processes: frozenset[int]) -> None:
    for pid in processes:
        with suppress(ChildProcessError):  # its own parent still runs
            os.waitpid(pid, os.WNOHANG)


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, instead of the machine's first process."""
    import ctypes  # noqa: PLC0415 - only where a program is run

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _descendants(of: int) -> frozenset[int]:
    """Return the processes that descend from one, ended ones that are still to be reaped included."""
    children_of: dict[int, list[int]] = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - numbers are wanted, no paths
        with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - a third of the cost
            fields = file.read().rpartition(b")")[2].split(None, 2)  # IndexError: it has ended meanwhile
            children_of.setdefault(int(fields[1]), []).append(int(pid))
    found, left = set(), [of]
    while left:
        new = children_of.pop(left.pop(), [])
        found.update(new)
        left += new
    return frozenset(found)


def _signal(processes: frozenset[int], number: signal.Signals) -> None:
    for pid in processes:
        with suppress(OSError):  # it has ended meanwhile
            os.kill(pid, number)
