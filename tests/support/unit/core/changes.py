"""Records of changes, as a test wants them: some events later, worn by trouble, full in every place."""

from __future__ import annotations

from datetime import UTC
from functools import reduce
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from agent.core.change.advance import advance
from agent.core.change.lifecycle import ChangeRecord, Phase
from support import make
from support.make import HOUR, MINUTE, NOW

if TYPE_CHECKING:
    from agent.core.change.events import ChangeEvent


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


TIMES = st.datetimes(timezones=st.just(UTC))
COUNTS = st.integers(0, 10**9)
# Of the unfinished phases these alone can be condemned, given a base.
GOES_BACK = [Phase.ACTIVE, Phase.DEPLOYED]

FULL = make.record(
    Phase.ISSUED,
    passed=((Phase.KEY_READY, NOW - MINUTE), (Phase.ISSUED, NOW)),
    thing_name=make.THING,
    attempts=2,
    resumes=1,
    resumed_at=NOW,
    retry_at=NOW + HOUR,
    failure=make.failure(),
    refused_since=NOW,
    probation_until=NOW,
    checked_at=NOW,
    prove_at=NOW,
    doubts=3,
    refusals=1,
    confirm_until=NOW,
    confirmed_at=NOW,
    good_time=NOW,
    order="job:j-1:1",
    replaces="cd" * 32,
    retired_at=NOW,
    anchor="ef" * 32,
    dropped_at=NOW,
)
