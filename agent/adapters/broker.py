"""MQTT 5 over mutual TLS with the AWS SDK: one attempt, one session, a clean stop.

Rules:

* The candidate's own trust bundle is the only one. The SDK takes an empty override for "trust what the system trusts";
  a `TrustBundle` is never empty, and it is checked once more before it is handed over.
* The SDK's client retries for ever. Here the first failure ends the attempt; patience is the engine's business.
* Callbacks run on the SDK's thread and do nothing but set events: blocking there deadlocks.
* One CONNECT a second for a client id is AWS IoT Core's limit, so a second one waits.
* Nothing of a key is ever put into a message.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from awscrt import exceptions, http, io, mqtt5

from agent.adapters import clock, tls
from agent.adapters.enrollment import Requests
from agent.core import troubles
from agent.core.failure import Failure, FailureClass
from agent.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.core.values import Candidate
    from agent.ports import CreatedCertificate

CONNECT_SPACING = 1.1  # seconds between two CONNECTs with one client id; AWS allows one a second
STOP_TIMEOUT = 60.0  # seconds; after a failed handshake the SDK's TLS holds the socket for up to 30
MAX_PACKET = 262_144  # bytes; AWS sends at most 128 KiB

_THROTTLED = {"QUOTA_EXCEEDED", "SERVER_BUSY", "CONNECTION_RATE_EXCEEDED"}
_NOT_AUTHORISED = {"NOT_AUTHORIZED", "CLIENT_IDENTIFIER_NOT_VALID", "BAD_USERNAME_OR_PASSWORD", "BANNED"}
_HANG_UPS = {"AWS_IO_SOCKET_CLOSED", "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"}


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """Seconds.

    Attributes:
        connack: For the broker's answer to CONNECT.
        connect: For everything up to that answer.
        request: For the answer to one request.
        keep_alive: Between two signs of life; AWS allows 30 to 1200.
    """

    connack: float = 20.0
    connect: float = 60.0
    request: float = 30.0
    keep_alive: int = 60


class Broker:
    """The endpoint, as `agent.ports.Cloud`."""

    def __init__(
        self, endpoint: tls.Endpoint, timeouts: Timeouts | None = None, *, small_client_hello: bool = False
    ) -> None:
        """Describe the endpoint; nothing is connected yet.

        Args:
            endpoint: Where to connect.
            timeouts: How long to wait for what.
            small_client_hello: Offer only TLS 1.2+ with P-256 and P-384, so that the first message fits one packet:
                some middleboxes drop the larger one with post-quantum key shares.
        """
        self._endpoint = endpoint
        self._timeouts = timeouts or Timeouts()
        self._small_client_hello = small_client_hello
        self._last_connect: dict[str, float] = {}
        self._bootstrap: io.ClientBootstrap | None = None

    def connect(self, candidate: Candidate) -> BrokerSession:
        """Connect with nothing but the candidate's own key, certificate and anchors.

        Raises:
            CloudError: There is no connection; the failure says why.
        """
        context = self._tls_context(candidate)
        tls.preflight(self._endpoint, candidate.trust)
        self._keep_distance(candidate.client_id)
        session = BrokerSession(candidate, self._timeouts)
        session.start(self._options(candidate, context))
        return session

    def _tls_context(self, candidate: Candidate) -> io.ClientTlsContext:
        """Build the SDK's TLS context, which also catches a key that is not the certificate's."""
        if b"-----BEGIN CERTIFICATE-----" not in candidate.trust.pem:
            raise ValueError("an empty trust bundle would make the SDK trust the system's store")
        try:
            options = io.TlsContextOptions.create_client_with_mtls(
                candidate.credential.certificate_pem, candidate.credential.key_pem
            )
            options.min_tls_ver = io.TlsVersion.TLSv1_2
            options.override_default_trust_store(candidate.trust.pem)
            if self._small_client_hello:
                options.cipher_pref = io.TlsCipherPref.TLSv1_2_2025_07
            if self._endpoint.alpn:
                options.alpn_list = [tls.ALPN_MQTT]
            return io.ClientTlsContext(options)
        except (RuntimeError, exceptions.AwsCrtError) as error:
            raise CloudError(_unusable(candidate, error)) from None

    def _keep_distance(self, client_id: str) -> None:
        now = clock.monotonic()
        wait = self._last_connect.get(client_id, now - CONNECT_SPACING) + CONNECT_SPACING - now
        if wait > 0:
            clock.sleep(wait)
        self._last_connect[client_id] = clock.monotonic()

    def _options(self, candidate: Candidate, context: io.ClientTlsContext) -> mqtt5.ClientOptions:
        proxy = self._endpoint.proxy
        if self._bootstrap is None:
            group = io.EventLoopGroup(1)
            self._bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))
        return mqtt5.ClientOptions(
            host_name=self._endpoint.host,
            port=self._endpoint.port,
            bootstrap=self._bootstrap,
            tls_ctx=context,
            http_proxy_options=proxy and http.HttpProxyOptions(proxy.host, proxy.port),
            connect_options=mqtt5.ConnectPacket(
                client_id=candidate.client_id,
                keep_alive_interval_sec=self._timeouts.keep_alive,
                maximum_packet_size=MAX_PACKET,
            ),
            session_behavior=mqtt5.ClientSessionBehaviorType.CLEAN,
            offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
            connack_timeout_ms=int(self._timeouts.connack * 1000),
            ack_timeout_sec=int(self._timeouts.request),
            min_reconnect_delay_ms=60_000,  # the first failure ends the attempt; this only keeps a second away
            max_reconnect_delay_ms=60_000,
            disable_metrics=True,
        )


class BrokerSession:
    """One MQTT 5 connection, as `agent.ports.Session`."""

    def __init__(self, candidate: Candidate, timeouts: Timeouts) -> None:
        self._candidate = candidate
        self._timeouts = timeouts
        self._settled = threading.Event()
        self._lost = threading.Event()
        self._stopped = threading.Event()
        self._failure: Failure | None = None
        self._client: mqtt5.Client | None = None
        self._requests: Requests | None = None

    def start(self, options: mqtt5.ClientOptions) -> None:
        """Connect, once.

        Raises:
            CloudError: There is no connection.
        """
        options.on_lifecycle_event_connection_success_fn = self._on_success
        options.on_lifecycle_event_connection_failure_fn = self._on_failure
        options.on_lifecycle_event_disconnection_fn = self._on_disconnection
        options.on_lifecycle_event_stopped_fn = self._on_stopped
        self._client = mqtt5.Client(options)
        self._client.start()
        if not self._settled.wait(self._timeouts.connect):
            self._failure = troubles.silent()
        if self._failure is not None:
            self.close()
            raise CloudError(self._failure)
        self._requests = Requests(self._client, self._timeouts.request, self._lost)

    def _on_success(self, _data: mqtt5.LifecycleConnectSuccessData) -> None:
        self._settled.set()

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if not self._settled.is_set():
            self._failure = _connect_failure(data, self._candidate.client_id)
            self._settled.set()

    def _on_disconnection(self, _data: mqtt5.LifecycleDisconnectData) -> None:
        self._lost.set()

    def _on_stopped(self, _data: mqtt5.LifecycleStoppedData) -> None:
        self._stopped.set()

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """See `agent.ports.Session`."""
        return self._usable().create_certificate(request_pem)

    def register_thing(self, template: str, token: str, parameters: Mapping[str, str]) -> str:
        """See `agent.ports.Session`."""
        return self._usable().register_thing(template, token, parameters)

    def ask(self) -> None:
        """See `agent.ports.Session`."""
        if self._candidate.thing_name is None:
            raise ValueError("a claim has no thing to ask about")
        self._usable().ask(self._candidate.thing_name)

    def _usable(self) -> Requests:
        if self._requests is None:
            raise RuntimeError("the session was closed")
        return self._requests

    def close(self) -> None:
        """Disconnect and wait until the SDK has let go of the socket."""
        self._requests = None
        if self._client is not None:
            self._client.stop()
            self._stopped.wait(STOP_TIMEOUT)
            self._client = None


def _unusable(candidate: Candidate, error: BaseException) -> Failure:
    return Failure(
        kind=FailureClass.CREDENTIAL,
        code="tls-context",
        message=f"The TLS library refuses key, certificate or anchors of {candidate.name} ({_code(error)}).",
        remedy="The set cannot work as it is, whatever the network does.",
        decisive=True,
    )


def _code(error: BaseException) -> str:
    name = getattr(error, "name", None)
    return str(name) if name else str(error).split(":")[-1].strip()[:100]


def _connect_failure(data: Any, client_id: str) -> Failure:
    if data.connack_packet is not None:
        reason = data.connack_packet.reason_code.name
        if reason in _NOT_AUTHORISED:
            return troubles.not_authorised(f"connect as {client_id} ({reason})")
        if reason in _THROTTLED:
            return troubles.connect_throttled(reason)
        return troubles.broker_unavailable(reason)
    name = _code(data.exception)
    if name in _HANG_UPS:
        return troubles.hung_up()
    if name == "AWS_ERROR_MQTT5_CONNACK_TIMEOUT":
        return troubles.silent()
    if name.startswith("AWS_IO_TLS"):
        return troubles.certificate_alert(name)
    return troubles.session_lost(name)
