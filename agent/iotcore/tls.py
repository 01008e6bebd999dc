"""A TLS handshake with the standard library: it says in milliseconds why a server is not trusted.

The SDK's TLS takes up to 30 seconds to report a failed handshake and hides the reason, so every connection is preceded
by this one. It verifies the server with the candidate's own anchors and nothing else, shows no client certificate
(so it needs no key, wherever the key is), and closes.

Its context takes nothing from the environment: no key log, no system store.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.core.aws.endpoints import ALPN_MQTT
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.errors import CloudError
from agent.system import clock

if TYPE_CHECKING:
    from agent.core.aws.endpoints import Endpoint, Proxy
    from agent.core.failure.failure import Failure
    from agent.core.values import TrustBundle

_READ = 16_384
_LEAST = 0.001  # seconds; a socket takes none for "do not wait"
_MAX_HANDSHAKE = 262_144  # bytes; a chain of ten large certificates has a fifth of it

# X509_V_ERR_* of OpenSSL, which `SSLCertVerificationError.verify_code` reports.
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_HOST = frozenset({62, 64})

_ENCODING_DER = 2  # _ssl.ENCODING_DER


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """What the server agreed to.

    Attributes:
        version: The TLS version.
        alpn: The protocol that was negotiated, or None.
        anchor: SHA-256 of the trust anchor that the server's chain ended in, or empty when it cannot be told.
    """

    version: str
    alpn: str | None
    anchor: str = ""


def preflight(endpoint: Endpoint, trust: TrustBundle) -> Handshake:
    """Shake hands with the endpoint and verify it.

    Raises:
        CloudError: There is no path, or the server is not who it should be; the failure says which.
    """
    context = _context(endpoint, trust)
    with connect(endpoint) as connection:
        return _shake_hands(context, connection, endpoint)


def _context(endpoint: Endpoint, trust: TrustBundle) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    # An anchor is trusted whoever else may have signed it, as the SDK's TLS does.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trust.pem.decode())
    if endpoint.alpn:
        context.set_alpn_protocols([ALPN_MQTT])
    return context


def connect(endpoint: Endpoint) -> socket.socket:
    """Open a TCP connection to the endpoint, through its proxy if it has one.

    Raises:
        CloudError: There is none.
    """
    try:
        if endpoint.proxy is None:
            return _open(endpoint)
        return _through_proxy(endpoint, endpoint.proxy)
    except socket.gaierror:
        name = endpoint.proxy.host if endpoint.proxy else endpoint.host
        raise CloudError(failures.name_not_found(name)) from None
    except OSError as error:
        raise CloudError(failures.unreachable(endpoint.host, endpoint.port, _reason(error))) from None


def _open(endpoint: Endpoint) -> socket.socket:
    """Try the endpoint's addresses in turn, each for half of the time that is left: AWS has eight, all may be dead."""
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    end = clock.monotonic() + endpoint.timeout
    problem = OSError("no address")
    for number, (family, kind, protocol, _, address) in enumerate(found, start=1):
        left = end - clock.monotonic()
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(max(_LEAST, left if number == len(found) else left / 2))
            connection.connect(address)
        except OSError as error:
            connection.close()
            problem = error
        else:
            connection.settimeout(endpoint.timeout)
            return connection
    raise problem


def _through_proxy(endpoint: Endpoint, proxy: Proxy) -> socket.socket:
    import http.client  # noqa: PLC0415 - it brings a mail parser along, and few gateways have a proxy

    tunnel = http.client.HTTPConnection(proxy.host, proxy.port, timeout=endpoint.timeout)
    tunnel.set_tunnel(endpoint.host, endpoint.port)
    try:
        tunnel.connect()
    except BaseException as error:
        tunnel.close()
        traceback.clear_frames(error.__traceback__)  # or the refused reply keeps the socket open as long as the error
        if isinstance(error, http.client.HTTPException):
            raise CloudError(failures.unreachable(endpoint.host, endpoint.port, _reason(error))) from None
        raise
    return tunnel.sock


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)[:100] or type(error).__name__


