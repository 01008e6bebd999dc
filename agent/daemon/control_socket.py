"""The control socket: a client sends one JSON object on a line and gets any number of them, the last with ``exit``.

::

    > {"verb": "rotate", "reason": "..."}
    < {"event": "progress", ...}
    < {"event": "outcome", ..., "exit": 0}

Anybody may connect; who it is, the kernel says, and what that allows is told by `agent.system.peers`. Nothing that a
client does, or leaves undone, stops or slows the daemon: it never waits for one, and time, bytes and clients have
`Limits`. What breaks the rules gets one line that says so, as long as that costs nothing, and is then dropped.

It owns the connections and the name of the socket. It refuses to know what the verbs mean and which role one needs.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.jsonio import PlainError, decode, encode
from agent.errors import AgentError
from agent.store.durable import TEMPORARY
from agent.system.peers import Peer, Role, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.jsonio import Node
    from agent.daemon.loop import Loop

    Call = Callable[[], None]

# What programs that call the command learn; see `agent.core.exit_codes`.
_USAGE, _REFUSED = 2, 4

_BACKLOG = 128  # connections that the kernel keeps until they are accepted
_ACCEPTED = 16  # a turn, so that a flood of them leaves time for the rest
_LONGEST_ADDRESS = 107  # bytes, of a Unix socket on Linux

_REMEDIES = {
    errno.ENOENT: "Create the directory; systemd does it where the unit says RuntimeDirectory=.",
    errno.EACCES: "Run the daemon as the user who owns the directory.",
    errno.EPERM: "Run the daemon as the user who owns the directory.",
    errno.EROFS: "Choose a runtime_dir that can be written, such as one below /run.",
    errno.ENOSPC: "Free some space or inodes on this file system.",
    errno.EMFILE: "Too many open files: raise LimitNOFILE= of the unit.",
    errno.ENOTSOCK: "Move it out of the way.",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What clients may cost.

    Attributes:
        clients: Connections at the same time.
        reserved: How many of them only root and the daemon's own user get, so that nobody can lock them out.
        per_uid: Connections of one user; root and the daemon's own user may use all.
        request_bytes: The longest request, and the most that may come after it.
        output_bytes: The most that may wait for a client to read it.
        request_seconds: The time for the whole request, from the connection on.
        idle_output_seconds: How long a client may read nothing while something waits for it.
        pause_seconds: How long no connection is accepted after the system was out of descriptors.
    """

    clients: int = 32
    reserved: int = 4
    per_uid: int = 16
    request_bytes: int = 16_384
    output_bytes: int = 262_144
    request_seconds: float = 5.0
    idle_output_seconds: float = 30.0
    pause_seconds: float = 1.0


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Request:
    """What a client wants.

    Attributes:
        verb: What to do.
        node: The whole object, for the verb's arguments.
    """

    verb: str
    node: Node


@dataclass(frozen=True, kw_only=True)
class _House:
    """What all clients share. `take` is given a request's line; `left` the descriptor of a client that is gone."""

    loop: Loop
    limits: Limits
    take: Callable[[Client, bytes], None]
    left: Callable[[int], None]
    hangups: select.epoll


