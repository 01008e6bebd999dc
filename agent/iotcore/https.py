"""Connections for HTTPS, through the same proxy as all others, whose reads have an end. What is asked is the caller's.

No connection is used twice, and nothing is asked again or elsewhere by the library: where a request may go, and whether
it may go there once more, is decided by who knows what is in it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import urllib3
from urllib3.connection import HTTPSConnection

from agent.core.aws.endpoints import Endpoint
from agent.iotcore import path
from agent.system.clock import monotonic

if TYPE_CHECKING:
    import socket
    from typing import Any

    from agent.core.aws.endpoints import Proxy

SILENCE = 15.0  # seconds without a byte
_PIECE = 65_536

HEADERS = {"Connection": "close", "Accept-Encoding": "identity"}


def connections(context: ssl.SSLContext, proxy: Proxy | None, end: float) -> urllib3.PoolManager:
    """Return what makes connections.

    Args:
        context: How a server is verified; it is this function's from now on.
        proxy: The way out, or None.
        end: When all reads are over, by the monotonic clock, however little each of them gets.
    """
    context.sslsocket_class = _hurried(end)
    pool = urllib3.PoolManager(ssl_context=context, headers=HEADERS, retries=False)
    if proxy:
        pool.pool_classes_by_scheme = {"https": _tunnelled(proxy)}
    return pool


def _hurried(end: float) -> type[ssl.SSLSocket]:
    """Return a TLS socket whose reads together end at an instant, however little each of them gets."""

    class Hurried(ssl.SSLSocket):
        def recv_into(self, *given: Any, **named: Any) -> int:
            left = end - monotonic()
            if left <= 0:
                raise TimeoutError
            self.settimeout(min(left, SILENCE))
            return super().recv_into(*given, **named)

    return Hurried


def _tunnelled(proxy: Proxy) -> type[urllib3.HTTPSConnectionPool]:
    """Return connections that go the way of all others: through the proxy, as `agent.iotcore.path` asks it."""

    class Tunnelled(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            patience = self.timeout if isinstance(self.timeout, float) else SILENCE
            return path.connect(Endpoint(host=self.host, port=self.port, proxy=proxy, timeout=patience))

    class Pool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Tunnelled

    return Pool


def body(response: urllib3.BaseHTTPResponse, limit: int) -> bytes:
    """Return what is in an answer, which is cut off soon after `limit` bytes.

    Raises:
        HTTPError: It is no sound answer, or no end of it came in time.
    """
    data = b""
    # Not `read`, for which a chunk of -1 bytes is all that ever comes.
    while len(data) <= limit and (piece := response.read1(_PIECE, decode_content=False)):
        data += piece
    return data


def reason(error: BaseException) -> BaseException:
    """Return what an error of the library's was made from."""
    for inner in (*error.args, error.__cause__):
        if isinstance(inner, BaseException):
            return reason(inner)
    return error