def _shake_hands(context: ssl.SSLContext, connection: socket.socket, endpoint: Endpoint) -> Handshake:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=endpoint.host)
    try:
        exchange(tls, connection, incoming, outgoing)
        return _so_far(tls)
    except ssl.SSLCertVerificationError as error:
        raise CloudError(_untrusted(endpoint.host, error)) from None
    except ssl.SSLError as error:
        return _after_alert(tls, endpoint, error)
    except OSError as error:
        if _wants_client_certificate(tls):
            return _so_far(tls)
        raise CloudError(failures.tls_interrupted(endpoint.host, _reason(error))) from None


def exchange(tls: ssl.SSLObject, connection: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    """Carry a handshake's messages to and fro until it is done, all of it within the connection's timeout.

    Raises:
        OSError: The connection broke, `ssl.SSLError` among them: the handshake failed.
    """
    received, end = 0, deadline_of(connection)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            data = receive(connection, _READ, end)
            received += len(data)
            if not data or received > _MAX_HANDSHAKE:
                raise ConnectionAbortedError("closed by the other side" if not data else "no end of it") from None
            incoming.write(data)
        else:
            return


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


def _wants_client_certificate(tls: ssl.SSLObject) -> bool:
    """Whether the server was verified and left for lack of a client certificate.

    In TLS 1.2 that is before the handshake's end, by an alert or by hanging up. Once a cipher is agreed the server has
    shown its certificate, and a bad one ends in SSLCertVerificationError.
    """
    cipher = tls.cipher()
    return cipher is not None and cipher[1] != "TLSv1.3"


def _so_far(tls: ssl.SSLObject) -> Handshake:
    cipher = tls.cipher()
    version = tls.version() or (cipher[1] if cipher else "")
    return Handshake(version=version, alpn=tls.selected_alpn_protocol(), anchor=_anchor(tls))


def _anchor(tls: ssl.SSLObject) -> str:
    chain = certificates_of(tls, "get_verified_chain")
    return hashlib.sha256(chain[-1]).hexdigest() if chain else ""


def certificates_of(tls: ssl.SSLObject, method: str) -> list[bytes]:
    """Return the server's chain as DER, leaf first; empty where this Python cannot tell.

    Args:
        tls: After the handshake, or after the server has shown its certificate.
        method: ``get_verified_chain``, which ends in the anchor, or ``get_unverified_chain``.
    """
    owner = tls if hasattr(tls, method) else getattr(tls, "_sslobj", None)  # public from Python 3.13 on
    found: Any = getattr(owner, method, list)()
    return [item if isinstance(item, bytes) else item.public_bytes(_ENCODING_DER) for item in found or []]


def _untrusted(host: str, error: ssl.SSLCertVerificationError) -> Failure:
    match error.verify_code:
        case code if code == _EXPIRED:
            return failures.server_certificate(host, Code.SERVER_EXPIRED, "its certificate has expired")
        case code if code == _NOT_YET_VALID:
            why = "its certificate is not valid yet"
            return failures.server_certificate(host, Code.SERVER_NOT_YET_VALID, why)
        case code if code in _WRONG_HOST:
            return failures.server_certificate(host, Code.WRONG_HOST, "its certificate is for another name")
        case _:
            why = f"no anchor of this set signs its certificate ({error.verify_message})"
            return failures.server_certificate(host, Code.UNKNOWN_ROOT, why)


def _after_alert(tls: ssl.SSLObject, endpoint: Endpoint, error: ssl.SSLError) -> Handshake:
    """Tell a server that wants a client certificate from one that speaks no TLS of ours."""
    if _wants_client_certificate(tls):
        return _so_far(tls)
    reason = (error.reason or "no TLS").lower().replace("_", " ")
    raise CloudError(failures.tls_version(endpoint.host, reason)) from None


def no_anchors(host: str, why: str) -> Failure:
    """Return the failure of a handshake that cannot be verified for lack of anchors."""
    return failures.server_certificate(host, Code.NO_ANCHORS, f"there are no anchors to verify it with ({why})")
