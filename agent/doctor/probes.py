"""Looks that the doctor takes at the network: a name, a server's certificates, the endpoint's clock.

`look` shakes hands without verifying, to see what is there when verification fails. Nothing is sent over such a
connection and nothing is concluded from it about trust; it shows no certificate of ours. Every look has an end.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import ALPN_MQTT
from agent.core.frozen import frozen
from agent.errors import CloudError
from agent.iotcore import path, tls

if TYPE_CHECKING:
    import socket
    from datetime import datetime

    from agent.core.aws.endpoints import Endpoint

NAME_PATIENCE = 5.0  # seconds; the C library's own is longer than a person looks at a screen
PATIENCE = 4.0
HTTPS_PORT = 443

_MAX_HEAD = 8_192  # bytes


def resolve(host: str, patience: float = NAME_PATIENCE) -> tuple[str, ...]:
    """Return the addresses of a name.

    Raises:
        CloudError: There are none, or no answer in time.
    """
    found = path.resolve(host, None, patience)
    return tuple(dict.fromkeys(str(item[4][0]) for item in found))


def reaches(endpoint: Endpoint, port: int) -> bool:
    """Whether another port of the endpoint takes connections."""
    try:
        path.connect(replace(endpoint, port=port, timeout=PATIENCE)).close()
    except CloudError:
        return False
    return True


@frozen
class ServerLook:
    """What a server showed without being verified.

    Attributes:
        version: The TLS version, or empty when there was no handshake.
        chain: Its certificates as DER, its own first.
    """

    version: str = ""
    chain: tuple[bytes, ...] = ()


def look(
    endpoint: Endpoint,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ServerLook:
    """Shake hands with whatever answers, and return what it shows."""
    context = _unverifying()
    if minimum < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # what is too old must be seen to be named
    context.minimum_version, context.maximum_version = minimum, maximum
    if endpoint.alpn:
        context.set_alpn_protocols([ALPN_MQTT])
    try:
        with path.connect(replace(endpoint, timeout=PATIENCE)) as connection:
            return _shake(context, connection, endpoint.host)
    except CloudError:
        return ServerLook()


def _unverifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _shake(context: ssl.SSLContext, connection: socket.socket, host: str) -> ServerLook:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    shaking = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with suppress(OSError):  # what was shown before it failed tells enough
        tls.exchange(shaking, connection, incoming, outgoing)
    chain = tuple(tls.certificates_of(shaking, "get_unverified_chain"))
    return ServerLook(version=tls.version_of(shaking) if chain else "", chain=chain)


def date_of(endpoint: Endpoint, port: int = HTTPS_PORT) -> datetime | None:
    """Return the time by the endpoint's own web server, or None when it does not say."""
    try:
        with (
            path.connect(replace(endpoint, port=port, timeout=PATIENCE)) as connection,
            _unverifying().wrap_socket(connection, server_hostname=endpoint.host) as secured,
        ):
            secured.sendall(f"HEAD / HTTP/1.1\r\nHost: {endpoint.host}\r\nConnection: close\r\n\r\n".encode())
            return _date(_head(secured))
    except (CloudError, OSError):
        return None


def _head(connection: ssl.SSLSocket) -> bytes:
    head, end = b"", path.deadline_of(connection)
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD and (piece := path.receive(connection, _MAX_HEAD, end)):
        head += piece
    return head


def _date(head: bytes) -> datetime | None:
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "date":
            with suppress(ValueError, TypeError, OverflowError):
                found = parsedate_to_datetime(value.strip())
                return found if found.tzinfo else None
    return None
