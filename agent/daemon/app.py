"""The daemon: its start, its end, and what it does whenever something happens.

One thread. Everything that happens (a worker's end, a clock step, an order, a connection) ends in `consider`, which
looks at the facts anew and does at most one thing. Rules:

* It writes nothing to the state directory but a pause, and what was told: the last change's end, and findings. Changes
  are the workers', one at a time.
* It is ready when the store is recovered and the socket listens, not when the cloud answers.
* Nothing is concluded from its own memory that the disk or the cloud could tell.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from agent.config.apart import load_apart
from agent.core.control_protocol import ErrorMessage
from agent.core.exit_codes import Exit
from agent.core.report.findings import LONG_DOWN
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.worker_protocol import Do, Order
from agent.daemon.cloud.side import CloudCalls, CloudSide
from agent.daemon.control.audit import Audit
from agent.daemon.control.followers import Followers
from agent.daemon.control.server import ControlSocket
from agent.daemon.control.verbs import ControlVerbs, VerbCalls
from agent.daemon.daemon_log import DaemonLog
from agent.daemon.facts import GatewayFacts
from agent.daemon.finding_news import FindingNews
from agent.daemon.loop import Loop
from agent.daemon.notices import Notices
from agent.daemon.single_instance import SingleInstance
from agent.daemon.status_report import StatusReport
from agent.daemon.surroundings import OutsideCalls, Surroundings
from agent.daemon.work.dependants import DependantsWatch
from agent.daemon.work.dispatcher import DispatchCalls, Dispatcher
from agent.daemon.work.holds import WorkerHolds
from agent.daemon.work.ladder_news import LadderNews
from agent.daemon.work.queue import WorkQueue
from agent.daemon.work.results import Recipients, WorkerResults
from agent.daemon.work.schedule_watch import ScheduleWatch
from agent.daemon.work.worker_process import WorkerProcess
from agent.errors import AgentError, ConfigError, RefusedError, StoreError
from agent.store.files import ownership
from agent.store.notes import pauses, reported
from agent.system.clock import chance
from agent.system.files import is_there
from agent.system.peers import ADMINS, READERS, group_ids, role_of
from agent.system.processes.memory import give_back
from agent.system.service.service_manager import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.config.values import Config
    from agent.core.change.progress import Progress
    from agent.core.report.status import Status
    from agent.core.when.schedule import Pause
    from agent.core.worker_protocol import End
    from agent.daemon.work.worker_process import Running
    from agent.ports import Clock
    from agent.system.peers import Peer, Role

    StartWorker = Callable[..., Running]

STOP_PATIENCE = 20.0  # seconds for a worker to end between two steps; the unit allows thirty for everything
RELOAD_PATIENCE = 10.0  # seconds for a worker to look at what a new configuration names; systemd allows ninety
SETTLE = 5.0  # seconds after the last connection before memory is given back
GOODBYE = 2.0  # seconds for the SDK to say goodbye to the broker
ONE_TURN = 0.05  # seconds for what clients are still to be told


class Daemon:
    """One gateway's daemon."""

    def __init__(
        self, config: Config, *, clock: Clock | None = None, start_worker: StartWorker = WorkerProcess
    ) -> None:
        """Put the daemon together; nothing happens yet.

        Args:
            config: The configuration.
            clock: The wall clock; None for the machine's.
            start_worker: How a worker is started.
        """
        self.loop = Loop()
        self.facts = GatewayFacts(config, clock)
        self._log = DaemonLog(self.facts)
        self._notifier = Notifier()
        self._stopping = False
        queue = WorkQueue(lambda: self.loop.post(self.consider))
        followers = Followers(lambda change: reported.write(self.facts.config.state_dir, change))
        ladder, holds = LadderNews(self._log.tell), WorkerHolds(chance)
        self.cloud = CloudSide(self.loop, self.facts, queue, followers, self._cloud_calls(holds), chance)
        dependants = DependantsWatch(self.loop, start_worker, chance, self.consider)
        schedule = ScheduleWatch(self.loop, self.facts, queue, holds, dependants, self.consider)
        to = Recipients(
            queue=queue, holds=holds, schedule=schedule, followers=followers, fleet=self.cloud.fleet, ladder=ladder
        )
        results = WorkerResults(self.facts, to, self.cloud.session.explain, self.cloud.examined, self._log.tell)
        self.work = Dispatcher(self.facts, queue, schedule, results, self._dispatch_calls(start_worker))
        news = FindingNews(Notices(self.loop, self.facts, chance, self._publish), self._log.tell)
        self.report = StatusReport(self.facts, self.cloud, schedule, ladder, self._notifier, news)
        audit = Audit(self._log.tell)
        self.verbs = ControlVerbs(self.facts, followers, self._verb_calls(audit))
        self.control = ControlSocket(self.loop, self.verbs.handle, _role, turned_away=audit.turned_away)
        self.instance = SingleInstance(config.runtime_dir, config.state_dir)
        self.surroundings = Surroundings(self.loop, self._outside_calls(schedule), config.control_socket)

    # -- how the parts are connected -------------------------------------------------------------------------------

    def _cloud_calls(self, holds: WorkerHolds) -> CloudCalls:
        return CloudCalls(
            status=self._status,
            connected=self._on_connected,
            disconnected=self._on_disconnected,
            doubted=holds.forget_failures,
            look=self.consider,
            stopping=lambda: self._stopping,
            log=self._log.tell,
        )

    def _dispatch_calls(self, start_worker: StartWorker) -> DispatchCalls:
        return DispatchCalls(
            start=partial(self._start_worker, start_worker),
            progressed=self._publish,
            looked=self._on_look,
            ended=self._on_worker_ended,
            idle=self._on_idle,
        )

    def _verb_calls(self, audit: Audit) -> VerbCalls:
        return VerbCalls(
            status=self.report.status,
            submit=self.work.submit,
            making=self.work.making,
            interrupt=self.work.interrupt,
            contested=lambda: self.cloud.session.contested,
            set_pause=self._set_pause,
            retire=self.cloud.retire_all,
            audit=audit,
        )

    def _outside_calls(self, schedule: ScheduleWatch) -> OutsideCalls:
        return OutsideCalls(
            stop=self._stop,
            reload=partial(self._reload, schedule),
            clock_set=partial(self._on_clock_set, schedule),
            look=self.consider,
            keep_runtime=self._keep_runtime,
        )

    def _start_worker(
        self, start_worker: StartWorker, order: Order, on_progress: Callable[[Progress], None],
        on_end: Callable[[End], None],
    ) -> Running:  # fmt: skip
        self.report.worker_started()
        return start_worker(self.loop, self.facts.config.path, self.cloud.lend(order), on_progress, on_end)

    # These are called by parts that are made before the one that they ask.

    def _status(self) -> Status:
        return self.report.status()

    def _publish(self) -> None:
        self.report.publish()

    def _on_look(self) -> None:
        self.verbs.look_back()
        self.report.looked()

    # -- from start to end -----------------------------------------------------------------------------------------

    def run(self) -> Exit:
        """Run until told to stop.

        Raises:
            AgentError: It cannot start, or turns out to be the second on its state directory.
        """
        ownership.keep_memory_private()
        self.instance.hold_runtime()
        self._hold_state()
        self._adopt()
        self.surroundings.start()
        self.cloud.start()
        self._feed_watchdog(self._notifier.watchdog_interval())
        self._log.tell(Event.STARTED, f"Starting with {self.facts.config.path}.")
        if why := self._notifier.unheard():
            self._log.tell(Event.PROGRESS, why)
        self._read_pause()
        self.work.submit(Order(do=Do.LOOK))
        self._settle()
        try:
            self.loop.run()
        finally:
            self.close()
        if self.instance.refusal is not None:
            raise self.instance.refusal
        return Exit.DONE

    def close(self) -> None:
        """Let go of everything but the loop, which the SDK may still have something for."""
        self.control.close()
        self.report.withdraw()
        for part in (self.work, self.cloud, self.surroundings, self.instance, self._log, self._notifier):
            part.close()

    def _settle(self) -> None:
        """Give back, once nothing else is done, what the last burst of work needed."""
        self.loop.later(SETTLE, give_back)

    def _hold_state(self) -> None:
        """Hold the state directory, once there is one.

        Raises:
            RefusedError: Another daemon does.
        """
        problem = self.instance.hold_state()
        if problem:
            self._log.tell(Event.PROGRESS, problem)

    def _is_still_the_only_one(self) -> bool:
        """Whether no other daemon came before this one to a state directory that was just made; else it ends."""
        try:
            self._hold_state()
        except RefusedError as refusal:
            self._log.tell(Event.TROUBLE_STORE, f"{refusal} {refusal.hint}")
            self._stop()
            return False
        return True

    def _adopt(self) -> None:
        inherited = [fd for fd in self._notifier.listen_fds() if not self.cloud.adopt(fd)]
        if inherited:
            self.control.adopt(inherited[0])

    def _keep_runtime(self) -> bool:
        """Hold the runtime directory and listen in it, whatever was done there; a gateway also works without."""
        if self._stopping:
            return True
        try:
            self.instance.hold_runtime()
            problem = self.control.keep(str(self.facts.config.control_socket))
        except RefusedError as error:
            return self.report.runtime_kept(error.in_full, is_anothers=True)
        except AgentError as error:
            problem = error.in_full
        return self.report.runtime_kept(problem)

    def _feed_watchdog(self, interval: float | None) -> None:
        """Feed the watchdog from the loop itself: a loop that does not turn any more is not fed."""
        if interval is not None:
            self._notifier.watchdog()
            self.loop.later(interval, lambda: self._feed_watchdog(interval))

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._notifier.stopping("stopping")
        self._log.tell(Event.STOPPING, "Stopping; a change in flight is kept and goes on at the next start.")
        if self.work.stop():
            self.loop.later(STOP_PATIENCE, self.work.kill)
        else:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        text = "The daemon was stopped; the change, if any, is kept."
        self.verbs.dismiss(ErrorMessage(message=text, exit=Exit.UNAVAILABLE))
        self.cloud.session.stop()
        self.loop.later(GOODBYE, self.loop.stop)
        if not self.cloud.session.open:
            self.loop.later(ONE_TURN, self.loop.stop)

    def _reload(self, schedule: ScheduleWatch) -> None:
        self._notifier.reloading()
        try:
            self._apply(load_apart(self.facts.config.path))
        except ConfigError as error:
            self.report.configuration_read(f"{error}")
            self._log.tell(Event.RELOAD_REFUSED, f"The configuration before stays in force: {error}")
            self.report.reloaded()
        else:
            self.report.configuration_read("")
            schedule.retry_soon()
            self.cloud.session.retry_soon()
            self._log.tell(Event.RELOADED, "The configuration was read again.")
            self.work.submit(Order(do=Do.LOOK))
            if self.facts.change is not None:
                self.work.submit(Order(do=Do.GO_ON, hasten=True))
            self.report.reload_begun()
            self.loop.later(RELOAD_PATIENCE, self.report.reloaded_at_last)
        self.consider()

    def _apply(self, config: Config) -> None:
        before = self.facts.config
        if (config.state_dir, config.runtime_dir) != (before.state_dir, before.runtime_dir):
            raise ConfigError(
                "state_dir and runtime_dir take effect at a restart: `sudo systemctl restart iot-cert-agent`."
            )
        moved = config.target != before.target or config.client_id != before.client_id
        self.facts.configure(config)
        self.cloud.configure(config, moved=moved)

    # -- what happens ----------------------------------------------------------------------------------------------

    def consider(self) -> None:
        """Look at the facts and do the next thing, or sleep until something may change."""
        if self._stopping or not self._is_still_the_only_one():
            return
        self.facts.contest(bool(self.cloud.session.contested))
        self.cloud.consider()
        self.work.dispatch()
        self.report.publish()

    def _on_idle(self) -> float | None:
        """Nothing is to be done by a worker; return the seconds until something else is to be looked at."""
        self.cloud.fleet.retirements.consider()
        self.surroundings.hear_of_steps(self.facts.clock.now())
        return self.cloud.fleet.retirements.next_try()

    def _on_worker_ended(self, end: End) -> None:
        self.cloud.take_back(end)
        if self._stopping:
            self._say_goodbye()
            return
        self.report.be_ready()
        self.consider()

    def _on_connected(self) -> None:
        self.report.connected()
        self._settle()

    def _on_disconnected(self, why: str) -> None:
        if self._stopping:
            if not self.work.busy:  # the goodbye is said; a worker is waited for, whatever becomes of the connection
                self.loop.later(ONE_TURN, self.loop.stop)
            return
        state = self.cloud.session.status.state
        at_will = {ConnectionState.LENT, ConnectionState.RESTING}  # a change is no outage, nor the end of a look
        if state not in at_will and self.report.disconnected():
            self.loop.later(LONG_DOWN.total_seconds() + ONE_TURN, self.report.publish)
            if state is ConnectionState.DOWN:
                self._log.tell(Event.DISCONNECTED, f"Not connected: {why}")
        self.report.publish()

    def _on_clock_set(self, schedule: ScheduleWatch) -> None:
        schedule.clock_was_set()
        self._log.tell(
            Event.PROGRESS, f"The clock was set; it shows {self.facts.clock.now():%Y-%m-%d %H:%M:%S} UTC now."
        )

    # -- the pause -------------------------------------------------------------------------------------------------

    def _read_pause(self) -> None:
        try:
            self.facts.hold(pauses.read(self.facts.config.state_dir))
        except StoreError:
            self.facts.hold(None)

    def _set_pause(self, pause: Pause | None) -> None:
        if pause is None:
            pauses.clear(self.facts.config.state_dir)
            self._log.tell(Event.RESUMED, "Scheduled changes are not held any more.")
        else:
            pauses.write(self.facts.config.state_dir, pause)
            text = f"Paused until {pause.until:%Y-%m-%d %H:%M} UTC: {pause.reason}"
            self._log.tell(Event.PAUSED, text)
        self.facts.hold(pause)
        if pause is None:
            self.work.submit(Order(do=Do.LOOK))  # a newer baked copy may have been held
        self.consider()


def _role(peer: Peer) -> Role:
    return role_of(peer, readers=group_ids(READERS), admins=group_ids(ADMINS), owner_uid=os.geteuid())


def run(config: Config) -> Exit:
    """Run the daemon until it is told to stop.

    Raises:
        AgentError: It cannot start.
    """
    if is_there(config.state_dir):
        ownership.become_owner(config.state_dir)
    return Daemon(config).run()
