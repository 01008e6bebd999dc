"""What the daemon knows, and what follows from it: the plan, the next step of a change, what is left to retire.

It is fed by what workers saw and reads the records itself. It decides nothing of its own: the rules are the core's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agent.core import timekeeping
from agent.core.change.decide import Action, Facts, doubted, next_action, plainly, requests_of
from agent.core.change.lifecycle import waits_for_word
from agent.core.change.records import public
from agent.core.change.verbs import Situation
from agent.core.jsonio import to_plain
from agent.core.report import status
from agent.core.when import retirement, schedule
from agent.daemon.record_reader import Archive
from agent.dependants import report_file
from agent.errors import StoreError
from agent.store import fingerprints, reserve
from agent.store.confirmations import ConfirmationDirectory
from agent.system.clock import SystemClock

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from agent.config import Config
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.when.schedule import Pause, Plan, Suggestion
    from agent.ports import Clock


@dataclass(frozen=True, kw_only=True)
class Current:
    """The set in use, as the session needs it."""

    generation: int
    client_id: str
    directory: Path


class Outlook:
    """The facts of one gateway.

    Attributes:
        config: The configuration in force.
        clock: The wall clock.
        pause: The pause on disk.
        suggestion: The renewal window that the fleet suggests.
        contested: Whether another client uses the agent's client id, so that each connection costs that one its own.
    """

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self.config = config
        self._given_clock = clock
        self.clock = clock or SystemClock(vouched=config.vouched_clock)
        self.pause: Pause | None = None
        self.suggestion: Suggestion | None = None
        self.contested = False
        self._archive = Archive(config.state_dir)
        self._change: ChangeRecord | None = None
        self._proven: tuple[str, datetime] | None = None
        self._seen: dict[str, Any] | None = None
        self._traces = ""

    def configure(self, config: Config) -> None:
        """Take another configuration into force."""
        self.config = config
        self.clock = self._given_clock or SystemClock(vouched=config.vouched_clock)

    def take(self, seen: object, change: object = None, found: object = None) -> None:
        """Take what a worker saw, and read the records again.

        Args:
            seen: The document, or None when the worker could not look.
            change: How the worker left the change in flight.
            found: The traces of the files just before it looked: what is touched while it does is noticed after it.
        """
        if isinstance(change, dict) and change.get("checked_at"):
            self._proven = str(change.get("id")), status.instant(change["checked_at"])
        self.refresh()
        if isinstance(seen, dict):
            self._seen = seen
            self._traces = found if isinstance(found, str) else self._traces_now()

    def refresh(self) -> None:
        """Read the records again; a worker has just told of a step."""
        self._archive.refresh()
        self._change = self._archive.change
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
        return found is not None and found != (self._seen or {}).get("reserve", found)

    # -- what is -------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Return the wall clock."""
        return self.clock.now()

    def reading(self) -> timekeeping.Reading:
        """Return the clock, judged by what is known to lie in the past."""
        floors = [record.good_time for record in self.history[-20:] if record.good_time is not None]
        if self._seen is not None:
            floors.append(status.instant(self._seen["clock"]["floor"]))
        return timekeeping.read(self.now(), synchronised=self.clock.synchronised(), floors=tuple(floors))

    @property
    def change(self) -> ChangeRecord | None:
        """The change in flight."""
        return self._change

    @property
    def history(self) -> tuple[ChangeRecord, ...]:
        """The finished changes."""
        return self._archive.history

    @property
    def _set(self) -> dict[str, Any] | None:
        return (self._seen or {}).get("current")

    @property
    def generation(self) -> int | None:
        """The current generation, if it is whole."""
        return int(self._set["generation"]) if self._set else None

    @property
    def thing(self) -> str:
        """The thing's name, or empty."""
        return str(self._set["thing_name"]) if self._set else ""

    @property
    def has_set(self) -> bool:
        """Whether there is a usable set."""
        return self._set is not None

    @property
    def has_enrolled(self) -> bool:
        """Whether there is, or was, a set of this gateway's own."""
        damaged = bool((self._seen or {}).get("damage"))
        return self.has_set or damaged or any(record.phase.succeeded for record in self.history)

    def current(self) -> Current | None:
        """Return the set in use."""
        number = self.generation
        if number is None:
            return None
        client_id = self.config.client_id.replace("{thing}", self.thing)
        return Current(generation=number, client_id=client_id, directory=self._archive.directory_of(number))

    # -- what follows --------------------------------------------------------------------------------------------------

    def following(self) -> Action | None:
        """Return what the change in flight does next, or None without one."""
        change = self.change
        if change is None:
            return None
        limits = self.config.limits
        if self.contested:  # the proof that ends probation has to do
            limits = replace(limits, check_every=limits.probation)
        return next_action(change, self._facts(change), limits)

    def _facts(self, change: ChangeRecord) -> Facts:
        earlier = requests_of(record for record in self.history if record.id != change.id)
        return Facts(
            clock=self.reading(),
            current=self.generation,
            expected_thing=self.thing,
            requests=earlier,
            base_whole=change.base is None or change.base in {self.generation, (self._seen or {}).get("previous")},
        )

    def situation(self, told: str) -> Situation:
        """Return what the meaning of a person's order depends on."""
        return Situation(
            change=self.change, history=self.history, current=self.generation, now=self.now(), told=told,
        )  # fmt: skip

    def doubts(self, generation: int | None) -> bool:
        """Whether a set that is suspected is on probation, and is to be proven before its turn for that."""
        change = self.change
        if change is None or change.generation != generation:
            return False
        return doubted(change, self._facts(change), self.config.limits) is not None

    @property
    def listens(self) -> bool:
        """Whether the gateway's own application is to say that it works with the set in use, and has not yet."""
        return self.change is not None and waits_for_word(self.change)

    def heard(self) -> bool:
        """Whether it has said so, and a worker is to take that down."""
        if self.change is None or not waits_for_word(self.change):
            return False
        try:
            return ConfirmationDirectory(self.config.confirm_dir).given(self.change.generation)
        except StoreError:
            return False  # which the worker tells at the next proof

    def plan(self) -> Plan:
        """Return what is planned now."""
        wishes = schedule.Wishes(
            policy=self.config.renewal_policy,
            limits=self.config.limits,
            holds=self.config.rotation.holds(self.pause),
            suggestion=self.suggestion,
        )
        return schedule.plan(
            self.subject(),
            wishes,
            schedule.past_of(self.history),
            self.reading(),
            enrolled=self.has_enrolled,
            configured=self.config.enrollment is not None,
        )

    def subject(self) -> schedule.Subject | None:
        """Return what is to be kept fresh."""
        if self._set is None:
            return None
        leaf = self._set["certificate"]
        not_before, not_after = status.instant(leaf["not_before"]), status.instant(leaf["not_after"])
        return schedule.Subject(not_before=not_before, not_after=not_after, splay=self._set["splay"])

    def retirements(self) -> tuple[retirement.Retirement, ...]:
        """Return the certificates that are still to be retired, and what each waits for."""
        found = self._left_behind()
        if not found or not self.config.rotation.retire:
            return ()
        behind = report_file.behind(self.config.dependants, self.config.deploy_dir, self.generation)
        return retirement.waiting(found, self.history, behind)

    def _left_behind(self) -> tuple[retirement.Retirement, ...]:
        in_use = retirement.resting_on(self._set["certificate"]["sha256"] if self._set else None, self.change)
        return retirement.outstanding(self.history, in_use, self.config.rotation.grace)

    # -- the document --------------------------------------------------------------------------------------------------

    def document(
        self,
        *,
        connection: dict[str, Any],
        stuck: str,
        unseen: str,
        configuration_refused: str,
        answers: retirement.Answers,
        unserved: str,
    ) -> dict[str, Any]:
        """Return the status document as of now; the arguments are what only the daemon knows."""
        pause = self.pause if self.pause and self.pause.until > self.now() else None
        action = self.following()
        document = {
            **(self._seen or self._nothing_seen()),
            "clock": to_plain(self.reading()),
            "warnings": self.config.concerns(self.thing),
            "change": public(self.change) if self.change else None,
            "next": plainly(action) if action else None,
            "last": self._archive.last,
            "plan": to_plain(self.plan()),
            "pause": to_plain(pause) if pause else None,
            "retirements": retirement.plainly(self.retirements(), answers),
            "not_asked_for": 0 if self.config.rotation.retire else len(self._left_behind()),
            "dependants": report_file.document(self.config.dependants, self.config.deploy_dir, unserved),
            "connection": connection,
            "stuck": stuck,
            "unseen": unseen,
            "configuration_refused": configuration_refused,
            "daemon": os.getpid(),
        }
        document["health"], document["exit"] = status.judge(document, self.now())
        return document

    def _nothing_seen(self) -> dict[str, Any]:
        return {
            "config": str(self.config.path.absolute()),
            "endpoint": self.config.endpoint,
            "port": self.config.port,
            "damage": [(status.DEGRADED, "The state directory was not looked at yet.")],
        }
