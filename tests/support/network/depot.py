"""A small HTTPS server for root bundles, in the place of an S3 bucket with presigned URLs.

It owns one port of the loopback interface, the threads that serve it and its faults. Its rules:

* GET of a regular file below one folder, and nothing else: no listing, no way out by `..` or by a link.
* A query is ignored, as far as serving goes; presigned URLs carry one.
* One answer a connection, then it ends.
* After the `with` block no thread and no socket of it is left, whatever its clients and its faults were about.

A fault strikes every request for its path until it is taken out of `faults`.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from agent.sandbox.account.authority import Authority

MAX_CONNECTIONS = 100

_PATIENCE = 10.0
_SERVER_LIFETIME = timedelta(days=365)
_POLL = 0.05  # how often the listener looks whether it should end
_PAUSE = 0.2  # between two bytes of a slow answer
_FILLER = b"# and so on\n" * 1000


class Kind(StrEnum):
    """What goes wrong."""

    ENDLESS = "endless"  # the body never ends, and no length is declared
    SLOW = "slow"  # one byte every fifth of a second
    STATUS = "status"  # this status instead of the file
    REDIRECT = "redirect"  # to this URL
    TRUNCATED = "truncated"  # half of what is declared is sent, then the connection ends
    HANG = "hang"  # the request is taken and nothing is said
    WRONG_LENGTH = "wrong-length"  # half of what is sent is declared


@dataclass(frozen=True)
class DepotFault:
    """What goes wrong with one path.

    Attributes:
        kind: What.
        value: The status, or where a redirection leads.
    """

    kind: Kind
    value: str = ""

    def __post_init__(self) -> None:
        if self.kind is Kind.STATUS:
            HTTPStatus(int(self.value))
        elif bool(self.value) != (self.kind is Kind.REDIRECT):
            raise ValueError(f"{self.kind}:{self.value}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a fault as people write it: `slow`, `status:503`, `redirect:https://localhost/`.

        Raises:
            ValueError: There is no such fault.
        """
        kind, _, value = text.partition(":")
        return cls(Kind(kind), value)


class Depot:
    """The server; a context manager, for one use.

    Attributes:
        faults: What goes wrong, by path: `/roots.pem`. May be changed at any time, as may `date_offset`.
        requests: Every request so far: `GET /roots.pem?X-Amz-Expires=60`.
        date_offset: How far the header `Date` is from the real time.
        defects: Errors that no client may cause.
        url: Where it serves its folder, once started: `https://localhost:4711/`.
        patience: Seconds for a client that sends nothing or does not read.
        closing: Set when it begins to end.
    """

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        *,
        host: str = "localhost",
        patience: float = _PATIENCE,
    ) -> None:
        """Make a server that does not run yet.

        Args:
            directory: The folder to serve.
            authority: Who signs its certificate.
            host: The name in its certificate.
            patience: Seconds for a client that sends nothing or does not read.
        """
        self.faults: dict[str, DepotFault] = {}
        self.requests: list[str] = []
        self.date_offset = timedelta()
        self.defects: list[BaseException] = []
        self.url = ""
        self.patience = patience
        self.closing = threading.Event()
        self._directory = directory
        self._host = host
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        authority.issue_server(host, now() - timedelta(days=1), now() + _SERVER_LIFETIME).load_into(self._context)
        self._server: _Server
        self._thread: threading.Thread

    def __enter__(self) -> Self:
        self._server = _Server(self, self._context)
        self.url = f"https://{self._host}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name="depot")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut all connections and leave nothing behind; harmless when it is closed already."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut()
        self._server.server_close()

    def find(self, path: str) -> bytes | None:
        """Return the content of the file at a URL's path, or None if there is none to be served."""
        root = self._directory.resolve()
        try:
            found = (root / path.lstrip("/")).resolve(strict=True)
            return found.read_bytes() if found.is_relative_to(root) and found.is_file() else None
        except (OSError, RuntimeError, ValueError):  # missing, a circle of links, a null byte
            return None


