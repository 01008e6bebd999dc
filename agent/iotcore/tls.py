"""A TLS handshake with the standard library: it says in milliseconds why a server is not trusted.

The SDK's TLS takes up to 30 seconds to report a failed handshake and hides the reason, so every connection is preceded
by this one. It verifies the server with the candidate's own anchors and nothing else, shows no client certificate
(so it needs no key, wherever the key is), and closes.

Its context takes nothing from the environment: no key log, no system store, and no levels of the machine's OpenSSL.
"""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from agent.core.aws.endpoints import ALPN_MQTT
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.frozen import frozen
from agent.core.text import common_name
from agent.core.trust import anchor_lint
from agent.crypto import server_chain, x509
from agent.errors import CloudError
from agent.iotcore.path import LEAST, connect, deadline_of, reason, receive
from agent.system import clock

if TYPE_CHECKING:
    import socket
    from datetime import datetime

    from agent.core.aws.endpoints import Endpoint
    from agent.core.failure.failure import Failure
    from agent.core.values import TrustBundle

_READ = 16_384
_MAX_HANDSHAKE = 262_144  # bytes; a chain of ten large certificates has a fifth of it

# X509_V_ERR_* of OpenSSL, which `SSLCertVerificationError.verify_code` reports.
_NOT_YET_VALID = 9
_EXPIRED = 10
_WRONG_HOST = frozenset({62, 64})
_WEAK_SERVER = 66
_WEAK = frozenset({_WEAK_SERVER, 67, 68})  # a key of the server's, of an authority's, a digest
# No issuer, a self-signed one, none at all: in each case, no anchor. All others are rules of X.509 that are broken.
_UNKNOWN_ROOT = frozenset({2, 18, 19, 20, 21, 27, 33})

_UNSERVING = frozenset(
    {"expired", "not-yet-valid", "not-a-ca", "weak-key", "odd-key", "unfit", "negative-serial"}
)  # what the linter finds in an anchor

_CERTIFICATE_REQUEST = (22, 13)  # a handshake's message; RFC 8446, section 4
_OPENING = 8  # bytes, which tell TLS from what is not

# Without a word those of this machine's openssl.cnf count, of which a stricter level refuses AWS's RSA chain, which the
# SDK takes. What is left out the SDK does not know.
CIPHERS = "DEFAULT:!DHE:!PSK:!SRP:@SECLEVEL=2"

_ENCODING_DER = 2  # _ssl.ENCODING_DER


@frozen
class Handshake:
    """What the server agreed to.

    Attributes:
        version: The TLS version.
        alpn: The protocol that was negotiated, or None.
        anchor: SHA-256 of the trust anchor that the server's chain ended in, or empty when it cannot be told.
        asks: Whether the server asked for a client certificate.
    """

    version: str
    alpn: str | None
    anchor: str = ""
    asks: bool = True


def preflight(endpoint: Endpoint, trust: TrustBundle) -> Handshake:
    """Shake hands with the endpoint and verify it.

    Raises:
        CloudError: There is no path, or the server is not who it should be; the failure says which.
    """
    end = clock.monotonic() + endpoint.whole
    endpoint = replace(endpoint, timeout=min(endpoint.timeout, endpoint.whole))
    context, asked = context_for(endpoint, trust), _Asked()
    context._msg_callback = asked  # type: ignore[attr-defined]  # noqa: SLF001 - see `_Asked`
    with connect(endpoint) as connection:
        connection.settimeout(max(LEAST, min(endpoint.timeout, end - clock.monotonic())))
        tls = _shake_hands(context, connection, endpoint, trust)
    broken = server_chain.complaint(certificates_of(tls, "get_unverified_chain"), trust.pem, endpoint.host)
    if broken:
        unserving = _unserving_anchor(certificates_of(tls, "get_verified_chain"), trust, None)
        raise CloudError(_unsound(endpoint.host, broken, unserving))
    return replace(_so_far(tls), asks=asked.seen)


class _Asked:
    """Notes whether a server asks for a client certificate.

    The standard library tells of it in no other way to a client that has none to show, and tests itself in this one.
    """

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, *message: Any) -> None:
        """Take one message: the connection, its direction, the version, the type of content, that of the message."""
        self.seen = self.seen or tuple(message[3:5]) == _CERTIFICATE_REQUEST


