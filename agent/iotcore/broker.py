"""The endpoint as the engine has it: it connects, keeps its distance, and leaves the last session connected.

Rules, besides those of `agent.iotcore.sync_client`:

* A session that is done with stays connected until the next one with its client id has taken it over: AWS IoT Core
  takes one CONNECT a second, and the gateway is not off line meanwhile. `Broker.close` ends the last one.
* The SDK and `ssl` are read with the first connection: a worker that only looks makes none, and saves 0.2 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.aws.endpoints import ALPN_MQTT
from agent.core.failure import failures
from agent.core.failure.codes import traits
from agent.errors import CloudError
from agent.system import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.failure.failure import Failure
    from agent.core.values import Candidate
    from agent.iotcore.client_options import Connector
    from agent.iotcore.sync_client import BrokerSession


class Broker:
    """The endpoint, as `agent.ports.CloudEndpoint`."""

    def __init__(self, connector: Callable[[], Connector]) -> None:
        """Describe the endpoint; nothing is connected yet.

        Args:
            connector: Makes what connects to it; called once, for the first connection.
        """
        self._make_connector = connector
        self._made: Connector | None = None
        self._last_connect: dict[str, float] = {}
        self._left: BrokerSession | None = None  # done with, and still connected

    @property
    def _connector(self) -> Connector:
        if self._made is None:
            self._made = self._make_connector()
        return self._made

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
        from agent.iotcore import tls  # noqa: PLC0415 - see the module's docstring

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
        from agent.iotcore import tls  # noqa: PLC0415 - see the module's docstring
        from agent.iotcore.sync_client import BrokerSession  # noqa: PLC0415

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
        """Return when this client id was connected with last, by the monotonic clock; see `_keep_distance`."""
        return self._last_connect.get(client_id)

    def _keep_distance(self, client_id: str) -> None:
        from agent.iotcore.client_options import spacing  # noqa: PLC0415 - see the module's docstring

        clock.sleep(spacing(self.last_connect(client_id), clock.monotonic()))
        self.note_connect(client_id, clock.monotonic())
