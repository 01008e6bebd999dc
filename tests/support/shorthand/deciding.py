"""What a change does next, and what a failure means to it, asked with few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.change import decide, probation_events
from agent.core.change.decide import Limits, Wait, next_action
from agent.core.change.giving_up import after_failure
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import Failure, FailureClass
from support import make
from support.make import NOW

if TYPE_CHECKING:
    from datetime import datetime

    from agent.core.change.events import ChangeEvent, Doubted

F = FailureClass
LIMITS = Limits()
REFUSED = make.failure(F.CREDENTIAL, "hung-up", decisive=True)
WITH_A_KEY = [Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED]
KEY_LOST = make.failure(F.STORE, "key-lost", message="The staged key is damaged.")
UNAUTHORISED = make.failure(F.POLICY, "not-authorised", decisive=True)


def act(record: ChangeRecord, now: datetime = NOW, **facts: Any) -> decide.Action:
    """Return the next action at a time."""
    return next_action(record, make.facts(now, **facts), LIMITS)


def waits(record: ChangeRecord, now: datetime = NOW, **facts: Any) -> Wait:
    """Return the next action, which must be to wait."""
    action = act(record, now, **facts)
    assert isinstance(action, Wait)
    assert action.until > now
    return action


def fails(record: ChangeRecord, failure: Failure, now: datetime = NOW, **facts: Any) -> ChangeEvent:
    """Return the event of a failure at a time, with a jitter of a half."""
    return after_failure(record, failure, make.facts(now, **facts), 0.5, LIMITS)


def doubt(record: ChangeRecord, now: datetime = NOW, **facts: Any) -> Doubted | None:
    """Return the event of a doubt at a time."""
    return probation_events.doubted(record, make.facts(now, **facts), LIMITS)
