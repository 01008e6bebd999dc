"""The daemon's session: the one connection that is kept while nothing is being changed.

Rules:

* It connects with the current set and nothing else. What is current is the record's and the links' business, not its
  own.
* While a worker runs it stays as it is and does not fight for the client id: the worker's connection takes it over.
  When the worker has ended it connects again, with whatever is current then.
* A refusal is never concluded from here; after repeated doubts it asks for the ladder. What is made of a first
  suspicion is for the caller to decide.
* Where another client uses the same id, each of our connections costs that one its own. So what would connect can be
  asked about first; see `CloudSession.contested`.
"""

from __future__ import annotations

import os
from dataclasses import field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.report.known import ConnectionState
from agent.core.text import duration
from agent.core.when.reconnect import STEADY, NextConnect, ReconnectState, after_failure, after_loss, after_takeover
from agent.errors import CloudError, StoreError
from agent.iotcore.async_client import Link
from agent.iotcore.client_options import STOP_TIMEOUT, Connector, spacing
from agent.store.files import disk
from agent.store.names import CERTIFICATE, KEY, TRUST
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.failure.failure import Failure
    from agent.daemon.facts import Current
    from agent.daemon.loop import Loop, Timer

_MAX_FILE = 1_048_576  # bytes


@frozen
class SessionStatus:
    """What is told of the session.

    Attributes:
        state: How it stands.
        why: Why it is not up, as a sentence, or empty.
        generation: The set of the last attempt that got as far as the network.
        since: When the connection came up or ended last, by the monotonic clock.
        cut_off: Whether the path of the last connection is known to be gone: it is not only being made again.
    """

    state: ConnectionState = ConnectionState.DOWN
    why: str = "nothing was tried yet"
    generation: int | None = None
    since: float = 0.0
    cut_off: bool = False


@frozen
class SessionCalls:
    """What is called when something happens.

    Attributes:
        recovered: The network was what kept it down, and it is up; `connected` follows.
        connected: It is up. Takes the link.
        disconnected: It is not up any more, or an attempt failed. Takes the reason.
        doubted: Refusals pile up that the ladder should look into. Takes the last one.
        suspected: It ended, or could not be made, in a way that a refused certificate could explain.
        taken_over: Another client uses the same id. Takes the reason.
    """

    recovered: Callable[[], None]
    connected: Callable[[Link], None]
    disconnected: Callable[[str], None]
    doubted: Callable[[Failure], None]
    suspected: Callable[[], None]
    taken_over: Callable[[str], None]


@frozen
class _Memory:
    """What is remembered between attempts.

    Attributes:
        client_id: The client id that the rest was met under.
        standing: What the next delay follows from.
        rival: Why another client is believed to use the same id, as a sentence, or empty.
        guessed: Whether that was only concluded; the broker has not said so.
        outage: Whether the network kept it down since it was up.
        news: Whether the network may have come back since the attempt under way began.
    """

    client_id: str = ""
    standing: ReconnectState = field(default_factory=ReconnectState)
    rival: str = ""
    guessed: bool = False
    outage: bool = False
    news: bool = False


