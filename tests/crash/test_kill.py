"""SIGKILL at every system call of every change, and again while the next process picks up the pieces."""

from __future__ import annotations

import pytest

from support.crashkit import campaign, points, recoveries
from support.crashkit.scenarios import NAMES, scenario
from support.suite.campaigns import chosen, least

ONE_IN = 89
OF_THE_NEXT = 66 if chosen().sampled else 11  # its calls, one in so many
LEAST = {
    "enrolment": 250,
    "rotation": 400,
    "rejection": 280,
    "rollback": 420,
    "going back": 190,
    "going back refused": 280,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_change_killed_at_any_call_goes_on_to_the_same_end(name: str) -> None:
    """Whatever call it dies at: current is whole, promises are kept, and the next start comes to the usual end."""
    report = campaign.kill_everywhere(scenario(name), umask=0, one_in=ONE_IN)
    points.visited("kills", report.points, at_least=least(LEAST[name], ONE_IN))
    assert report.complaints == (), report.shown


def test_a_tight_umask_changes_nothing() -> None:
    """Under umask 077 the same holds; every third call of an enrolment is taken."""
    report = campaign.kill_everywhere(
        scenario("enrolment"), umask=0o077, among=lambda calls: range(0, len(calls), 3), one_in=ONE_IN
    )
    points.visited("kills", report.points, at_least=least(80, ONE_IN))
    assert report.complaints == (), report.shown


@pytest.mark.parametrize("name", NAMES)
def test_a_second_kill_while_resuming_does_no_more_harm(name: str) -> None:
    """Four calls are drawn (seed 4711); after each kill the next start is killed at every eleventh call of its own.

    A sample takes one of the four, and a sixth of the others.
    """
    report = campaign.kill_twice(scenario(name), first=4, every=OF_THE_NEXT, seed=4711, one_in=4)
    points.visited("double kills", report.points, at_least=least(25, 24))
    assert report.complaints == (), report.shown


@pytest.mark.parametrize("name", recoveries.DAMAGES)
def test_a_recovery_killed_at_any_call_is_done_by_the_next(name: str) -> None:
    """A damaged store ends up as if the first recovery had not been killed."""
    report = recoveries.kill_everywhere(recoveries.damage(name), one_in=ONE_IN)
    points.visited("kills of recoveries", report.points, at_least=least(100, ONE_IN))
    assert report.complaints == (), report.shown
