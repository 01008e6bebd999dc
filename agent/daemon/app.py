"""The daemon: it decides what is next, and has it done.

One thread. Everything that happens (a worker's end, a clock step, an order, a connection) ends in `consider`, which
looks at the facts anew and does at most one thing. Rules:

* It writes nothing to the state directory but a pause. Changes are the workers', one at a time.
* It is ready when the store is recovered and the socket listens, not when the cloud answers.
* Nothing is concluded from its own memory that the disk or the cloud could tell.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.config import load
from agent.core.change.decide import Wait
from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.verbs import Verb
from agent.core.exit_codes import Exit
from agent.core.failure.retry import Backoff
from agent.core.report import journal_events
from agent.core.report.findings import events
from agent.core.report.known import Connection, ConnectionState, Live
from agent.core.values import Kind, Origin
from agent.core.when import schedule
from agent.core.when.reconnect import STEADY, heals_with_network
from agent.core.worker_protocol import Do, Order
from agent.daemon.control_socket import ControlSocket
from agent.daemon.control_verbs import Desk
from agent.daemon.credential_watch import HALF, Hands
from agent.daemon.dependants import Dependants
from agent.daemon.facts import Outlook
from agent.daemon.fleet import Fleet, FleetCalls
from agent.daemon.inbox_watch import Inbox
from agent.daemon.loop import Loop
from agent.daemon.session import Session, SessionCalls, SessionState
from agent.daemon.status_files import Publisher
from agent.daemon.workers import WorkerProcess
from agent.errors import AgentError, ConfigError, RefusedError, StoreError
from agent.iotcore.client_options import Connector, timeouts
from agent.store import ownership, pauses, reported
from agent.system import locks
from agent.system.clock import chance, monotonic
from agent.system.clock_timer import open_clock_watch
from agent.system.journal import EventLog
from agent.system.memory import give_back
from agent.system.netlink import open_uplink, routes
from agent.system.peers import ADMINS, READERS, group_ids, role_of
from agent.system.service_manager import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.config import Config
    from agent.core.failure.failure import Failure
    from agent.core.report.status import Status
    from agent.core.when.schedule import Pause, Suggestion
    from agent.daemon.control_client import Client
    from agent.daemon.loop import Timer
    from agent.daemon.workers import Running
    from agent.iotcore.async_client import Link
    from agent.ports import Clock
    from agent.system.peers import Peer, Role


STOP_PATIENCE = 20.0  # seconds for a worker to end between two steps; the unit allows thirty for everything
SETTLE = 5.0  # seconds after the last worker or connection before memory is given back
GOODBYE = 2.0  # seconds for the SDK to say goodbye to the broker
BUSY_LOOK = 1.0  # seconds between two tries while somebody's command works on the store
ROUTES_LOOK = 5.0  # seconds between two looks at the routes while there is no connection and no announcement of them
INHIBIT_LOOK = 30.0  # seconds between two looks at an inhibit file that holds a change which is due
CLIMB_AGAIN = 60.0  # seconds between two climbs for want of a set; each may cost a certificate
WORD_LOOK = 5.0  # seconds between two looks for the word of the gateway's application, while it is waited for
_TROUBLE = Backoff(base=5, cap=300, floor=1)


class Daemon:
    """One gateway's daemon."""

    _worker: Running | None = None
    _asker: Client | None = None
    _look: Timer | None = None
    _settling: Timer | None = None
    _looking: Timer | None = None
    _routes = b""
    _busy_until = _hold_until = _climb_at = _next_word_look = 0.0
    _troubles = 0
    _stuck = _unseen = ""
    _refused_configuration = ""
    _down_since: datetime | None = None
    _ready = _orderly = _stopping = False

    def __init__(
        self, config: Config, *, clock: Clock | None = None, start_worker: Callable[..., Running] = WorkerProcess
    ) -> None:
        """Put the daemon together; nothing happens yet.

        Args:
            config: The configuration.
            clock: The wall clock; None for the machine's.
            start_worker: How a worker is started.
        """
        self.loop = Loop()
        self.outlook = Outlook(config, clock)
        self._start_worker = start_worker
        self.log = EventLog(self.outlook.clock)
        self.notifier = Notifier()
        self.desk = Desk(self)
        self.control = ControlSocket(self.loop, self.desk.handle, self._role)
        self._chance = chance
        self.session = Session(self.loop, self._connector(), self._session_calls(), self._chance)
        self.fleet = Fleet(self.loop, self.outlook, self._fleet_calls(), self._chance)
        self._inbox = Inbox(self.loop, self.consider)
        self._hands = Hands(self.loop, self.consider)
        self._dependants = Dependants(self.loop, start_worker, self._chance, self.consider)
        self._clock_watch = open_clock_watch()
        self._uplink = open_uplink()
        self._told, self._climbed = set[str](), set[str]()
        self._publisher = Publisher(config.runtime_dir)
        self._state_lock = locks.LifeLock(config.state_dir / locks.DAEMON)
        self._unlocked = ""
        self._refusal: RefusedError | None = None
        self._queue: deque[tuple[Order, Client | None]] = deque()
        self._postponed: deque[tuple[Order, Client | None]] = deque()
        self._fleet_orders: dict[str, Order] = {}

    def _session_calls(self) -> SessionCalls:
        return SessionCalls(
            recovered=self._on_recovered,
            connected=self._on_connected,
            disconnected=self._on_disconnected,
            doubted=self._on_doubt,
            suspected=self._on_suspicion,
            taken_over=lambda why: self._tell(journal_events.Event.TAKEN_OVER, why),
        )

    def _fleet_calls(self) -> FleetCalls:
        return FleetCalls(
            session=lambda: self.session.status,
            status=self.status,
            begin=self._begin_for_job,
            withdraw=self._withdraw,
            suggest=self._on_suggestion,
            retired=lambda due: self.submit(Order(do=Do.NOTE_RETIRED, change=due.change, orderly=True)),
            not_retired=self._on_not_retired,
            all_retired=self.desk.retired,
            log=self._tell,
        )

    # -- life ------------------------------------------------------------------------------------------------------

    def run(self) -> Exit:
        """Run until told to stop.

        Raises:
            AgentError: It cannot start, or turns out to be the second on its state directory.
        """
        ownership.keep_memory_private()
        self._be_the_only_one()
        self._hold_state()
        self._listen()
        self._watch_world()
        self._tell(journal_events.Event.STARTED, f"Starting with {self.outlook.config.path}.")
        if why := self.notifier.unheard():
            self._tell(journal_events.Event.PROGRESS, why)
        self._read_pause()
        self.submit(Order(do=Do.LOOK))
        self._settle()
        try:
            self.loop.run()
        finally:
            self.close()
        if self._refusal is not None:
            raise self._refusal
        return Exit.DONE

    def close(self) -> None:
        """Let go of everything but the loop, which the SDK may still have something for."""
        self.control.close()
        self._publisher.withdraw()
        self._inbox.close()
        self._hands.close()
        for part in (self._uplink, self._clock_watch, self._state_lock, self.log, self.notifier):
            if part is not None:
                part.close()

    def _settle(self) -> None:
        """Give back, from time to time while nothing else is done, what the last burst of work needed."""
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self.loop.later(SETTLE, give_back)

    def _be_the_only_one(self) -> None:
        """Hold a lock for as long as this process lives: two daemons would fight for the client id.

        Raises:
            RefusedError: Another daemon runs.
            AgentError: The runtime directory cannot be used.
        """
        directory = self.outlook.config.runtime_dir
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            fd = os.open(directory / locks.DAEMON, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "`systemctl status iot-cert-agent` shows it."
            raise RefusedError(f"A daemon runs already with {directory}.", hint=hint) from None
        except OSError as error:
            raise AgentError(f"{directory} cannot be used: {os.strerror(error.errno or 0)}.") from error

    def _hold_state(self) -> None:
        """Hold the state directory as well, once there is one: a daemon may run with another runtime directory.

        Raises:
            RefusedError: Another daemon does.
        """
        state_dir = self.outlook.config.state_dir
        try:
            why = self._state_lock.hold()
        except locks.HeldError as held:
            message = f"A daemon{held.who} runs already with {state_dir}; it has another runtime_dir."
            hint = "Stop that one, or give this one a state_dir and a client_id of its own."
            raise RefusedError(message, hint=hint) from None
        if why and why != self._unlocked:
            text = f"A second daemon could not be told from this one, since the state directory is not locked: {why}."
            self._tell(journal_events.Event.PROGRESS, text)
        self._unlocked = why

    def _still_the_only_one(self) -> bool:
        """Whether no other daemon came before this one to a state directory that was just made; else it ends."""
        try:
            self._hold_state()
        except RefusedError as refusal:
            self._refusal = refusal
            self._tell(journal_events.Event.TROUBLE_STORE, f"{refusal} {refusal.hint}")
            self._stop()
            return False
        return True

    def _listen(self) -> None:
        inherited = self.notifier.listen_fds()
        if inherited:
            self.control.adopt(inherited[0])
            return
        self.control.listen(str(self.outlook.config.control_socket))

    def _watch_world(self) -> None:
        signals_read, signals_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(signals_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        self.loop.watch(signals_read, lambda: self._on_signals(os.read(signals_read, 64)))
        if self._uplink is not None:
            self.loop.watch(self._uplink.fileno(), self._on_uplink)
        if self._clock_watch is not None:
            self.loop.watch(self._clock_watch.fileno(), self._on_clock)
        interval = self.notifier.watchdog_interval()
        if interval is not None:
            self._feed(interval)

    def _feed(self, interval: float) -> None:
        """Feed the watchdog from the loop itself: a loop that does not turn any more is not fed."""
        self.notifier.watchdog()
        self.loop.later(interval, lambda: self._feed(interval))

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stop()
        elif signal.SIGHUP in numbers:
            self._reload()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._dependants.stop()
        self.notifier.stopping("stopping")
        self._tell(journal_events.Event.STOPPING, "Stopping; a change in flight is kept and goes on at the next start.")
        if self._worker is not None:
            self._worker.stop()
            self.loop.later(STOP_PATIENCE, lambda: self._worker.kill() if self._worker else None)
        else:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self.desk.dismiss({
            "event": "error", "message": "The daemon was stopped; the change, if any, is kept.", "hint": "", "exit": 5,
        })  # fmt: skip
        self.session.stop()
        self.loop.later(GOODBYE, self.loop.stop)
        if not self.session.open:
            self.loop.later(0.05, self.loop.stop)  # one more turn for what clients are still to be told

    def _reload(self) -> None:
        self.notifier.reloading()
        try:
            self._apply(load(self.outlook.config.path))
        except ConfigError as error:
            self._refused_configuration = f"{error}"
            self._tell(journal_events.Event.RELOAD_REFUSED, f"The configuration before stays in force: {error}")
        else:
            self._refused_configuration = ""
            self._hold_until = self._climb_at = 0.0  # what is waited for may just have been put right
            self.session.retry_soon()
            self._dependants.hurry()
            self._tell(journal_events.Event.RELOADED, "The configuration was read again.")
            self.submit(Order(do=Do.LOOK, orderly=True))
            if self.outlook.change is not None:
                self.submit(Order(do=Do.GO_ON, hasten=True, orderly=True))
        self.notifier.ready(self._summary())
        self.consider()

    def _apply(self, config: Config) -> None:
        if (config.state_dir, config.runtime_dir) != (self.outlook.config.state_dir, self.outlook.config.runtime_dir):
            raise ConfigError("state_dir and runtime_dir take effect at a restart: `systemctl restart iot-cert-agent`.")
        moved = config.target != self.outlook.config.target or config.client_id != self.outlook.config.client_id
        self.outlook.configure(config)
        self.session.configure(self._connector())
        if moved:
            self.session.use(None)

    def _connector(self) -> Connector:
        waits = timeouts(self.outlook.config.connect_timeout, self.outlook.config.request_timeout)
        return Connector(self.outlook.config.target, waits, small_client_hello=self.outlook.config.small_client_hello)

    def _role(self, peer: Peer) -> Role:
        return role_of(peer, readers=group_ids(READERS), admins=group_ids(ADMINS), owner_uid=os.geteuid())

    # -- what happens ----------------------------------------------------------------------------------------------

    def _on_uplink(self) -> None:
        if self._uplink is not None and self._uplink.read():
            self.session.retry_soon()

    def _watch_routes(self) -> None:
        """Look at the routes while there is no connection; it needs no socket that a sandbox would have to allow."""
        if self._uplink is None and (self._looking is None or not self._looking.pending):
            self._routes = routes()
            self._looking = self.loop.later(ROUTES_LOOK, self._look_at_routes)

    def _look_at_routes(self) -> None:
        if not self.session.waits_for_network or self._stopping:
            return
        if routes() != self._routes:
            self.session.retry_soon()
        self._looking = None
        self._watch_routes()

    def _on_clock(self) -> None:
        if self._clock_watch is not None and self._clock_watch.read():
            self._inbox.hurry()
            self._tell(
                journal_events.Event.PROGRESS,
                f"The clock was set; it shows {self.outlook.now():%Y-%m-%d %H:%M:%S} UTC now.",
            )
        self.consider()

    def _on_recovered(self) -> None:
        change = self.outlook.change
        if change is not None and change.retry_at is not None and heals_with_network(change.failure):
            self.submit(Order(do=Do.GO_ON, hasten=True, orderly=True))

    def _on_connected(self, link: Link) -> None:
        self._down_since, self._stuck = None, ""
        self._climbed.clear()
        self._settle()
        self._tell(journal_events.Event.CONNECTED, f"Connected with generation {self.session.status.generation}.")
        if self.session.contested:
            self.loop.later(STEADY, self.consider)  # by then it is known whether it lasts
        self.fleet.connected(link, self.outlook.thing)
        self.consider()

    def _on_disconnected(self, why: str) -> None:
        self.fleet.disconnected()
        if self._stopping:
            self.loop.later(0.05, self.loop.stop)  # the goodbye is said
            return
        if self.session.status.state in {SessionState.DOWN, SessionState.TAKEN_OVER}:
            self.desk.not_retired(why, Exit.UNAVAILABLE)
        self._watch_routes()
        if self._down_since is None:
            self._down_since = self.outlook.now()
            if self.session.status.state is SessionState.DOWN:
                self._tell(journal_events.Event.DISCONNECTED, f"Not connected: {why}")
        self._publish()

    def _on_doubt(self, failure: Failure) -> None:
        change = self.outlook.change
        if change is None:
            self._hold_until = 0.0  # what holds a change back, a full disk above all, does not hold the way back
        if change is None or not change.phase.activated:  # one that waits gives way to a rung that is accepted
            self.submit(Order(do=Do.CLIMB, reason=failure.message, origin=Origin.LADDER))

    def _on_suspicion(self) -> None:
        if self.outlook.doubts(self.session.status.generation):
            self.submit(Order(do=Do.GO_ON, doubt=True, orderly=True))

    # -- workers ---------------------------------------------------------------------------------------------------

    def submit(self, order: Order, client: Client | None = None) -> None:
        """See `agent.daemon.control_verbs.Daemon`."""
        if client is None and any(waiting == order for waiting, _ in self._queue):
            return
        self._queue.append((order, client))
        self.loop.post(self.consider)

    @property
    def making(self) -> Kind | None:
        """See `agent.daemon.control_verbs.Daemon`."""
        orders = [order for order, _ in self._queue]
        if self._worker is not None:
            orders.append(self._worker.order)
        return next((kind for order in orders if (kind := _begins(order)) is not None), None)

    def told(self) -> str:
        """See `agent.daemon.control_verbs.Daemon`."""
        return reported.read(self.outlook.config.state_dir)

    def note_told(self, change: str) -> None:
        """See `agent.daemon.control_verbs.Daemon`."""
        reported.write(self.outlook.config.state_dir, change)

    @property
    def contested(self) -> str:
        """See `agent.daemon.control_verbs.Daemon`."""
        return self.session.contested

    def interrupt(self) -> None:
        """See `agent.daemon.control_verbs.Daemon`."""
        if self._worker is not None:
            self._worker.stop()

    def _start(self, order: Order, client: Client | None) -> None:
        self._asker = client
        if client is not None:
            self.desk.started(client)
        self.session.suspend()
        config = self.outlook.config
        order = replace(order, connected_at=self.session.connected_at, configuration=config.source)
        self._worker = self._start_worker(self.loop, config.path, order, self._on_progress, self._on_end)

    def _on_progress(self, message: dict[str, Any]) -> None:
        code, text = str(message.get("code", "")), str(message.get("text", ""))
        self.outlook.refresh()
        event = journal_events.of_progress(code, message.get("failure"))
        if (
            event is not journal_events.Event.LADDER or text not in self._climbed
        ):  # it may be climbed for days, every minutes
            self._tell(event, text, change=message.get("change"), phase=code, failure_class=message.get("failure"))
        if event is journal_events.Event.LADDER:
            self._climbed.add(text)
        self.desk.progress(message)
        self._publish()

    def _on_end(self, end: dict[str, Any]) -> None:
        order, client = self._worker.order if self._worker else Order(do=Do.LOOK), self._asker
        self._worker = self._asker = None
        self.outlook.take(end.get("seen"), end.get("change"), end.get("traces"))
        self.desk.look_back()
        error = end.get("error")
        self._orderly = error is None
        if end.get("half"):
            self._climb_at = max(self._climb_at, monotonic() + HALF)
        if error is None:
            self._troubles, self._unseen = 0, ""
        else:
            self._on_error(order, client, error)
        self._follow_up(order, client, end)
        self._tell_bundle(order, end.get("bundle"))
        self._tell_dropped(client, end.get("dropped"))
        self._tell_end(order, end)
        if not (error and error.get("busy")):  # whoever has the store connects with the client id, too
            self.session.use(self.outlook.current())
            self.session.resume(end.get("connected_at"))
        self.fleet.jobs.review()
        if self._stopping:
            self._say_goodbye()
            return
        self._be_ready()
        self.consider()

    def _on_error(self, order: Order, client: Client | None, error: dict[str, Any]) -> None:
        if error.get("busy"):
            self._queue.appendleft((order, client))
            self._busy_until = monotonic() + BUSY_LOOK
            return
        asked_for = client is not None or bool(order.order)
        if not asked_for or error.get("died"):  # whoever asked is told, and nobody else waits for that
            self._troubles = min(self._troubles + 1, 12)
            self._hold_until = monotonic() + _TROUBLE.delay(self._troubles, 0.5 + 0.5 * self._chance())
        if order.do is Do.LOOK:
            self._unseen = str(error["message"])
        event = journal_events.Event.PROGRESS if asked_for else journal_events.Event.TROUBLE_STORE
        event = journal_events.Event.WORKER_DIED if error.get("died") else event
        self._tell(event, str(error["message"]))
        if order.order:
            self._fleet_orders.pop(order.order, None)
            self.fleet.jobs.refuse(order.order, "refused", str(error["message"]))
        if client is not None:
            self.desk.failed(client, error)

    def _follow_up(self, order: Order, client: Client | None, end: dict[str, Any]) -> None:
        """Keep what the ladder found, and an order whose turn comes when the change in flight has ended."""
        climb = end.get("climb")
        if climb is not None:
            self._conclude_climb(climb)
        if end.get("postponed"):
            self._postponed.append((order, client))
            self.desk.postponed(client)

    def _conclude_climb(self, climb: dict[str, Any]) -> None:
        use, why = climb.get("use"), str(climb["why"])
        if use is None:
            self.session.explain(why)  # the worker sees more of it than the session does
            return
        before, self._stuck = self._stuck, ""
        if use == Rung.TECHNICIAN:
            self._stuck = f"{why[:1].upper()}{why[1:]}. {climb.get('remedy', '')}".rstrip()
            if self._stuck != before:
                self._tell(journal_events.Event.LOCKED_OUT, self._stuck)

    def _tell_bundle(self, order: Order, told: dict[str, Any] | None) -> None:
        """Tell whoever shipped a bundle that it became no change."""
        if order.do is Do.TAKE_DROP:
            self._inbox.taken(order.drop, self.outlook.config.inbox)
        if told is None:
            return
        refused = told["code"] != "unchanged"
        where = f"{order.drop} in the inbox" if order.do is Do.TAKE_DROP else f"The bundle of {order.order}"
        event = (
            journal_events.Event.BUNDLE_REFUSED
            if refused and not told.get("passing")
            else journal_events.Event.PROGRESS
        )
        self._tell(event, f"{where}: {told['message']} {told['hint']}".rstrip())
        if order.do is not Do.DOWNLOAD:
            return
        if not refused:
            self.fleet.jobs.done(order.order, str(told["message"]))
        elif told.get("passing"):
            self.fleet.jobs.postpone(order.order, str(told["message"]))
        else:
            self.fleet.jobs.refuse(order.order, str(told["code"]), str(told["message"]))

    def _tell_dropped(self, client: Client | None, text: str | None) -> None:
        """Tell who asked for it that a certificate is not asked to be retired any more."""
        if text is None:
            return
        self._tell(journal_events.Event.RETIRE_DROPPED, text)
        if client is not None:
            self.desk.answer(client, {"event": "dropped", "text": text, "exit": int(Exit.DONE)})

    def _tell_end(self, order: Order, end: dict[str, Any]) -> None:
        if "rehearsal" in end:
            self.desk.ended({"event": "rehearsal", "text": end["rehearsal"], "exit": int(Exit.DONE)})
        elif "examination" in end:
            self.desk.ended({"event": "examination", "lines": end["examination"], "exit": int(Exit.DONE)})
        elif order.do is Do.NOTE_RETIRED:
            self.fleet.retirements.conclude()
        elif end.get("repeats"):
            has = {"change": end["repeats"], "current": self.outlook.generation, "repeated": True}
            self.desk.ended({"event": "outcome", **has, "exit": int(Exit.DONE)})
        elif end.get("wait"):
            waits = {name: end.get(name) for name in ("change", "wait", "postponed")}
            climb = end.get("climb") or {}
            waits["locked_out"] = climb if climb.get("use") == Rung.TECHNICIAN else None
            self.desk.waits({**waits, "current": self.outlook.generation, "would_exit": end["exit"]})
        elif end.get("change"):
            self._tell_outcome(end)
        elif "climb" in end:
            self.desk.ended(_of_climb(end["climb"]))

    def _tell_outcome(self, end: dict[str, Any]) -> None:
        change = end["change"]
        text = f"{change['kind']} {change['id']} ended: {change['phase']}."
        failure = (change.get("failure") or {}).get("message", "")
        if change["phase"] != Phase.COMMITTED:  # which was told as it happened
            self._tell(
                journal_events.of_progress(change["phase"], None), f"{text} {failure}".rstrip(), change=change["id"]
            )
        self.desk.ended({"event": "outcome", "change": change, "current": self.outlook.generation, "exit": end["exit"]})

    def _be_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self.notifier.ready(self._summary())

    # -- considering -----------------------------------------------------------------------------------------------

    def consider(self) -> None:
        """Look at the facts and do the next thing, or sleep until something may change."""
        if self._stopping or not self._still_the_only_one():
            return
        self._hands.listen(self.outlook.config.state_dir)  # before anything is compared, so that nothing falls between
        self.outlook.contested = bool(self.contested)
        if self._worker is None:
            chosen = self._choose()
            if chosen is not None:
                self._start(*chosen)
            else:
                self.fleet.retirements.consider()
                self._look_after_dependants()
                self._sleep()
        self._publish()

    def _look_after_dependants(self) -> None:
        alone = self.outlook.change is None  # which sees to them itself
        self._dependants.consider(self.outlook.config, self.outlook.generation if alone else None)

    def _choose(self) -> tuple[Order, Client | None] | None:
        now = monotonic()
        if now < self._busy_until:
            return None
        if now < self._hold_until:
            return self._asked_for()
        if self._queue:
            return self._queue.popleft()
        if self.outlook.blind or self._unseen:
            return Order(do=Do.LOOK, orderly=self._orderly, patient=self._hands.busy), None
        if self.outlook.change is not None:
            if isinstance(self.outlook.following(), Wait) and not self._heard():
                return None
            return Order(do=Do.GO_ON, orderly=self._orderly), None
        if self._postponed:
            return self._postponed.popleft()
        if self._fleet_orders:
            return self._fleet_orders.pop(next(iter(self._fleet_orders))), None
        return self._planned() or self._dropped()

    def _asked_for(self) -> tuple[Order, Client | None] | None:
        """Return the first order that a client waits for: a person's wish is no repetition of what just failed."""
        for item in self._queue:
            if item[1] is not None:
                self._queue.remove(item)
                return item
        return None

    def _heard(self) -> bool:
        """Whether the word that the set in use works has come: soon on disk, where no power cut can lose it."""
        if monotonic() < self._next_word_look:
            return False
        self._next_word_look = monotonic() + WORD_LOOK
        return self.outlook.heard()

    def _dropped(self) -> tuple[Order, Client | None] | None:
        """Return the order to take in what an OTA pipeline has dropped."""
        if not self.outlook.has_set:
            return None
        name = self._inbox.next(self.outlook.config.inbox)
        return (Order(do=Do.TAKE_DROP, origin=Origin.INBOX, drop=name, orderly=True), None) if name else None

    def _planned(self) -> tuple[Order, Client | None] | None:
        plan = self.outlook.plan()
        if not plan.due:
            return None
        if not self.outlook.has_set and self.outlook.has_enrolled:
            if monotonic() < self._climb_at:
                return None
            self._climb_at = monotonic() + CLIMB_AGAIN
            return Order(do=Do.CLIMB, reason=plan.why, origin=Origin.LADDER), None
        origin = Origin.JOB if plan.order else Origin.SCHEDULE
        order = Order(do=Do.BEGIN, kind=plan.kind, origin=origin, reason=plan.why[:500], order=plan.order)
        return order, None

    def _sleep(self) -> None:
        """Wake when something planned is due, at a clock step, and after ten minutes whatever happens."""
        now, instants = self.outlook.now(), [self.outlook.now() + schedule.LOOK_EVERY]
        action, plan = self.outlook.following(), self.outlook.plan()
        if isinstance(action, Wait):
            instants.append(action.until)
        elif plan.at is not None:
            instants.append(plan.at)
        instants += [item.due for item in self.outlook.retirements()]
        seconds = [(at - now).total_seconds() for at in instants if at > now]
        again = self.fleet.retirements.next_try()
        seconds += [again] if again is not None else []
        holds = (self._busy_until, self._hold_until, self._climb_at)
        seconds += [until - monotonic() for until in holds if until > monotonic()]
        seconds += [WORD_LOOK] if self.outlook.listens else []
        seconds += [INHIBIT_LOOK] if plan.code == "inhibited" else []
        seconds += [self._inbox.delay] if self._inbox.delay is not None else []
        seconds += [self._dependants.delay] if self.outlook.has_set and self.outlook.change is None else []
        if self._look is not None:
            self._look.cancel()
        delay = min(seconds, default=schedule.LOOK_EVERY.total_seconds())
        self._look = self.loop.later(max(delay, 0.05), self.consider)
        if self._clock_watch is not None:
            self._clock_watch.arm(now + schedule.LOOK_EVERY * 2)  # only a clock step is to be heard of from there

    def _read_pause(self) -> None:
        try:
            self.outlook.pause = pauses.read(self.outlook.config.state_dir)
        except StoreError:
            self.outlook.pause = None

    def set_pause(self, pause: Pause | None) -> None:
        """See `agent.daemon.control_verbs.Daemon`."""
        if pause is None:
            pauses.clear(self.outlook.config.state_dir)
            self._tell(journal_events.Event.RESUMED, "Scheduled changes are not held any more.")
        else:
            pauses.write(self.outlook.config.state_dir, pause)
            self._tell(journal_events.Event.PAUSED, f"Paused until {pause.until:%Y-%m-%d %H:%M} UTC: {pause.reason}")
        self.outlook.pause = pause
        if pause is None:
            self.submit(Order(do=Do.LOOK, orderly=True))  # a newer baked copy may have been held
        self.consider()

    # -- the fleet -------------------------------------------------------------------------------------------------

    def _begin_for_job(self, order: Order) -> None:
        self._fleet_orders[order.order] = order
        self.loop.post(self.consider)

    def _withdraw(self, order: str) -> None:
        self._fleet_orders.pop(order, None)

    def _on_suggestion(self, suggestion: Suggestion | None) -> None:
        if suggestion != self.outlook.suggestion:
            self.outlook.suggestion = suggestion
            self.loop.post(self.consider)

    def retire_now(self, *, over: bool) -> int:
        """See `agent.daemon.control_verbs.Daemon`."""
        found = self.fleet.retirements.order_all(over=over)
        self.loop.post(self.consider)
        return found

    def _on_not_retired(self, text: str, code: Exit) -> None:
        self.desk.not_retired(text, code)
        self.consider()

    # -- telling ---------------------------------------------------------------------------------------------------

    def _tell(self, event: journal_events.Event, text: str, **fields: Any) -> None:
        change = self.outlook.change
        if change is not None:
            fields.setdefault("change", change.id)
            fields.setdefault("phase", change.phase.value)
            if change.failure is not None:
                fields.setdefault("failure_class", change.failure.kind.value)
                fields.setdefault("failure_code", change.failure.code)
        self.log.log(event, text, generation=self.outlook.generation, **fields)

    def status(self) -> Status:
        """See `agent.daemon.control_verbs.Daemon`."""
        link = Connection(
            state=ConnectionState(self.session.status.state),
            why=self.session.status.why,
            since=self._down_since,
            rival=self.contested,
        )
        live = Live(
            pid=os.getpid(),
            connection=link,
            stuck=self._stuck,
            unseen=self._unseen,
            configuration_refused=self._refused_configuration,
        )
        return self.outlook.status(live, self.fleet.retirements.answers, self._dependants.problem)

    def _publish(self) -> None:
        if not self.outlook.complete:
            return
        status = self.status()
        problem = self._publisher.publish(status, self.outlook.history)
        if problem:
            self._tell(journal_events.Event.TROUBLE_STORE, problem)
        self._tell_news(events(status))
        self.fleet.report()
        if self._ready:
            self.notifier.status(self._summary())

    def _tell_news(self, events: dict[str, journal_events.Event]) -> None:
        """Write each finding to the log when it appears, and not again while it lasts."""
        for text, event in events.items():
            if text not in self._told:
                self._tell(event, text)
        self._told = set(events)

    def _summary(self) -> str:
        change = self.outlook.change
        if change is not None:
            return f"{change.kind} {change.id} is in flight, in phase {change.phase}"
        set_text = f"generation {self.outlook.generation}" if self.outlook.has_set else "no certificate"
        return f"{set_text}, connection {self.session.status.state}; {self.outlook.plan().why}"


def _begins(order: Order) -> Kind | None:
    """Return the kind of change that an order begins where nothing is in flight, or None."""
    if order.do is Do.ORDER and order.verb is not Verb.GIVE_UP:
        return Kind(order.verb.value)
    return order.kind if order.do is Do.BEGIN else None


def _of_climb(climb: dict[str, Any]) -> dict[str, Any]:
    """Return what a client is told of a climb that led to no change."""
    if climb.get("use") == Rung.TECHNICIAN:
        return {
            "event": "locked-out",
            "why": climb["why"],
            "remedy": climb.get("remedy", ""),
            "exit": int(Exit.CRITICAL),
        }
    works = climb.get("use") == Rung.CURRENT
    remedy = "" if works else " Run the same command again later."
    text = f"Nothing was changed: {climb['why']}.{remedy}"
    return {"event": "nothing", "text": text, "exit": int(Exit.DONE if works else Exit.UNAVAILABLE)}


def run(config: Config) -> Exit:
    """Run the daemon until it is told to stop.

    Raises:
        AgentError: It cannot start.
    """
    if config.state_dir.exists():
        ownership.become_owner(config.state_dir)
    return Daemon(config).run()