def context_for(endpoint: Endpoint, trust: TrustBundle) -> ssl.SSLContext:
    """Return how an endpoint is verified: by these anchors, and by nothing of this machine's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    context.set_ciphers(CIPHERS)
    context.hostname_checks_common_name = False
    # An anchor is trusted whatever else may have signed it, as the SDK's TLS does.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=trust.pem.decode())
    if endpoint.alpn:
        context.set_alpn_protocols([ALPN_MQTT])
    return context


def _shake_hands(
    context: ssl.SSLContext, connection: socket.socket, endpoint: Endpoint, trust: TrustBundle
) -> ssl.SSLObject:
    """Return the connection's TLS once the server is verified, whether or not it goes on without our certificate."""
    incoming, outgoing, heard = ssl.MemoryBIO(), ssl.MemoryBIO(), bytearray()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=endpoint.host)
    try:
        exchange(tls, connection, incoming, outgoing, heard)
    except ssl.SSLCertVerificationError as error:
        chain = certificates_of(tls, "get_verified_chain")
        raise CloudError(_untrusted(endpoint.host, error, chain, trust)) from None
    except OSError as error:
        if not _wants_client_certificate(tls):
            raise CloudError(_ended(endpoint, error, bytes(heard))) from None
    return tls


def exchange(
    tls: ssl.SSLObject,
    connection: socket.socket,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
    heard: bytearray | None = None,
) -> None:
    """Carry a handshake's messages to and fro until it is done, all of it within the connection's timeout.

    Args:
        tls: The handshake.
        connection: What carries it.
        incoming: What `tls` reads from.
        outgoing: What `tls` writes to.
        heard: Is given the first bytes that the other side said.

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
            if heard is not None and len(heard) < _OPENING:
                heard += data[:_OPENING]
            incoming.write(data)
        else:
            return


def _wants_client_certificate(tls: ssl.SSLObject) -> bool:
    """Whether the server was verified and left for lack of a client certificate.

    In TLS 1.2 that is before the handshake's end, by an alert or by hanging up. Once a cipher is agreed the server has
    shown its certificate, and a bad one ends in SSLCertVerificationError.
    """
    cipher = tls.cipher()
    return cipher is not None and cipher[1] != "TLSv1.3"


def _so_far(tls: ssl.SSLObject) -> Handshake:
    return Handshake(version=version_of(tls), alpn=tls.selected_alpn_protocol(), anchor=_anchor(tls))


def version_of(tls: ssl.SSLObject) -> str:
    """Return the version that was agreed on, also of a handshake that came to no end; nothing without one.

    Then a cipher of TLS 1.3 tells of it. Others name the version that they first came with, of which TLS 1.2 is here.
    """
    cipher = tls.cipher()
    return tls.version() or ("" if cipher is None else "TLSv1.3" if cipher[1] == "TLSv1.3" else "TLSv1.2")


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


def _untrusted(host: str, error: ssl.SSLCertVerificationError, chain: list[bytes], trust: TrustBundle) -> Failure:
    """Return why a server is not trusted, given the chain as far as it was built."""
    match error.verify_code:
        case code if code in {_EXPIRED, _NOT_YET_VALID}:
            return _out_of_date(host, chain, trust, expired=code == _EXPIRED)
        case code if code in _WRONG_HOST:
            return failures.server_certificate(host, Code.WRONG_HOST, "its certificate is for another name")
        case code if code in _UNKNOWN_ROOT:
            why = f"no anchor of this set signs its certificate ({error.verify_message})"
            return failures.server_certificate(host, Code.UNKNOWN_ROOT, why)
        case code if code in _WEAK:
            why = f"a key or a signature in its chain is too weak ({error.verify_message})"
            unserving = "" if code == _WEAK_SERVER else _unserving_anchor(chain, trust, None)
            return failures.server_certificate(host, Code.WEAK_CHAIN, why, unserving)
        case _:
            return _unsound(host, error.verify_message, _unserving_anchor(chain, trust, None))


def _out_of_date(host: str, chain: list[bytes], trust: TrustBundle, *, expired: bool) -> Failure:
    """Return whose certificate in a chain is out of date: the server's, an authority's, or this gateway's anchor."""
    now, owner = clock.SystemClock().now(), "its certificate"
    facts = [entry.facts for der in chain for entry in x509.read_store(der)]
    whose = [number for number, item in enumerate(facts) if item and not item.not_before <= now <= item.not_after]
    if whose and whose[0] > 0 and (between := facts[whose[0]]):
        owner = f"the certificate of {common_name(between.subject)} in its chain"
    code = Code.SERVER_EXPIRED if expired else Code.SERVER_NOT_YET_VALID
    unserving = _unserving_anchor(chain, trust, now) if whose == [len(chain) - 1] else ""
    return failures.server_certificate(
        host, code, f"{owner} {'has expired' if expired else 'is not valid yet'}", unserving
    )


