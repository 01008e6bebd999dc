"""The control socket: a client sends one JSON object on a line and gets any number of them, the last with ``exit``.

::

    > {"verb": "rotate", "reason": "..."}
    < {"event": "progress", ...}
    < {"event": "outcome", ..., "exit": 0}

Any process may connect; the kernel says which it is, and `agent.system.peers` what that allows. Nothing that a
client does, or leaves undone, stops or slows the daemon: it never waits for one, and time, bytes and clients have
`ClientLimits`. What breaks the rules gets one line that says so, as long as that costs nothing, and is then dropped.

It owns the connections and the name of the socket. It refuses to know what the verbs mean and which role one needs.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.control_protocol import ErrorMessage, decode_request, encode_message
from agent.core.exit_codes import Exit, of_error
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError
from agent.daemon.control.client import Client, ClientLimits, ServerContext
from agent.errors import AgentError, StoreError
from agent.store.files import disk
from agent.store.files.durable import DAMAGED, TEMPORARY, move_unsynced, put_away
from agent.system.peers import Peer, Role, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.control_protocol import ControlRequest
    from agent.daemon.loop import Loop

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
}


DEFAULT_LIMITS = ClientLimits()


@frozen
class _Listening:
    """A socket that listens.

    Attributes:
        socket: It.
        path: Its name.
        identity: What had that name when it began to listen; None where nothing had.
        made: Whether the name was made here, and is to be taken away with it; else it is systemd's.
    """

    socket: socket.socket
    path: str
    identity: tuple[int, int] | None
    made: bool

    @property
    def is_named(self) -> bool:
        """Whether its name still leads to it."""
        return self.identity is not None and self.identity == _identity_at(self.path)


class ControlSocket:
    """Meets the clients and hands their requests to `handle`.

    An `AgentError` from `handle` becomes the client's last line. Any other exception is a defect and comes out of
    `Loop.turn`.
    """

    def __init__(
        self,
        loop: Loop,
        handle: Callable[[Client, ControlRequest], None],
        roles: Callable[[Peer], Role],
        limits: ClientLimits = DEFAULT_LIMITS,
        turned_away: Callable[[Peer], None] = lambda _: None,
    ) -> None:
        """Listen nowhere yet.

        Args:
            loop: Where to wait.
            handle: Takes a client and its request.
            roles: Says what a process may do.
            limits: What clients may cost.
            turned_away: Takes a process that may do nothing.
        """
        self._turned_away = turned_away
        self._loop = loop
        self._handle = handle
        self._roles = roles
        self._limits = limits
        self._clients: dict[int, Client] = {}
        self._listeners: list[_Listening] = []
        self._hangups = select.epoll()
        self._context = ServerContext(
            loop=loop, limits=limits, take=self._take, left=self._forget, hangups=self._hangups
        )
        loop.watch(self._hangups.fileno(), self._hung_up)

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self._clients)

    def listen(self, path: str) -> None:
        """Listen under a name that appears only when it is answered; a stale socket is replaced.

        Raises:
            AgentError: The directory is missing or not permitted, or what stands there cannot be moved.
        """
        try:
            listener, identity = _bind(path)
        except StoreError as error:
            raise AgentError(f"The control socket {path} cannot be made: {error}", hint=error.hint) from error
        except OSError as error:
            message = f"The control socket {path} cannot be made: {error.strerror or error}."
            raise AgentError(message, hint=_REMEDIES.get(error.errno or 0, "")) from error
        self._attend_to(_Listening(socket=listener, path=path, identity=identity, made=True))

    def keep(self, path: str) -> str:
        """Listen at a path anew where the name does not lead here any more.

        Returns:
            Why that cannot be done, and what helps, or an empty text.
        """
        lost = [item for item in self._listeners if not item.is_named]
        if len(lost) < len(self._listeners):
            return ""
        if lost and _is_answered(path):
            return f"Another process listens at {path} in place of this one: end it, and a new socket is made there."
        try:
            self.listen(path)
        except AgentError as error:
            return error.in_full
        for item in lost:
            if item.made:  # systemd's may get its name back
                self._leave(item)
        return ""

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
        path = os.fsdecode(listener.getsockname())
        self._attend_to(_Listening(socket=listener, path=path, identity=_identity_at(path), made=False))

    def close(self) -> None:
        """Send what can be sent at once, drop all clients, take the name away unless it is another's by now."""
        if self._hangups.closed:
            return
        for client in list(self._clients.values()):
            client.flush()
            client.drop()
        for item in list(self._listeners):
            self._leave(item)
        self._loop.unwatch(self._hangups.fileno())
        self._hangups.close()

    def _leave(self, item: _Listening) -> None:
        with suppress(OSError):  # the name before the socket, which keeps its identity from being given again
            if item.made and item.is_named:
                Path(item.path).unlink()
        self._loop.unwatch(item.socket.fileno())
        item.socket.close()
        self._listeners.remove(item)

    def _attend_to(self, item: _Listening) -> None:
        item.socket.settimeout(0)
        self._listeners.append(item)
        self._attend()

    def _attend(self) -> None:
        for item in self._listeners:
            self._loop.watch(item.socket.fileno(), partial(self._accept, item.socket))

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
        for item in self._listeners:
            self._loop.unwatch(item.socket.fileno())
        self._loop.later(self._limits.pause_seconds, self._attend)

    def _meet(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        peer = peer_of(connection)
        role = self._roles(peer)
        if role is Role.NOBODY:
            hint = "Members of the group iot-cert-agent may read; members of iot-cert-admin and root may change things."
            _turn_away(connection, "You may not talk to the agent.", hint)
            self._turned_away(peer)
        elif self._full_for(peer) and not self._make_room(peer):
            _turn_away(connection, "The agent is talking to too many others.", "Try again in a few seconds.")
        else:
            self._clients[connection.fileno()] = Client(self._context, connection, peer, role)

    def _make_room(self, peer: Peer) -> bool:
        """Take the place of a client that says nothing: of the same user's, or for root and this user of any."""
        for client in list(self._clients.values()):
            if client.is_silent and (_goes_first(peer) or client.peer.uid == peer.uid):
                client.make_way()
                return not self._full_for(peer)
        return False

    def _full_for(self, peer: Peer) -> bool:
        limits, count = self._limits, len(self._clients)
        if _goes_first(peer):
            return count >= limits.clients
        same = sum(client.peer.uid == peer.uid for client in self._clients.values())
        return same >= limits.per_uid or count >= limits.clients - limits.reserved

    def _take(self, client: Client, line: bytes) -> None:
        try:
            self._handle(client, decode_request(line, self._limits.request_bytes))
        except PlainError as error:
            client.refuse(f"{error}.", "", Exit.USAGE)
        except AgentError as error:
            client.refuse(str(error), error.hint, of_error(error))

    def _forget(self, fd: int) -> None:
        del self._clients[fd]

    def _hung_up(self) -> None:
        for fd, _ in self._hangups.poll(0):
            self._clients[fd].drop()


def _goes_first(peer: Peer) -> bool:
    return peer.uid in {0, os.geteuid()}


def _turn_away(connection: socket.socket, message: str, hint: str) -> None:
    with connection, suppress(OSError):
        connection.send(encode_message(ErrorMessage(message=message, hint=hint, exit=Exit.REFUSED)))


def _not_ours(fd: int) -> AgentError:
    hint = "The .socket unit needs ListenStream= with a path, and Accept=no."
    return AgentError(f"File descriptor {fd} is no Unix stream socket that listens.", hint=hint)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _identity_at(path: str) -> tuple[int, int] | None:
    try:
        return _identity(os.lstat(path))
    except OSError:
        return None


def _is_answered(path: str) -> bool:
    """Whether a process listens at a path."""
    folder, name = os.path.split(path)
    with suppress(OSError, StoreError), disk.directory(folder) as fd, socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(0)
        with suppress(BlockingIOError):  # more callers than it has met
            caller.connect(_address(folder, fd, name))
        return True
    return False


def _bind(path: str) -> tuple[socket.socket, tuple[int, int]]:
    """Return a socket that listens under `path`, and the identity of what has that name now."""
    folder, name = os.path.split(path)
    folder = folder or "."
    dir_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        for taken in (name, TEMPORARY + name):
            _make_way(dir_fd, taken)
        with suppress(FileNotFoundError):
            os.unlink(TEMPORARY + name, dir_fd=dir_fd)
        listener.bind(_address(folder, dir_fd, TEMPORARY + name))
        os.chmod(TEMPORARY + name, 0o666, dir_fd=dir_fd)  # noqa: S103 - who is served is decided by the peer
        listener.listen(_BACKLOG)
        identity = _identity(os.lstat(TEMPORARY + name, dir_fd=dir_fd))
        move_unsynced(dir_fd, TEMPORARY + name, name)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(dir_fd)
    return listener, identity


def _make_way(dir_fd: int, name: str) -> None:
    """Move what is no socket out of the way and keep it: a daemon that does not start renews nothing."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(name, dir_fd=dir_fd).st_mode):
            with disk.directory(".", dir_fd) as folder:
                put_away(folder, name, f"{name}{DAMAGED}")


def _address(folder: str, dir_fd: int, name: str) -> str:
    """Return a path to `name` that fits a socket's address, however deep the folder is."""
    plain = f"{folder}/{name}"
    return plain if len(os.fsencode(plain)) <= _LONGEST_ADDRESS else f"/proc/self/fd/{dir_fd}/{name}"
