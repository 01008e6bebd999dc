"""MQTT 5 over mutual TLS with the AWS SDK, for the engine: one attempt, one session, a clean stop. It waits.

Rules, besides those of `agent.iotcore.client_options`:

* The first failure ends the attempt.
* A session that is done with stays connected until the next one with its client id has taken it over: AWS IoT Core
  takes one CONNECT a second, and the gateway is not off line meanwhile. `Broker.close` ends the last one.
* Callbacks run on the SDK's thread and do nothing but set events and stop the client: blocking there deadlocks.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from awscrt import mqtt5

from agent.core.aws.endpoints import ALPN_MQTT
from agent.core.failure import failures
from agent.core.failure.codes import Code, traits
from agent.errors import CloudError
from agent.iotcore import tls
from agent.iotcore.client_options import STOP_TIMEOUT, Connector, Timeouts, connect_failure, ended, spacing
from agent.iotcore.requests import Requests
from agent.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from agent.core.aws.endpoints import Endpoint
    from agent.core.failure.failure import Failure
    from agent.core.values import Candidate
    from agent.iotcore.tls import Handshake
    from agent.ports import CreatedCertificate


# What of a failed attempt sounds as if the certificate were to blame, also where the server never asked for one.
_OF_A_CERTIFICATE = frozenset({Code.TLS_ALERT, Code.HUNG_UP, Code.CONNACK_TIMEOUT, Code.NOT_AUTHORISED})
_LOOK = 0.05  # seconds between two looks at whether a wait is over
_BROKEN_OFF = {"session-lost": True, "not-sent": False}  # what a request that was cut off meets: had it left?


class Broker:
    """The endpoint, as `agent.ports.CloudEndpoint`."""

    def __init__(
        self, endpoint: Endpoint, timeouts: Timeouts | None = None, *, small_client_hello: bool = False
    ) -> None:
        """Describe the endpoint; nothing is connected yet. Arguments as for `Connector`."""
        self._connector = Connector(endpoint, timeouts or Timeouts(), small_client_hello=small_client_hello)
        self._last_connect: dict[str, float] = {}
        self._left: BrokerSession | None = None  # done with, and still connected

    def close(self) -> None:
        """End what is still connected."""
        left, self._left = self._left, None
        if left is not None:
            left.end()

    def hand_over(self, client_id: str) -> BrokerSession | None:
        """Return the session that is still connected with a client id, if any; it is the caller's to end."""
        if self._left is None or self._left.client_id != client_id:
            return None
        left, self._left = self._left, None
        return left

    def _leave(self, session: BrokerSession) -> None:
        self.close()
        self._left = session

    def connect(self, candidate: Candidate) -> BrokerSession:
        """Connect with nothing but the candidate's own key, certificate and anchors.

        Raises:
            CloudError: There is no connection; the failure says why.
        """
        try:
            return self._connected(candidate, self._connector)
        except CloudError as error:
            if not self._takes_it_with_alpn(candidate, error.failure):
                raise
            endpoint = self._connector.endpoint
            raise CloudError(failures.alpn_needed(endpoint.host, endpoint.port)) from error

    def _takes_it_with_alpn(self, candidate: Candidate, met: Failure) -> bool:
        """Whether a server that turned a set away takes it when MQTT is asked for by ALPN.

        That a server knows ALPN proves nothing, so the set itself is the proof: one that is refused must stay refused.
        """
        other = self._connector.with_alpn()
        if other is None or not traits(met.code).turned_away:
            return False
        try:
            if tls.preflight(other.endpoint, candidate.trust).alpn != ALPN_MQTT:
                return False
            self._connected(candidate, other).end()
        except CloudError:
            return False
        return True

    def _connected(self, candidate: Candidate, connector: Connector) -> BrokerSession:
        credential = candidate.credential
        context = connector.tls_context(
            candidate.name, credential.key_pem, credential.certificate_pem, candidate.trust.pem
        )
        handshake = tls.preflight(connector.endpoint, candidate.trust)
        if self._left is not None and self._left.client_id != candidate.client_id:
            self.close()
        self._keep_distance(candidate.client_id)
        session = BrokerSession(candidate, connector, handshake, self._leave)
        try:
            session.start(connector.options(candidate.client_id, context))
        finally:  # the broker has got the CONNECT by now, if ever
            self.note_connect(candidate.client_id, clock.monotonic())
        self.close()  # it was taken over
        return session

    def note_connect(self, client_id: str, at: float) -> None:
        """Take into account that another process connected with this client id, at a monotonic time."""
        self._last_connect[client_id] = at

    def last_connect(self, client_id: str) -> float | None:
        """Return when this client id was connected with last, by the monotonic clock; see `spacing`."""
        return self._last_connect.get(client_id)

    def _keep_distance(self, client_id: str) -> None:
        clock.sleep(spacing(self.last_connect(client_id), clock.monotonic()))
        self.note_connect(client_id, clock.monotonic())


