"""One client of the control socket: its request, what it is told, and its end.

It owns one connection and the time and bytes that it may cost. The daemon never waits for a client: what it does not
read in time, or sends beyond its `ClientLimits`, ends the connection.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from agent.core.control_protocol import ErrorMessage, encode_message
from agent.core.exit_codes import Exit
from agent.core.frozen import frozen

if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from agent.core.control_protocol import ControlMessage, LastMessage
    from agent.daemon.loop import Loop, Timer
    from agent.system.peers import Peer, Role

    Call = Callable[[], None]


@frozen
class ClientLimits:
    """What clients may cost.

    Attributes:
        clients: Connections at the same time.
        reserved: How many of them only root and the daemon's own user get, so that no other user can lock them out.
        per_uid: Connections of one user; root and the daemon's own user may use all.
        request_bytes: The longest request, and the most that may come after it.
        output_bytes: The most that may wait for a client to read it; the longest status is less.
        request_seconds: The time for the whole request, from the connection on.
        sure_seconds: How much of that a client has for sure: after it, one that needs the place may get it.
        idle_output_seconds: How long a client may read nothing while something waits for it.
        pause_seconds: How long no connection is accepted after the system was out of descriptors.
    """

    clients: int = 32
    reserved: int = 4
    per_uid: int = 16
    request_bytes: int = 16_384
    output_bytes: int = 4_194_304
    request_seconds: float = 5.0
    sure_seconds: float = 1.0
    idle_output_seconds: float = 30.0
    pause_seconds: float = 1.0


@frozen
class ServerContext:
    """What all clients share.

    Attributes:
        loop: Where to wait.
        limits: What a client may cost.
        take: Takes the line of a request.
        left: Takes the descriptor of a client that is gone.
        hangups: Where those are watched that send nothing more.
    """

    loop: Loop
    limits: ClientLimits
    take: Callable[[Client, bytes], None]
    left: Callable[[int], None]
    hangups: select.epoll


class _Input:
    """What a client sends: one line, and after it a little that is ignored."""

    def __init__(self, limit: int, sure: Timer) -> None:
        self._limit = limit
        self._sure = sure
        self._data = bytearray()
        self._after: int | None = None  # bytes after the line; None before its end

    @property
    def begun(self) -> bool:
        """Whether some of the line has come."""
        return bool(self._data)

    @property
    def late(self) -> bool:
        """Whether the line has not ended in the time that it has for sure."""
        return not self.whole and not self._sure.pending

    @property
    def whole(self) -> bool:
        """Whether the line has ended, or is too long."""
        return self._after is not None

    def take(self, data: bytes) -> bytes | None:
        """Take more of the line; return it once it has ended, and None before that or when it is too long."""
        known = len(self._data)
        self._data += data
        end = self._data.find(b"\n", known)
        if end < 0 and len(self._data) <= self._limit:
            return None
        line = bytes(self._data[: max(0, end)])
        self._after = len(self._data) - len(line) - 1
        self.clear()
        return line if 0 <= end <= self._limit else None

    def ignore(self, data: bytes) -> bool:
        """Take what comes after the line; whether that is still within reason."""
        self._after = (self._after or 0) + len(data)
        return self._after <= self._limit

    def clear(self) -> None:
        """Forget what has come of the line."""
        self._sure.cancel()
        self._data = bytearray()


class Client:
    """One connection.

    Attributes:
        peer: Who it is.
        role: What they may do.
    """

    def __init__(self, server: ServerContext, connection: socket.socket, peer: Peer, role: Role) -> None:
        self.peer = peer
        self.role = role
        self._server = server
        self._connection = connection
        self._fd = connection.fileno()
        sure = server.loop.later(server.limits.sure_seconds, lambda: None)
        self._input = _Input(server.limits.request_bytes, sure)
        self._output = bytearray()
        self._deaf = False  # it has said that it will send nothing more
        self._ending = False
        self._open = True
        self._gone: list[Call] = []
        self._deadline = server.loop.later(server.limits.request_seconds, self._late)
        server.loop.watch(self._fd, self._readable)

    def send(self, message: ControlMessage) -> bool:
        """Queue one line; false when the client is gone, which it also is once it has more waiting than the limit.

        Neither this nor `end` makes the calls given to `on_gone` itself.
        """
        if self._ending or not self._open:
            return False
        line = encode_message(message)
        if len(self._output) + len(line) > self._server.limits.output_bytes:
            self.drop()
        else:
            self._queue(line)
        return self._open

    def end(self, message: LastMessage) -> None:
        """Queue the last line, and close once it is on its way; harmless when the client is gone."""
        self._ending = self.send(message) or self._ending

    def refuse(self, message: str, hint: str, code: int) -> None:
        """Say why not, and close."""
        self.end(ErrorMessage(message=message, hint=hint, exit=code))

    @property
    def is_silent(self) -> bool:
        """Whether no whole request has come in the time that it has for sure, and nothing is there to be read."""
        if not self._input.late:
            return False
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def make_way(self) -> None:
        """Say that another client gets the place, and go."""
        self.refuse("No whole request came, and another client needs the place.", "", Exit.USAGE)
        self.flush()
        self.drop()

    def on_gone(self, call: Call) -> None:
        """Call soon after the connection is over, whichever side ended it, and also when it is over already."""
        if self._open:
            self._gone.append(call)
        else:
            self._server.loop.post(call)

    def drop(self) -> None:
        """Close at once; what was not sent is lost."""
        if not self._open:
            return
        self._open = False
        self._deadline.cancel()
        self._server.loop.unwatch(self._fd)
        if self._deaf:
            self._server.hangups.unregister(self._fd)
        self._connection.close()
        self._server.left(self._fd)
        self._input.clear()
        self._output.clear()
        while self._gone:
            self._server.loop.post(self._gone.pop(0))

    def flush(self) -> None:
        """Send what the kernel takes without waiting."""
        try:
            sent = self._connection.send(self._output)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        del self._output[:sent]
        self._deadline.cancel()
        if self._output:
            self._deadline = self._server.loop.later(self._server.limits.idle_output_seconds, self.drop)
        elif self._ending:
            self.drop()
        else:
            self._rest()

    def _queue(self, line: bytes) -> None:
        if not self._output:
            self._deadline.cancel()
            self._deadline = self._server.loop.later(self._server.limits.idle_output_seconds, self.drop)
            self._server.loop.watch(self._fd, self.flush, write=True)
        self._output += line

    def _rest(self) -> None:
        if self._deaf:  # it stays readable for ever and brings nothing: only its hanging up is news
            self._server.loop.unwatch(self._fd)
        else:
            self._server.loop.watch(self._fd, self._readable)

    def _late(self) -> None:
        seconds = self._server.limits.request_seconds
        self.refuse(f"No whole request came within {seconds:g} s.", "", Exit.USAGE)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(self._server.limits.request_bytes + 1)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        if not data:
            self._input_ended()
        elif not self._input.whole:
            self._gather(data)
        elif not self._input.ignore(data):
            self.drop()

    def _gather(self, data: bytes) -> None:
        line = self._input.take(data)
        if not self._input.whole:
            return
        self._deadline.cancel()
        if line is None:
            limit = self._server.limits.request_bytes
            self.refuse(f"The request is longer than the {limit} bytes allowed.", "", Exit.USAGE)
        else:
            self._server.take(self, line)

    def _input_ended(self) -> None:
        """It will send nothing more, but may still read."""
        if self._input.whole:
            self._deaf = True
            self._server.hangups.register(self._fd, 0)
            self._rest()
        elif self._input.begun:
            self.refuse("The request ended before its newline.", "", Exit.USAGE)
        else:
            self.drop()
