"""What the daemon knows, and what follows from it: the plan, the next step of a change, what is left to retire.

It is fed by what workers saw and reads the records itself. It decides nothing of its own: the rules are the core's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent import __version__
from agent.config.asked import asked_of
from agent.core import timekeeping
from agent.core.aws import client_ids
from agent.core.change.decide import brought_forward_to
from agent.core.change.lifecycle import good_times
from agent.core.frozen import frozen
from agent.core.report.findings import turns
from agent.core.report.known import Known
from agent.core.report.status import status_of
from agent.daemon.record_reader import RecordReader
from agent.dependants import hooks, report_file
from agent.store import reserve
from agent.store.files import fingerprints
from agent.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from agent.config.values import Config
    from agent.core.change.decide import Action, Limits
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.known import Live
    from agent.core.report.seen import Seen
    from agent.core.report.status import Status
    from agent.core.when import retirement, schedule
    from agent.core.when.schedule import Pause, Plan, Suggestion
    from agent.ports import Clock


@frozen
class Current:
    """The set in use, as the session needs it.

    Attributes:
        generation: Its number.
        thing: The thing's name.
        client_id: The MQTT client id.
        directory: Where its files are.
    """

    generation: int
    thing: str
    client_id: str
    directory: Path


class GatewayFacts:
    """The facts of one gateway.

    Attributes:
        config: The configuration in force.
        clock: The wall clock.
    """

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self._given_clock = clock
        self.clock = clock or SystemClock(vouched=config.vouched_clock)
        self._pause: Pause | None = None
        self._suggestion: Suggestion | None = None
        self._contested = False
        self._records = RecordReader(config.state_dir)
        self._change: ChangeRecord | None = None
        self._proven: tuple[str, datetime] | None = None
        self._seen: Seen | None = None
        self._traces = ""

    def configure(self, config: Config) -> None:
        """Take another configuration into force."""
        self.config = config
        self.clock = self._given_clock or SystemClock(vouched=config.vouched_clock)

    def hold(self, pause: Pause | None) -> None:
        """Hold scheduled changes by a pause, or by none any more."""
        self._pause = pause

    def suggest(self, suggestion: Suggestion | None) -> bool:
        """Take the renewal window that the fleet suggests, if any; return whether it is another one."""
        before, self._suggestion = self._suggestion, suggestion
        return suggestion != before

    def contest(self, contested: bool) -> None:  # noqa: FBT001 - a state, and no option
        """Take down whether another client uses the agent's client id, so that a connection costs it its own."""
        self._contested = contested

    def take(self, seen: Seen | None, change: ChangeRecord | None = None, found: str = "") -> None:
        """Take what a worker saw, and read the records again.

        Args:
            seen: What it found on disk; None when it could not look, or told of it in words that are not known here.
            change: How the worker left the change in flight.
            found: The traces of the files just before it looked: what is touched while it does is noticed after it.
        """
        if change is not None and change.checked_at is not None:
            self._proven = change.id, change.checked_at
        self.refresh(at_work=seen is None and self.blind)
        if seen is not None:
            self._seen = seen
            self._traces = found or self._traces_now()

    def refresh(self, *, at_work: bool = False) -> None:
        """Read the records again.

        Args:
            at_work: Whether a worker is at work, which has just told of a step, or has died before it told what is in
                use now, so that the next one looks. A change that has ended is in flight until then: its end does not
                go with what was seen of the set before.
        """
        self._records.refresh(at_work=at_work)
        self._change = self._records.change
        if self._change is not None and self._proven is not None and self._proven[0] == self._change.id:
            self._change = replace(self._change, checked_at=self._proven[1])  # which is not written each time

    @property
    def blind(self) -> bool:
        """Whether a worker has to look: nothing was seen yet, or the set in use or the reserve is not as it was."""
        return self._seen is None or self._traces != self._traces_now() or self._reserve_differs()

    @property
    def complete(self) -> bool:
        """Whether anything was seen at all."""
        return self._seen is not None

    def _traces_now(self) -> str:
        return fingerprints.of(self.config.state_dir, self.config.foundations)

    def _reserve_differs(self) -> bool:
        """Whether there is room for what a worker could not set aside, or it is gone; the next one sets it aside."""
        found = reserve.standing_at(self.config.state_dir)
        return found is not None and self._seen is not None and found != self._seen.reserve

    # -- what is -------------------------------------------------------------------------------------------------------

    def reading(self) -> timekeeping.Reading:
        """Return the clock, judged by what is known to lie in the past."""
        floors = () if self._seen is None else (self._seen.floor,)
        synchronised, notes = self.clock.synchronised(), good_times(self.history)
        return timekeeping.read(self.clock.now(), synchronised=synchronised, floors=floors, notes=notes)

    @property
    def change(self) -> ChangeRecord | None:
        """The change in flight."""
        return self._change

    @property
    def history(self) -> tuple[ChangeRecord, ...]:
        """The finished changes."""
        return self._records.history

    def _known(self) -> Known:
        return Known(
            version=__version__,
            asked=asked_of(self.config, self._thing, self._pause, self._suggestion),
            clock=self.reading(),
            seen=self._seen,
            change=self.change,
            history=self.history,
        )

    @property
    def generation(self) -> int | None:
        """The current generation, if it is whole."""
        return self._seen.current.generation if self._seen and self._seen.current else None

    @property
    def _thing(self) -> str:
        return self._seen.current.thing_name if self._seen and self._seen.current else ""

    def current(self) -> Current | None:
        """Return the set in use."""
        number = self.generation
        if number is None:
            return None
        client_id = client_ids.made(self.config.client_id, self._thing)
        return Current(
            generation=number, thing=self._thing, client_id=client_id, directory=self._records.directory_of(number)
        )

    # -- what follows --------------------------------------------------------------------------------------------------

    def following(self) -> Action | None:
        """Return what the change in flight does next, or None without one."""
        return self._known().following(self._limits())

    def _limits(self) -> Limits:
        limits = self.config.limits
        return replace(limits, check_every=limits.probation) if self._contested else limits  # the last proof has to do

    def doubts(self, generation: int | None) -> bool:
        """Whether a set that is suspected is on probation, and is to be proven before that is due."""
        change = self.change
        if change is None or change.generation != generation:
            return False
        return brought_forward_to(change, self._known().facts(change), self.config.limits) is not None

    def plan(self) -> Plan:
        """Return what is planned now."""
        return self._known().plan()

    def turns(self) -> Iterator[datetime]:
        """Return the instants at which the status changes by the clock alone, past ones among them."""
        return turns(status_of(self._known()))

    def subject(self) -> schedule.Subject | None:
        """Return what is to be kept fresh."""
        return self._known().subject()

    def retirements(self) -> tuple[retirement.Retirement, ...]:
        """Return the certificates that are still to be retired, and what each waits for."""
        return self._with_behind(self._known()).retirements()

    def _with_behind(self, known: Known) -> Known:
        return report_file.add_behind(known, self.config.dependants, self.config.deploy_dir)

    # -- the status ----------------------------------------------------------------------------------------------------

    def status(self, live: Live, answers: retirement.Answers, unserved: str) -> Status:
        """Return how the gateway stands now.

        Args:
            live: What only the daemon knows.
            answers: What the cloud said to requests for retirement.
            unserved: Why the dependants could not be served, or empty.
        """
        served = report_file.served(self.config.dependants, self.config.deploy_dir, unserved)
        unasked = tuple(hooks.unfit(self.config.dependants.gates))
        known = replace(self._known(), served=served, unasked=unasked, answers=answers, live=live)
        return status_of(self._with_behind(known), self._limits())
