"""The daemon's own connection: one attempt, one client, and nothing that waits.

Everything that happens is handed to the loop; the SDK's thread does no more than that. A link is used once: it comes up
or fails, it is lost or closed, and then it is over. Rules, besides those of `agent.iotcore.client_options`:

* The listener hears exactly one of `on_up` and `on_over` first, and exactly one `on_over` at last.
* Messages and answers of a link that is over are dropped: they belong to a session that is gone.
* Key and certificate are read for the TLS context and let go of at once.
* The SDK tells of a stop only where it has begun: a client that is stopped before it says that it attempts to connect
  never says that it has stopped. So a stop waits for that word, and `abandon` is for an SDK that keeps silent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from awscrt import mqtt5, mqtt_request_response

from agent.core.aws import topics
from agent.core.failure import failures
from agent.errors import CloudError
from agent.iotcore.client_options import Connector, connect_failure, ended, lost_by, request_failure, request_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from agent.core.failure.failure import Failure

# AWS allows 50 subscriptions a connection; the agent's requests need two each and are few.
_MAX_REQUEST_SUBSCRIPTIONS = 24
_MAX_STREAMS = 4


class LinkListener(Protocol):
    """What the link belongs to; called in the loop's thread."""

    def on_up(self, link: Link) -> None:
        """The broker accepted the connection."""

    def on_over(self, link: Link, failure: Failure | None, *, taken_over: bool) -> None:
        """There is no connection, or none any more; `failure` is None when it was closed from this side."""


