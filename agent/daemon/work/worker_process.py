"""One worker process at a time: started with an order, listened to line by line, and ended when it makes no progress.

Rules:

* What a worker says is data from another process: bounded, parsed, and never trusted to come.
* A worker that dies without an `end` has lost nothing; the record on disk says where to go on.
* Its `end` is the end of its work: what it says goes, and the next may start. The process itself may stay connected for
  a moment, until the daemon's session has taken its own over.
* One that is silent for longer than any step may take is killed. That keeps the watchdog honest: a daemon that waits
  for a worker that will never answer makes no progress either.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from agent.core.jsonio import PlainError
from agent.core.worker_protocol import MAX_LINE, End, Order, WorkerError, decode_answer, encode_order
from agent.daemon.loop import Alarm
from agent.system import children, descriptors
from agent.system.processes import memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Protocol

    from agent.core.change.progress import Progress
    from agent.daemon.loop import Loop

    class Running(Protocol):
        """A worker that was started."""

        @property
        def order(self) -> Order:
            """What it does."""

        def stop(self) -> None:
            """Have it end between two steps."""

        def kill(self) -> None:
            """End it now."""


# The longest step connects, waits for the SDK to let go, and does so again for each control.
PATIENCE = 900.0  # seconds without a word
GOODBYE = 90.0  # seconds after its end: what it is connected with may take that long to let go

_IF_IT_DIES = "What was begun is kept and goes on by itself. If it happens again, look for a lack of memory: `dmesg`."
_IF_NONE_STARTS = (
    "It is tried again. If it stays so, too many processes run on this gateway, or it is out of memory: `ps ax`, "
    "`free`, TasksMax= and MemoryMax= of the unit."
)
# What belongs to the daemon alone, or would change what a worker's TLS does. For OPENSSL_CONF see `system.openssl`.
_NOT_PASSED_ON = frozenset({
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "SSLKEYLOGFILE",
    "SSL_CERT_FILE", "SSL_CERT_DIR",
})  # fmt: skip


class WorkerProcess:
    """One worker, from its start to its end."""

    def __init__(
        self,
        loop: Loop,
        config: Path,
        order: Order,
        on_progress: Callable[[Progress], None],
        on_end: Callable[[End], None],
    ) -> None:
        """Start it.

        Args:
            loop: Where to listen.
            config: The configuration file.
            order: What to do.
            on_progress: Takes what is told before the end.
            on_end: Takes the end as soon as it is told, or one with an error that says how the worker died; called
                exactly once.
        """
        self.order = order
        self._loop = loop
        self._on_progress, self._on_end = on_progress, on_end
        self._buffer = bytearray()
        self._over = False
        self._silence = Alarm(loop, self.kill)
        self._pid = 0
        try:
            self._pid, self._output = _spawn(config, encode_order(order))
        except OSError as error:
            end = _not_started(error)
            loop.post(lambda: on_end(end))
            return
        self._end = children.end_of(self._pid)
        loop.watch(self._output, self._readable)
        self._listen()

    def stop(self) -> None:
        """Have it end between two steps."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._pid:
            os.kill(self._pid, number)  # which is its own until `_ended` has reaped it

    def _listen(self) -> None:
        self._silence.set(GOODBYE if self._over else PATIENCE)

    def _readable(self) -> None:
        data = os.read(self._output, 65_536)
        if not data:
            self._loop.unwatch(self._output)
            self._loop.watch(self._end, self._ended)
            return
        self._listen()
        first, *others = data.split(b"\n")
        self._buffer += first
        for part in others:
            line, self._buffer = bytes(self._buffer), bytearray(part)
            self._hear(line)
        if len(self._buffer) > MAX_LINE:
            self.kill()
            self._buffer.clear()

    def _hear(self, line: bytes) -> None:
        try:
            answer = decode_answer(line)
        except PlainError:
            return  # it ends without an end, then
        if self._over:
            return
        if isinstance(answer, End):
            self._over = True
            self._listen()
            self._on_end(answer)
        else:
            self._on_progress(answer)

    def _ended(self) -> None:
        self._loop.unwatch(self._end)
        self._silence.cancel()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        os.close(self._end)
        os.close(self._output)
        if not self._over:
            self._over = True
            self._on_end(_died(os.waitstatus_to_exitcode(status)))


def _died(code: int) -> End:
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    message = f"The worker process ended {how} without an answer."
    return End(error=WorkerError(message=message, hint=_IF_IT_DIES, died=True))


def _not_started(error: OSError) -> End:
    message = f"No worker process can be started: {os.strerror(error.errno or 0)}."
    return End(error=WorkerError(message=message, hint=_IF_NONE_STARTS, died=True))


def _spawn(config: Path, order: bytes) -> tuple[int, int]:
    """Start a worker with its order waiting for it, and return its process id and what it writes to."""
    output_read, output_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _started(config, order, output_write)
    except OSError:
        os.close(output_read)
        raise
    finally:
        os.close(output_write)
    os.set_blocking(output_read, False)
    return pid, output_read


def _started(config: Path, order: bytes, output: int) -> int:
    order_read = memory.file_of(order)
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    descriptors.keep()
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-m", "agent.worker.main", "--config", str(config)],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, order_read, 0), (os.POSIX_SPAWN_DUP2, output, 1)],
            setsigdef=[signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE],
            setsigmask=[signal.SIGTERM],  # until the worker can end in order; it must not be lost before
        )
    finally:
        os.close(order_read)
