"""The command's end of the control socket: one request out, messages in until one has ``exit``.

It owns nothing but the connection, and prints nothing. It takes the daemon for honest and everything else for possible:
that there is none, that it hangs, that it dies in the middle of a line. It only parses the messages, since `iot-cert
status` has to be quick; `agent.core.control_protocol` says what they mean.
"""

from __future__ import annotations

import _socket  # the module `socket` around it takes longer to import than everything else here together
import errno
import json
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.errors import AgentError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent.config.values import Config

TIMEOUT = 10.0  # seconds, to connect and for the first line
LONGEST_LINE = 1 << 22  # bytes; the most that the daemon has waiting for a client

_LONGEST_ADDRESS = 107  # bytes, of a Unix socket on Linux
_PIECE = 65_536
_TRIES = 100  # to connect

_NOBODY_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ELOOP}
_RESTART = "Look at `systemctl status iot-cert-agent` and `journalctl -u iot-cert-agent`."


def call(path: str, request: bytes, *, timeout: float = TIMEOUT) -> Generator[dict[str, object], None, None] | None:
    """Send a request to the daemon and return its messages, the last of which has ``exit``.

    Args:
        path: Where the control socket is.
        request: What to do, a line; see `agent.core.control_protocol.encode_request`.
        timeout: Seconds to connect, and again for the first message; after it there is no limit.

    Returns:
        The messages as they come, or None when no daemon listens there.

    Raises:
        RefusedError: This user may not connect.
        AgentError: The daemon does not answer, hangs up without a last message, or sends what is no reply; this also
            comes out of the iteration.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        _connect(connection, path, timeout)
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered already: that this user may not
            connection.sendall(request)
    except OSError as error:
        connection.close()
        if _finds_no_daemon(error, path):
            return None
        raise _explained(error, path) from error
    messages = _messages(connection)
    next(messages)
    return messages


def listens(path: str) -> bool:
    """Whether anything listens on the control socket, this user being let in or not."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        _connect(connection, path, TIMEOUT)
    except OSError as error:
        return not _finds_no_daemon(error, path)
    finally:
        connection.close()
    return True


def elsewhere(config: Config) -> str:
    """Return that a daemon works on the state directory which this configuration does not reach, or nothing."""
    from agent.system import locks  # noqa: PLC0415 - only the verbs that act need these two
    from agent.system.files import kind_of  # noqa: PLC0415

    held = locks.held(config.state_dir / locks.DAEMON)
    if held is None or listens(str(config.control_socket)):
        return ""
    text = f"A daemon{held.who} works on {config.state_dir}, and it does not listen at {config.control_socket}"
    with suppress(OSError):
        found = config.control_socket.lstat().st_mode
        if not stat.S_ISSOCK(found):
            return f"{text}, where {kind_of(found)} stands: once that is moved out of the way, it does so again."
    return f"{text}."


def _finds_no_daemon(error: OSError, path: str) -> bool:
    """Whether nothing can listen at a path: what is no socket may be refused to this user, too."""
    if error.errno in _NOBODY_THERE:
        return True
    try:
        return not stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - `pathlib` is not imported here
    except OSError:
        return False


def _explained(error: OSError, path: str) -> AgentError:
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = "Use sudo, or have yourself added to the group iot-cert-agent (to look) or iot-cert-admin (to change)."
        return RefusedError("You may not talk to the agent's daemon.", hint=hint)
    if isinstance(error, TimeoutError | BlockingIOError):
        return AgentError("The agent's daemon does not answer.", hint=_RESTART)
    return AgentError(f"The control socket {path} cannot be used: {error.strerror or error}.")


def _connect(connection: _socket.socket, path: str, timeout: float) -> None:
    """Connect, however deep the folder is, and although the daemon may have more callers than it has met yet."""
    folder, name = os.path.split(path)
    dir_fd = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        address = path if len(os.fsencode(path)) <= _LONGEST_ADDRESS else f"/proc/self/fd/{dir_fd}/{name}"
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                connection.connect(address)
                return
            time.sleep(timeout / _TRIES)
        raise TimeoutError
    finally:
        os.close(dir_fd)


def _messages(connection: _socket.socket) -> Generator[dict[str, object], None, None]:
    pending = bytearray()
    try:
        yield {}  # taken by `call`: the connection is closed with the iterator from here on
        while True:
            message = _message(_line(connection, pending))
            yield message
            if "exit" in message:
                return
            connection.settimeout(None)
    finally:
        connection.close()


def _line(connection: _socket.socket, pending: bytearray) -> bytes:
    """Take the next line from the connection; `pending` keeps what came after it."""
    known = 0
    while (end := pending.find(b"\n", known)) < 0:
        known = len(pending)
        if known > LONGEST_LINE:
            raise AgentError("Invalid reply from the daemon: a line without an end.", hint=_RESTART)
        pending += _received(connection)
    line = bytes(pending[:end])
    del pending[: end + 1]
    return line


def _received(connection: _socket.socket) -> bytes:
    try:
        data = connection.recv(_PIECE)
    except ConnectionResetError:
        data = b""
    except TimeoutError as error:
        raise AgentError("The agent's daemon does not answer.", hint=_RESTART) from error
    if not data:
        message = "The agent's daemon ended the conversation without a last word; a change, if any, is kept."
        raise AgentError(message, hint="See `iot-cert status`; if the daemon was restarted, it goes on by itself.")
    return data


def _message(line: bytes) -> dict[str, object]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise AgentError("Invalid reply from the daemon: a line that is no JSON object.", hint=_RESTART)
    return message
