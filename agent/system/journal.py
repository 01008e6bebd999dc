"""The event log: one structured record in the journal for each event, or one plain line where there is no journal.

The journal's native protocol is written here rather than taken from systemd-python: `systemd.journal` adds 2.4 MiB to
the proportional set size of an idle daemon (it brings `logging`, `uuid` and more), its bare `_journal` still 0.75 MiB,
and both wait for as long as the journal is stuck. This adds some ten KiB and never waits: a record that cannot be
delivered at once is dropped and counted, and the next one that gets through says how many were lost.

It refuses to raise: a missing or full journal stops no rotation. What it is given is made printable and bounded, so
that no reply from outside can forge a record; that no secret is given is the caller's business.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING

from agent.core.report.journal_events import one_line

if TYPE_CHECKING:
    from agent.core.report.journal_events import Event
    from agent.ports import Clock

JOURNAL_SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "iot-cert-agent"
PREFIX = "IOT_CERT_"
MAX_TEXT = 2000  # characters of the message and of each field

_MAX_NAME = 64  # the journal ignores fields with longer names
_MAX_LINE = 4096  # bytes: what a pipe that has room at all takes without waiting (PIPE_BUF)
_WIDTH = 20


class EventLog:
    """Writes events where they are read.

    Args:
        clock: Gives plain lines their time; the journal has its own.
        native: Whether to write to the journal; None to do so when standard error leads there.
        path: The journal's socket.
        fd: Where plain lines go.
    """

    def __init__(self, clock: Clock, *, native: bool | None = None, path: str = JOURNAL_SOCKET, fd: int = 2) -> None:
        self._clock = clock
        self._path = path
        self._fd = fd
        self._lost = 0
        self._socket: socket.socket | None = None
        if _leads_to_journal(fd) if native is None else native:
            kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, kind)

    def close(self) -> None:
        """Let go of the socket; later events become plain lines."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def log(self, event: Event, text: str, /, **fields: str | int | None) -> None:
        """Write an event.

        Args:
            event: What happened.
            text: The sentence for people.
            fields: What machines match: ``generation=7`` becomes ``IOT_CERT_GENERATION=7``; None is left out.
        """
        line = one_line(text, MAX_TEXT)
        if self._socket is None:
            sent = self._write(event, line)
        else:
            sent = self._send(self._socket, _record(event, line, {**fields, "lost": self._lost or None}))
        self._lost = 0 if sent else self._lost + 1

    def _send(self, journal: socket.socket, record: bytes) -> bool:
        try:
            journal.sendto(record, self._path)
        except OSError:
            return False
        return True

    def _write(self, event: Event, line: str) -> bool:
        data = f"{self._clock.now():%H:%M:%S}  {event:<{_WIDTH}}  {line}".encode()
        whole = data[: _MAX_LINE - 1].decode(errors="ignore").encode()
        try:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            return bool(poll.poll(0)) and os.write(self._fd, whole + b"\n") > 0
        except OSError:
            return False


def _leads_to_journal(fd: int) -> bool:
    """Whether `fd` is the stream that systemd connected, as systemd.exec(5) says under JOURNAL_STREAM."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _record(event: Event, line: str, fields: dict[str, str | int | None]) -> bytes:
    message = event.message
    own = {
        "MESSAGE": line,
        "MESSAGE_ID": message.id,
        "PRIORITY": str(int(message.priority)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        f"{PREFIX}EVENT": str(event),
    }
    named = {f"{PREFIX}{name.upper()}": _clean(value) for name, value in fields.items() if value is not None}
    return b"".join(_assignment(name, value) for name, value in {**named, **own}.items() if _is_field(name))


def _is_field(name: str) -> bool:
    return len(name) <= _MAX_NAME and name.isascii() and name.isidentifier()


def _clean(value: str | int) -> str:
    """Bound a value and keep its lines apart: a traceback is unreadable as one."""
    lines = str(value)[:MAX_TEXT].split("\n")
    return "\n".join(one_line(line, MAX_TEXT) for line in lines)


def _assignment(name: str, value: str) -> bytes:
    data = value.encode()
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
