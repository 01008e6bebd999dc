"""What the history of changes means for the next one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.advance import advance
from agent.core.change.events import Retired
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.core.when.schedule import Past, applies, past_of
from support import make
from support.make import DAY, HOUR, MINUTE, NOW
from support.shorthand.scheduling import SUBJECT, TICK, UNSYNCHRONISED, YEAR, plan, suggest

if TYPE_CHECKING:
    from datetime import datetime

OUTCOMES = {"committed": Phase.COMMITTED, "retired": Phase.RETIRED, "rejected": Phase.REJECTED}


def footing(at: datetime = NOW, phase: Phase = Phase.COMMITTED, **changes: Any) -> ChangeRecord:
    """Return the rollback by which the ladder found footing."""
    return make.finished(phase, at, **{"kind": Kind.ROLLBACK, "origin": Origin.LADDER, **changes})


def test_an_empty_history_means_nothing() -> None:
    """A new gateway has no past."""
    assert past_of([]) == Past()


@pytest.mark.parametrize("success", [Phase.COMMITTED, Phase.RETIRED])
def test_failures_are_counted_since_the_last_success(success: Phase) -> None:
    """A success wipes the slate clean, also one whose certificate was retired since."""
    history = [
        make.finished(Phase.REJECTED, NOW - 9 * DAY),
        make.finished(success, NOW - 8 * DAY),
        make.finished(Phase.REJECTED, NOW - 2 * DAY),
        make.finished(Phase.ROLLED_BACK, NOW - DAY),
    ]
    past = past_of(iter(history))

    assert (past.failures, past.failed_at, past.unfinished) == (2, NOW - DAY, False)
    assert past.committed_at == NOW - 8 * DAY
    assert (past_of(history[:2]).failures, past_of(history[:2]).failed_at) == (0, None)


def test_every_request_of_every_change_is_remembered() -> None:
    """The budget counts over all of them, whatever became of them."""
    history = [
        make.finished(Phase.REJECTED, NOW - DAY, requests=(NOW - DAY, NOW - HOUR)),
        make.finished(Phase.COMMITTED, NOW, requests=(NOW - MINUTE,)),
    ]

    assert past_of(history).requests == (NOW - DAY, NOW - HOUR, NOW - MINUTE)


def test_the_jitter_belongs_to_the_failure() -> None:
    """The same at each look, another for each failure, and always a number in [0, 1)."""
    jitters = {past_of([make.finished(Phase.REJECTED, id=f"{number:08x}")]).jitter for number in range(500)}

    assert past_of([make.finished(Phase.REJECTED, id="8f3a11c2")]) == past_of(
        [make.finished(Phase.REJECTED, id="8f3a11c2")]
    )
    assert len(jitters) == 500
    assert all(0 <= jitter < 1 for jitter in jitters)


def test_the_jitter_spreads_a_fleet_that_failed_together() -> None:
    """Random ids of eight hexadecimal digits give numbers all over the range, give or take a fifth."""
    ids = (f"{number * 2_654_435_761 % 2**32:08x}" for number in range(10_000))
    tenths = Counter(int(past_of([make.finished(Phase.REJECTED, id=name)]).jitter * 10) for name in ids)

    assert sorted(tenths) == list(range(10))
    assert all(800 <= share <= 1200 for share in tenths.values())


def test_footing_that_was_found_is_unfinished_until_a_rotation_follows() -> None:
    """The ladder put an older set back; a technician who does so means it."""
    assert past_of([footing()]).unfinished
    assert not past_of([footing(), make.finished(at=NOW + HOUR)]).unfinished
    assert not past_of([footing(origin=Origin.TECHNICIAN)]).unfinished
    assert not past_of([footing(phase=Phase.REJECTED)]).unfinished
    assert not past_of([footing(kind=Kind.ENROLL)]).unfinished


def test_only_a_change_that_brought_a_certificate_settles_anything() -> None:
    """To go back takes nothing from the account; a set that was put in place by hand is a new one, too."""
    rotated = make.finished(at=NOW - 9 * DAY)

    assert past_of([rotated, footing(origin=Origin.TECHNICIAN)]).committed_at == NOW - 9 * DAY
    assert past_of([rotated, make.finished(Phase.REJECTED, NOW)]).committed_at == NOW - 9 * DAY
    for kind in (Kind.ENROLL, Kind.ROTATE, Kind.IMPORT):
        assert past_of([rotated, make.finished(at=NOW, kind=kind)]).committed_at == NOW
    assert past_of([advance(rotated, Retired(at=NOW))]).committed_at == NOW - 9 * DAY


def test_the_patience_with_the_clock_counts_from_the_footing() -> None:
    """A day after the older set was put back, and not a day after its own turn."""
    past = past_of([footing(NOW)])
    assert past.unfinished_since == NOW

    assert plan(NOW + DAY - TICK, state=UNSYNCHRONISED, past=past).at == NOW + DAY
    assert plan(NOW + DAY - TICK, state=UNSYNCHRONISED, past=past).code == "clock"
    assert plan(NOW + DAY, state=UNSYNCHRONISED, past=past).due
    assert past_of([make.finished()]).unfinished_since is None


@pytest.mark.parametrize(
    ("opens_at", "committed_at", "expected"),
    [
        (NOW + DAY, None, True),
        (NOW, None, False),
        (NOW + DAY, NOW, True),
        (NOW + DAY, NOW + DAY - TICK, True),
        (NOW + DAY, NOW + DAY, False),
        (NOW + DAY, NOW + 2 * DAY, False),
    ],
)
def test_a_suggestion_applies_until_it_was_followed(
    opens_at: datetime, committed_at: datetime | None, *, expected: bool
) -> None:
    """The certificate must be older than its window, and none may have been got since it opened."""
    window = suggest(opens_at, opens_at + 9 * DAY)

    assert applies(window, SUBJECT, Past(committed_at=committed_at), NOW + 2 * DAY) == expected
    assert not applies(None, SUBJECT, Past(), NOW)


def test_a_change_that_a_clock_dated_ahead_does_not_end_each_window_until_then() -> None:
    """The fleet's word counts under the right clock; one dated within a day is over by itself soon."""
    window = suggest(NOW + DAY, NOW + 9 * DAY)

    assert applies(window, SUBJECT, Past(committed_at=NOW + YEAR), NOW + 2 * DAY)
    assert not applies(window, SUBJECT, Past(committed_at=NOW + 3 * DAY), NOW + 2 * DAY)