def _unserving_anchor(chain: list[bytes], trust: TrustBundle, now: datetime | None) -> str:
    """Return what makes the anchor that a chain ends in one that no server can be verified by, or nothing."""
    anchor = [item for item in trust.anchors if chain and item.sha256 == hashlib.sha256(chain[-1]).hexdigest()]
    entries = anchor_lint.entries_of(anchor[:1])
    found = anchor_lint.lint(entries, anchor_lint.KnownRoots(), now, soon=timedelta(), amazon=False)
    return next((item.message for item in found if item.code in _UNSERVING), "")


def _unsound(host: str, why: str, unserving: str = "") -> Failure:
    text = f"its chain breaks a rule of X.509 ({why})"
    return failures.server_certificate(host, Code.UNSOUND_CHAIN, text, unserving)


def _ended(endpoint: Endpoint, error: OSError, heard: bytes) -> Failure:
    """Return why there is no verified server: what answers is not TLS, leaves, says why, or has nothing in common."""
    host, other = endpoint.host, _other_protocol(heard)
    if other:
        return failures.not_tls(host, endpoint.port, other)
    if not isinstance(error, ssl.SSLError):
        return failures.tls_interrupted(host, reason(error))
    said = (error.reason or "no TLS").lower().replace("_", " ")
    alert = _alert(heard)
    if alert in _NOTHING_IN_COMMON_ALERTS or any(word in said for word in _NOTHING_IN_COMMON):
        return failures.tls_version(host, said)
    if alert is not None:
        why, remedy = _SAID.get(alert, (f"it sends the alert {_name_of(alert)}", _IF_IT_LASTS))
        return failures.tls_ended(host, why.format(host=host), remedy)
    return failures.tls_interrupted(host, f"what it sends is malformed: {said}")


_IF_IT_LASTS = "If it lasts, the endpoint's owner must act."
# Alerts by number (RFC 8446, section 6), which come in place of the server's hello.
_SAID = {
    112: ("it knows no {host}", "Check the spelling of `endpoint`."),
    120: (
        "it does not speak MQTT with client certificates on this port",
        "Check `endpoint`, `port` and `alpn`.",
    ),
}
_NOTHING_IN_COMMON_ALERTS = frozenset({40, 70, 71, 86})
_NOTHING_IN_COMMON = (
    "unsupported protocol", "no protocols", "wrong version", "wrong ssl version", "no shared cipher", "wrong cipher",
    "unknown cipher", "too small", "no suitable",
)  # fmt: skip


def _alert(heard: bytes) -> int | None:
    """Return the number of the alert that an answer begins with, or None."""
    return heard[6] if heard[:1] == _ALERT and len(heard) > 6 else None  # noqa: PLR2004 - after a head of five, the level


def _name_of(alert: int) -> str:
    try:
        return repr(ssl.AlertDescription(alert).name.removeprefix("ALERT_DESCRIPTION_").lower().replace("_", " "))
    except ValueError:
        return str(alert)


def _other_protocol(heard: bytes) -> str:
    """Return what the first bytes of an answer are when they begin no TLS record, or nothing."""
    if not heard or (heard[0] in _RECORDS and heard[1:2] in {b"", b"\x03"}):
        return ""
    return next((name for opening, name in _OTHERS.items() if heard.startswith(opening)), "something else")


_ALERT = b"\x15"
_RECORDS = range(20, 24)  # change of cipher, alert, handshake, data (RFC 8446, appendix B.1)
_OTHERS = {b"HTTP/": "plain HTTP", b"<": "plain HTTP", b"SSH-": "SSH", b"\x20": "MQTT without TLS"}


def no_anchors(host: str, why: str) -> Failure:
    """Return the failure of a handshake that cannot be verified for lack of anchors."""
    return failures.server_certificate(host, Code.NO_ANCHORS, f"there are no anchors to verify it with ({why})")
