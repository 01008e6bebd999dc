"""Carries a change on in the foreground: runs the engine, waits where it waits, stops when patience is used up.

Stopping loses nothing: the record is on disk, and the next command or the daemon goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase, WaitCode
from agent.core.change.progress import Progress
from agent.core.failure.codes import Code
from agent.core.failure.failure import HOLDING, SET_THE_CLOCK, FailureClass
from agent.core.text import duration, sentence_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from agent.change.engine import Engine, Outcome
    from agent.core.change.decide import Wait
    from agent.core.change.lifecycle import ChangeRecord
    from agent.ports import Clock, Reporter

LONGEST_SLEEP = 1.0  # seconds; the wall clock may be set while a person waits for it

DEFAULT_PATIENCE = timedelta(minutes=2)

# What has a patience of its own is waited out: policies spread within ten minutes, dependants have two to come up.
_SPREADING = {FailureClass.POLICY, FailureClass.CREDENTIAL, FailureClass.DEPENDANT}
SPREADING_PATIENCE = timedelta(minutes=20)

# When no set of the gateway is accepted, or its disk or a file does not let it, a person must act, who is kept waiting
# for another try or two at most.
LOCKED_OUT_PATIENCE = timedelta(seconds=15)


def worth_waiting(
    code: str, failure: tuple[str | None, str | None], span: timedelta, patience: timedelta | None
) -> bool:
    """Whether to stay for the end of a wait.

    Args:
        code: What is waited for; see `WaitCode`.
        failure: Class and code of the failure that is waited out, or None for both.
        span: From the last phase that was passed to the end of the wait.
        patience: What was asked for, or None for the default of what it is.
    """
    if code == WaitCode.PROBATION:
        return True
    if patience is None:
        patience = _default_patience(*failure)
    return span <= patience


class Patience:
    """How long it is worth to wait.

    Attributes:
        since: When the last phase was passed, or when the clock was set after it.
    """

    def __init__(self, asked: timedelta | None, since: datetime, phase: str | None) -> None:
        """Begin to wait.

        Args:
            asked: What was asked for, or None for the default of what is waited for.
            since: The wall clock as it is.
            phase: The phase that the change is in, or None while there is none.
        """
        self._asked = asked
        self.since = since
        self._phase = phase
        self._code = ""

    def lasts(
        self,
        phase: str,
        code: str,
        failure: tuple[str | None, str | None],
        until: datetime,
        now: datetime,
        *,
        used: bool = False,
    ) -> bool:
        """Whether to stay for the end of a wait; see `worth_waiting`.

        Args:
            phase: The phase that the change is in.
            code: What is waited for.
            failure: Class and code of the failure that is waited out.
            until: The end of the wait.
            now: The wall clock.
            used: Whether what the person wanted is in use already; see `is_used_unproven`.
        """
        was_set = self._code == WaitCode.CLOCK != code  # what passed by the clock before is no time that was waited
        if phase != self._phase or was_set:
            self.since = now
        self._phase, self._code = phase, code
        asked = timedelta() if used and self._asked is None and failure[0] not in _SPREADING else self._asked
        return worth_waiting(code, failure, until - self.since, asked)


def is_used_unproven(change: ChangeRecord) -> bool:
    """Whether a change is one of `import --unproven` whose set is in use: its proof needs no person."""
    return change.unproven and change.phase in {Phase.ACTIVE, Phase.DEPLOYED}


def _default_patience(kind: str | None, code: str | None) -> timedelta:
    if code == Code.LOCKED_OUT or kind == FailureClass.STORE:
        return LOCKED_OUT_PATIENCE
    return SPREADING_PATIENCE if kind in _SPREADING else DEFAULT_PATIENCE


_WITHOUT_DAEMON = "the next command, or the daemon, goes on"
THROUGH_DAEMON = "the daemon goes on"


def waiting(code: str, why: str, left: timedelta, *, tried: bool, goes_on: str) -> str:
    """Return what a person is told who waits.

    Args:
        code: What is waited for; see `WaitCode`.
        why: The reason.
        left: Until something happens again.
        tried: Whether a failure is waited out.
        goes_on: What carries the change on where the person leaves.
    """
    if tried:
        return f"Trying again in {duration(left)}."
    text = sentence_of(why)
    if code == WaitCode.CLOCK:
        return f"{text}. {SET_THE_CLOCK} It goes on by itself then; leaving with Ctrl-C is harmless: {goes_on}."
    if code != WaitCode.PROBATION:
        return f"{text} ({duration(left)})."
    return f"{text}. The new set is in use; leaving with Ctrl-C is harmless: {goes_on}."


def told_as(code: str, text: str) -> str:
    """Return what tells apart the waits that a person was told of: a clock that is not set shows ever other hours."""
    return code if code == WaitCode.CLOCK else text


@dataclass(kw_only=True)
class Follower:
    """How to wait.

    Attributes:
        engine: What to run.
        clock: The wall clock.
        sleep: Waits for some seconds.
        reporter: Told of each wait.
        patience: How long to wait for what a failure needs, since the last phase that was passed; None for two minutes,
            and longer for what has a patience of its own.
        probation: Whether to wait for the end of probation.
        told: What was told last; the minutes of a probation are one wait to a person.
    """

    engine: Engine
    clock: Clock
    sleep: Callable[[float], None]
    reporter: Reporter
    patience: timedelta | None
    probation: bool = True
    told: str = field(default="", init=False)

    def follow(self) -> Outcome:
        """Run until the change ends or patience does.

        Raises:
            StoreError: The end of the change could not be made durable; running again goes on.
        """
        patience = Patience(self.patience, self.clock.now(), self._phase())
        while True:
            outcome = self.engine.run()
            if outcome.wait is None:
                return outcome
            if not self._worth_waiting(outcome, outcome.wait, patience):
                return outcome
            self._wait(outcome.wait)

    def _phase(self) -> Phase | None:
        return self.engine.change.phase if self.engine.change else None

    def _worth_waiting(self, outcome: Outcome, wait: Wait, patience: Patience) -> bool:
        if wait.code == WaitCode.PROBATION:
            return self.probation
        failure = (wait.failure.kind, wait.failure.code) if wait.failure else (None, None)
        record, now = outcome.record, self.clock.now()
        lasts = patience.lasts(record.phase, wait.code, failure, wait.until, now, used=is_used_unproven(record))
        return lasts or (outcome.unsaved_certificate and wait.until - patience.since <= HOLDING)

    def _wait(self, wait: Wait) -> None:
        left = wait.until - self.clock.now()
        text = waiting(wait.code, wait.why, left, tried=wait.failure is not None, goes_on=_WITHOUT_DAEMON)
        key = told_as(wait.code, text)
        if key != self.told:
            self.reporter.report(Progress(at=self.clock.now(), code="wait", text=text))
        self.told = key
        start = self.clock.now()
        while timedelta() <= self.clock.now() - start and (rest := wait.until - self.clock.now()) > timedelta():
            self.sleep(min(LONGEST_SLEEP, rest.total_seconds()))