def test_footing_that_was_found_stays_unfinished_when_the_rotation_fails() -> None:
    """The one try that follows at once may meet a bad hour; the older set is not what the gateway is to stay on."""
    past = past_of([footing(), make.finished(Phase.REJECTED, NOW + HOUR)])

    assert past.unfinished
    assert past.failures == 1


def test_footing_that_was_found_stays_unfinished_when_the_refused_set_is_retired() -> None:
    """That the cloud was rid of the refused certificate does not make the older one a fresh one."""
    record = advance(footing(), Retired(at=NOW + 7 * DAY))

    assert record.phase is Phase.RETIRED
    assert past_of([record]).unfinished


def test_a_failed_change_of_any_kind_counts() -> None:
    """A rollback or an import that failed is a reason for patience, too; an operator's word is no exception."""
    given_up = make.failure(FailureClass.OPERATOR, "given-up", decisive=True)
    changes: list[dict[str, Any]] = [{"kind": Kind.ROLLBACK}, {"kind": Kind.IMPORT}, {"failure": given_up}]
    for change in changes:
        assert past_of([make.finished(Phase.REJECTED, **change)]).failures == 1


ENDS = [phase for phase in Phase if phase.ended]


@pytest.mark.parametrize("phase", ENDS)
@pytest.mark.parametrize("origin", Origin)
def test_a_change_of_trust_anchors_says_nothing_about_the_certificate(phase: Phase, origin: Origin) -> None:
    """However it ended and whatever its origin, before, between and after what counts."""
    trust = make.finished(phase, NOW, kind=Kind.TRUST, origin=origin)
    history = [make.finished(at=NOW - 9 * DAY), make.finished(Phase.REJECTED, NOW - 2 * DAY)]
    mixed = [item for record in history for item in (trust, record)]

    assert past_of([*mixed, trust]) == past_of(history)
    assert past_of([footing(), trust]) == past_of([footing()])
    assert past_of([trust]) == Past()
