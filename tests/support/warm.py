"""The command `iot-cert` from a process that has read its modules before: a test's command costs its work alone.

A command of its own costs 0.2 to 0.35 s of a processor before it does anything, nearly all of it for reading modules,
and the tests run a thousand. So each process that tests has one beside it that reads them once, and forks for each
command. The fork has the arguments, environment, folder, umask and output of its command, and the signals as the
launcher leaves them; it ends as the interpreter ends. Where the process itself is the subject (its start, its name, its
signals), a test runs `support.gateway.COMMAND`.

This module is also that process: ``python -m support.warm FD``, and reads one command for each message.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MODULES = (
    *("agent.cli", "agent.cli.changes", "agent.cli.check", "agent.cli.importing", "agent.cli.parser"),
    *("agent.cli.status", "agent.cli.trust", "agent.cli.via_daemon", "agent.operations.wiring"),
)
_MOST = 1 << 18  # bytes of a message
_OUTPUTS = (1, 2)
_used = [0.0]  # seconds of a processor that commands have used


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run the command as `subprocess.run` with its output captured; it reads nothing.

    Raises:
        subprocess.TimeoutExpired: It did not end in so many seconds, and was killed.
    """
    umask = os.umask(0)
    os.umask(umask)
    order = {"argv": ["iot-cert", *arguments], "cwd": str(cwd), "env": dict(env), "umask": umask}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a message each: its pid, its end
    outputs = [os.memfd_create("output") for _ in _OUTPUTS]
    try:
        with ours:
            with theirs:
                message = json.dumps(order).encode()
                assert len(message) < _MOST
                socket.send_fds(
                    _forker(os.getpid(), str(Path("/proc/thread-self/ns/net").readlink())),
                    [message],
                    [theirs.fileno(), *outputs],
                )
            code = _code(ours, arguments, timeout)
        out, err = (os.pread(output, os.fstat(output).st_size, 0).decode() for output in outputs)
    finally:
        for output in outputs:
            os.close(output)
    return subprocess.CompletedProcess(list(arguments), code, out, err)


def used() -> float:
    """Return the seconds of a processor that this process's commands have used."""
    return _used[0]


def _code(ours: socket.socket, arguments: Sequence[str], timeout: float) -> int:
    """Return the exit code, or the negative number of the signal that ended it."""
    pid = int(ours.recv(_MOST) or 0)
    assert pid, "the process that forks commands has ended"
    ours.settimeout(timeout)
    try:
        code, seconds = json.loads(ours.recv(_MOST))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        ours.settimeout(None)
        ours.recv(_MOST)
        raise subprocess.TimeoutExpired(list(arguments), timeout) from None
    _used[0] += seconds
    return int(code)


@cache
def _forker(_tester: int, _network: str) -> socket.socket:
    """Start the process that forks, for this process and its network namespace; it ends when this process has."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.warm", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[1],
        )
    atexit.register(_end_forker, ours, process)
    return ours


def _end_forker(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    process.wait()


# -- the process that forks --------------------------------------------------------------------------------------------


def serve(orders: socket.socket) -> None:
    """Fork for each order and tell of each end; return in a fork, and not before the last order otherwise."""
    for name in _MODULES:
        import_module(name)
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would have one thread of several"
    gc.freeze()
    running: dict[int, tuple[int, int]] = {}  # process and where its end is told, by what shows that it has ended
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != orders.fileno():
                poll.unregister(ready)
                _tell(ready, *running.pop(ready))
                continue
            message, passed, _, _ = socket.recv_fds(orders, _MOST, 1 + len(_OUTPUTS))
            if not message:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                orders.detach()
                return _become(json.loads(message), passed[1:])
            os.write(passed[0], str(pid).encode())
            for output in passed[1:]:
                os.close(output)
            shown = os.pidfd_open(pid)
            running[shown] = pid, passed[0]
            poll.register(shown, select.POLLIN)


def _tell(shown: int, pid: int, replies: int) -> None:
    _, status, usage = os.wait4(pid, 0)
    with suppress(BrokenPipeError):
        os.write(replies, json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]).encode())
    os.close(replies)
    os.close(shown)


def _become(order: dict[str, Any], outputs: list[int]) -> None:
    """Have this process be as one that the launcher has started."""
    for given, place in zip(outputs, _OUTPUTS, strict=True):
        os.dup2(given, place)
    os.closerange(3, 1 << 16)
    os.chdir(order["cwd"])
    os.umask(order["umask"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    sys.argv = order["argv"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as packaging/debian/iot-cert has it


if __name__ == "__main__":
    from agent.cli import main

    serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(main())
