"""The command `iot-cert` from a process that has read its modules before: a test's command costs its work alone.

A command of its own costs 0.2 to 0.35 s of a processor before it does anything, nearly all of it for reading modules,
and the tests run a thousand. So each process that tests has one beside it that has read them, and forks for each
command. The fork has the arguments, environment, folder, umask and output of its command, and the signals as the
launcher leaves them; it ends as the interpreter ends. A daemon is forked too, and its workers: see
`support.suite.warm_workers`. Where the process itself is the subject (its start, its name, its
signals), a test runs `support.running.gateway.COMMAND`.

This module is also that process: ``python -m support.suite.warm FD``, and reads one command for each message.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from support.suite import readers, surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MODULES = (
    *(
        "agent.cli",
        "agent.cli.changing.changes",
        "agent.cli.looking.check",
        "agent.cli.changing.importing",
        "agent.cli.command_line.parser",
    ),
    *(
        "agent.cli.looking.status",
        "agent.cli.changing.trust",
        "agent.cli.carrying.via_daemon",
        "agent.operations.wiring",
    ),
    *("agent.daemon.app", "agent.iotcore.async_client", "support.suite.warm_check", "support.suite.warm_workers"),
    # What those read once they have something to do.
    *(
        "agent.cli.changing.config_check",
        "agent.cli.looking.report",
        "agent.cli.writing.silence",
        "agent.system.openssl",
    ),
    *("agent.crypto.claim_files", "agent.store.files.given_back"),
    *("agent.crypto.materials", "agent.doctor.probes", "agent.iotcore.broker", "agent.iotcore.requests"),
    *(
        "agent.iotcore.sync_client",
        "agent.store.files.modes",
        "agent.store.store",
        "awsiot.iotidentity",
        "awsiot.iotshadow",
    ),
    *("cryptography.hazmat.backends.openssl.backend", "encodings.ascii", "encodings.idna"),
)
_OF_BUNDLES = ("agent.trust.signing_keys", "agent.trust.tuf_client", "agent.trust.tuf_publisher")
# The SDK's library reads the machine's trust store for each TLS context, 6 ms of a processor, and then drops it.
NO_STORE = {"SSL_CERT_FILE": os.devnull}
FORKS_WORKERS = "warm-workers"  # the process of a forked daemon that does, in /proc/PID/comm
_MOST = 1 << 18  # bytes of a message
_OUTPUTS = (1, 2)
_LISTENER = 3  # SD_LISTEN_FDS_START
# What a test may have of its own, or may have made, and its command has too: CLONE_NEWNET and _NEWNS of linux/sched.h.
_SPACES = {"net": 0x40000000, "mnt": 0x00020000}
_ITSELF = "thread-self"  # in /proc
_used = [0.0]  # seconds of a processor that commands have used


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    user: int | None = None,
    beside: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command as `subprocess.run` with its output captured; it reads nothing.

    Args:
        arguments: Those after its name.
        cwd: Where.
        env: Its environment.
        timeout: How many seconds it may take.
        user: Who runs it, in the group of the same number and no other, where that is not this process's user.
        beside: The process in whose network and mounts it runs, where those are not this thread's.

    Raises:
        subprocess.TimeoutExpired: It did not end in so many seconds, and was killed.
    """
    outputs = [os.memfd_create("output") for _ in _OUTPUTS]
    try:
        code = _end_of(_forked(arguments, outputs, cwd=cwd, env=env, user=user, beside=beside), timeout)
        out, err = (
            os.pread(output, os.fstat(output).st_size, 0).decode(errors="backslashreplace") for output in outputs
        )
    finally:
        for output in outputs:
            os.close(output)
    return subprocess.CompletedProcess(list(arguments), code, out, err)


