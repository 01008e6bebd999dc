"""The HTTP API of the vending machine: HTTPS on loopback, before the account's own handler.

It stands for API Gateway and has no rules but its: one way in, and an event of format 2.0 for what comes there. See
"Working with AWS Lambda proxy integrations for HTTP APIs", Amazon API Gateway developer guide.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, cast

from agent.errors import AgentError
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from agent.sandbox.account.authority import KeyPair
    from agent.sandbox.cloud import Cloud

    Event = Mapping[str, object]
    Answer = Mapping[str, object] | None

PATH = "/v1/certificates"
MAX_BODY = 65_536  # bytes

_PATIENCE = 10.0
_POLL = 0.05  # how often the listener looks whether it should end


def said(status: int, message: str) -> dict[str, object]:
    """Return what API Gateway says by itself."""
    return {"statusCode": status, "body": f'{{"message":"{message}"}}'}


_OF_THE_API: dict[Effect, Answer] = {
    Effect.IGNORE: None,
    Effect.HANG_UP: None,
    Effect.DENY: said(403, "Forbidden"),
    Effect.THROTTLE: said(429, "Too Many Requests"),
    Effect.UNAVAILABLE: said(503, "Service Unavailable"),
}


def answer_of(cloud: Cloud, event: Event) -> Answer:
    """Return the account's answer where a fault may strike, or None: then the connection ends without a word."""
    fault, answer = cloud.faults.strike(Operation.VEND), cloud.stack.vend
    if fault is None:
        return answer(event)
    if fault.effect in _OF_THE_API:
        return _OF_THE_API[fault.effect]
    made = answer(event)
    bodies = {Effect.GARBLE: "{", Effect.HOSTILE: fault.payload.decode(errors="replace"), Effect.OVERSIZE: "x" * 10**6}
    return None if fault.effect is Effect.LOSE else {**made, "body": bodies.get(fault.effect, made.get("body"))}


class VendingFront:
    """The API; a context manager, for one use.

    Attributes:
        url: Where it is asked, once started.
        asked: How many requests have come.
    """

    def __init__(
        self,
        answer: Callable[[Event], Answer],
        server: KeyPair,
        *,
        host: str = "localhost",
        address: str = "127.0.0.1",
    ) -> None:
        """Make one that does not run yet.

        Args:
            answer: Answers an event, or returns None: then the connection ends without a word.
            server: Its certificate and key.
            host: The name in its certificate.
            address: The IP address to listen on.
        """
        self.url, self.asked = "", 0
        self.answer = answer
        self._host, self._address = host, address
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_into(self._context)
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the port of before if there was one.

        Raises:
            AgentError: The port cannot be had.
        """
        port = int(self.url.split("/")[2].rpartition(":")[2]) if self.url else 0
        try:
            self._server = _Server(self, (self._address, port), self._context)
        except OSError as error:
            raise AgentError(
                f"The vending machine cannot listen on {self._address} port {port}: {error.strerror}"
            ) from error
        self.url = f"https://{self._host}:{self._server.server_address[1]}{PATH}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL,), name="vending", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave nothing behind; harmless when it does not run."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, front: VendingFront, place: tuple[str, int], context: ssl.SSLContext) -> None:
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        self._context = context
        super().__init__(place, lambda *given: _Handler(front, *given))

    def get_request(self) -> tuple[ssl.SSLSocket, Any]:
        raw, address = self.socket.accept()
        raw.settimeout(_PATIENCE)
        try:  # the handshake is the connection's own thread's: no client holds up the listener
            return self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address
        except BaseException:
            raw.close()
            raise

    def handle_error(self, _request: Any, _address: Any) -> None:
        """What a client does to its connection is its own."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, front: VendingFront, *given: Any) -> None:
        self._front = front
        super().__init__(*given)

    def do_POST(self) -> None:
        """Answer one request."""
        self.close_connection = True
        length = self.headers.get("Content-Length", "0")
        if self.path != PATH or not length.isdecimal() or int(length) > MAX_BODY:
            self._send(said(404, "Not Found"))
            return
        self._front.asked += 1
        self._send(self._front.answer(self._event(self.rfile.read(int(length)))))

    def _event(self, body: bytes) -> Event:
        http = {"method": "POST", "path": PATH, "sourceIp": self.client_address[0]}
        return {
            "version": "2.0",
            "routeKey": f"POST {PATH}",
            "requestContext": {"http": http},
            "body": body.decode(errors="replace"),
            "isBase64Encoded": False,
        }

    def _send(self, answer: Answer) -> None:
        if answer is None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        body = str(answer["body"]).encode()
        self.send_response(cast("int", answer["statusCode"]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged: the body holds a secret."""
