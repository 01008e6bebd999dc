"""What the daemon tells of itself: the status, and where it is published, noted and shown.

It owns what only the daemon knows: since when there is no connection, which configuration was refused.
What the rest of the status is the facts say.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from agent.core.report.known import Connection, Live
from agent.daemon.status_files import StatusFiles

if TYPE_CHECKING:
    from agent.core.report.status import Status
    from agent.daemon.cloud.side import CloudSide
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.finding_news import FindingNews
    from agent.daemon.work.ladder_news import LadderNews
    from agent.daemon.work.schedule_watch import ScheduleWatch
    from agent.system.service.service_manager import Notifier


class _Reload(Enum):
    """How far a reload is."""

    DONE = 0
    READ = 1  # the configuration is in force; what it names was not looked at yet
    LOOKED_AT = 2  # a worker looks at that


class Outage:
    """When there came to be no connection, and when it is tried again; none of both while there is one."""

    def __init__(self) -> None:
        self.since: datetime | None = None
        self._next: datetime | None = None

    def tried_in(self, seconds: float | None, now: datetime) -> datetime | None:
        """Return the time of the next try, to the second: what was told stays, unless it was wrong by more than one."""
        if seconds is None:
            return None
        found = (now + timedelta(seconds=seconds + 0.5)).replace(microsecond=0)
        if self._next is None or abs(found - self._next) > timedelta(seconds=1):
            self._next = found
        return self._next


class StatusReport:
    """The status of one gateway."""

    def __init__(
        self,
        facts: GatewayFacts,
        cloud: CloudSide,
        schedule: ScheduleWatch,
        ladder: LadderNews,
        notifier: Notifier,
        news: FindingNews,
    ) -> None:
        """Tell nothing yet.

        Args:
            facts: What is known of the gateway.
            cloud: The connection, and what the cloud said.
            schedule: What could not be looked at or looked after.
            ladder: Whether there is a set left to try.
            notifier: The service manager.
            news: What is told to the journal, and to the operator's command.
        """
        self._facts = facts
        self._cloud = cloud
        self._schedule = schedule
        self._ladder = ladder
        self._notifier = notifier
        self._news = news
        self._files = StatusFiles(facts.config.runtime_dir)
        self._outage = Outage()
        self._refused_configuration = ""
        self._unreachable = ""
        self._ready = False
        self._reload = _Reload.DONE

    # -- what happened ---------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """There is a connection, so a set is accepted."""
        self._outage = Outage()
        self._ladder.accepted()

    def disconnected(self) -> bool:
        """There is no connection; return whether that is new."""
        new = self._outage.since is None
        if new:
            self._outage.since = self._facts.clock.now()
        return new

    def configuration_read(self, refused: str) -> None:
        """The configuration was read again; `refused` says why it is not in force, or is empty."""
        self._refused_configuration = refused

    # -- what is told ----------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Return how the gateway stands now."""
        session, schedule = self._cloud.session, self._schedule
        live = Live(
            pid=os.getpid(),
            connection=Connection(
                state=session.status.state,
                why=session.status.why,
                since=self._outage.since,
                rival=session.contested,
                cut_off=session.status.cut_off,
                next_try=self._outage.tried_in(session.next_try, self._facts.clock.now()),
            ),
            stuck=self._ladder.stuck,
            unseen=schedule.unseen,
            configuration_refused=self._refused_configuration,
            untold=self._news.problem,
            runtime=self._unreachable or self._files.problem,
        )
        return self._facts.status(live, self._cloud.fleet.retirements.answers, schedule.unserved)

    def publish(self) -> None:
        """Tell what is new to the files, the journal, the shadow and the service manager, once anything was seen."""
        if not self._facts.complete:
            return
        status = self.status()
        if self._files.publish(status, self._facts.history):
            self.publish()  # which is to be told there, too
            return
        self._news.tell(status)
        self._cloud.fleet.report()
        if self._ready:
            self._notifier.status(self._summary())

    def runtime_kept(self, problem: str, *, is_anothers: bool = False) -> bool:
        """Publish where that is not as it was left, and return whether the runtime directory is as it should be.

        What is new is not published here: writing it is heard of, and a status that is new at each look, as when it
        tells the time, would be written without end.

        Args:
            problem: Why not, or an empty text.
            is_anothers: Whether another daemon holds it.
        """
        other = problem != self._unreachable
        self._unreachable, self._files.is_anothers = problem, is_anothers
        if other or self._files.problem or not self._files.kept:
            self.publish()
        return not (self._unreachable or self._files.problem)

    def be_ready(self) -> None:
        """Tell the service manager that the daemon is ready, unless it knows."""
        if not self._ready:
            self._ready = True
            self._notifier.ready(self._summary())

    def reload_begun(self) -> None:
        """What the configuration names is to be looked at anew before the reload is said to have ended."""
        self._reload = _Reload.READ

    def worker_started(self) -> None:
        """A worker is started, with the configuration in force."""
        if self._reload is _Reload.READ:
            self._reload = _Reload.LOOKED_AT

    def looked(self) -> None:
        """A worker has told what it saw."""
        if self._reload is _Reload.LOOKED_AT:
            self.reloaded()

    def reloaded(self) -> None:
        """Tell the service manager that a reload has ended: a client that asks for the status now sees its outcome."""
        self._reload = _Reload.DONE
        self.publish()
        self._notifier.ready(self._summary())

    def reloaded_at_last(self) -> None:
        """Let a reload have ended that a busy worker holds up."""
        if self._reload is not _Reload.DONE:
            self.reloaded()

    def withdraw(self) -> None:
        """Remove the files: what is in them is not kept up to date any more."""
        self._files.withdraw()

    def _summary(self) -> str:
        change = self._facts.change
        if change is not None:
            return f"{change.kind} {change.id} is in flight, in phase {change.phase}"
        set_text = f"generation {self._facts.generation}" if self._facts.generation is not None else "no certificate"
        return f"{set_text}, connection {self._cloud.session.status.state}; {self._facts.plan().why}"
