"""A helper that runs in the test, with a desk behind it."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.core.dependants import Leave, Occasion, Report, Step
from agent.dependants.helper import serve
from agent.errors import AgentError
from support.make import NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 120.0  # seconds, which nothing here takes
GOOD = Report(at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service"),))


class HelperAtWork:
    """A helper that is at work, and what it was asked to do.

    Attributes:
        path: Its socket.
        asked: What it was asked to do.
        report: What it answers, or raises.
        owner: Who may ask.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Occasion | Leave] = []
        self.report: Report | AgentError = GOOD
        self.owner = os.geteuid()
        self.refusal: AgentError | None = None

    def deploy(self, occasion: Occasion | Leave) -> Report:
        """Remember what is asked, and answer."""
        self.asked.append(occasion)
        if isinstance(self.report, AgentError):
            raise self.report
        return self.report

    def whose(self) -> int:
        """Return who may ask."""
        if self.refusal is not None:
            raise self.refusal
        return self.owner

    def connect(self) -> socket.socket:
        """Connect to it."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.path))
        return connection

    def say(self, data: bytes, *, end: bool = False) -> bytes:
        """Say something, and return the whole answer."""
        with self.connect() as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return heard(connection)


def heard(connection: socket.socket) -> bytes:
    """Return all that a peer says until it hangs up."""
    data = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            data += part
    return data


@contextmanager
def at_work(path: Path, deploy: Callable[..., Report], owner: Callable[[], int]) -> Iterator[threading.Thread]:
    """Let a helper serve a socket, and end it with one more connection unless it has ended."""
    over = threading.Event()

    def whose() -> int:
        if over.is_set():
            raise SystemExit
        return owner()

    def work() -> None:
        with suppress(SystemExit):
            serve(listener, whose, deploy)

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as last:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(512)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield thread
        finally:
            over.set()
            last.connect(str(path))
            last.sendall(b"again\n")
            thread.join(PATIENCE)
            assert not thread.is_alive()
