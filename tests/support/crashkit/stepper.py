"""Run a callable in a forked child, stop it at every system call, and kill it or make a call fail.

The child is a fork of this process, so everything is imported and warm; only the calls between two marks count. It
must have one thread. A kill comes at the *entry* of a call: the call has not happened. Whether the child really died
of it is part of the result, and `kill` insists on it, since a harness that kills nothing is green for ever.

Memory calls are left out (see `crashkit.syscalls.MEMORY`). The arm64 half has not been run.
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

from crashkit import marks, syscalls
from crashkit.marks import Mark

if TYPE_CHECKING:
    from collections.abc import Callable

_TRACEME, _SETOPTIONS, _SYSCALL, _CONT = 0, 0x4200, 24, 7
_GETREGS, _SETREGS, _GETREGSET, _SETREGSET, _SYSCALL_INFO = 12, 13, 0x4204, 0x4205, 0x420E
_OPTIONS = 1 | 0x100000  # TRACESYSGOOD, EXITKILL
_STOPPED = signal.SIGTRAP | 0x80
_ENTRY = 1
_NT_PRSTATUS, _NT_SYSTEM_CALL = 1, 0x404

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.restype = ctypes.c_long
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

# The interpreter repeats a call that was interrupted for as long as it is; no kernel interrupts for ever.
MOST_INTERRUPTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A call that fails without being carried out.

    Attributes:
        at: Which of the counted calls, from 0; it must be one of `crashkit.syscalls.FILES`.
        number: The errno.
        sticky: Every later file call fails as well.
    """

    at: int
    number: int
    sticky: bool = False


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
        killed: The child died of our SIGKILL.
        injected: How many calls were made to fail.
        marks: The last value of each mark.
        result: What the work returned or raised; None after a kill.
    """

    calls: list[str] = field(default_factory=list)
    killed: bool = False
    injected: int = 0
    marks: dict[Mark, int] = field(default_factory=dict)
    result: object = None


class HarnessError(AssertionError):
    """The tool did not do what it claims, so nothing it says counts."""


def dry(work: Callable[[], object]) -> Run:
    """Run `work` to its end and return its calls."""
    return _Tracer(work, None, None).run()


def kill(work: Callable[[], object], at: int) -> Run:
    """Run `work` and kill it at the entry of its call number `at`, from 0.

    Raises:
        HarnessError: It was not killed.
    """
    run = _Tracer(work, at, None).run()
    if not run.killed:
        raise HarnessError(f"the child was to be killed at call {at} and ended by itself after {len(run.calls)}")
    return run


def fail(work: Callable[[], object], failing: Failing) -> Run:
    """Run `work` to its end with failing calls.

    Raises:
        HarnessError: No call failed.
    """
    run = _Tracer(work, None, failing).run()
    if not run.injected:
        raise HarnessError(f"call {failing.at} was to fail and never came")
    return run


def _ptrace(request: int, pid: int, address: int = 0, data: ctypes.Array[ctypes.c_char] | int = 0) -> int:
    argument = ctypes.cast(data, ctypes.c_void_p) if isinstance(data, ctypes.Array) else ctypes.c_void_p(data)
    result: int = _LIBC.ptrace(request, pid, ctypes.c_void_p(address), argument)
    if result < 0:
        raise HarnessError(f"ptrace request {request:#x} failed: {os.strerror(ctypes.get_errno())}")
    return result


class _Tracer:
    def __init__(self, work: Callable[[], object], kill_at: int | None, failing: Failing | None) -> None:
        self._kill_at = kill_at
        self._failing = failing
        self._seen = Run()
        self._counting = False
        self._failed_call = False
        self._info = ctypes.create_string_buffer(88)
        read_end, write_end = os.pipe()
        gc.freeze()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(read_end)
            _child(work, write_end)
        os.close(write_end)
        self._pipe = read_end

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
            _ptrace(_SYSCALL, self._pid, 0, pending)
            _, status = os.waitpid(self._pid, 0)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                self._seen.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                return
            stop = os.WSTOPSIG(status)
            pending = 0 if stop == _STOPPED else stop
            if stop == _STOPPED:
                self._at_stop()

    def _at_stop(self) -> None:
        _ptrace(_SYSCALL_INFO, self._pid, len(self._info), self._info)
        operation, number, argument = struct.unpack_from("=B23xQQ", self._info)
        if operation == _ENTRY:
            self._at_entry(number, argument)
        elif self._failed_call and self._failing is not None:
            self._failed_call = False
            _set_result(self._pid, -self._failing.number)

    def _at_entry(self, number: int, argument: int) -> None:
        if number in _MARKS:
            self._marked(Mark(number), argument)
            return
        name = syscalls.NAMES.get(number, f"call-{number}")
        if not self._counting or name in syscalls.MEMORY:
            return
        place = len(self._seen.calls)
        if place == self._kill_at:
            os.kill(self._pid, signal.SIGKILL)
            return
        self._seen.calls.append(name)
        if self._is_to_fail(place, name):
            _cancel_call(self._pid)
            self._failed_call = True
            self._seen.injected += 1

    def _marked(self, mark: Mark, argument: int) -> None:
        self._seen.marks[mark] = argument
        if mark in {Mark.BEGIN, Mark.END}:
            self._counting = mark is Mark.BEGIN

    def _is_to_fail(self, place: int, name: str) -> bool:
        failing = self._failing
        if failing is None or place < failing.at or name not in syscalls.FILES:
            return False
        if not failing.sticky:
            return place == failing.at
        return failing.number != errno.EINTR or self._seen.injected < MOST_INTERRUPTIONS


_MARKS = frozenset(int(mark) for mark in Mark)


def _child(work: Callable[[], object], fd: int) -> NoReturn:
    gc.disable()
    _LIBC.ptrace(_TRACEME, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    marks.make(Mark.BEGIN)
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - the parent judges what may come out
        result = _raised(error)
    marks.make(Mark.END)
    os.write(fd, pickle.dumps(result))
    os._exit(0)


def _raised(error: BaseException) -> Raised:
    kinds = tuple(kind.__name__ for kind in type(error).__mro__)
    return Raised(kinds=kinds, text=str(error), notes=tuple(getattr(error, "__notes__", ())))


def _cancel_call(pid: int) -> None:
    if syscalls.IS_ARM:
        _register_set(_SETREGSET, pid, _NT_SYSTEM_CALL, ctypes.create_string_buffer(struct.pack("=i", -1), 4))
        return
    registers = _registers(pid)
    struct.pack_into("=q", registers, 15 * 8, -1)  # orig_rax
    _ptrace(_SETREGS, pid, 0, registers)


def _set_result(pid: int, value: int) -> None:
    if syscalls.IS_ARM:
        registers = ctypes.create_string_buffer(34 * 8)
        _register_set(_GETREGSET, pid, _NT_PRSTATUS, registers)
        struct.pack_into("=q", registers, 0, value)  # x0
        _register_set(_SETREGSET, pid, _NT_PRSTATUS, registers)
        return
    registers = _registers(pid)
    struct.pack_into("=q", registers, 10 * 8, value)  # rax
    _ptrace(_SETREGS, pid, 0, registers)


def _registers(pid: int) -> ctypes.Array[ctypes.c_char]:
    registers = ctypes.create_string_buffer(27 * 8)
    _ptrace(_GETREGS, pid, 0, registers)
    return registers


def _register_set(request: int, pid: int, kind: int, data: ctypes.Array[ctypes.c_char]) -> None:
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), len(data)), 16)
    _ptrace(request, pid, kind, vector)
