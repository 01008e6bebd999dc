"""Run a callable in a forked child, stop it at every system call, and kill it there or make the call fail.

The child is a fork of this process, so everything is imported and warm. It gives itself a seccomp filter that hands
every call but a few (see `support.crashkit.syscalls.UNCOUNTED`) to this process, so nothing before counts. It must
have one thread. A stop comes at the *entry* of a call: a child that is killed there has not made it. Whether the
child really died of it is part of the result, and `kill` insists on it, since a harness that kills nothing is green
for ever. (strace with --seccomp-bpf is such a harness.)

Tried on x86-64; the arm64 half has not been run.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import pickle
import signal
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from support.crashkit import marks, syscalls
from support.crashkit.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], Callable[[], object]]

_TRACEME, _CONT, _SETOPTIONS, _SYSCALL_INFO = 0, 7, 0x4200, 0x420E
_GETREGS, _SETREGS, _GETREGSET, _SETREGSET = 12, 13, 0x4204, 0x4205
_OPTIONS = 0x80 | 0x100000  # TRACESECCOMP, EXITKILL
_SECCOMP_STOP = signal.SIGTRAP | (7 << 8)
_NT_PRSTATUS, _NT_SYSTEM_CALL = 1, 0x404

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_TRACE, _ALLOW = 0x7FF00000, 0x7FFF0000

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]

# The interpreter repeats a call that was interrupted for as long as it is; no kernel interrupts for ever.
MOST_INTERRUPTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A call that fails without being carried out.

    Attributes:
        at: Which of the counted calls, from 0; it must be one of `support.crashkit.syscalls.FILES`.
        number: The errno.
        sticky: Every later file call fails as well.
    """

    at: int
    number: int
    sticky: bool = False

    def __str__(self) -> str:
        return f"{errno.errorcode[self.number]} {'from' if self.sticky else 'at'} call {self.at}"


@dataclass(frozen=True, kw_only=True)
class Raised:
    """An exception that ended the child's work, as far as it can cross a pipe."""

    kinds: tuple[str, ...]
    text: str
    notes: tuple[str, ...]


@dataclass(kw_only=True)
class Run:
    """What became of one run.

    Attributes:
        calls: The names of the counted calls, in order.
        probed: What the probe saw at each of them.
        killed: The child died of our SIGKILL.
        injected: How many calls were made to fail.
        marks: The last value of each mark.
        result: What the work returned, or a `Raised`; None after a kill.
    """

    calls: list[str] = field(default_factory=list)
    probed: list[int] = field(default_factory=list)
    killed: bool = False
    injected: int = 0
    marks: dict[Mark, int] = field(default_factory=dict)
    result: object = None


class HarnessError(AssertionError):
    """The tool did not do what it claims, so nothing it says counts."""


def dry(work: Work, probe: Callable[[], int] | None = None) -> Run:
    """Run `work` to its end and return its calls.

    Args:
        work: Called in the child first; what it returns is then called, and only that counts.
        probe: Called in this process at each stop, to look at memory that is shared with the child.
    """
    return _Tracer(work, probe=probe).run()


def kill(work: Work, at: int) -> Run:
    """Run `work` and kill it at the entry of its call number `at`, from 0.

    Raises:
        HarnessError: It was not killed.
    """
    run = _Tracer(work, kill_at=at).run()
    if not run.killed:
        raise HarnessError(f"the child was to be killed at call {at} and ended by itself after {len(run.calls)}")
    return run


def fail(work: Work, failing: Failing) -> Run:
    """Run `work` to its end with failing calls.

    Raises:
        HarnessError: No call failed.
    """
    run = _Tracer(work, failing=failing).run()
    if not run.injected:
        raise HarnessError(f"{failing}: it never came, there were {len(run.calls)}")
    return run