class CloudSession:
    """Keeps the connection."""

    def __init__(self, loop: Loop, connector: Connector, calls: SessionCalls, chance: Callable[[], float]) -> None:
        """Connect with nothing yet.

        Args:
            loop: Where to wait.
            connector: How to connect.
            calls: What is called when something happens.
            chance: Draws a number in [0, 1).
        """
        self._loop = loop
        self._connector = connector
        self._calls = calls
        self._chance = chance
        self._status = SessionStatus()
        self._memory = _Memory()
        self._identity: Current | None = None
        self._link: Link | None = None
        self._retry: Timer | None = None
        self._suspended = self._stopped = False
        self._connected_at: float | None = None

    # -- what is told ----------------------------------------------------------------------------------------------

    @property
    def status(self) -> SessionStatus:
        """How it stands."""
        return self._status

    @property
    def connected_at(self) -> float | None:
        """When this gateway connected last, by the monotonic clock: the session, or the worker that had its id."""
        return self._connected_at

    @property
    def next_try(self) -> float | None:
        """In how many seconds it is tried again; None where none is ahead, or it waits for something else."""
        waits = self._status.state in {ConnectionState.DOWN, ConnectionState.TAKEN_OVER} and not self._suspended
        return self._retry.due - monotonic() if waits and self._retry is not None else None

    @property
    def open(self) -> bool:
        """Whether the SDK still holds a connection."""
        return self._link is not None

    @property
    def waits_for_network(self) -> bool:
        """Whether news of the network is a reason to try.

        Also where another client was only concluded: a path that comes and goes may look the same.
        """
        state = self._status.state
        return state is ConnectionState.DOWN or (state is ConnectionState.TAKEN_OVER and self._memory.guessed)

    @property
    def contested(self) -> str:
        """Why another client is believed to use the same id, as a sentence; empty once nothing speaks for it any more.

        That is when a connection has lasted, or when one could not even be made: then something else is wrong.
        """
        lasts = self._status.state is ConnectionState.UP and monotonic() - self._status.since >= STEADY
        return "" if lasts else self._memory.rival

    # -- what it is to do ------------------------------------------------------------------------------------------

    def configure(self, connector: Connector) -> None:
        """Connect in another way from the next attempt on."""
        self._connector = connector

    def use(self, identity: Current | None) -> None:
        """Connect with this set from now on; with the same one, go on as before."""
        before, self._identity = self._identity, identity
        if self._status.state is ConnectionState.RESTING and identity is None:
            self._become(ConnectionState.DOWN, "the connection is being made again")
        if identity is not None and identity.client_id != self._memory.client_id:
            self._be_another(identity.client_id)
        changed = identity is None or before is None or before.generation != identity.generation
        if changed and self._link is not None:
            self._close(self._link)
        elif self._link is None and not self._suspended and (changed or self._retry is None):
            self._try_soon()

    def _be_another(self, client_id: str) -> None:
        """Forget what was met under another client id: its rival is not ours any more."""
        self._memory = replace(self._memory, client_id=client_id, rival="", standing=ReconnectState())
        if self._status.state is ConnectionState.TAKEN_OVER:
            self._become(ConnectionState.DOWN, "it is being made under another client id")

    def suspend(self) -> None:
        """Let a worker have the client id.

        An attempt that is under way is given up: its CONNECT could come to the broker at any moment, also right before
        or after the worker's.
        """
        self._suspended = True
        if self._link is not None and not self._link.up:
            self._connected_at = monotonic()
            self._close(self._link)

    def resume(self, connected_at: float | None) -> None:
        """Have the client id back; `connected_at` is when the worker connected last."""
        self._suspended = False
        used = connected_at is not None and connected_at > (self._connected_at or 0.0)
        if connected_at is not None and used:
            self._connected_at = connected_at
        if self._link is not None:
            return
        state = self._status.state
        # An attempt that is scheduled stands, unless the worker has connected meanwhile: then one may succeed at once.
        if state is ConnectionState.LENT or self._retry is None or (used and state is not ConnectionState.TAKEN_OVER):
            if state is ConnectionState.LENT:
                self._become(ConnectionState.CONNECTING)
            self._try_soon()

    def explain(self, why: str) -> None:
        """Take down why there is no connection: a worker may have seen more of it."""
        self._status = replace(self._status, why=why)

    def retry_soon(self) -> None:
        """The network may be back: try soon, unless there is another reason to wait.

        An attempt that is under way began without it, and may not outlive that: then another follows soon.
        """
        self._memory = replace(self._memory, news=self._link is not None and not self._link.up)
        if self.waits_for_network and self._retry is not None and not self._suspended:
            self._cancel()
            self._schedule(self._soon())

    def _soon(self) -> float:
        return 1.0 + 2.0 * self._chance()  # every gateway of a site sees its uplink come back at once

    def cut_off(self) -> None:
        """This machine has lost the address or the way of the connection: it is over, and silence need not tell."""
        if self._link is not None:
            self._link.lose(failures.path_lost("This machine has lost the address or the route that it used."))

    def rest(self, seconds: float, why: str) -> None:
        """End a connection that has done its work, and make one again after so long; `why` is told until then."""
        if self._link is not None:
            self._memory = replace(
                self._memory, standing=ReconnectState(takeovers=self._memory.standing.takeovers), rival=""
            )
            self._become(ConnectionState.RESTING, why)
            self._schedule(seconds)
            self._close(self._link)

    def wake(self) -> None:
        """Connect now, where it rests."""
        if self._status.state is ConnectionState.RESTING and self._link is None and not self._suspended:
            self._become(ConnectionState.CONNECTING)
            self._try_soon()

    def stop(self) -> None:
        """Disconnect for good."""
        self._stopped = True
        self._cancel()
        if self._link is not None:
            self._close(self._link)

    def _close(self, link: Link) -> None:
        link.close()
        self._loop.later(STOP_TIMEOUT, link.abandon)

    # -- attempts --------------------------------------------------------------------------------------------------

    def _try_soon(self) -> None:
        self._cancel()
        self._schedule(spacing(self._connected_at, monotonic()))

    def _schedule(self, delay: float) -> None:
        if not self._stopped:
            self._retry = self._loop.later(delay, self._attempt)

    def _cancel(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _attempt(self) -> None:
        self._retry = None
        if self._identity is None or self._suspended or self._link is not None or self._stopped:
            return
        identity = self._identity
        attempt = Link(self._connector, self._loop.post, self)
        try:
            credential, trust = _read(identity.directory)
            self._connected_at = monotonic()
            attempt.open(f"generation {identity.generation}", identity.client_id, credential, trust)
        except CloudError as error:
            self._judge(after_failure(self._memory.standing, error.failure, self._chance()), error.failure)
            return
        except StoreError as error:
            self._schedule(60.0)
            self._down(str(error))
            return
        self._link, self._status = attempt, replace(self._status, generation=identity.generation)
        patience = self._connector.timeouts.connect
        self._loop.later(patience, attempt.expire)
        self._loop.later(patience + STOP_TIMEOUT, attempt.abandon)
        if self._status.state is not ConnectionState.TAKEN_OVER:
            rested = self._status.state is ConnectionState.RESTING
            self._become(ConnectionState.CONNECTING, "" if rested else self._status.why)

    def on_up(self, up: Link) -> None:
        """See `agent.iotcore.async_client.LinkListener`."""
        self._connected_at = monotonic()
        self._status = replace(self._status, cut_off=False)
        self._become(ConnectionState.UP, since=self._connected_at)
        outage, self._memory = self._memory.outage, replace(self._memory, outage=False, news=False)
        if outage:
            self._calls.recovered()
        self._calls.connected(up)

    def on_over(self, over: Link, failure: Failure | None, *, taken_over: bool) -> None:
        """See `agent.iotcore.async_client.LinkListener`."""
        if over is not self._link:
            return
        self._link = None
        came_up, now, chance = self._status.state is ConnectionState.UP, monotonic(), self._chance
        lasted = now - self._status.since if came_up else 0.0
        gone = failure is not None and failure.code == Code.PATH_LOST
        self._status = replace(self._status, since=now, cut_off=self._status.cut_off or gone)
        if not came_up:  # the broker has got the CONNECT by now, if ever
            self._connected_at = now
        if self._status.state is ConnectionState.RESTING:
            self._down(self._status.why, ConnectionState.RESTING)
        elif self._suspended:
            self._down("a change is using the connection", ConnectionState.LENT)
        elif failure is None:
            self._down("the connection is being made again")
            if self._identity is not None:
                self._try_soon()
        elif taken_over:
            told = f"Another client connected as {self._memory.client_id}"
            self._lost_to_another(after_takeover(self._memory.standing, lasted, chance()), told, guessed=False)
        elif came_up:
            self._judge(after_loss(self._memory.standing, failure, lasted, chance()), failure)
        else:
            self._judge(after_failure(self._memory.standing, failure, chance()), failure)

    def _judge(self, verdict: NextConnect, failure: Failure) -> None:
        if verdict.taken_over:
            told = (
                f"{verdict.standing.brief} connections in a row came up as {self._memory.client_id} and were hung up "
                "on within seconds, as when another client connects with the same id"
            )
            self._lost_to_another(verdict, told, guessed=True)
        else:
            outage = self._memory.outage or failure.kind is FailureClass.NETWORK
            delay = min(verdict.delay, self._soon()) if self._memory.news and not verdict.suspicion else verdict.delay
            self._memory = replace(self._memory, standing=verdict.standing, rival="", outage=outage, news=False)
            self._schedule(delay)
            self._down(failure.message, told=f"{failure.message} Next try in {_delay(delay)}.")
        if verdict.suspicion:
            self._calls.suspected()
        if verdict.doubt:
            self._calls.doubted(failure)

    def _lost_to_another(self, verdict: NextConnect, told: str, *, guessed: bool) -> None:
        rival = f"{told}; every client needs an id of its own."
        self._memory = replace(self._memory, standing=verdict.standing, rival=rival, guessed=guessed)
        away, needs = f"{told}, so this one keeps away", "every client needs an id of its own."
        now = f"{away} for {_delay(verdict.delay)}; {needs}"
        self._schedule(verdict.delay)
        self._down(f"{away}; {needs}", ConnectionState.TAKEN_OVER, told=now)
        self._calls.taken_over(now)

    def _down(self, why: str, state: ConnectionState = ConnectionState.DOWN, *, told: str = "") -> None:
        """Be without a connection; `told` is what is true of that at this moment alone, such as a delay."""
        self._become(state, why)
        self._calls.disconnected(told or why)

    def _become(self, state: ConnectionState, why: str = "", since: float | None = None) -> None:
        since = self._status.since if since is None else since
        self._status = replace(self._status, state=state, why=why, since=since)


def _delay(seconds: float) -> str:
    return duration(timedelta(seconds=round(seconds)))


def _read(directory: Path) -> tuple[tuple[bytes, bytes], bytes]:
    try:
        with disk.directory(os.fspath(directory)) as fd:
            key, certificate, trust = (disk.read(fd, name, _MAX_FILE) for name in (KEY, CERTIFICATE, TRUST))
    except FileNotFoundError as error:
        raise StoreError(f"{directory}/{error.filename} is missing.") from error
    return (key, certificate), trust
