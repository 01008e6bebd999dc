"""Every file call of every step fails, with every errno, once and from there on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from crashkit import campaign, points, recoveries

if TYPE_CHECKING:
    from crashkit.campaign import Segment

# The error of these steps does not say exactly what happened, or a second try does not do all that the first would
# have done: see pending_defects.py.txt. Whether they are safe is judged here.
INEXACT = {"prepare", "activate", "roll_back", "finish", "prune"}
INEXACT_RECOVERIES = set(recoveries.DAMAGES) - {"litter", "damaged record"}


def _name(segment: Segment) -> str:
    return f"{segment.scenario.name}: {segment.kind}"


@pytest.mark.parametrize("segment", campaign.segments(), ids=_name)
def test_a_step_in_which_calls_fail_leaves_the_set_in_use_alone(segment: Segment) -> None:
    """Nothing but a StoreError comes out, current stays whole, and success is never reported for nothing."""
    report = campaign.fail_everywhere(segment, exact=segment.kind not in INEXACT)
    points.visited("failing calls", report.points, at_least=50)
    assert report.complaints == ()


@pytest.mark.parametrize("name", recoveries.DAMAGES)
def test_a_recovery_in_which_calls_fail_does_no_harm(name: str) -> None:
    """Nothing but a StoreError comes out, and a later recovery finds a set to use. Every fifth fault is taken."""
    damage = recoveries.damages()[name]
    report = recoveries.fail_everywhere(damage, exact=name not in INEXACT_RECOVERIES, every=5)
    points.visited("failing calls of recoveries", report.points, at_least=200)
    assert report.complaints == ()