class Link:
    """One connection attempt and what comes of it."""

    def __init__(
        self, connector: Connector, post: Callable[[Callable[[], None]], None], listener: LinkListener
    ) -> None:
        self._connector = connector
        self._post = post
        self._listener = listener
        self._client: mqtt5.Client | None = None
        self._requests: mqtt_request_response.Client | None = None
        self._streams: list[mqtt_request_response.StreamingOperation] = []
        self._failure: Failure | None = None
        self._taken_over = False
        self._closing = False
        self._begun = False
        self.up = False
        self.over = False

    def open(self, name: str, client_id: str, credential: tuple[bytes, bytes], trust_pem: bytes) -> None:
        """Begin to connect.

        Args:
            name: Whose set it is, for people.
            client_id: The MQTT client id.
            credential: Key and certificate, PEM.
            trust_pem: The trust anchors, PEM.

        Raises:
            CloudError: The SDK refuses the set; the listener hears nothing.
        """
        options = self._connector.options(client_id, self._connector.tls_context(name, *credential, trust_pem))
        options.on_lifecycle_event_attempting_connect_fn = lambda _: self._post(self._attempting)
        options.on_lifecycle_event_connection_success_fn = lambda _: self._post(self._succeeded)
        options.on_lifecycle_event_connection_failure_fn = lambda data: self._on_failure(client_id, data)
        options.on_lifecycle_event_disconnection_fn = self._on_disconnection
        options.on_lifecycle_event_stopped_fn = lambda _: self._post(self._stopped)
        self._client = mqtt5.Client(options)
        self._client.start()

    def close(self) -> None:
        """End the connection; `on_over` follows, at the latest when the SDK has let go of the socket."""
        self._closing = True
        self._stop()

    def expire(self) -> None:
        """Give the attempt up if nothing has come of it; harmless otherwise."""
        if not self.up and not self.over and not self._closing:
            self._failed(failures.silent(), taken_over=False)

    def lose(self, failure: Failure) -> None:
        """Count a connection as lost that cannot go on, whatever the SDK knows of it yet; harmless otherwise."""
        if self.up:
            self._failed(failure, taken_over=False)

    def abandon(self) -> None:
        """Count a link as over that was closed or failed, although the SDK has not said so; harmless otherwise."""
        if self._given_up:
            self._end()

    # -- on the SDK's thread ---------------------------------------------------------------------------------------

    def _on_failure(self, client_id: str, data: mqtt5.LifecycleConnectFailureData) -> None:
        failure = connect_failure(data, client_id, self._connector.endpoint, verified=False)
        self._post(lambda: self._failed(failure, taken_over=False))

    def _on_disconnection(self, data: mqtt5.LifecycleDisconnectData) -> None:
        packet = data.disconnect_packet
        reason = packet.reason_code if packet is not None else None
        taken_over = reason == mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
        failure = ended(packet) or lost_by(data.exception, self._connector.timeouts)
        self._post(lambda: self._failed(failure, taken_over=taken_over))

    # -- in the loop's thread --------------------------------------------------------------------------------------

    @property
    def _given_up(self) -> bool:
        return self._closing or self._failure is not None

    def _attempting(self) -> None:
        self._begun = True
        if self._given_up:
            self._stop()

    def _succeeded(self) -> None:
        if self.over or self._given_up or self._client is None:
            return
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=_MAX_REQUEST_SUBSCRIPTIONS,
            max_streaming_subscriptions=_MAX_STREAMS,
            operation_timeout_in_seconds=max(1, int(self._connector.timeouts.request)),
        )
        self._requests = mqtt_request_response.Client(self._client, options)
        self.up = True
        self._listener.on_up(self)

    def _failed(self, failure: Failure, *, taken_over: bool) -> None:
        if self._failure is None and not self._closing:
            self._failure, self._taken_over = failure, taken_over
        self._stop()
        if self.up:  # no request is to be sent over it any more, and the SDK may take its time to let go of it
            self._end()

    def _stop(self) -> None:
        self._streams.clear()
        self._requests = None
        if self._client is not None and self._begun:
            client, self._client = self._client, None
            client.stop(mqtt5.DisconnectPacket())

    def _stopped(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self.over:
            self.over, self.up = True, False
            self._listener.on_over(self, None if self._closing else self._failure, taken_over=self._taken_over)

    # -- what goes over it -----------------------------------------------------------------------------------------

    def request(
        self, operation: str, topic: str, body: Mapping[str, object], done: Callable[[str, bytes], None],
        failed: Callable[[Failure], None],
    ) -> None:  # fmt: skip
        """Ask for something; one of the two is called once, unless the link is over before.

        Args:
            operation: What is asked for, for people.
            topic: Where to; the answer comes on ``accepted`` or ``rejected`` below it.
            body: The request.
            done: Takes topic and payload of the answer.
            failed: Takes the failure when there is none.
        """
        if self._requests is None:
            failed(failures.not_sent("there is no connection"))
            return
        future = self._requests.make_request(request_options(topic, *topics.answers(topic), body))

        def settled(result: Future[mqtt_request_response.Response]) -> None:
            self._post(lambda: self._answered(operation, result, done, failed))

        future.add_done_callback(settled)

    def _answered(
        self, operation: str, result: Future[mqtt_request_response.Response], done: Callable[[str, bytes], None],
        failed: Callable[[Failure], None],
    ) -> None:  # fmt: skip
        if self.over or self._given_up:
            return
        error = result.exception()
        if error is not None:
            failed(request_failure(operation, error, lost=False))
            return
        reply = result.result()
        try:
            done(reply.topic, reply.payload or b"")
        except CloudError as refusal:
            failed(refusal.failure)

    def listen(self, topic: str, heard: Callable[[bytes], None]) -> None:
        """Have the messages of a topic handed over for as long as the link lasts; each tells all that there is.

        One that another overtakes before the loop comes to it is not handed over: a flood costs the time and the memory
        of one.
        """
        if self._requests is None:
            return
        newest = deque[bytes](maxlen=1)
        posted = False

        def said() -> None:
            nonlocal posted
            posted = False  # before the look: what comes after it is posted anew
            if newest and not self.over:
                heard(newest.pop())

        def incoming(event: mqtt_request_response.IncomingPublishEvent) -> None:
            nonlocal posted
            newest.append(event.payload or b"")
            if not posted:
                posted = True
                self._post(said)

        options = mqtt_request_response.StreamingOperationOptions(
            subscription_topic_filter=topic, incoming_publish_listener=incoming
        )
        stream = self._requests.create_stream(options)
        stream.open()
        self._streams.append(stream)
