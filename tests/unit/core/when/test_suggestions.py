"""A suggestion from outside moves the instant of a rotation, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.text import clock_time
from agent.core.when.schedule import Past, Subject, Wishes, plan_rotation
from support import make
from support.make import DAY, MINUTE, NOW, SECOND
from support.shorthand.scheduling import (
    AT,
    EMERGENCY,
    INHIBITED,
    SUBJECT,
    TICK,
    UNFINISHED,
    UNSYNCHRONISED,
    YEAR,
    holding,
    plan,
    suggest,
)

if TYPE_CHECKING:
    from datetime import datetime


def test_a_suggestion_moves_the_instant_forward_or_back() -> None:
    """The device keeps its place, in the suggested window now; who suggested it is told."""
    for opens_at in (NOW + 30 * DAY, AT + 30 * DAY):
        found = plan(NOW + DAY, suggestion=suggest(opens_at, opens_at + 2 * DAY))
        assert found.at == opens_at + DAY
        assert found.why == f"rotation is scheduled for {clock_time(opens_at + DAY)} (as job j-1 suggests)"


def test_a_change_that_was_suggested_answers_to_its_order() -> None:
    """The job learns of the change; one that came of its own accord has no order."""
    window = suggest(AT - 3 * DAY, AT - 2 * DAY, "job:j-1:1")

    assert plan(AT - 2.5 * DAY, suggestion=window).order == "job:j-1:1"
    assert plan(AT - 3 * DAY, suggestion=window).order == ""
    assert plan(AT).order == ""
    early = plan(NOW + DAY, past=UNFINISHED, suggestion=window)
    assert (early.due, early.order) == (True, "")


@pytest.mark.parametrize("opens_at", [EMERGENCY - SECOND, EMERGENCY + DAY, SUBJECT.not_after + YEAR])
def test_no_suggestion_reaches_past_the_emergency(opens_at: datetime) -> None:
    """Whatever the fleet wants, the certificate is replaced before it ends."""
    window = suggest(opens_at, opens_at + YEAR)

    assert plan(NOW + DAY, suggestion=window).at == EMERGENCY
    assert plan(EMERGENCY, suggestion=window).due


@pytest.mark.parametrize("opens_at", [NOW, NOW - TICK, NOW - YEAR])
def test_a_certificate_that_is_no_older_than_the_suggestion_is_left_alone(opens_at: datetime) -> None:
    """A wish that stands for ever is fulfilled once."""
    found = plan(NOW + DAY, suggestion=suggest(opens_at, opens_at + YEAR))

    assert (found.code, found.at) == ("scheduled", AT)


def test_a_certificate_that_the_suggestion_brought_is_not_replaced_again() -> None:
    """AWS dates its certificates two minutes back, so one of the window's first instant says it was made before."""
    opens_at = NOW + 30 * DAY
    window = suggest(opens_at, opens_at)
    assert plan(opens_at, suggestion=window).due
    made = Subject(not_before=opens_at - 2 * MINUTE, not_after=opens_at + YEAR, splay=0.3)
    past = Past(committed_at=opens_at + 12 * MINUTE)
    found = plan_rotation(made, Wishes(suggestion=window), past, make.reading(opens_at + DAY))

    assert found.code == "scheduled"


def test_a_suggestion_that_closes_before_it_opens_is_an_instant() -> None:
    """Parsers refuse it; if one is made nevertheless it moves nothing backwards."""
    found = plan(NOW, suggestion=suggest(NOW + 10 * DAY, NOW + 5 * DAY))

    assert found.at == NOW + 10 * DAY


def test_what_holds_a_change_holds_a_suggested_one() -> None:
    """A suggestion is no order: pause and windows hold it, and the patience with the clock counts from its instant."""
    window = suggest(AT - 30 * DAY, AT - 30 * DAY)
    day = AT - 30 * DAY

    assert plan(day, suggestion=window, **holding(inhibited_by=INHIBITED)).code == "inhibited"
    assert plan(day, state=UNSYNCHRONISED, suggestion=window).at == day + DAY