def _end_of(process: Forked, timeout: float) -> int:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Forked:
    """A process that was forked, with the part of `subprocess.Popen` that tests need.

    Attributes:
        pid: The process id.
        returncode: The exit code or the negative number of the signal that ended it, once that is known.
        stdout: What it says, where that goes into a pipe.
    """

    stdout: TextIO | None = None

    def __init__(self, arguments: Sequence[str], told: socket.socket) -> None:
        self.pid = int(told.recv(_MOST) or 0)
        assert self.pid, "the process that forks commands has ended"
        self.returncode: int | Any = None
        self._arguments = list(arguments)
        self._told = told  # its pid, and then its end

    def poll(self) -> int | None:
        """Return how it ended, or None as long as it runs."""
        with suppress(subprocess.TimeoutExpired):
            return self._ended(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ends.

        Raises:
            subprocess.TimeoutExpired: It did not in so many seconds, and goes on.
        """
        return self._ended(timeout)

    def _ended(self, timeout: float | None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                code, seconds = json.loads(self._told.recv(_MOST))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(self._arguments, timeout or 0) from None
            self._told.close()
            self.returncode = int(code)
            _used[0] += seconds
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Return what else it says into its pipe, once it has ended.

        Raises:
            subprocess.TimeoutExpired: It has closed the pipe, and has not ended so many seconds later.
        """
        assert self.stdout is not None
        with self.stdout:
            said = self.stdout.read()
        self.wait(timeout)
        return said, None

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word."""
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[str] | Forked


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path | None,
    listener: int | None = None,
    beside: int | None = None,
) -> Forked:
    """Have the command run, or with `run` a daemon and its workers; what it says goes to a file's end, or into a pipe.

    A socket that listens is given to it as systemd gives one; for `beside` see `run`.
    """
    reading, writing = (-1, -1) if log else os.pipe2(os.O_CLOEXEC)
    with open(log or writing, "ab") as output:  # noqa: PTH123 - a path or none
        outputs = [*[output.fileno()] * 2, *([] if listener is None else [listener])]
        process = _forked(arguments, outputs, cwd=cwd, env=env, beside=beside, daemon=arguments[-1] == "run")
    if log is None:
        process.stdout = open(reading, encoding="utf-8", errors="backslashreplace")  # noqa: PTH123, SIM115 - see `communicate`
    return process


def _forked(
    arguments: Sequence[str],
    outputs: Sequence[int],
    *,
    cwd: Path,
    env: Mapping[str, str],
    beside: int | None = None,
    **more: int | None,
) -> Forked:
    umask = os.umask(0)
    os.umask(umask)
    order = {"argv": ["iot-cert", *arguments], "cwd": str(cwd), "env": {**env, **NO_STORE}, "umask": umask, **more}
    message = json.dumps(order).encode()
    assert len(message) < _MOST
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    spaces = _spaces(beside or _ITSELF)
    with theirs:
        socket.send_fds(_forker(os.getpid()), [message], [theirs.fileno(), *spaces, *outputs])
    for space in spaces:
        os.close(space)
    return Forked(arguments, ours)


def _spaces(process: int | str) -> list[int]:
    return [os.open(f"/proc/{process}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _SPACES]


def forks_workers(pid: int) -> bool:
    """Whether a daemon's child is none of its workers but the process that forks them."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == FORKS_WORKERS
    except OSError:
        return False


def used() -> float:
    """Return the seconds of a processor that this process's commands and daemons have used."""
    return _used[0]


@cache
def _forker(_tester: int) -> socket.socket:
    """Have a process that forks, for this process; it ends when this process has."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        if readers.ask(theirs):
            return ours
        process = subprocess.Popen(
            [sys.executable, "-m", "support.suite.warm", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd=Path(__file__).parents[2],
        )
    atexit.register(_end_forker, ours, process)
    return ours


def _end_forker(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    process.wait()


# -- the process that forks --------------------------------------------------------------------------------------------


def serve(orders: socket.socket) -> None:
    """Fork for each order and tell of each end; return in a fork, and not before the last order otherwise."""
    running: dict[int, tuple[int, int]] = {}  # process and where its end is told, by what shows that it has ended
    poll = select.poll()
    poll.register(orders, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != orders.fileno():
                poll.unregister(ready)
                _tell(ready, *running.pop(ready))
                continue
            message, passed, _, _ = socket.recv_fds(orders, _MOST, 1 + len(_SPACES) + len(_OUTPUTS) + 1)
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


def prepare() -> None:
    """Do once what each fork would do for itself."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # in each fork too, as packaging/debian/iot-cert has it
    for name in _MODULES:
        import_module(name)
    # The library for signatures reads it where it is there, for keys that no test has: 0.2 s of a processor.
    sys.modules["boto3"] = None  # type: ignore[assignment]
    for name in _OF_BUNDLES:
        import_module(name)
    del sys.modules["boto3"]
    surroundings.keep_the_command_line()
    import_module("support.suite.warm_life").live()
    surroundings.share_the_seed()
    assert len([*Path("/proc/self/task").iterdir()]) == 1, "a fork would have one thread of several"
    gc.freeze()
    surroundings.take_huge_pages()


def _tell(shown: int, pid: int, replies: int) -> None:
    _, status, usage = os.wait4(pid, 0)
    with suppress(BrokenPipeError):
        os.write(replies, json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]).encode())
    os.close(replies)
    os.close(shown)


def _become(order: dict[str, Any], passed: list[int]) -> None:
    """Have this process be as one that the launcher has started."""
    for wanted, own, kind in zip(passed, _spaces(_ITSELF), _SPACES.values(), strict=False):
        if not os.path.sameopenfile(wanted, own):  # only root may, and only root has two
            assert ctypes.CDLL(None).setns(wanted, kind) == 0
    given = passed[len(_SPACES) :]
    for own, place in zip(given, (*_OUTPUTS, _LISTENER), strict=False):
        os.dup2(own, place)
    listens = len(given) > len(_OUTPUTS)
    speak_anew()
    os.closerange(_LISTENER + listens, 1 << 16)
    os.chdir(order["cwd"])
    os.umask(order["umask"])
    os.environ.clear()
    os.environ.update(order["env"] | ({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())} if listens else {}))
    time.tzset()
    sys.argv = order["argv"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if order.get("user") is not None:
        os.setgroups([])
        os.setgid(order["user"])
        os.setuid(order["user"])
    import_module("support.suite.warm_workers" if order.get("daemon") else "support.suite.warm_check").arrange()


def speak_anew() -> None:
    """Have standard output and error know what they are now: what they were may have been a file, with places in it."""
    for name, number, buffering in (("stdout", 1, -1), ("stderr", 2, 1)):  # standard error by the line
        old = getattr(sys, name)
        stream = open(number, "w", buffering, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)


def end(code: int) -> NoReturn:
    """End this fork as the interpreter would, without taking all down first that it has in common with its parent.

    Each page of that would be copied to be taken down: 30 ms of a processor, which is more than many a command costs.
    Threads of the SDK's end with the process, as they do with the interpreter. Where what was said cannot be written,
    the interpreter itself ends.
    """
    with suppress(OSError):
        threading._shutdown()  # type: ignore[attr-defined] # as the interpreter waits for those of Python's
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    from agent.cli import main

    prepare()
    heard = socket.socket(fileno=int(sys.argv[1]))
    serve(readers.fork_for_each(heard) if sys.argv[2:] == [readers.SHARED] else heard)
    end(main())
