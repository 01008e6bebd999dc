"""The event log: one structured record in the journal for each event, or one plain line where there is no journal.

Records go through systemd-python's thin part, `systemd._journal.sendv`: `systemd.journal` brings `logging`, `uuid` and
more, which an idle daemon would pay for as long as it runs. A stuck journal must not stop the loop, and `sendv` waits
for one in the kernel, with Python's lock held, so:

* Before each record the agent looks whether the journal is there and has room. `sendv` takes a journal that is not
  there for success.
* A look is not enough. Unread records also fill the send buffer of the library's own socket, which no other socket
  shows, and between look and record another program may take the last place. So that socket, which the library opens
  for the first record and keeps, is made one that does not wait. Its number is the lowest that is free, as no thread
  opens another just then: the daemon's first record comes before it has threads.
* A record that is too large for a datagram, or finds no room, the library writes to a memfd and sends its descriptor,
  which does not wait either.

A record that cannot be delivered at once is dropped and counted, and the next one that gets through says how many were
lost. Where the library cannot be loaded, every event is a plain line, which systemd puts into the journal as it is.

It refuses to raise: a missing or full journal stops no rotation. What it is given is made printable and bounded, so
that no reply from outside can forge a record; that no secret is given is the caller's business.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from agent.core.report.journal_events import one_line
from agent.system.service.datagram import has_room

try:
    from systemd._journal import sendv
except ImportError:
    sendv = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        send: Sends a record, given as assignments; None where the library cannot be loaded.
        path: The journal's socket.
        fd: Where plain lines go.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        native: bool | None = None,
        send: Callable[..., None] | None = sendv,
        path: str = JOURNAL_SOCKET,
        fd: int = 2,
    ) -> None:
        self._clock = clock
        self._send = send if (_leads_to_journal(fd) if native is None else native) else None
        self._path = path
        self._fd = fd
        self._lost = 0
        self._first = True

    def close(self) -> None:
        """Let go of the journal; later events become plain lines."""
        self._send = None

    def log(self, event: Event, text: str, /, **fields: str | int | None) -> None:
        """Write an event.

        Args:
            event: What happened.
            text: The sentence for people.
            fields: What machines match: ``generation=7`` becomes ``IOT_CERT_GENERATION=7``; None is left out.
        """
        line = one_line(text, MAX_TEXT)
        if self._send is None:
            sent = self._write(event, line)
        else:
            sent = self._deliver(self._send, _record(event, line, {**fields, "lost": self._lost or None}))
        self._lost = 0 if sent else self._lost + 1

    def _deliver(self, send: Callable[..., None], record: list[str]) -> bool:
        if not has_room(self._path):
            return False
        try:
            with _first_one() if self._first else nullcontext():
                send(*record)
        except OSError:
            return False
        self._first = False
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


@contextmanager
def _first_one() -> Iterator[None]:
    """Send the first record in this block: the socket that the library opens for it is made one that does not wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as spare:
        number = spare.fileno()
    try:
        yield
    finally:
        with suppress(OSError):  # the library's socket was there before
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.set_blocking(number, False)


def _record(event: Event, line: str, fields: dict[str, str | int | None]) -> list[str]:
    message = event.message
    own = {
        "MESSAGE": line,
        "MESSAGE_ID": message.id,
        "PRIORITY": str(int(message.priority)),
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        f"{PREFIX}EVENT": str(event),
    }
    named = {f"{PREFIX}{name.upper()}": _clean(value) for name, value in fields.items() if value is not None}
    return [f"{name}={value}" for name, value in {**named, **own}.items() if _is_field(name)]


def _is_field(name: str) -> bool:
    return len(name) <= _MAX_NAME and name.isascii() and name.isidentifier()


def _clean(value: str | int) -> str:
    """Bound a value and keep its lines apart: a traceback is unreadable as one."""
    lines = str(value)[:MAX_TEXT].split("\n")
    return "\n".join(one_line(line, MAX_TEXT) for line in lines)
