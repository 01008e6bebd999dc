"""What every MQTT 5 connection is made of: the TLS context, the client's options, and what a failed attempt means.

Rules:

* The set's own trust bundle is the only one. The SDK takes an empty override for "trust what the system trusts"; a
  bundle is never empty, and it is checked once more before it is handed over.
* The SDK's client retries for ever. Here one client is one attempt; patience is the caller's business.
* One CONNECT a second for a client id is AWS IoT Core's limit; `spacing` says how long to wait. What counts is when the
  broker gets it, which is known only once an attempt has ended: a slow handshake brings it long after the start.
* Nothing of a key is ever put into a message.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from awscrt import exceptions, http, io, mqtt5, mqtt_request_response

from agent.core.aws import client_ids
from agent.core.aws.endpoints import ALPN_MQTT, MQTT_PORT, Endpoint
from agent.core.failure import failures, proxy_failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.frozen import frozen
from agent.errors import CloudError
from agent.iotcore.path import credentials, unresolved, way_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from agent.core.aws.endpoints import Proxy

CONNECT_SPACING = 1.0  # seconds between two CONNECTs with one client id: AWS allows one a second
STOP_TIMEOUT = 60.0  # seconds; after a failed handshake the SDK's TLS holds the socket for up to 30
MAX_PACKET = 262_144  # bytes; AWS sends at most 128 KiB

# The SDK's names of an answer that has not come, to a request and to a packet.
TIMED_OUT = frozenset({"AWS_ERROR_MQTT_REQUEST_RESPONSE_TIMEOUT", "AWS_ERROR_MQTT_TIMEOUT"})

_CORRELATION = "clientToken"  # where AWS's services, and the retirement rule, echo what a request is told by
_THROTTLED = {"QUOTA_EXCEEDED", "SERVER_BUSY", "CONNECTION_RATE_EXCEEDED"}
_NOT_AUTHORISED = {"NOT_AUTHORIZED", "CLIENT_IDENTIFIER_NOT_VALID", "BAD_USERNAME_OR_PASSWORD", "BANNED"}
_NOT_MQTT = {"AWS_ERROR_MQTT5_DECODE_PROTOCOL_ERROR", "AWS_ERROR_MQTT_PROTOCOL_ERROR"}
_HANG_UPS = {"AWS_IO_SOCKET_CLOSED", "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"}


@frozen
class Timeouts:
    """Seconds.

    Attributes:
        connack: For the broker's answer to CONNECT.
        connect: For everything up to that answer.
        request: For the answer to one request.
        keep_alive: Between two signs of life; AWS allows 30 to 1200.
        sign_of_life: For the broker's answer to one. Both together are less than a minute, in which a link that has
            died without a word is to be told of.
    """

    connack: float = 20.0
    connect: float = 60.0
    request: float = 30.0
    keep_alive: int = 45
    sign_of_life: int = 10


def timeouts_of(connect: timedelta, request: timedelta) -> Timeouts:
    """Return the timeouts that the configuration's two mean."""
    seconds = connect.total_seconds()
    return Timeouts(connect=seconds, connack=min(20.0, seconds), request=request.total_seconds())


