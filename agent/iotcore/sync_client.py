"""MQTT 5 over mutual TLS with the AWS SDK, for the engine: one attempt, one session, a clean stop. It waits.

Rules, besides those of `agent.iotcore.client_options`:

* The first failure ends the attempt.
* A session that is done with stays connected until the next one with its client id has taken it over; see
  `agent.iotcore.broker`.
* Callbacks run on the SDK's thread and do nothing but set events and stop the client: blocking there deadlocks.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from awscrt import mqtt5

from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.errors import CloudError
from agent.iotcore.client_options import STOP_TIMEOUT, connect_failure, ended
from agent.iotcore.requests import Requests
from agent.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from agent.core.failure.failure import Failure
    from agent.core.values import Candidate
    from agent.iotcore.client_options import Connector
    from agent.iotcore.tls import Handshake
    from agent.ports import CreatedCertificate


# What of a failed attempt sounds as if the certificate were to blame, also where the server never asked for one.
_OF_A_CERTIFICATE = frozenset({Code.TLS_ALERT, Code.HUNG_UP, Code.CONNACK_TIMEOUT, Code.NOT_AUTHORISED})
_LOOK = 0.05  # seconds between two looks at whether a wait is over
# What a request that was cut off meets: had it left?
_BROKEN_OFF: dict[str, bool] = {Code.SESSION_LOST: True, Code.NOT_SENT: False}


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
