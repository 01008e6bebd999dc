"""One process that reads the command's modules for all processes of a run that fork commands, see `support.suite.warm`.

Reading them costs a second of a processor. Where several processes test, each has one beside it that forks its
commands, and all of those are forked from this one.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from support.suite import surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARED = "shared"  # on the command line of `support.suite.warm`: it reads for all
_LINES: list[socket.socket] = []  # to the process that reads for this process and for those that it has forked


@contextmanager
def shared() -> Iterator[None]:
    """Have what this process forks meanwhile share one that reads the modules, which it does once it is asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _read_once_asked(theirs)
    theirs.close()
    _LINES.append(ours)
    try:
        yield
    finally:
        _LINES.clear()
        with ours:
            ours.send(b"")
        os.waitpid(pid, 0)


def ask(orders: socket.socket) -> bool:
    """Ask for a process that has read the modules and forks for what a socket says; False if none is shared."""
    for line in _LINES:
        socket.send_fds(line, [b"one"], [orders.fileno()])
    return bool(_LINES)


def _read_once_asked(asked: socket.socket) -> NoReturn:
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # it ends when the run does
        if asked.recv(1, socket.MSG_PEEK):
            asked.set_inheritable(True)
            os.chdir(Path(__file__).parents[2])
            os.execv(sys.executable, [sys.executable, "-m", "support.suite.warm", str(asked.fileno()), SHARED])  # noqa: S606 - no shell is wanted
    finally:
        os._exit(0)


def fork_for_each(asked: socket.socket) -> socket.socket:
    """Fork for each process that asks; return in a fork, with where its orders come from."""
    while True:
        message, passed, _, _ = socket.recv_fds(asked, len(b"one"), 1)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            asked.close()
            surroundings.take_huge_pages(forked=True)
            return socket.socket(fileno=passed[0])
        os.close(passed[0])