class Connector:
    """Makes TLS contexts and client options for one endpoint."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, *, small_client_hello: bool = False) -> None:
        """Describe the endpoint; nothing is connected yet.

        Args:
            endpoint: Where to connect.
            timeouts: How long to wait for what.
            small_client_hello: Offer only TLS 1.2+ with P-256 and P-384, so that the first message fits one packet:
                some middleboxes drop the larger one with post-quantum key shares.
        """
        self.endpoint = endpoint
        self.timeouts = timeouts
        self._small_client_hello = small_client_hello
        self._bootstrap: io.ClientBootstrap | None = None

    def with_alpn(self) -> Connector | None:
        """Return what asks the same endpoint for MQTT by ALPN; None where this one does, or the port is MQTT's own."""
        if self.endpoint.alpn or self.endpoint.port == MQTT_PORT:
            return None
        endpoint = replace(self.endpoint, alpn=True)
        return Connector(endpoint, self.timeouts, small_client_hello=self._small_client_hello)

    def tls_context(self, name: str, key_pem: bytes, certificate_pem: bytes, trust_pem: bytes) -> io.ClientTlsContext:
        """Build the SDK's TLS context, which also catches a key that is not the certificate's.

        Raises:
            CloudError: The SDK refuses what it is given; decisive, since no network was involved.
        """
        if b"-----BEGIN CERTIFICATE-----" not in trust_pem:
            raise ValueError("an empty trust bundle would make the SDK trust the system's store")
        try:
            options = io.TlsContextOptions.create_client_with_mtls(certificate_pem, key_pem)
            options.min_tls_ver = io.TlsVersion.TLSv1_2
            options.override_default_trust_store(trust_pem)
            if self._small_client_hello:
                options.cipher_pref = io.TlsCipherPref.TLSv1_2_2025_07
            if self.endpoint.alpn:
                options.alpn_list = [ALPN_MQTT]
            return io.ClientTlsContext(options)
        except (RuntimeError, exceptions.AwsCrtError) as error:
            raise CloudError(_unusable(name, error)) from None

    def options(self, client_id: str, context: io.ClientTlsContext) -> mqtt5.ClientOptions:
        """Return the options of a client that makes one attempt; callbacks are the caller's to add.

        Raises:
            CloudError: The proxy's password cannot be read, or this machine has no thread left for it.
        """
        proxy = _proxy_options(self.endpoint.proxy)
        if self._bootstrap is None:
            self._bootstrap = _begun()
        return mqtt5.ClientOptions(
            host_name=self.endpoint.host,
            port=self.endpoint.port,
            bootstrap=self._bootstrap,
            tls_ctx=context,
            http_proxy_options=proxy,
            connect_options=mqtt5.ConnectPacket(
                client_id=client_id,
                keep_alive_interval_sec=self.timeouts.keep_alive,
                maximum_packet_size=MAX_PACKET,
            ),
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            ping_timeout_ms=self.timeouts.sign_of_life * 1000,
            connack_timeout_ms=int(self.timeouts.connack * 1000),
            ack_timeout_sec=int(self.timeouts.request),
            min_reconnect_delay_ms=60_000,  # the first failure ends the attempt; this only keeps a second away
            max_reconnect_delay_ms=60_000,
            disable_metrics=True,
        )


def _begun() -> io.ClientBootstrap:
    try:
        group = io.EventLoopGroup(1)
        return io.ClientBootstrap(group, io.DefaultHostResolver(group))
    except (RuntimeError, exceptions.AwsCrtError) as error:
        raise CloudError(failures.no_threads(failures.in_one_line(str(error)))) from None


def _proxy_options(proxy: Proxy | None) -> http.HttpProxyOptions | None:
    if proxy is None:
        return None
    known = credentials(proxy)
    if known is None:
        return http.HttpProxyOptions(proxy.host, proxy.port)
    basic = http.HttpProxyAuthenticationType.Basic
    return http.HttpProxyOptions(
        proxy.host, proxy.port, auth_type=basic, auth_username=known[0], auth_password=known[1]
    )


def spacing(last_connect: float | None, now: float) -> float:
    """Return the seconds to wait before the next CONNECT with a client id.

    Args:
        last_connect: When the last attempt was answered, failed or, while it is under way, began; monotonic seconds.
        now: The monotonic clock.
    """
    return 0.0 if last_connect is None else max(0.0, last_connect + CONNECT_SPACING - now)


def request_options(
    topic: str, accepted: str, rejected: str, body: Mapping[str, Any]
) -> mqtt_request_response.RequestOptions:
    """Return a JSON request whose answer is told from others by a token of its own."""
    token = os.urandom(16).hex()  # `secrets` would bring the whole cryptographic library
    return mqtt_request_response.RequestOptions(
        subscription_topic_filters=[accepted, rejected],
        response_paths=[
            mqtt_request_response.ResponsePath(topic=path, correlation_token_json_path=_CORRELATION)
            for path in (accepted, rejected)
        ],
        publish_topic=topic,
        payload=json.dumps({**body, _CORRELATION: token}).encode(),
        correlation_token=token,
    )


def request_failure(operation: str, error: BaseException, *, lost: bool) -> Failure:
    """Return what it means that a request brought no answer.

    Args:
        operation: What was asked for.
        error: What the SDK raised.
        lost: Whether the connection is known to be gone.
    """
    name = _code(error)
    if lost and "SUBSCRIBE_FAILURE" in name:
        return failures.not_sent(name)  # the request is published only once the answer can be heard
    if lost:
        return failures.session_lost("the broker hung up" if name in TIMED_OUT else name)
    if "SUBSCRIBE_FAILURE" in name or "PUBLISH_FAILURE" in name:
        return failures.not_authorised(f"ask for {operation}")
    if name in TIMED_OUT or not isinstance(error, exceptions.AwsCrtError):
        return failures.no_reply(operation)
    return failures.session_lost(name)


