"""The daemon's session: the one connection that is kept while nothing is being changed.

Rules:

* It connects with the current set and nothing else. What is current is the record's and the links' business, not its
  own.
* While a worker runs it stays as it is and does not fight for the client id: the worker's connection takes it over.
  When the worker has ended it connects again, with whatever is current then.
* A refusal is never concluded from here; after repeated doubts it asks for the ladder. What is made of a first
  suspicion is the owner's business.
* Where another client uses the same id, each of our connections costs that one its own. So what would connect can be
  asked about first; see `Session.contested`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from agent.core.failure.failure import FailureClass
from agent.core.text import duration
from agent.core.when.reconnect import STEADY, Standing, Verdict, after_failure, after_loss, after_takeover
from agent.errors import CloudError, StoreError
from agent.iotcore.async_client import Link
from agent.iotcore.client_options import Connector, spacing
from agent.store import durable
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.failure.failure import Failure
    from agent.daemon.loop import Loop, Timer

_MAX_FILE = 1_048_576  # bytes


class Identity(Protocol):
    """The set to connect with."""

    @property
    def generation(self) -> int:
        """Its number."""

    @property
    def client_id(self) -> str:
        """The MQTT client id."""

    @property
    def directory(self) -> Path:
        """Where its files are."""


class Owner(Protocol):
    """Whoever the session belongs to."""

    def on_connected(self, link: Link) -> None:
        """The session is up."""

    def on_disconnected(self, why: str) -> None:
        """It is not any more."""

    def on_doubt(self, failure: Failure) -> None:
        """Refusals pile up that the ladder should look into."""

    def on_suspicion(self) -> None:
        """It ended, or could not be made, in a way that a refused certificate could explain."""

    def on_taken_over(self, why: str) -> None:
        """Another client uses the same id."""


class Session:
    """Keeps the connection."""

    def __init__(self, loop: Loop, connector: Connector, owner: Owner, chance: Callable[[], float]) -> None:
        self._loop = loop
        self.connector = connector
        self._owner = owner
        self._chance = chance
        self._standing = Standing()
        self._identity: Identity | None = None
        self._link: Link | None = None
        self._retry: Timer | None = None
        self._up_since = 0.0
        self._lent = False
        self._stopped = False
        self._rival = ""
        self._guessed = False
        self._client_id = ""
        self.connected_at: float | None = None
        self.generation: int | None = None
        self.state, self.why = "down", "nothing was tried yet"
        self.outage = False

    @property
    def link(self) -> Link | None:
        """The link, while it is up."""
        return self._link if self._link is not None and self._link.up else None

    @property
    def contested(self) -> str:
        """Why another client is believed to use the same id, as a sentence; empty once nothing speaks for it any more.

        That is when a connection has lasted, or when one could not even be made: then something else is wrong.
        """
        lasts = self.state == "up" and monotonic() - self._up_since >= STEADY
        return "" if lasts else self._rival

    # -- orders ----------------------------------------------------------------------------------------------------

    def use(self, identity: Identity | None) -> None:
        """Connect with this set from now on; with the same one, go on as before."""
        before, self._identity = self._identity, identity
        if identity is not None and identity.client_id != self._client_id:
            self._be_another(identity.client_id)
        changed = identity is None or before is None or before.generation != identity.generation
        if changed and self._link is not None:
            self._link.close()
        elif self._link is None and not self._lent and (changed or self._retry is None):
            self._try_soon()

    def _be_another(self, client_id: str) -> None:
        """Forget what was met under another client id: its rival is not ours any more."""
        self._client_id, self._rival, self._standing = client_id, "", Standing()
        if self.state == "taken-over":
            self.state, self.why = "down", "it is being made under another client id"

    def lend(self) -> None:
        """Let a worker have the client id."""
        self._lent = True

    def take_back(self, connected_at: float | None) -> None:
        """Have it back; `connected_at` is when the worker connected last."""
        self._lent = False
        used = connected_at is not None and connected_at > (self.connected_at or 0.0)
        if connected_at is not None and used:
            self.connected_at = connected_at
        if self._link is not None:
            return
        if self.state == "lent" or self._retry is None or (used and self.state != "taken-over"):
            if self.state == "lent":
                self.state, self.why = "connecting", ""
            self._try_soon()

    @property
    def waits_for_network(self) -> bool:
        """Whether news of the network is a reason to try.

        Also where another client was only concluded: a path that comes and goes may look the same.
        """
        return self.state == "down" or (self.state == "taken-over" and self._guessed)

    def hurry(self) -> None:
        """The network may be back: try soon, unless there is another reason to wait."""
        if self.waits_for_network and self._retry is not None and not self._lent:
            self._cancel()
            self._schedule(1.0 + 2.0 * self._chance())  # every gateway of a site sees its uplink come back at once

    def stop(self) -> None:
        """Disconnect for good."""
        self._stopped = True
        self._cancel()
        if self._link is not None:
            self._link.close()

    @property
    def open(self) -> bool:
        """Whether the SDK still holds a connection."""
        return self._link is not None

    # -- attempts --------------------------------------------------------------------------------------------------

    def _try_soon(self) -> None:
        self._cancel()
        self._schedule(spacing(self.connected_at, monotonic()))

    def _schedule(self, delay: float) -> None:
        if not self._stopped:
            self._retry = self._loop.later(delay, self._attempt)

    def _cancel(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _attempt(self) -> None:
        self._retry = None
        if self._identity is None or self._lent or self._link is not None or self._stopped:
            return
        identity = self._identity
        attempt = Link(self.connector, self._loop.post, self)
        try:
            credential, trust = _read(identity.directory)
            self.connected_at = monotonic()
            attempt.open(f"generation {identity.generation}", identity.client_id, credential, trust)
        except CloudError as error:
            self._judge(after_failure(self._standing, error.failure, self._chance()), error.failure)
            return
        except StoreError as error:
            self._down(str(error))
            self._schedule(60.0)
            return
        self._link, self.generation = attempt, identity.generation
        self._loop.later(self.connector.timeouts.connect, attempt.expire)
        if self.state != "taken-over":
            self.state = "connecting"

    def on_up(self, up: Link) -> None:
        """See `agent.iotcore.async_client.Listener`."""
        self.state, self.why = "up", ""
        self._up_since = self.connected_at = monotonic()
        self._owner.on_connected(up)

    def on_over(self, over: Link, failure: Failure | None, *, taken_over: bool) -> None:
        """See `agent.iotcore.async_client.Listener`."""
        if over is not self._link:
            return
        self._link = None
        came_up = self.state == "up"
        lasted = monotonic() - self._up_since if came_up else 0.0
        self._up_since = monotonic()
        if not came_up:  # the broker has got the CONNECT by now, if ever
            self.connected_at = self._up_since
        if self._lent:
            self._down("a change is using the connection", state="lent")
        elif failure is None:
            self._down("it is being made again")
            if self._identity is not None:
                self._try_soon()
        elif taken_over:
            told = f"Another client connected as {self._client_id}"
            self._lost_to_another(after_takeover(self._standing, lasted, self._chance()), told, guessed=False)
        elif came_up:
            self._judge(after_loss(self._standing, failure, lasted, self._chance()), failure)
        else:
            self._judge(after_failure(self._standing, failure, self._chance()), failure)

    def _lost_to_another(self, verdict: Verdict, told: str, *, guessed: bool) -> None:
        self._guessed = guessed
        self._standing, self._rival = verdict.standing, f"{told}; every client needs an id of its own."
        why = f"{told}, so this one keeps away for {_delay(verdict.delay)}; every client needs an id of its own."
        self._down(why, state="taken-over")
        self._schedule(verdict.delay)
        self._owner.on_taken_over(why)

    def _judge(self, verdict: Verdict, failure: Failure) -> None:
        if verdict.taken_over:
            told = (
                f"{verdict.standing.brief} connections in a row came up as {self._client_id} and were hung up on "
                "within seconds, as when another client connects with the same id"
            )
            self._lost_to_another(verdict, told, guessed=True)
        else:
            self._standing, self._rival = verdict.standing, ""
            self.outage = self.outage or failure.kind is FailureClass.NETWORK
            self._down(f"{failure.message} Next try in {_delay(verdict.delay)}.")
            self._schedule(verdict.delay)
        if verdict.suspicion:
            self._owner.on_suspicion()
        if verdict.doubt:
            self._owner.on_doubt(failure)

    def _down(self, why: str, state: str = "down") -> None:
        self.state, self.why = state, why
        self._owner.on_disconnected(why)


def _delay(seconds: float) -> str:
    return duration(timedelta(seconds=round(seconds)))


def _read(directory: Path) -> tuple[tuple[bytes, bytes], bytes]:
    try:
        with durable.directory(os.fspath(directory)) as fd:
            key, certificate, trust = (
                durable.read(fd, name, _MAX_FILE) for name in ("key.pem", "certificate.pem", "trust.pem")
            )
    except FileNotFoundError as error:
        raise StoreError(f"{directory}/{error.filename} is missing.") from error
    return (key, certificate), trust