def now() -> datetime:
    """Return the real time, since TLS checks certificates by it."""
    return datetime.now(UTC)


class _Server(ThreadingTCPServer):
    """The listener and the connections that are open. Threads are not daemons, so that closing waits for them."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, depot: Depot, context: ssl.SSLContext) -> None:
        self._depot = depot
        self._context = context
        self._open: set[ssl.SSLSocket] = set()
        super().__init__(("127.0.0.1", 0), lambda *given: _Handler(depot, *given))

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        raw, address = self.socket.accept()
        raw.settimeout(self._depot.patience)
        try:
            # The handshake is the connection's own thread's, so no client can hold up the listener.
            secure = self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
        except BaseException:
            raw.close()
            raise
        self._open.add(secure)
        return secure, address

    def verify_request(self, _request: Any, _address: Any) -> bool:
        return len(self._open) <= MAX_CONNECTIONS

    def close_request(self, request: Any) -> None:
        super().close_request(request)
        self._open.discard(request)

    def handle_error(self, _request: Any, _address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):  # what a client does to its connection is its own
            self._depot.defects.append(error)

    def cut(self) -> None:
        for secure in list(self._open):
            with suppress(OSError):
                # Not the method of the TLS socket, which would let its thread go on in plain text.
                socket.socket.shutdown(secure, socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    connection: ssl.SSLSocket
    protocol_version = "HTTP/1.1"

    def __init__(self, depot: Depot, *given: Any) -> None:
        self._depot = depot
        super().__init__(*given)

    def setup(self) -> None:
        self.request.do_handshake()
        super().setup()

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self._depot.requests.append(f"{self.command} {self.path}")
        return parsed

    def do_GET(self) -> None:
        try:
            path = unquote(urlsplit(self.path).path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        fault = self._depot.faults.get(path)
        strange = {Kind.STATUS: self._status, Kind.REDIRECT: self._redirect, Kind.HANG: self._hang}
        if fault is not None and fault.kind in strange:
            strange[fault.kind](fault.value)
            return
        content = self._depot.find(path)
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(content, fault)

    def _status(self, value: str) -> None:
        self.send_error(HTTPStatus(int(value)))

    def _redirect(self, value: str) -> None:
        self._begin(0, HTTPStatus.TEMPORARY_REDIRECT, Location=value)

    def _hang(self, _value: str) -> None:
        self.connection.settimeout(None)
        while self.rfile.read(1):  # until the client leaves or all is closed
            pass

    def _send(self, content: bytes, fault: DepotFault | None) -> None:
        half = len(content) // 2
        match fault and fault.kind:
            case Kind.TRUNCATED:
                self._begin(len(content))
                self.wfile.write(content[:half])
            case Kind.WRONG_LENGTH:
                self._begin(half)
                self.wfile.write(content)
            case Kind.SLOW:
                self._begin(len(content))
                self._drip(content)
            case Kind.ENDLESS:
                self._begin(None)
                self.wfile.write(content)
                while not self._depot.closing.is_set():
                    self.wfile.write(_FILLER)
            case _:
                self._begin(len(content))
                self.wfile.write(content)

    def _drip(self, content: bytes) -> None:
        for position in range(len(content)):
            self.wfile.write(content[position : position + 1])
            if self._depot.closing.wait(_PAUSE):
                return

    def _begin(self, length: int | None, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        self.send_response(status)
        headers |= {"Content-Type": "binary/octet-stream", "Connection": "close"}
        if length is not None:
            headers["Content-Length"] = str(length)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def date_time_string(self, timestamp: float | None = None) -> str:
        at = now() if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
        return format_datetime(at + self._depot.date_offset, usegmt=True)

    def log_message(self, *_: object) -> None:
        """Say nothing: `requests` has it."""
