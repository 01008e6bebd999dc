"""The session, what is said over it, and what follows when it comes and goes.

It owns the connection and the talk with the fleet's operator. What it wants done it puts into the queue.

A connection may outlive what it was made with: its certificate may not be accepted any more, and the endpoint may chain
to another root by now. So a worker connects anew from time to time, beside the connection that lasts. Where the path is
down that ends nothing; where the set is refused the ladder is climbed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.exit_codes import Exit
from agent.core.failure.retry import CAP
from agent.core.frozen import frozen
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.values import Kind, Origin
from agent.core.when import retirement
from agent.core.when.reconnect import STEADY, heals_with_network
from agent.core.worker_protocol import Do, Order
from agent.daemon.cloud.fleet import FleetSide
from agent.daemon.cloud.network_watch import NetworkWatch
from agent.daemon.cloud.requests import FleetCalls
from agent.daemon.cloud.session import CloudSession, SessionCalls
from agent.daemon.cloud.token_watch import TokenWatch
from agent.daemon.cloud.visits import Visits
from agent.daemon.loop import Alarm
from agent.iotcore.client_options import Connector, timeouts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config.values import Config
    from agent.core.failure.failure import Failure
    from agent.core.report.status import Status
    from agent.core.when.schedule import Suggestion
    from agent.core.worker_protocol import End
    from agent.daemon.control.followers import Followers
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop
    from agent.daemon.work.queue import WorkQueue
    from agent.iotcore.async_client import Link


@frozen
class CloudCalls:
    """What is called when something happens.

    Attributes:
        status: Returns how the gateway stands.
        connected: The session is up.
        disconnected: It is not up any more, or an attempt failed. Takes the reason.
        doubted: The set in use may be refused, and the way back is not to wait for what failed before.
        look: Something may be due.
        stopping: Returns whether the daemon ends.
        log: Write to the journal.
    """

    status: Callable[[], Status]
    connected: Callable[[], None]
    disconnected: Callable[[str], None]
    doubted: Callable[[], None]
    look: Callable[[], None]
    stopping: Callable[[], bool]
    log: Callable[[Event, str], None]


class CloudSide:
    """The cloud's side of one daemon.

    Attributes:
        session: The connection.
        fleet: What is said over it.
    """

    def __init__(
        self,
        loop: Loop,
        facts: GatewayFacts,
        queue: WorkQueue,
        followers: Followers,
        calls: CloudCalls,
        chance: Callable[[], float],
    ) -> None:
        """Connect with nothing yet.

        Args:
            loop: Where to wait.
            facts: What is known of the gateway.
            queue: Takes what is to be done.
            followers: The clients that wait for a retirement.
            calls: What is called when something happens.
            chance: Draws a number in [0, 1).
        """
        self._loop = loop
        self._facts = facts
        self._queue = queue
        self._followers = followers
        self._calls = calls
        self.session = CloudSession(loop, _connector(facts.config), self._session_calls(), chance)
        self.fleet = FleetSide(loop, facts, self._fleet_calls(), chance)
        self._chance = chance
        self._anew = Alarm(loop, self._connect_anew)
        self._visits = Visits(loop, self.session, facts, self._is_needed, chance)
        self._network = NetworkWatch(loop, self._waits_for_network, self.session.retry_soon, self.session.cut_off)
        self._token = TokenWatch(loop, self._on_token)

    def _session_calls(self) -> SessionCalls:
        return SessionCalls(
            recovered=self._on_recovered,
            connected=self._on_connected,
            disconnected=self._on_disconnected,
            doubted=self._on_doubt,
            suspected=self._on_suspicion,
            taken_over=lambda why: self._calls.log(Event.TAKEN_OVER, why),
        )

    def _fleet_calls(self) -> FleetCalls:
        return FleetCalls(
            session=lambda: self.session.status,
            status=self._calls.status,
            begin=self._queue.submit_for_job,
            withdraw=self._queue.withdraw,
            suggest=self._on_suggestion,
            retired=lambda item: self._queue.submit(Order(do=Do.NOTE_RETIRED, change=item.change)),
            unregistered=lambda item: self._queue.submit(Order(do=Do.NOTE_UNREGISTERED, change=item.change)),
            not_retired=self._on_not_retired,
            all_retired=self._on_all_retired,
            log=self._calls.log,
        )

    # -- what it is to do ------------------------------------------------------------------------------------------

    def adopt(self, fd: int) -> bool:
        """Take a descriptor that systemd opened for the network's news; return whether it is one."""
        return self._network.adopt(fd)

    def start(self) -> None:
        """Hear of the network."""
        self._network.start()
        self._plan_anew()

    def configure(self, config: Config, *, moved: bool) -> None:
        """Take another configuration into force; `moved` says that it connects elsewhere or as another client."""
        self.session.configure(_connector(config))
        self._plan_anew()
        if moved:
            self.session.use(None)

    def consider(self) -> None:
        """End the session, or make it, if it is time for that."""
        if not self._calls.stopping():
            self._visits.consider()

    def _is_needed(self) -> bool:
        """Whether there is something that a session is needed for now."""
        other = self.session.status.generation != self._facts.generation
        return self._facts.change is not None or other or self.fleet.busy

    def lend(self, order: Order) -> Order:
        """Let a worker have the client id, and return its order with what it has to know for that."""
        self.session.suspend()
        return replace(order, connected_at=self.session.connected_at, configuration=self._facts.config.source)

    def take_back(self, end: End) -> None:
        """A worker has ended: connect again with what is current now, and tell the cloud what came of its orders."""
        if end.error is None or not end.error.busy:  # the process that has the store connects with the client id, too
            self.session.use(self._facts.current())
            self.session.resume(end.connected_at)
        self.fleet.jobs.review()
        if self.session.status.state is not ConnectionState.UP:
            self._listen_for_token()

    def examined(self, refusal: str, doubt: str) -> None:
        """A worker has tried a new connection; takes why there is none, or why it should use other anchors."""
        change = self._facts.change
        if refusal:
            self._anew.set(CAP)  # what is activated again is used soon, and what is told of it is true
        if not (refusal or doubt):
            return
        if change is None or not change.phase.activated:  # one that has put a set in use proves that by itself
            self._queue.submit(Order(do=Do.CLIMB, reason=refusal or doubt, origin=Origin.LADDER))

    def retire_all(self, over: bool) -> int:  # noqa: FBT001 - a client's word
        """Ask for the retirement of everything left behind, now; see `RetirementRequests.order_all`."""
        count = self.fleet.retirements.order_all(over=over)
        self._loop.post(self._calls.look)
        return count

    def close(self) -> None:
        """Let go of what it watches."""
        self._network.close()
        self._token.close()

    # -- what happens ----------------------------------------------------------------------------------------------

    def _waits_for_network(self) -> bool:
        return self.session.waits_for_network and not self._calls.stopping()

    def _on_recovered(self) -> None:
        change = self._facts.change
        if change is None or change.retry_at is None or change.unhurried:
            return
        if heals_with_network(change.failure):
            self._queue.submit(Order(do=Do.GO_ON, hasten=True))

    def _on_connected(self, link: Link) -> None:
        self._calls.connected()
        self._calls.log(Event.CONNECTED, f"Connected with generation {self.session.status.generation}.")
        if self.session.contested:
            self._loop.later(STEADY, self._calls.look)  # by then it is known whether it lasts
        self._token.close()
        if self._facts.config.session is None:  # looks come too often to count from each
            self._plan_anew()
        current = self._facts.current()
        self.fleet.connected(link, current.thing if current is not None else "")
        self._calls.look()

    def _plan_anew(self) -> None:
        whole = self._facts.config.fresh_connection.total_seconds()
        self._anew.set(whole * (0.5 + 0.5 * self._chance()))  # a fleet that came back together is apart by then

    def _connect_anew(self) -> None:
        self._plan_anew()
        well = self.session.status.state in {ConnectionState.UP, ConnectionState.RESTING} and not self.session.contested
        if well and self._facts.change is None and not self._calls.stopping():
            self._queue.submit(Order(do=Do.EXAMINE))

    def _on_disconnected(self, why: str) -> None:
        self.fleet.disconnected()
        if not self._calls.stopping():
            if self.session.status.state in {ConnectionState.DOWN, ConnectionState.TAKEN_OVER}:
                self._followers.not_retired(why, Exit.UNAVAILABLE)
            self._network.connection_missing()
            self._listen_for_token()
        self._calls.disconnected(why)

    def _listen_for_token(self) -> None:
        enrollment = self._facts.config.enrollment
        if enrollment is not None and enrollment.token is not None:
            self._token.listen(enrollment.token.path)

    def _on_token(self) -> None:
        change = self._facts.change
        if self._calls.stopping() or (change is not None and change.phase.activated):
            return
        self._calls.doubted()
        if change is not None and change.kind is Kind.ENROLL and change.retry_at is not None:
            self._queue.submit(Order(do=Do.GO_ON, hasten=True))
        elif self._facts.generation is not None and self.session.status.state is ConnectionState.DOWN:
            why = "another token was put into its file"
            self._queue.submit(Order(do=Do.CLIMB, reason=why, origin=Origin.LADDER))
        self._calls.look()

    def _on_doubt(self, failure: Failure) -> None:
        change = self._facts.change
        if change is None:
            self._calls.doubted()
        if change is None or not change.phase.activated:  # one that waits gives way to a rung that is accepted
            self._queue.submit(Order(do=Do.CLIMB, reason=failure.message, origin=Origin.LADDER))

    def _on_suspicion(self) -> None:
        if self._facts.doubts(self.session.status.generation):
            self._queue.submit(Order(do=Do.GO_ON, doubt=True))

    def _on_suggestion(self, suggestion: Suggestion | None) -> None:
        if self._facts.suggest(suggestion):
            self._loop.post(self._calls.look)

    def _on_not_retired(self, text: str, code: Exit) -> None:
        self._followers.not_retired(text, code)
        self._calls.look()

    def _on_all_retired(self) -> None:
        if self._followers.await_retirements:
            self._followers.retired(retirement.spared(self._facts.retirements()))


def _connector(config: Config) -> Connector:
    waits = timeouts_of(config.connect_timeout, config.request_timeout)
    return Connector(config.target, waits, small_client_hello=config.small_client_hello)