def _unusable(name: str, error: BaseException) -> Failure:
    return Failure(
        kind=FailureClass.CREDENTIAL,
        code=Code.TLS_CONTEXT,
        message=f"The TLS library refuses key, certificate or anchors of {name} ({_code(error)}).",
        remedy="The set cannot work as it is, whatever the network does.",
        decisive=True,
    )


def _code(error: BaseException) -> str:
    name = getattr(error, "name", None)
    return str(name) if name else str(error).split(":")[-1].strip()[:100]


_UNREACHABLE = {
    "AWS_IO_SOCKET_CONNECTION_REFUSED": "connection refused",
    "AWS_IO_SOCKET_TIMEOUT": "no answer in time",
    "AWS_IO_SOCKET_NO_ROUTE_TO_HOST": "no route to host",
    "AWS_IO_SOCKET_NETWORK_DOWN": "network is down",
}


def connect_failure(data: Any, client_id: str, endpoint: Endpoint, *, verified: bool, thing: str = "") -> Failure:
    """Return why there is no connection, from what the SDK tells of a failed attempt.

    Args:
        data: What it tells.
        client_id: Whom it was for.
        endpoint: Where to.
        verified: Whether the server was verified right before, so that a handshake fails over our certificate.
        thing: The name of the thing that the certificate is attached to; empty for a claim.
    """
    if data.connack_packet is not None:
        reason = data.connack_packet.reason_code.name
        if reason in _NOT_AUTHORISED:
            # In what happened, since a verdict has its own remedy.
            cut = client_ids.CUT if client_ids.is_cut(client_id) else ""
            likely = cut or client_ids.plainly_attached(client_id, thing)
            return failures.not_authorised(f"connect as {client_id} ({reason})", likely)
        if reason in _THROTTLED:
            return failures.connect_throttled(reason)
        return failures.broker_unavailable(reason)
    name = _code(data.exception)
    if name in _UNREACHABLE or name.startswith("AWS_IO_DNS"):
        return _no_way(name, endpoint)
    if name.startswith("AWS_ERROR_HTTP") and endpoint.proxy:
        return proxy_failures.proxy_refused(way_of(endpoint, endpoint.proxy), "")
    if name in _HANG_UPS:
        return failures.hung_up()
    if "_MQTT" in name:
        return _no_answer(name, endpoint)
    if name == "AWS_IO_TLS_NEGOTIATION_TIMEOUT":
        return failures.tls_interrupted(endpoint.host, "no answer in time")
    if name.startswith("AWS_IO_TLS"):
        # An alert that is read after the handshake comes from a server that the SDK has verified itself (TLS 1.3).
        known = verified or name == "AWS_IO_TLS_ERROR_READ_FAILURE"
        return failures.certificate_alert(name) if known else failures.tls_failed(endpoint.host, name)
    return failures.session_lost(name)


def _no_answer(name: str, endpoint: Endpoint) -> Failure:
    """Return what it means that a CONNECT was sent, and what came is no CONNACK."""
    if name == "AWS_ERROR_MQTT5_CONNACK_TIMEOUT":
        return failures.silent()
    if name in _NOT_MQTT:
        return failures.not_mqtt(endpoint.host, endpoint.port, name)
    return failures.session_lost(name)


def ended(packet: mqtt5.DisconnectPacket | None) -> Failure | None:
    """Return why the broker ended a connection, or None where it did not say so."""
    if packet is None:
        return None
    return failures.lost(getattr(packet.reason_code, "name", str(packet.reason_code)), packet.reason_string or "")


def lost_by(error: BaseException | None, timeouts: Timeouts) -> Failure:
    """Return why a connection ended of which the broker said nothing, from what the SDK ended it with."""
    if error is not None and _code(error) == "AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT":
        return failures.path_lost(f"The broker gave no sign of life for {timeouts.sign_of_life} seconds.")
    return failures.hung_up()


def _no_way(name: str, endpoint: Endpoint) -> Failure:
    proxy, why = endpoint.proxy, _UNREACHABLE.get(name)
    if why is None:
        return proxy_failures.proxy_not_found(proxy.host) if proxy else unresolved(endpoint.host)
    if proxy:
        return proxy_failures.proxy_unreachable(proxy.address, why)
    return failures.unreachable(endpoint.host, endpoint.port, why)
