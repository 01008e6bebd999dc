"""An HTTP proxy that tunnels, as a site's way out does. It is strict, may ask for credentials and may take its time."""

from __future__ import annotations

import socket
import threading
import time
from base64 import b64encode
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def pour(source: socket.socket, drain: socket.socket) -> None:
    """Carry bytes one way until their end."""
    with suppress(OSError):
        while data := source.recv(65_536):
            drain.sendall(data)
    with suppress(OSError):
        drain.shutdown(socket.SHUT_WR)


def _answer(head: bytes, credentials: str) -> bytes:
    """Return what a strict proxy says to a request: CONNECT comes in HTTP/1.1 with the Host field of its target."""
    line, *fields = head.decode().rstrip().split("\r\n")
    method, target, version = line.split(" ")
    known = dict(field.lower().split(": ", 1) for field in fields)
    if (method, version, known.get("host")) != ("CONNECT", "HTTP/1.1", target):
        return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    basic = f"basic {b64encode(credentials.encode()).decode()}".lower()
    if credentials and known.get("proxy-authorization") != basic:
        return b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="site"\r\n\r\n'
    return b""


def _tunnel(client: socket.socket, asked: list[str], delay: float, credentials: str) -> None:
    with client, suppress(OSError, ValueError):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        refusal = _answer(head, credentials)
        if refusal:
            client.sendall(refusal)
            return
        line = head.split(b"\r\n")[0].decode()
        asked.append(line.rsplit(" ", 1)[0])
        host, port = line.split()[1].rsplit(":", 1)
        time.sleep(delay)
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pour, args=(server, client))
            back.start()
            pour(client, server)
            back.join(20)


@contextmanager
def tunnelling_proxy(delays: Sequence[float] = (), credentials: str = "") -> Iterator[tuple[int, list[str]]]:
    """Run an HTTP proxy that tunnels, and give its port and what it opened a way for.

    Args:
        delays: Seconds for which each connection in turn is held up; further ones are not.
        credentials: Name and password with a colon in between, without which it opens no way; empty for none.
    """
    asked: list[str] = []
    tunnels: list[threading.Thread] = []
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    clients.append(client)
                    delay = delays[len(tunnels)] if len(tunnels) < len(delays) else 0.0
                    tunnels.append(threading.Thread(target=_tunnel, args=(client, asked, delay, credentials)))
                    tunnels[-1].start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for client in clients:  # one that keeps its connection for another request, for one
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            for running in (thread, *tunnels):
                running.join(20)
