"""A program of the gateway that keeps a connection of its own, with the current set, and makes it anew when it ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from awscrt import mqtt5

from agent.config.reader import load
from agent.iotcore.client_options import Connector, Timeouts
from agent.store.store import Store

if TYPE_CHECKING:
    from support.running.gateway import Gateway

PATIENCE = 30.0  # seconds
BACK_AFTER = 1_000  # milliseconds, which is how long the SDKs wait before they connect again


class Application:
    """One such program; a context manager.

    Attributes:
        disconnects: How often its connection was ended by the other side.
    """

    def __init__(self, gateway: Gateway, client_id: str) -> None:
        self.disconnects = 0
        self._connected, self._stopped = threading.Event(), threading.Event()
        self._leaving = False
        with Store(gateway.state) as store:
            found = store.generation(store.current() or 0)
        connector = Connector(load(gateway.config).target, Timeouts())
        credential = found.credential
        context = connector.tls_context("app", credential.key_pem, credential.certificate_pem, found.trust.pem)
        options = connector.options(client_id, context)
        options.min_reconnect_delay_ms = options.max_reconnect_delay_ms = BACK_AFTER
        options.on_lifecycle_event_connection_success_fn = lambda _: self._connected.set()
        options.on_lifecycle_event_disconnection_fn = self._on_disconnection
        options.on_lifecycle_event_stopped_fn = lambda _: self._stopped.set()
        self._client = mqtt5.Client(options)

    def _on_disconnection(self, _data: object) -> None:
        if not self._leaving:
            self.disconnects += 1
        self._connected.clear()

    def __enter__(self) -> Self:
        self._client.start()
        assert self._connected.wait(PATIENCE), "the application does not connect"
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        self._client.stop()
        assert self._stopped.wait(PATIENCE)

    @property
    def connected(self) -> bool:
        """Whether it is connected now, as far as it knows."""
        return self._connected.is_set()
