"""The workers of a daemon that `support.suite.warm` forked: forked as well, each with its own work as its only cost.

A process beside the daemon forks them, since the daemon itself has threads of the SDK's. They are the daemon's children
all the same, as `posix_spawn` would have them (CLONE_PARENT): it waits for them, and they end with it. What differs is
the start: no interpreter begins, and no module is read. So their command line is the daemon's; a test that looks at
it, or at the start itself, has the daemon started instead (``RunningDaemon(gateway, started=True)``).

Such a daemon reads its configuration itself, as one does that can have no child: the child that reads it elsewhere
would be an interpreter, which costs two thirds of what starting the daemon does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.config import apart
from agent.config.reader import load
from agent.daemon import app
from agent.daemon.work import worker_process
from agent.system.processes import memory
from agent.worker import main as worker
from support.suite.siblings import fork_beside
from support.suite.warm import FORKS_WORKERS, NO_STORE, end

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST = 1 << 18  # bytes of a message


def arrange() -> None:
    """Have this process, which is to become a daemon, get its workers so, and its configuration.

    Returns in the daemon alone.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        Path("/proc/self/comm").write_text(FORKS_WORKERS)
        _serve(theirs)
        end(worker.main())
    theirs.close()
    vars(worker_process)["_spawn"] = partial(_spawn, ours)
    for module in (apart, app):
        vars(module)["load_apart"] = load


def _spawn(forker: socket.socket, config: Path, order: bytes) -> tuple[int, int]:
    """See `agent.daemon.work.worker_process._spawn`."""
    order_read = memory.file_of(order)
    output_read, output_write = os.pipe2(os.O_CLOEXEC)
    env = {name: value for name, value in os.environ.items() if name not in worker_process._NOT_PASSED_ON}
    told = json.dumps({"argv": [worker.__file__, "--config", str(config)], "env": env}).encode()
    socket.send_fds(forker, [told], [order_read, output_write])
    for fd in (order_read, output_write):
        os.close(fd)
    os.set_blocking(output_read, False)
    return int(forker.recv(_MOST)), output_read


def _serve(orders: socket.socket) -> None:
    """Fork for each order; return in a fork, and end with the daemon."""
    with suppress(ConnectionError):  # a daemon that is killed may not have read the last answer
        while True:
            message, passed, _, _ = socket.recv_fds(orders, _MOST, 2)
            if not message:
                break
            pid = fork_beside()
            if pid == 0:
                return _become(json.loads(message), passed)
            orders.send(str(pid).encode())
            for fd in passed:
                os.close(fd)
    os._exit(0)


def _become(order: dict[str, Any], passed: Sequence[int]) -> None:
    """Have this process be as one that the daemon has started."""
    for given, place in zip(passed, (0, 1), strict=True):
        os.dup2(given, place)
    os.closerange(3, 1 << 16)
    Path("/proc/self/comm").write_text(Path(sys.executable).name)
    os.environ.clear()
    os.environ.update(order["env"] | NO_STORE)
    sys.argv = order["argv"]
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGTERM])