class Client:
    """One connection.

    Attributes:
        peer: Who it is.
        role: What they may do.
    """

    def __init__(self, house: _House, connection: socket.socket, peer: Peer, role: Role) -> None:
        self.peer = peer
        self.role = role
        self._house = house
        self._connection = connection
        self._fd = connection.fileno()
        self._input = bytearray()
        self._strays: int | None = None  # bytes that came after the request; None before its end
        self._output = bytearray()
        self._deaf = False  # it has said that it will send nothing more
        self._ending = False
        self._open = True
        self._gone: list[Call] = []
        self._deadline = house.loop.later(house.limits.request_seconds, self._late)
        house.loop.watch(self._fd, self._readable)

    def send(self, message: dict[str, Any]) -> bool:
        """Queue one line; false when the client is gone, which it also is once it has more waiting than the limit.

        Neither this nor `end` makes the calls given to `on_gone` itself.
        """
        if self._ending or not self._open:
            return False
        line = encode(message) + b"\n"
        if len(self._output) + len(line) > self._house.limits.output_bytes:
            self.drop()
        else:
            self._queue(line)
        return self._open

    def end(self, message: dict[str, Any]) -> None:
        """Queue the last line, and close once it is on its way; harmless when the client is gone."""
        self._ending = self.send(message) or self._ending

    def refuse(self, message: str, hint: str, code: int) -> None:
        """Say why not, and close."""
        self.end(_error(message, hint, code))

    def on_gone(self, call: Call) -> None:
        """Call soon after the connection is over, whichever side ended it, and also when it is over already."""
        if self._open:
            self._gone.append(call)
        else:
            self._house.loop.post(call)

    def drop(self) -> None:
        """Close at once; what was not sent is lost."""
        if not self._open:
            return
        self._open = False
        self._deadline.cancel()
        self._house.loop.unwatch(self._fd)
        if self._deaf:
            self._house.hangups.unregister(self._fd)
        self._connection.close()
        self._house.left(self._fd)
        self._input.clear()
        self._output.clear()
        while self._gone:
            self._house.loop.post(self._gone.pop(0))

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
            self._deadline = self._house.loop.later(self._house.limits.idle_output_seconds, self.drop)
        elif self._ending:
            self.drop()
        else:
            self._rest()

    def _queue(self, line: bytes) -> None:
        if not self._output:
            self._deadline.cancel()
            self._deadline = self._house.loop.later(self._house.limits.idle_output_seconds, self.drop)
            self._house.loop.watch(self._fd, self.flush, write=True)
        self._output += line

    def _rest(self) -> None:
        if self._deaf:  # it stays readable for ever and brings nothing: only its hanging up is news
            self._house.loop.unwatch(self._fd)
        else:
            self._house.loop.watch(self._fd, self._readable)

    def _late(self) -> None:
        seconds = self._house.limits.request_seconds
        self.refuse(f"No whole request came within {seconds:g} s.", "", _USAGE)

    def _readable(self) -> None:
        try:
            data = self._connection.recv(self._house.limits.request_bytes + 1)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        if not data:
            self._input_ended()
        elif self._strays is None:
            self._gather(data)
        else:  # what comes after the request is ignored, within reason
            self._strays += len(data)
            if self._strays > self._house.limits.request_bytes:
                self.drop()

    def _gather(self, data: bytes) -> None:
        limit = self._house.limits.request_bytes
        known = len(self._input)
        self._input += data
        end = self._input.find(b"\n", known)
        if end < 0 and len(self._input) <= limit:
            return
        self._deadline.cancel()
        line = bytes(self._input[: max(0, end)])
        self._strays = len(self._input) - len(line) - 1
        self._input = bytearray()
        if 0 <= end <= limit:
            self._house.take(self, line)
        else:
            self.refuse(f"The request is longer than the {limit} bytes allowed.", "", _USAGE)

    def _input_ended(self) -> None:
        """It will send nothing more, but may still read."""
        if self._strays is not None:
            self._deaf = True
            self._house.hangups.register(self._fd, 0)
            self._rest()
        elif self._input:
            self.refuse("The request ended before its newline.", "", _USAGE)
        else:
            self.drop()