class _Tracer:
    def __init__(
        self,
        work: Work,
        *,
        kill_at: int | None = None,
        failing: Failing | None = None,
        probe: Callable[[], int] | None = None,
    ) -> None:
        self._kill_at, self._failing, self._probe = kill_at, failing, probe
        self._seen = Run()
        self._ended = False
        self._dying = False
        self._info = ctypes.create_string_buffer(88)
        self._pipe, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._pipe)
            _child(work, write_end)
        os.close(write_end)

    def run(self) -> Run:
        """Trace to the end."""
        try:
            os.waitpid(self._pid, 0)
            _ptrace(_SETOPTIONS, self._pid, 0, _OPTIONS)
            self._loop()
            if not self._seen.killed:
                with os.fdopen(os.dup(self._pipe), "rb") as pipe:
                    self._seen.result = pickle.loads(pipe.read())  # noqa: S301 - our own fork wrote it
        finally:
            os.close(self._pipe)
        return self._seen

    def _loop(self) -> None:
        pending = 0
        while True:
            if not self._dying:
                _ptrace(_CONT, self._pid, 0, pending)
            _, status = os.waitpid(self._pid, 0)
            if not os.WIFSTOPPED(status):
                self._seen.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                return
            is_call = status >> 8 == _SECCOMP_STOP
            pending = 0 if is_call else os.WSTOPSIG(status)
            if is_call:
                self._at_call()

    def _at_call(self) -> None:
        _ptrace(_SYSCALL_INFO, self._pid, len(self._info), self._info)
        number, argument, _, flags = struct.unpack_from("=4Q", self._info, 24)
        if number in _MARKS:
            self._seen.marks[Mark(number)] = argument
            self._ended = self._ended or number == Mark.END
        elif not self._ended:
            name = syscalls.NAMES.get(number, f"call-{number}")
            self._count(syscalls.CREATE if name == "openat" and flags & os.O_CREAT else name)

    def _count(self, name: str) -> None:
        place = len(self._seen.calls)
        if place == self._kill_at:
            os.kill(self._pid, signal.SIGKILL)
            self._dying = True
            return
        self._seen.calls.append(name)
        if self._probe is not None:
            self._seen.probed.append(self._probe())
        if self._failing is not None and self._is_to_fail(self._failing, place, name):
            _skip_call(self._pid, -self._failing.number)
            self._seen.injected += 1

    def _is_to_fail(self, failing: Failing, place: int, name: str) -> bool:
        is_rewind = name == "lseek" and "getdents64" in self._seen.calls[-2:]
        if place < failing.at or name not in syscalls.FILES or is_rewind:
            return False
        if not failing.sticky:
            return place == failing.at
        return failing.number != errno.EINTR or self._seen.injected < MOST_INTERRUPTIONS


_MARKS = frozenset(int(mark) for mark in Mark)


def _child(work: Work, fd: int) -> NoReturn:
    gc.disable()
    try:
        body = work()
        _LIBC.ptrace(_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        _hand_over_calls()
        result = body()
    except BaseException as error:  # noqa: BLE001 - the parent judges what may come out
        result = _raised(error)
    marks.make(Mark.END)
    os.write(fd, pickle.dumps(result))
    os._exit(0)


def _raised(error: BaseException) -> Raised:
    kinds = tuple(kind.__name__ for kind in type(error).__mro__)
    return Raised(kinds=kinds, text=str(error), notes=tuple(getattr(error, "__notes__", ())))


def _hand_over_calls() -> None:
    """Install a filter: some calls are allowed, all others stop for the tracer."""
    allowed = [number for number, name in syscalls.NAMES.items() if name in syscalls.UNCOUNTED]
    load = struct.pack("=HBBI", 0x20, 0, 0, 0)  # the call's number
    jumps = [struct.pack("=HBBI", 0x15, len(allowed) - place, 0, number) for place, number in enumerate(allowed)]
    ends = [struct.pack("=HBBI", 0x06, 0, 0, verdict) for verdict in (_TRACE, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join([load, *jumps, *ends]))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(jumps) + 3, ctypes.addressof(code)))
    done = _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done |= _LIBC.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0)
    if done != 0:
        raise HarnessError("the kernel does not take a seccomp filter")


def _ptrace(request: int, pid: int, address: int = 0, data: ctypes.Array[ctypes.c_char] | int = 0) -> None:
    argument = ctypes.c_void_p(data) if isinstance(data, int) else ctypes.cast(data, ctypes.c_void_p)
    if _LIBC.ptrace(request, pid, ctypes.c_void_p(address), argument) < 0:
        raise HarnessError(f"ptrace request {request:#x} failed: {os.strerror(ctypes.get_errno())}")


def _skip_call(pid: int, result: int) -> None:
    """Let the call return `result` without being carried out."""
    if syscalls.IS_ARM:
        _skip_call_on_arm(pid, result)
        return
    registers = ctypes.create_string_buffer(27 * 8)
    _ptrace(_GETREGS, pid, 0, registers)
    struct.pack_into("=q", registers, 15 * 8, -1)  # orig_rax: no call at all
    struct.pack_into("=q", registers, 10 * 8, result)  # rax
    _ptrace(_SETREGS, pid, 0, registers)


def _skip_call_on_arm(pid: int, result: int) -> None:
    registers = ctypes.create_string_buffer(34 * 8)
    _register_set(_GETREGSET, pid, _NT_PRSTATUS, registers)
    struct.pack_into("=q", registers, 0, result)  # x0
    _register_set(_SETREGSET, pid, _NT_PRSTATUS, registers)
    _register_set(_SETREGSET, pid, _NT_SYSTEM_CALL, ctypes.create_string_buffer(struct.pack("=i", -1), 4))


def _register_set(request: int, pid: int, kind: int, data: ctypes.Array[ctypes.c_char]) -> None:
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), len(data)), 16)
    _ptrace(request, pid, kind, vector)
