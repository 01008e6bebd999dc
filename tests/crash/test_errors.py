"""Every file call of every step fails, with every errno, once and from there on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.crashkit import failing, points, recoveries
from support.suite.campaigns import least

if TYPE_CHECKING:
    from support.crashkit.failing import Segment

ONE_IN = 89  # which no number of errors or of ways to fail has in it, so that a sample has all of them
STEPS = (
    *(("enrolment", kind) for kind in ("save", "show", "preflight", "stage_key", "staged_key", "prepare")),
    *(("enrolment", kind) for kind in ("activate", "commit", "finish", "prune")),
    *(("rotation", kind) for kind in ("activate", "commit", "prune")),
    ("rejection", "finish"),
    ("rollback", "roll_back"),
    ("going back refused", "finish"),
)


Segments = dict[tuple[str, str], "Segment"]


@pytest.fixture(name="segments", scope="module")
def _segments() -> Segments:
    """Return the steps of all changes; made once for the file, which stays in one process for it."""
    return {(segment.scenario.name, segment.kind): segment for segment in failing.segments()}


def test_every_step_of_every_change_is_among_them(segments: Segments) -> None:
    """Steps that make the same calls are taken once."""
    assert set(segments) >= set(STEPS)
    assert {kind for _, kind in segments} == {kind for _, kind in STEPS}


@pytest.mark.parametrize(("scenario", "kind"), STEPS)
def test_a_step_in_which_calls_fail_leaves_the_set_in_use_alone(segments: Segments, scenario: str, kind: str) -> None:
    """Nothing but a StoreError comes out, current stays whole, and success is never reported for nothing."""
    report = failing.fail_everywhere(segments[scenario, kind], one_in=ONE_IN)
    points.visited("failing calls", report.points, at_least=least(50, ONE_IN))
    assert report.complaints == (), report.shown


@pytest.mark.parametrize("name", recoveries.DAMAGES)
def test_a_recovery_in_which_calls_fail_does_no_harm(name: str) -> None:
    """Nothing but a StoreError comes out, and a later recovery finds a set to use. Every seventh fault is taken."""
    damage = recoveries.damage(name)
    report = recoveries.fail_everywhere(damage, every=7, one_in=ONE_IN)
    points.visited("failing calls of recoveries", report.points, at_least=least(100, ONE_IN))
    assert report.complaints == (), report.shown
