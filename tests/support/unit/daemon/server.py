"""A daemon's control socket that a test turns by hand, and its clients."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.control_protocol import ControlRequest, ResumedMessage
from agent.daemon.control.client import Client, ClientLimits
from agent.daemon.control.server import ControlSocket
from agent.daemon.loop import Loop
from agent.system.peers import Role, role_of
from support.suite.surroundings import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.system.peers import Peer

READERS, ADMINS = frozenset({4001}), frozenset({4002})

STATUS = b'{"verb":"status"}\n'
END = ResumedMessage()
DONE = {"event": "resumed", "exit": 0}

LIMITS = ClientLimits()
PATIENT = ClientLimits(sure_seconds=60.0)  # a busy machine may take more than a second for a test's next line
SMALL = ClientLimits(request_bytes=1000, output_bytes=4096)


@contextmanager
def acting(uid: int, gid: int, *groups: int) -> Iterator[None]:
    """Be another user: the kernel notes it for connections that are made meanwhile."""
    need_root()
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def who_may(peer: Peer) -> Role:
    """Return the role that the daemon would give."""
    return role_of(peer, readers=READERS, admins=ADMINS, owner_uid=os.geteuid())


def error(message: str, code: int, hint: str = "") -> dict[str, Any]:
    """Return the line that refuses."""
    return {"event": "error", "message": message, "hint": hint, "exit": code}


class Daemon:
    """A loop with a control socket, turned by hand; what it is asked is kept."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.path = folder / "control.sock"
        self.asked: list[tuple[Client, ControlRequest]] = []
        self.answer: Callable[[Client, ControlRequest], None] = self.say_done
        self.control: ControlSocket

    def start(self, limits: ClientLimits = PATIENT) -> ControlSocket:
        """Make the control socket and listen."""
        self.control = ControlSocket(self.loop, self._handle, who_may, limits)
        self.control.listen(str(self.path))
        return self.control

    def _handle(self, client: Client, request: ControlRequest) -> None:
        self.asked.append((client, request))
        self.answer(client, request)

    def say_done(self, client: Client, _request: ControlRequest) -> None:
        """Answer with one line."""
        client.end(END)

    def say_nothing(self, client: Client, request: ControlRequest) -> None:
        """Let the client wait."""

    def turn(self) -> None:
        """Turn once without waiting."""
        self.loop.post(lambda: None)
        self.loop.turn()

    def until(self, condition: Callable[[], object]) -> None:
        """Turn until something is so."""
        late = self.loop.later(30, partial(pytest.fail, "it never came to that"))
        while not condition():
            self.loop.turn()
        late.cancel()

    def connect(self) -> socket.socket:
        """Return a new connection; it is accepted in a later turn."""
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(self.path))
        caller.settimeout(0)
        return caller

    def asks(self, request: bytes) -> socket.socket:
        """Return a connection whose request is on its way."""
        caller = self.connect()
        with suppress(BrokenPipeError):
            caller.send(request)
        return caller

    def waiting_client(self) -> tuple[Client, socket.socket]:
        """Return both ends of a connection whose request was taken and is not answered."""
        self.answer = self.say_nothing
        caller = self.asks(STATUS)
        before = len(self.asked)
        self.until(lambda: len(self.asked) > before)
        return self.asked[-1][0], caller

    def heard(self, caller: socket.socket) -> list[dict[str, Any]]:
        """Return all that a caller is told until the other end closes; then close this end."""
        data = bytearray()
        late = self.loop.later(30, partial(pytest.fail, "the connection is not closed"))
        with caller:
            while (piece := received(caller)) != b"":
                if piece is None:
                    self.loop.turn()
                else:
                    data += piece
        late.cancel()
        assert data.endswith(b"\n") or not data
        return [json.loads(line) for line in data.splitlines()]

    def answers(self, request: bytes) -> list[dict[str, Any]]:
        """Ask, and return what comes back."""
        return self.heard(self.asks(request))

    def close(self) -> None:
        """Close everything."""
        self.control.close()
        self.loop.close()


def received(caller: socket.socket) -> bytes | None:
    """Return what has come: nothing yet is None, and the end is empty."""
    try:
        return caller.recv(65_536)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""  # it closed without having read everything