class Control:
    """Meets the clients and hands their requests to `handle`.

    An `AgentError` from `handle`, or the `PlainError` of a wrong argument, becomes the client's last line. Any other
    exception is a defect and comes out of `Loop.turn`.
    """

    def __init__(
        self,
        loop: Loop,
        handle: Callable[[Client, Request], None],
        roles: Callable[[Peer], Role],
        limits: Limits = DEFAULT_LIMITS,
        *,
        exit_of: Callable[[AgentError], int],
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._roles = roles
        self._limits = limits
        self._exit_of = exit_of
        self._clients: dict[int, Client] = {}
        self._listeners: list[socket.socket] = []
        self._names: list[tuple[str, tuple[int, int]]] = []
        self._hangups = select.epoll()
        self._house = _House(loop=loop, limits=limits, take=self._take, left=self._forget, hangups=self._hangups)
        loop.watch(self._hangups.fileno(), self._hung_up)

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._clients)

    def listen(self, path: str) -> None:
        """Listen under a name that appears only when somebody answers there; a stale socket is replaced.

        Raises:
            AgentError: The directory is missing or not permitted, or something else than a socket has the name.
        """
        try:
            listener, identity = _bind(path)
        except OSError as error:
            message = f"The control socket {path} cannot be made: {error.strerror or error}."
            raise AgentError(message, hint=_REMEDIES.get(error.errno or 0, "")) from error
        self._names.append((path, identity))
        self._attend_to(listener)

    def adopt(self, fd: int) -> None:
        """Listen on a socket that systemd has made; its name is systemd's, too.

        Raises:
            AgentError: It is none that listens.
        """
        try:
            listener = socket.socket(fileno=fd)
            listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise _not_ours(fd) from error
        if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM or not listening:
            listener.detach()
            raise _not_ours(fd)
        listener.set_inheritable(False)
        self._attend_to(listener)

    def close(self) -> None:
        """Send what can be sent at once, drop all clients, take the name away unless it is another's by now."""
        if self._hangups.closed:
            return
        for client in list(self._clients.values()):
            client.flush()
            client.drop()
        for path, identity in self._names:  # before the listeners: they keep the identity from being given again
            with suppress(OSError):
                if _identity(os.lstat(path)) == identity:
                    Path(path).unlink()
        for listener in self._listeners:
            self._loop.unwatch(listener.fileno())
            listener.close()
        self._listeners.clear()
        self._loop.unwatch(self._hangups.fileno())
        self._hangups.close()

    def _attend_to(self, listener: socket.socket) -> None:
        listener.settimeout(0)
        self._listeners.append(listener)
        self._attend()

    def _attend(self) -> None:
        for listener in self._listeners:
            self._loop.watch(listener.fileno(), partial(self._accept, listener))

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED):
            try:
                connection, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError:
                self._look_away()
                return
            self._meet(connection)

    def _look_away(self) -> None:
        """The connection that cannot be accepted stays, and would be reported again at once and for ever."""
        for listener in self._listeners:
            self._loop.unwatch(listener.fileno())
        self._loop.later(self._limits.pause_seconds, self._attend)

    def _meet(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        peer = peer_of(connection)
        role = self._roles(peer)
        if role is Role.NOBODY:
            hint = "Members of the group iot-cert-agent may read; members of iot-cert-admin and root may change things."
            _turn_away(connection, "You may not talk to the agent.", hint)
        elif self._full_for(peer):
            _turn_away(connection, "The agent is talking to too many others.", "Try again in a few seconds.")
        else:
            self._clients[connection.fileno()] = Client(self._house, connection, peer, role)

    def _full_for(self, peer: Peer) -> bool:
        limits, count = self._limits, len(self._clients)
        if peer.uid in {0, os.geteuid()}:
            return count >= limits.clients
        same = sum(client.peer.uid == peer.uid for client in self._clients.values())
        return same >= limits.per_uid or count >= limits.clients - limits.reserved

    def _take(self, client: Client, line: bytes) -> None:
        try:
            node = decode(line, "The request", limit=self._limits.request_bytes)
            self._handle(client, Request(node.text("verb", limit=64), node))
        except PlainError as error:
            client.refuse(f"{error}.", "", _USAGE)
        except AgentError as error:
            client.refuse(str(error), error.hint, self._exit_of(error))

    def _forget(self, fd: int) -> None:
        del self._clients[fd]

    def _hung_up(self) -> None:
        for fd, _ in self._hangups.poll(0):
            self._clients[fd].drop()


def _error(message: str, hint: str, code: int) -> dict[str, Any]:
    return {"event": "error", "message": message, "hint": hint, "exit": code}


def _turn_away(connection: socket.socket, message: str, hint: str) -> None:
    with connection, suppress(OSError):
        connection.send(encode(_error(message, hint, _REFUSED)) + b"\n")


def _not_ours(fd: int) -> AgentError:
    hint = "The .socket unit needs ListenStream= with a path, and Accept=no."
    return AgentError(f"File descriptor {fd} is no Unix stream socket that listens.", hint=hint)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _bind(path: str) -> tuple[socket.socket, tuple[int, int]]:
    """Return a socket that listens under `path`, and the identity of what has that name now."""
    folder, name = os.path.split(path)
    folder = folder or "."
    dir_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _require_socket_or_nothing(dir_fd, name)
        with suppress(FileNotFoundError):
            os.unlink(TEMPORARY + name, dir_fd=dir_fd)
        listener.bind(_address(folder, dir_fd, TEMPORARY + name))
        os.chmod(TEMPORARY + name, 0o666, dir_fd=dir_fd)  # noqa: S103 - who is served is decided by the peer
        listener.listen(_BACKLOG)
        identity = _identity(os.lstat(TEMPORARY + name, dir_fd=dir_fd))
        os.rename(TEMPORARY + name, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)  # noqa: TID251 - nothing to sync
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(dir_fd)
    return listener, identity


def _require_socket_or_nothing(dir_fd: int, name: str) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(name, dir_fd=dir_fd).st_mode):
            raise OSError(errno.ENOTSOCK, "something else has this name")


def _address(folder: str, dir_fd: int, name: str) -> str:
    """Return a path to `name` that fits a socket's address, however deep the folder is."""
    plain = f"{folder}/{name}"
    return plain if len(os.fsencode(plain)) <= _LONGEST_ADDRESS else f"/proc/self/fd/{dir_fd}/{name}"