class BrokerSession:
    """One MQTT 5 connection, as `agent.ports.Session`."""

    def __init__(
        self, candidate: Candidate, connector: Connector, handshake: Handshake, leave: Callable[[BrokerSession], None]
    ) -> None:
        self.anchor = handshake.anchor  # see `agent.ports.Session`
        self._leave = leave
        self._asks = handshake.asks
        self._candidate = candidate
        self._connector = connector
        self._settled = threading.Event()
        self._lost = threading.Event()
        self._ended: mqtt5.DisconnectPacket | None = None
        self._stopped = threading.Event()
        self._failure: Failure | None = None
        self._client: mqtt5.Client | None = None
        self._requests: Requests | None = None

    @property
    def client_id(self) -> str:
        """The client id that it connects with."""
        return self._candidate.client_id

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
        if not self._settled.wait(self._connector.timeouts.connect):
            self._settled.set()  # what the SDK says of the stop that follows is no answer of the broker's
            self._failure = failures.silent()
        if self._failure is not None:
            self.end()
            raise CloudError(self._failure)
        self._requests = Requests(self._client, self._connector.timeouts.request, self._lost)

    def _on_success(self, _data: mqtt5.LifecycleConnectSuccessData) -> None:
        self._settled.set()

    def _on_failure(self, data: mqtt5.LifecycleConnectFailureData) -> None:
        if not self._settled.is_set():
            thing = self._candidate.thing_name or ""
            endpoint = self._connector.endpoint
            failure = connect_failure(data, self.client_id, endpoint, verified=True, thing=thing)
            if not self._asks and failure.code in _OF_A_CERTIFICATE:
                failure = failures.not_asked(endpoint.host, endpoint.port)
            self._failure = failure
            self._settled.set()

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        self._ended = data.disconnect_packet
        if self._client is not None:
            self._client.stop()  # it would connect again
        self._lost.set()

    def _on_stopped(self, _data: mqtt5.LifecycleStoppedData) -> None:
        self._stopped.set()

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """See `agent.ports.Session`."""
        with self._usable() as requests:
            return requests.create_certificate(request_pem)

    def register_thing(self, template: str, token: str, parameters: Mapping[str, str]) -> str:
        """See `agent.ports.Session`."""
        with self._usable() as requests:
            return requests.register_thing(template, token, parameters)

    def ask(self) -> None:
        """See `agent.ports.Session`."""
        if self._candidate.thing_name is None:
            raise ValueError("a claim has no thing to ask about")
        with self._usable() as requests:
            requests.ask(self._candidate.thing_name)

    def retire(self, certificate_id: str) -> None:
        """See `agent.ports.Session`."""
        if self._candidate.thing_name is None:
            raise ValueError("a claim has nothing to retire")
        with self._usable() as requests:
            requests.retire(self._candidate.thing_name, certificate_id)

    def denied(self, topics: Iterable[str]) -> tuple[str, ...]:
        """See `agent.ports.Session`."""
        with self._usable() as requests:
            return requests.denied(topics)

    @contextmanager
    def _usable(self) -> Iterator[Requests]:
        """Give what can be asked; a connection that the broker ended is told of with its reason.

        One that another client took over is no connection that was refused.
        """
        if self._requests is None:
            raise RuntimeError("the session was closed")
        try:
            yield self._requests
        except CloudError as error:
            code = error.failure.code
            ending = ended(self._ended)
            if self._ended is None or ending is None or code not in _BROKEN_OFF:
                raise
            if self._ended.reason_code == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER:
                raise CloudError(failures.taken_over(self._candidate.client_id, sent=_BROKEN_OFF[code])) from error
            raise CloudError(failures.cut_off(error.failure, ending)) from error

    def close(self) -> None:
        """Ask nothing more; the next session takes the client id over."""
        self._requests = None
        if self._client is not None:
            self._leave(self)

    def wait_for_takeover(self, patience: float, told: threading.Event) -> None:
        """Stay connected until another client has taken the client id over, or it was lost.

        Args:
            patience: Seconds.
            told: Ends the wait, too, once the caller is told to stop.
        """
        deadline = clock.monotonic() + patience
        while not self._lost.wait(_LOOK) and not told.is_set() and clock.monotonic() < deadline:
            pass

    def end(self) -> None:
        """Disconnect and wait until the SDK has let go of the socket."""
        self._requests = None
        if self._client is not None:
            self._client.stop(mqtt5.DisconnectPacket())
            self._stopped.wait(STOP_TIMEOUT)
            self._client = None
