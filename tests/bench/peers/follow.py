"""Follow a program and all that it starts: what they write, what they sync, and an end for all at one system call.

``follow.py [--kill N] [--idle] ROOT COMMAND...`` prints what it counted as JSON. A call counts that can change a file:
writing to one below ROOT, making, naming, removing, syncing or dressing one anywhere. With ``--kill N`` every process
is killed at the entry of call N, from 0, so that it is not made. With ``--idle`` nothing counts before SIGUSR1, and
SIGTERM ends it: that is for a daemon. It is a program of its own, since it waits for whichever process stops next.

It works as the crash tests' stepper does (`support.crashkit.stepper`), and for programs of several processes. The
numbers of the calls are those of x86-64.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import signal
import stat
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

NEW_PROCESS = (1, 2, 3)  # the events of fork, vfork, clone
_TRACEME, _CONT, _SETOPTIONS, _SYSCALL_INFO = 0, 7, 0x4200, 0x420E
_OPTIONS = 0x80 | 0x100000 | 0x02 | 0x04 | 0x08 | 0x10  # TRACESECCOMP, EXITKILL, TRACEFORK, -VFORK, -CLONE, -EXEC
_SECCOMP = 7
_ALL_KINDS = 0x40000000  # __WALL, threads among them
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_TRACE, _ALLOW = 0x7FF00000, 0x7FFF0000

WRITES = {1: "write", 18: "pwrite64", 20: "writev", 40: "sendfile", 296: "pwritev", 326: "copy_file_range"}
SYNCS = {74: "fsync", 75: "fdatasync", 162: "sync", 277: "sync_file_range", 306: "syncfs"}
NAMES = {
    2: "open", 76: "truncate", 77: "ftruncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link",
    87: "unlink", 88: "symlink", 90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown", 257: "openat", 258: "mkdirat",
    260: "fchownat", 263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat", 268: "fchmodat",
    316: "renameat2",
}  # fmt: skip
_OPEN, _OPENAT, _MAKING = 2, 257, os.O_CREAT | os.O_TRUNC

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


@dataclass
class Followed:
    """What was counted.

    Attributes:
        calls: How many calls could have changed a file.
        written: Bytes to files below the root.
        synced: How often a disk was asked to confirm.
        killed: Whether all of it was ended.
        exit: The exit code of the program; None when it was killed.
        unconfirmed: Device and inode of each file below the root that no disk was asked to confirm as it is.
    """

    calls: int = 0
    written: int = 0
    synced: int = 0
    killed: bool = False
    exit: int | None = None
    unconfirmed: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Follower:
    """One program, from its start to its end."""

    root: str
    kill_at: int | None
    counts: bool = True
    seen: Followed = field(default_factory=Followed)
    _info: ctypes.Array[ctypes.c_char] = field(default_factory=lambda: ctypes.create_string_buffer(88))
    _pids: set[int] = field(default_factory=set)

    def follow(self, command: list[str]) -> Followed:
        """Run it to its end."""
        first = os.fork()
        if first == 0:
            _become(command)
        os.waitpid(first, 0)
        _ptrace(_SETOPTIONS, first, _OPTIONS)
        self._pids = {first}
        _ptrace(_CONT, first, 0)
        while self._pids:
            self._take(*os.waitpid(-1, _ALL_KINDS), first)
        return self.seen

    def end(self) -> None:
        """Kill every process of it."""
        for pid in self._pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # a thread whose process is gone

    def _take(self, pid: int, status: int, first: int) -> None:
        if not os.WIFSTOPPED(status):
            self._pids.discard(pid)
            if pid == first and os.WIFEXITED(status):
                self.seen.exit = os.WEXITSTATUS(status)
            return
        new, event, number = pid not in self._pids, status >> 16, os.WSTOPSIG(status)
        self._pids.add(pid)
        if self.seen.killed:
            self.end()  # one that was started meanwhile
        elif event == _SECCOMP:
            self._at_call(pid)
        passed_on = 0 if event or (new and number == signal.SIGSTOP) else number
        _ptrace(_CONT, pid, passed_on)

    def _at_call(self, pid: int) -> None:
        _ptrace(_SYSCALL_INFO, pid, self._info, at=len(self._info))
        number, *arguments = struct.unpack_from("=6Q", self._info, 24)
        size = self._size(pid, number, arguments)
        if not self.counts or size is None:
            return
        if self.seen.calls == self.kill_at:
            self.seen.killed = True
            self.end()
            return
        self.seen.calls += 1
        self.seen.written += size
        self.seen.synced += number in SYNCS
        self._note(pid, number, arguments)

    def _note(self, pid: int, number: int, arguments: list[int]) -> None:
        """Keep which files are written and not confirmed since."""
        known = self.seen.unconfirmed
        if SYNCS.get(number) in {"sync", "syncfs"}:
            known.clear()
        elif number in WRITES or number in SYNCS:
            found = _identity(pid, _target(number, arguments))
            known[:] = [one for one in known if one != found]
            known.extend([found] if number in WRITES else [])

    def _size(self, pid: int, number: int, arguments: list[int]) -> int | None:
        """Return how much is written by a call that can change a file, and None for any other call."""
        if number in WRITES:
            return _length(pid, number, arguments) if self._is_below(pid, _target(number, arguments)) else None
        if number in {_OPEN, _OPENAT}:
            return 0 if arguments[1 if number == _OPEN else 2] & _MAKING else None
        return 0

    def _is_below(self, pid: int, fd: int) -> bool:
        path = f"/proc/{pid}/fd/{fd}"
        try:
            return stat.S_ISREG(os.stat(path).st_mode) and os.readlink(path).startswith(self.root)  # noqa: PTH115, PTH116 - what the kernel says
        except OSError:
            return False


def _identity(pid: int, fd: int) -> tuple[int, int]:
    try:
        found = os.stat(f"/proc/{pid}/fd/{fd}")  # noqa: PTH116 - what the kernel says
    except OSError:
        return (0, 0)  # no file is open there, which the call will be told
    return found.st_dev, found.st_ino


def _target(number: int, arguments: list[int]) -> int:
    return arguments[2 if WRITES.get(number) == "copy_file_range" else 0]


def _length(pid: int, number: int, arguments: list[int]) -> int:
    if WRITES[number] in {"writev", "pwritev"}:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(arguments[1])
            parts = struct.unpack(f"={2 * arguments[2]}Q", memory.read(16 * arguments[2]))
        return sum(parts[1::2])
    if WRITES[number] in {"sendfile", "copy_file_range"}:
        source, most = (arguments[1], arguments[3]) if WRITES[number] == "sendfile" else (arguments[0], arguments[4])
        return min(most, os.stat(f"/proc/{pid}/fd/{source}").st_size)  # noqa: PTH116 - what the kernel says
    return arguments[2]


def _ptrace(what: int, pid: int, value: object, at: int = 0) -> None:
    if _LIBC.ptrace(what, pid, at, value) < 0 and ctypes.get_errno():
        ctypes.set_errno(0)  # it was killed meanwhile, which is heard of next


def _become(command: list[str]) -> None:
    """Be the program, with a filter that hands its calls over."""
    wanted = sorted({*WRITES, *SYNCS, *NAMES})
    steps = [struct.pack("=HBBI", 0x20, 0, 0, 0)]  # load the number
    steps += [struct.pack("=HBBI", 0x15, len(wanted) - place, 0, number) for place, number in enumerate(wanted)]
    steps += [struct.pack("=HBBI", 0x06, 0, 0, action) for action in (_ALLOW, _TRACE)]
    program = ctypes.create_string_buffer(b"".join(steps))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program)))
    _LIBC.ptrace(_TRACEME, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _LIBC.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(head), 0, 0)
    os.execvp(command[0], command)  # noqa: S606 - that is what this is for


def main() -> int:
    """Follow what the command line says."""
    if platform.machine() != "x86_64":
        print("only on x86-64", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", type=int)
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("root")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    follower = Follower(arguments.root, arguments.kill, counts=not arguments.idle)

    def begin(*_: object) -> None:
        follower.counts = True

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGTERM, lambda *_: follower.end())
    print(json.dumps(follower.follow(arguments.command).__dict__))
    return 0


if __name__ == "__main__":
    sys.exit(main())
