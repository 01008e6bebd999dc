"""Records of changes, as a test wants them: some events later, worn by trouble, full in every place."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from agent.core.change.advance import advance
from support import make
from support.make import MINUTE, NOW

if TYPE_CHECKING:
    from agent.core.change.events import ChangeEvent
    from agent.core.change.lifecycle import ChangeRecord, Phase


def after(record: ChangeRecord, *kinds: type[ChangeEvent]) -> ChangeRecord:
    """Return the record after events of these types."""
    return reduce(lambda last, kind: advance(last, make.event(kind)), kinds, record)


def worn(phase: Phase) -> ChangeRecord:
    """Return a record whose every counter has moved in the present phase."""
    return make.record(
        phase,
        attempts=3,
        resumes=2,
        retry_at=NOW + MINUTE,
        failure=make.failure(),
        refused_since=NOW - MINUTE,
    )
