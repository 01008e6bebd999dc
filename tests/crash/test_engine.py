"""The real engine, killed while it changes a gateway's certificate, and a fresh one that goes on.

The cloud lives on with what the dead process told it: see `support.crashkit.gateway`.
"""

from __future__ import annotations

import pytest

from support.crashkit import enginekills, points
from support.suite.campaigns import chosen, least

ONE_IN = 59
LEAST = {
    "enrolment": 120,
    "rotation": 105,
    "revoked in probation": 135,
    "never confirmed": 120,
    "never active": 120,
    "rollback by command": 50,
    "new anchors": 60,
    "anchors without the endpoint's": 40,
}


@pytest.mark.parametrize("name", LEAST)
def test_a_killed_change_goes_on_to_a_proper_end(name: str) -> None:
    """Current works, nothing is half done, and no certificate is asked for but one more if the answer was lost.

    Kills come at every call that changes the disk, after each request to the cloud, and at twenty others (seed 4711).
    """
    chosen = enginekills.places(enginekills.stage(name), others=20, seed=4711)
    report = enginekills.kill_at(name, chosen, one_in=ONE_IN)
    points.visited("kills of the engine", report.points, at_least=least(LEAST[name], ONE_IN))
    assert report.complaints == (), report.shown


@pytest.mark.parametrize("name", ["enrolment", "rotation"])
def test_a_second_kill_does_not_keep_it_from_a_proper_end(name: str) -> None:
    """Six calls that matter are taken, evenly; each fresh engine is killed at eight calls of its own run.

    A sample takes one of the six, and half of the eight.
    """
    vital = enginekills.places(enginekills.stage(name), others=0, seed=0)
    report = enginekills.kill_twice(name, vital[:: len(vital) // 6 + 1], seconds=4 if chosen().sampled else 8, one_in=6)
    points.visited("double kills of the engine", report.points, at_least=least(30, 12))
    assert report.complaints == (), report.shown
