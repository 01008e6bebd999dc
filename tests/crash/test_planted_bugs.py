"""Bugs planted on purpose: each must be caught, or the methods above prove nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from support.crashkit import bugs, campaign, points
from support.crashkit.scenarios import Scenario, scenario

if TYPE_CHECKING:
    from support.crashkit.campaign import Bug


# The shortest change that moves both links: two changes of phase, activation, probation, the history.
def _short() -> Scenario:
    return scenario("going back")


def _early() -> Scenario:
    return replace(_short(), plan=replace(_short().plan, early=True))


# One in so many finds it from whichever case on.
@pytest.mark.parametrize(
    ("bug", "one_in"), [(bugs.no_file_sync, 11), (bugs.no_directory_sync, 11), (bugs.unlink_before_link, 2)]
)
def test_a_power_cut_finds_what_was_planted(bug: Bug, one_in: int) -> None:
    """The model of a disk catches a missing sync of files or directories, and a link that is gone for a moment."""
    report = campaign.cut_power_everywhere(_short(), bug=bug, one_in=one_in, until="")
    points.visited("complaints about planted bugs", len(report.complaints), at_least=1)


@pytest.mark.parametrize("name", ["enrolment", "rotation"])
def test_a_power_cut_finds_a_link_that_may_move_before_its_set_is_known_to_be_proven(name: str) -> None:
    """With a set before, and without one: each has a sync of its own in between."""
    wanted = "was never proven"
    report = campaign.cut_power_everywhere(scenario(name), bug=bugs.no_sync_before_activation, one_in=5, until=wanted)
    points.visited("complaints about planted bugs", len(report.complaints), at_least=1)
    assert any(wanted in complaint for complaint in report.complaints)


def test_a_kill_finds_a_link_that_is_gone_for_a_moment() -> None:
    """The stepper catches the gap between unlink and symlink."""
    wanted = "there is no current generation"
    among = campaign.after_changes
    report = campaign.kill_everywhere(_short(), bug=bugs.unlink_before_link, among=among, until=wanted)
    points.visited("complaints about planted bugs", len(report.complaints), at_least=1)
    assert any(wanted in complaint for complaint in report.complaints)


def test_both_find_an_acknowledgement_that_comes_too_early() -> None:
    """Saying "in use" before it is durable is caught by the stepper and by the model."""
    wanted = "generation 3 is current, and 2 is expected"
    for report in (
        campaign.kill_everywhere(_early(), one_in=16, until=wanted),
        campaign.cut_power_everywhere(_early(), one_in=4, until=wanted),
    ):
        points.visited("complaints about planted bugs", len(report.complaints), at_least=1)
        assert any(wanted in complaint for complaint in report.complaints)


def test_the_same_scenario_without_a_bug_is_clean() -> None:
    """The catches above are due to the bugs."""
    assert campaign.cut_power_everywhere(_short(), one_in=4).complaints == ()
