"""Every disk that a power cut may leave, by the ALICE model: see `support.crashkit.alice`."""

from __future__ import annotations

import pytest

from support.crashkit import campaign, points, recoveries
from support.crashkit.scenarios import NAMES, scenario
from support.suite import campaigns
from support.suite.campaigns import least

ONE_IN = 179  # of all states, of which many are the same disk
LEAST = {
    "enrolment": 150,
    "rotation": 250,
    "rejection": 120,
    "rollback": 150,
    "going back": 35,
    "going back refused": 45,
}
# Recoveries that make many calls leave thousands of disks, of which few are taken; of all others, each is.
LEAST_OF_RECOVERIES = {"reserve given up": (1_500, 300)}
AFTER_KILLS = [("enrolment", 31), ("rejection", 29), ("rollback", 37), ("going back", 5)]


@pytest.mark.parametrize("name", NAMES)
def test_a_power_cut_at_any_moment_leaves_a_sound_store(name: str) -> None:
    """On every such disk current is whole, what was acknowledged is there, and the change goes on to its end."""
    report = campaign.cut_power_everywhere(scenario(name), umask=0, one_in=ONE_IN)
    points.visited("power cuts", report.points, at_least=least(LEAST[name], ONE_IN))
    assert report.complaints == (), report.shown


def test_a_tight_umask_makes_no_difference_to_a_power_cut() -> None:
    """Under umask 077 the same holds."""
    report = campaign.cut_power_everywhere(scenario("enrolment"), umask=0o077, one_in=ONE_IN)
    points.visited("power cuts", report.points, at_least=least(LEAST["enrolment"], ONE_IN))
    assert report.complaints == (), report.shown


@pytest.mark.parametrize("name", recoveries.DAMAGES)
def test_a_power_cut_during_a_recovery_is_recovered_from(name: str) -> None:
    """A damaged store ends up as if the power had not been cut."""
    whole, one_in = LEAST_OF_RECOVERIES.get(name, (3, 1))
    report = recoveries.cut_power_everywhere(recoveries.damage(name), one_in=one_in)
    points.visited("power cuts of recoveries", report.points, at_least=least(whole, one_in))
    assert report.complaints == (), report.shown


@pytest.mark.parametrize(("name", "every"), campaigns.take(AFTER_KILLS, 2))
def test_a_power_cut_after_a_kill_leaves_a_sound_store(name: str, every: int) -> None:
    """What a killed process left unsynced is not taken for durable by the next; kills at every so many operations."""
    report = campaign.kill_then_cut(scenario(name), every=every, one_in=ONE_IN)
    points.visited("power cuts after a kill", report.points, at_least=least(200, ONE_IN))
    assert report.complaints == (), report.shown
