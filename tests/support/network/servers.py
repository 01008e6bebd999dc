"""Servers on loopback, sound and not: what each does with a connection, and a port behind which there is none."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import warnings
from contextlib import contextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.sandbox.account.authority import KeyPair

    Talk = Callable[[socket.socket], None]

PATIENCE = 180.0  # seconds in which a client has left on the busiest machine


def closed_port() -> int:
    """Return a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(talk: Talk) -> Iterator[int]:
    """Listen on loopback, let `talk` deal with each connection, and give the port; all have ended afterwards."""
    dealing = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    dealing.append(threading.Thread(target=deal, args=(connection,)))
                    dealing[-1].start()

        def deal(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for each in (thread, *dealing):
                each.join()


# -- TLS ---------------------------------------------------------------------------------------------------------------


def tls_context(pair: KeyPair, *versions: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a server's TLS settings, with its lowest and highest version if given, however old."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair.load_into(made)
    if versions:
        made.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what is too old is the point
            made.minimum_version, made.maximum_version = versions
    return made


def speaks(made: ssl.SSLContext, then: Talk | None = None) -> Talk:
    """Return what a TLS server does: shake hands, take what comes, and then `then`."""

    def talk(connection: socket.socket) -> None:
        with made.wrap_socket(connection, server_side=True) as secured:
            secured.recv(4096)
            if then is not None:
                then(secured)

    return talk


# -- what is no TLS ----------------------------------------------------------------------------------------------------


def says(answer: bytes) -> Talk:
    """Return what takes the first message and answers with the same, whatever it was."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        connection.recv(4096)

    return talk


def hangs_up(connection: socket.socket) -> None:
    """Take the first message and leave, as a broker without TLS does."""
    connection.recv(4096)


def resets(connection: socket.socket) -> None:
    """Take the first message and reset the connection."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def says_nothing(connection: socket.socket) -> None:
    """Take what comes until the client leaves, and never answer."""
    while connection.recv(4096):
        pass


def floods(connection: socket.socket) -> None:
    """Send handshake records without end."""
    connection.recv(1)
    record = b"\x16\x03\x03\x40\x00" + b"\x0b\xff\xff\xff" + b"x" * (0x4000 - 4)
    while True:
        connection.sendall(record)


def pieces(first: bytes, piece: bytes) -> Talk:
    """Return what sends a beginning and then a piece every 50 ms, until the other side leaves or a test has failed."""

    def talk(connection: socket.socket) -> None:
        end = monotonic() + PATIENCE
        connection.sendall(first)
        while monotonic() < end and not select.select([connection], [], [], 0.05)[0]:
            connection.sendall(piece)

    return talk


def drips(connection: socket.socket) -> None:
    """Begin a TLS record and send it a byte at a time."""
    connection.recv(4096)
    pieces(b"\x16\x03\x03\x40\x00", b"\x02")(connection)
