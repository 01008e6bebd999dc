"""Programs that take a signal for news of the set, and say in a file which process they are.

What such a file says is believed only so far: a process of that name must run, and where the file is not root's, it
must be a process of the file's owner. A program that does not run is left alone; it reads its files at its start.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.text_files import NoTextError, text_of, value_of
from agent.dependants.copies import only_a_person_ends
from agent.dependants.units import LOOK, verified
from agent.errors import DamagedError, RefusedError, StoreError
from agent.store.files import disk
from agent.system import children, clock, descriptors

if TYPE_CHECKING:
    from agent.core.dependants import Signal
    from agent.dependants.export import Extract

MAX_PID_FILE = 4_096  # bytes
_PID = re.compile(r"[1-9][0-9]{0,8}")


class _UntoldError(Exception):
    """Why it is not known which process is to be told, and whether only a person can change that."""

    def __init__(self, why: str, *, lasting: bool = False) -> None:
        super().__init__(why)
        self.lasting = lasting


@frozen
class _Process:
    """A process, and what `children.descriptor_of` has for it."""

    pid: int
    fd: int

    def tell(self, number: signal.Signals) -> None:
        if self.fd == children.NONE:
            os.kill(self.pid, number)
        else:
            signal.pidfd_send_signal(self.fd, number)

    def close(self) -> None:
        if self.fd != children.NONE:
            descriptors.release(self.fd)


def serve(wanted: Signal, extract: Extract) -> str:
    """Send a program its signal, and return why it does not use the set, or nothing.

    Raises:
        RefusedError: It does not, and only a person can change that.
    """
    deadline = clock.monotonic() + wanted.timeout.total_seconds()
    try:
        found = _process(wanted)
        if found is None:
            return ""
        with closing(found):
            found.tell(signal.Signals[f"SIG{wanted.signal}"])
        clock.sleep(LOOK)
        problem = _stays_up(wanted)
    except _UntoldError as error:
        text = f"{wanted.name} is not sent: {error}."
        if error.lasting:
            raise RefusedError(text) from None
        return text
    except OSError as error:
        return f"{wanted.name} is not sent: {os.strerror(error.errno or 0)}."
    return problem or verified(wanted, extract, deadline)


def _stays_up(wanted: Signal) -> str:
    until = clock.monotonic() + wanted.healthy.total_seconds()
    while True:
        found = _process(wanted)
        if found is None:
            return f"{wanted.process} does not run any more after SIG{wanted.signal} ({wanted.pid_file})."
        found.close()
        if clock.monotonic() >= until:
            return ""
        clock.sleep(LOOK)


def _process(wanted: Signal) -> _Process | None:
    """Return the process that is to be told, or None where the program does not run.

    Raises:
        _UntoldError: The file cannot be believed.
    """
    pid, owner = _said(wanted.pid_file)
    if pid is None:
        return None
    try:
        found = _Process(pid=pid, fd=children.descriptor_of(pid))
    except ProcessLookupError:
        return None  # the file is what a crash left
    try:
        name, uid = _known(pid)
    except OSError:
        found.close()
        return None
    if name != wanted.process[:15]:  # as the kernel cuts it
        found.close()
        raise _UntoldError(f"{wanted.pid_file} names process {pid}, which is {name!r} and not {wanted.process!r}")
    if owner not in {0, uid}:
        found.close()
        told = f"{wanted.pid_file} belongs to user {owner}, and process {pid} to user {uid}"
        raise _UntoldError(told, lasting=True)
    return found


def _said(path: Path) -> tuple[int | None, int]:
    """Return which process a file names, and whose the file is; None where there is no file."""
    try:
        with disk.directory(os.path.realpath(path.parent)) as fd:  # /var/run is a link to /run
            data, owner = disk.read(fd, path.name, MAX_PID_FILE), os.lstat(path.name, dir_fd=fd).st_uid
    except FileNotFoundError:
        return None, 0
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None, 0
        lasting = isinstance(error, DamagedError) or only_a_person_ends(error)
        raise _UntoldError(str(error).rstrip("."), lasting=lasting) from None
    return _number(path, data), owner


def _number(path: Path, data: bytes) -> int:
    """Return the process in a file's first line; PostgreSQL writes its directory, port and more behind it."""
    try:
        first, *others = text_of(data).strip().split("\n")
        number = value_of(first.encode())
    except NoTextError:
        number, others = "", []
    if not _PID.fullmatch(number):
        raise _UntoldError(f"{path} names no process")
    if others and all(_PID.fullmatch(line.strip()) for line in others):
        raise _UntoldError(f"{path} names several processes, of which only one can be meant")
    return int(number)


def _known(pid: int) -> tuple[str, int]:
    """Return the name of a process, and whose it is."""
    status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
    return fields["Name"], int(fields["Uid"].split()[0])
