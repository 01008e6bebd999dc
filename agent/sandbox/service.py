"""The local IoT Core as one object for a synchronous program: broker, front, and the thread they live in.

It owns the endpoint's own certificate authority, the server certificate and the background thread. Its rules:

* It listens on the loopback interface unless told otherwise, on two ports: one as 8883, and one as 443, where clients
  must negotiate `x-amzn-mqtt-ca`.
* Its methods may be called from any thread while it runs; they return when what they do is done.
* After `stop` no thread, socket or process of it is left. Ports stay the same while it runs, down or up.

Certificates are checked by the real clock, as TLS does it, so the cloud's clock should not be far from it.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.sandbox.account.authority import Authority, KeyPair
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.loop_thread import LoopThread
from agent.sandbox.network.front import DEFAULT_MAXIMUM, DEFAULT_MINIMUM, Front, ServerTls, server_context
from agent.sandbox.network.mosquitto import Mosquitto
from agent.sandbox.network.vending import VendingFront, answer_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Self

_SERVER_LIFETIME = timedelta(days=365)
_PATIENCE = 10.0  # seconds for a handshake, for CONNECT, and for a client that does not read


class LocalCloud:
    """One endpoint before one cloud; a context manager, for one use.

    Attributes:
        cloud: The account; its faults may be switched at any time.
        host: The name in the server certificate.
        port: Where it listens as port 8883 does, once started.
        alpn_port: Where it listens as port 443 does, once started.
        front: The front, once started.
        broker: The broker behind it.
        vending: The vending machine, whose certificate is of the first root, always.
        endpoint_authority: The root that server certificates chain to; see `use_root`.
        issuer: Who signs server certificates: that root or an intermediate below it; may sign others for
            `change_server`.
    """

    def __init__(
        self,
        cloud: Cloud,
        directory: Path,
        *,
        host: str = "localhost",
        address: str = "127.0.0.1",
        ports: tuple[int, int] = (0, 0),
        patience: float = _PATIENCE,
    ) -> None:
        """Make an endpoint that does not run yet.

        Args:
            cloud: The account.
            directory: An existing folder for the broker's configuration, log and socket.
            host: The name in the server certificate.
            address: The IP address to listen on.
            ports: The plain port and the one that requires ALPN; 0 for any.
            patience: Seconds for a handshake, for CONNECT, and for a client that does not read.
        """
        self.cloud = cloud
        self.host = host
        self.endpoint_authority = self.issuer = Authority("Sandbox endpoint root A", cloud.now)
        self.port, self.alpn_port = ports
        self.front: Front
        self.broker = Mosquitto(directory)
        self.vending = VendingFront(partial(answer_of, cloud), self.issue_server(), host=host, address=address)
        self._tls = ServerTls(self.issue_server())
        self._tls_lock = threading.Lock()
        self._thread = LoopThread("local-iot-core", partial(self._served, address, patience))

    @property
    def root_pem(self) -> bytes:
        """The endpoint's root, for clients to trust."""
        return self.endpoint_authority.pem

    def issue_server(self, host: str | None = None) -> KeyPair:
        """Make a server certificate that is good for a year, for this host or another."""
        now = self.cloud.now
        return self.issuer.issue_server(host or self.host, now - timedelta(days=1), now + _SERVER_LIFETIME)

    # -- start and stop --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start and return once clients can connect.

        Raises:
            AgentError: mosquitto is missing or does not start, or a port cannot be had.
        """
        self._thread.start()
        try:
            self.vending.start()
        except BaseException:
            self._thread.stop()
            raise

    def stop(self) -> None:
        """Hang up on everybody and leave nothing behind; harmless when it does not run."""
        self.vending.stop()
        self._thread.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @asynccontextmanager
    async def _served(self, address: str, patience: float) -> AsyncIterator[None]:
        # In the thread of the loop, because the broker dies with the thread that started it.
        with self.broker:
            self.front = Front(self.cloud, self.broker.socket_path, *self._contexts(), patience=patience)
            try:
                self.port = self.front.listen(address, self.port)
                self.alpn_port = self.front.listen(address, self.alpn_port, require_alpn=True)
                yield
            finally:
                await self.front.close()

    # -- from any thread, the settings of new handshakes before the start too --------------------------------------

    def use_root(self, authority: Authority, *, intermediate: bool = False) -> None:
        """Present a server certificate that chains to another root in new handshakes; connections stay.

        Args:
            authority: The root, which is `endpoint_authority` from now on.
            intermediate: Put an intermediate between it and the server certificate, as AWS does.
        """
        issuer = authority.intermediate("Sandbox issuing CA", self.cloud.now) if intermediate else authority
        with self._tls_lock:
            self.endpoint_authority, self.issuer = authority, issuer
            self._change(server=self.issue_server())

    def change_server(self, key_pair: KeyPair) -> None:
        """Present another server certificate in new handshakes."""
        with self._tls_lock:
            self._change(server=key_pair)

    def set_tls(self, *, minimum: ssl.TLSVersion = DEFAULT_MINIMUM, maximum: ssl.TLSVersion = DEFAULT_MAXIMUM) -> None:
        """Allow other TLS versions in new handshakes."""
        with self._tls_lock:
            self._change(minimum=minimum, maximum=maximum)

    def take_down(self) -> None:
        """Stop listening and cut all connections: clients are refused until `bring_up`."""
        self._thread.call(self.front.take_down)

    def bring_up(self) -> None:
        """Listen again on the same ports."""
        self._thread.call(self._bring_up)

    def disconnect(self, certificate_id: str) -> int:
        """Cut all connections of one certificate and return how many there were."""
        return self._thread.call(lambda: self.front.disconnect(certificate_id))

    def revoke(self, certificate_id: str) -> None:
        """Revoke a certificate and cut its connections, which takes AWS a few minutes.

        Raises:
            KeyError: There is no such certificate.
        """
        self._thread.call(lambda: self._revoke(certificate_id))

    def wait_until(self, condition: Callable[[], bool], timeout: float = _PATIENCE) -> None:
        """Return once something holds.

        It is looked at whenever a connection began or ended, and when the cloud answered a request.

        Raises:
            TimeoutError: It did not happen in time.
        """
        self._thread.call(lambda: asyncio.wait_for(self.front.wait_until(condition), timeout))

    def _contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """Return the settings of the port that knows no ALPN, and of the one that requires it."""
        plain, by_name = (
            server_context(self.host, self.cloud.authority.pem, self._tls, alpn=alpn) for alpn in (False, True)
        )
        return plain, by_name

    def _change(self, **tls: Any) -> None:
        self._tls = replace(self._tls, **tls)
        if self._thread.started:  # else the front will begin with the settings of its start
            self._thread.post(partial(self.front.change_context, *self._contexts()))

    async def _bring_up(self) -> None:
        self.front.bring_up()

    async def _revoke(self, certificate_id: str) -> None:
        self.cloud.set_status(certificate_id, Status.REVOKED)
        await self.front.disconnect(certificate_id)
