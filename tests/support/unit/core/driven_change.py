"""A change that is driven as the engine drives it, and what has to hold of it at every step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.core.change import decide, events, probation_events
from agent.core.change.advance import advance
from agent.core.change.decide import Facts, Limits, next_action
from agent.core.change.lifecycle import Phase
from agent.core.change.records import decode_record, encode_outcome, encode_record
from agent.core.failure.codes import traits
from agent.core.timekeeping import read
from agent.core.values import Kind
from support import make
from support.make import DAY, HOUR, NOW

if TYPE_CHECKING:
    from agent.core.change.events import ChangeEvent

LIMITS = Limits()
ASKS = (decide.GenerateKey, decide.BeginRequest, decide.RequestCertificate)
KINDS = st.sampled_from([Kind.ENROLL, Kind.ROTATE, Kind.ROTATE, Kind.ROLLBACK])
# An action that may be tried again for ever stays bounded in a test; twenty proofs and waits make up a probation, and
# forty the time in which an application is waited for.
ENOUGH = 80


@dataclass
class SetLinks:
    """What the links point at, and which generations have been proven within the present change."""

    current: int | None = 6
    previous: int | None = 5
    newest: int = 6
    proven: set[int] = field(default_factory=set)

    def activate(self, number: int) -> None:
        """Move `current`, which is allowed to a proven generation only; doing it again changes nothing."""
        assert number in self.proven
        if self.current != number:
            self.previous, self.current = self.current, number


class DrivenChange(RuleBasedStateMachine):
    """Drives changes as the engine does, and holds each to the promises of the design, whatever the rules do to it."""

    @initialize(
        kind=KINDS, steps=st.integers(0, 10), confirm=st.sampled_from([None, None, timedelta(minutes=4), HOUR / 3])
    )
    def start(self, kind: Kind, steps: int, confirm: timedelta | None) -> None:
        """Begin with a gateway that is on generation 6 or was never enrolled, some way into a change."""
        self.limits = replace(LIMITS, confirm=confirm)
        self.base_connects = True
        self.now = NOW
        self.synchronised = True
        self.floors = [NOW - 30 * DAY]
        self.disk = SetLinks(current=None, previous=None) if kind is Kind.ENROLL else SetLinks()
        self.history: list[datetime] = []
        self.requests_since_jump: list[datetime] = []
        self.in_hand = False
        self.may_ask = False
        self._plan(kind)
        for _ in range(steps):
            self._succeed()

    def _plan(self, kind: Kind) -> None:
        disk = self.disk
        rollback = kind is Kind.ROLLBACK and disk.previous is not None
        disk.newest += not rollback
        disk.proven.clear()
        self.record = replace(
            make.record(Phase.PREPARED if rollback else Phase.PLANNED),
            kind=Kind.ROTATE if kind is Kind.ROLLBACK and not rollback else kind,
            generation=disk.previous if rollback and disk.previous is not None else disk.newest,
            base=disk.current,
            planned_at=self.now,
            entered_at=self.now,
        )

    def _facts(self, **changes: Any) -> Facts:
        clock = read(self.now, synchronised=self.synchronised, floors=tuple(self.floors))
        thing = None if self.disk.current is None else make.THING
        facts = Facts(clock=clock, linked=self.disk.current, expected_thing=thing, requests=tuple(self.history))
        return replace(facts, **changes)

    def _action(self) -> decide.Action:
        return next_action(self.record, self._facts(), self.limits)

    def _success(self, action: decide.Action) -> ChangeEvent:
        """Return the event of a step that does what it should; whether the base connects may change in between."""
        if isinstance(action, decide.Deploy):
            return probation_events.deployed(self.record, self.now, self.limits)
        if isinstance(action, decide.Unconfirmed) and not (self.base_connects and self.record.base):
            return make.event(events.ProbationPassed, self.now, problem=replace(action.failure, decisive=False))
        return make.success(action, self.now)

    def _take(self, event: ChangeEvent) -> None:
        """Advance the record, by way of the disk, and keep watch over what the event means."""
        before = self.record
        after = advance(before, event)
        self.record = decode_record(encode_record(after), "change.json")
        assert self.record == after
        if isinstance(event, events.RequestFailed | events.Rejected | events.KeyLost):
            nothing = before.phase is Phase.REQUESTED and traits(event.failure.code).nothing_issued
            assert after.requests == (before.requests[:-1] if nothing else before.requests)
            del self.requests_since_jump[len(self.requests_since_jump) - nothing :]
        match event:
            case events.RequestBegun():
                self.may_ask = True
                self.requests_since_jump.append(event.at)
            case events.CertificateIssued():
                self.in_hand = True
            case events.KeyLost() | events.TokenExpired():
                self.in_hand = self.may_ask = False
            case events.Proven():
                self.disk.proven.add(before.generation)
                self.floors += [self.record.good_time] if self.record.good_time else []
            case events.RolledBack():
                assert before.condemned is not None
                assert before.condemned.decisive
            case _:
                pass

    def _perform(self, action: decide.Action) -> None:
        """Do to the world what the action does to it."""
        if isinstance(action, decide.RequestCertificate):
            assert self.may_ask, "a certificate is asked for that was not counted"
            self.may_ask = False
        if isinstance(action, decide.Activate):
            self.disk.activate(self.record.generation)
        if isinstance(action, decide.RollBack):
            self.disk.current = self.record.base

    def _idle(self, action: decide.Action) -> bool:
        """Carry out what is no step: wait as long as it says, or begin the next change."""
        if isinstance(action, decide.Wait):
            self.now = action.until
        elif isinstance(action, decide.Finish):
            self.history += decide.requests_of([decode_record(encode_outcome(self.record), "history.jsonl")])
            self.in_hand = False
            self._plan(Kind.ROTATE if self.disk.current else Kind.ENROLL)
        return isinstance(action, decide.Wait | decide.Finish)

    def _step(self) -> decide.Action | None:
        """Return the next action that can fail, after waiting out what comes before it; None when there is none."""
        for _ in range(3):
            action = self._action()
            if isinstance(action, decide.Finish | decide.Reject | decide.DropCertificate | decide.AssumeRegistered):
                return None
            if not self._idle(action):
                return action
        return None

    def _succeed(self) -> None:
        action = self._action()
        if not self._idle(action):
            self._perform(action)
            self._take(self._success(action))
        self._check()

    @rule()
    def learn_the_time(self) -> None:
        """The time service sets the clock to a time that can be."""
        self.synchronised = True
        if self.now < max(self.floors):
            self.now = max(self.floors)
            self.requests_since_jump.clear()

    @invariant()
    def promises_hold(self) -> None:
        """What the design promises of every state."""
        self._check()

    def _check(self) -> None:
        action = self._action()
        self._check_action(action)
        self._check_links()
        recent = [at for at in self.requests_since_jump if at > max(self.requests_since_jump) - DAY]
        assert len(recent) <= LIMITS.daily_limit
        assert "BEGIN CERTIFICATE" not in repr(self.record)

    def _check_action(self, action: decide.Action) -> None:
        assert action.why
        if self.record.phase.ended:
            assert isinstance(action, decide.Finish)
            return
        assert not isinstance(action, decide.Finish)
        if isinstance(action, decide.Wait):
            assert self.now < action.until <= self.now + 2 * DAY
        if isinstance(action, decide.RollBack):
            assert self.record.condemned is not None
        if self.in_hand:
            assert not isinstance(action, ASKS)
        if not self._facts().clock.believable:
            assert isinstance(action, decide.Wait | decide.RollBack)

    def _check_links(self) -> None:
        record = self.record
        if record.phase is Phase.COMMITTED and record.confirm_until is not None:
            assert record.confirmed_at is not None or record.degraded is not None
        if record.phase.activated and record.condemned is None:
            assert self.disk.current == record.generation
        if record.phase is Phase.ROLLED_BACK:
            assert self.disk.current == record.base
        if record.phase is Phase.PROVEN:  # an activation that took effect may not have been recorded
            assert self.disk.current in {record.base, record.generation}
        elif record.phase is Phase.REJECTED and Phase.ACTIVE in dict(record.passed):
            assert record.base is None or record.condemned is not None
            assert self.disk.current == record.generation
        elif not record.phase.activated:
            assert self.disk.current == record.base

    def teardown(self) -> None:
        """Once nothing goes wrong any more, the change ends after a bounded number of actions."""
        if not hasattr(self, "record"):
            return
        self.learn_the_time()
        for _ in range(ENOUGH):
            action = self._action()
            if isinstance(action, decide.Finish):
                return
            if not self._idle(action):
                self._perform(action)
                self._take(self._success(action))
            self._check()
        pytest.fail(f"the change does not end: {self.record}")
