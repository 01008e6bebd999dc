"""The way to the endpoint: its name, a TCP connection, and the proxy in between if there is one.

Every step ends in time, whichever peer keeps silent, and every failure names what caused it: the proxy, where it is the
proxy. The tunnel is asked for as the SDK asks for it, in HTTP/1.1 with a Host field (RFC 9112, section 3.2), so
that a proxy that lets the one through lets the other through. The proxy's password goes into that request and nowhere
else.
"""

from __future__ import annotations

import re
import socket
from binascii import b2a_base64
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.config.files import proxy_password
from agent.core.aws.endpoints import FIND_ENDPOINT, at, misspelling, placeholder
from agent.core.failure import failures, proxy_failures
from agent.errors import CloudError, ConfigError
from agent.system import clock
from agent.system.processes import threads

if TYPE_CHECKING:
    from agent.core.aws.endpoints import Endpoint, Proxy
    from agent.core.failure.failure import Failure

LEAST = 0.001  # seconds; a socket takes none for "do not wait"
_ANSWER = re.compile(r"HTTP/1\.[01] ([1-5][0-9][0-9](?: .*)?)")
_ENDS = (b"\r\n\r\n", b"\n\n")
_MAX_HEAD = 16_384  # bytes of a proxy's answer; many send a page along, which is not read


def connect(endpoint: Endpoint) -> socket.socket:
    """Open a TCP connection to the endpoint, through its proxy if it has one.

    Returns:
        The connection; its timeout is the endpoint's.

    Raises:
        CloudError: There is none.
    """
    end = clock.monotonic() + endpoint.timeout
    connection = _through(endpoint, endpoint.proxy, end) if endpoint.proxy else _straight(endpoint, end)
    connection.settimeout(endpoint.timeout)
    return connection


def resolve(host: str, port: int | None, patience: float) -> list[tuple[Any, ...]]:
    """Return the addresses of a name as `socket.getaddrinfo` does, by an end: the C library's own is a minute away.

    Raises:
        CloudError: There are none, or no answer in time.
    """
    found: list[tuple[Any, ...]] = []

    def ask() -> None:
        with suppress(OSError, UnicodeError):
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    threads.wait_for(ask, max(LEAST, patience))
    if not found:
        raise CloudError(unresolved(host))
    return found


def unresolved(host: str) -> Failure:
    """Return what it means that an endpoint's name has no address."""
    empty, wrong = placeholder(host), misspelling(host)
    if empty:
        return failures.no_endpoint(empty, FIND_ENDPOINT)
    unknown = failures.name_not_found(host)
    return replace(unknown, remedy=f"{wrong} If `endpoint` is right, check the gateway's DNS.") if wrong else unknown


def _straight(endpoint: Endpoint, end: float) -> socket.socket:
    addresses = resolve(endpoint.host, endpoint.port, end - clock.monotonic())
    try:
        return _open(addresses, end)
    except OSError as error:
        raise CloudError(failures.unreachable(endpoint.host, endpoint.port, reason(error))) from None


def _open(addresses: list[tuple[Any, ...]], end: float) -> socket.socket:
    """Try addresses in turn, each for half of the time that is left: AWS has eight, all may be dead."""
    problem = OSError("no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses, start=1):
        left = end - clock.monotonic()
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(max(LEAST, left if number == len(addresses) else left / 2))
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = error
        else:
            return connection
    raise problem


def _through(endpoint: Endpoint, proxy: Proxy, end: float) -> socket.socket:
    request = _request(endpoint, proxy)
    try:
        addresses = resolve(proxy.host, proxy.port, end - clock.monotonic())
    except CloudError:
        raise CloudError(proxy_failures.proxy_not_found(proxy.host)) from None
    try:
        connection = _open(addresses, end)
    except OSError as error:
        raise CloudError(proxy_failures.proxy_unreachable(proxy.address, reason(error))) from None
    try:
        connection.sendall(request)
        _judge(endpoint, proxy, _head(connection, end))
    except OSError as error:
        connection.close()
        raise CloudError(proxy_failures.proxy_unreachable(proxy.address, reason(error), said=True)) from None
    except BaseException:
        connection.close()
        raise
    return connection


def credentials(proxy: Proxy) -> tuple[str, str] | None:
    """Return the name and the password for a proxy, read anew each time, or None where it is given none.

    Raises:
        CloudError: The password cannot be read.
    """
    if proxy.user is None:
        return None
    try:
        return proxy.user, proxy_password(proxy)
    except ConfigError as error:
        raise CloudError(proxy_failures.proxy_password(str(error), error.hint)) from None


def _request(endpoint: Endpoint, proxy: Proxy) -> bytes:
    target, known = at(endpoint.host, endpoint.port), credentials(proxy)
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n".encode()
    if known is not None:
        head += b"Proxy-Authorization: Basic " + b2a_base64(":".join(known).encode(), newline=False) + b"\r\n"
    return head + b"\r\n"


def _head(connection: socket.socket, end: float) -> bytes:
    """Read an answer's head and no byte more: what follows is the endpoint's."""
    head = bytearray()
    while not head.endswith(_ENDS) and len(head) < _MAX_HEAD:
        byte = receive(connection, 1, end)
        if not byte:
            break
        head += byte
    return bytes(head)


def _judge(endpoint: Endpoint, proxy: Proxy, head: bytes) -> None:
    first, *fields = head.decode("latin-1").splitlines() or [""]
    answer = _ANSWER.fullmatch(first)
    if answer is None or not head.endswith(_ENDS):
        raise CloudError(proxy_failures.not_a_proxy(proxy.address, "" if head else "it closes the connection"))
    if answer[1].startswith("2"):
        return
    asks = [value.split()[0] for name, _, value in (field.partition(":") for field in fields)
            if name.lower() == "proxy-authenticate" and value.strip()]  # fmt: skip
    raise CloudError(proxy_failures.proxy_refused(way_of(endpoint, proxy), answer[1], asks))


def way_of(endpoint: Endpoint, proxy: Proxy) -> proxy_failures.Way:
    """Return what a proxy is asked for, as its refusal tells of it."""
    named = proxy.user is not None
    return proxy_failures.Way(proxy=proxy.address, host=endpoint.host, port=endpoint.port, named=named)


def deadline_of(connection: socket.socket) -> float:
    """Return when the connection's timeout, taken for all that is still to come, is used up."""
    return clock.monotonic() + (connection.gettimeout() or 0.0)


def receive(connection: socket.socket, size: int, end: float) -> bytes:
    """Return what comes next; a sender of one byte at a time gets no more time than any other.

    Raises:
        OSError: The connection broke, or the time is over.
    """
    left = end - clock.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
    return connection.recv(size)


def reason(error: BaseException) -> str:
    """Return in a few words why a connection failed."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)[:100] or type(error).__name__
