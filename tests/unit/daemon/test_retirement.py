"""Retirements: which request is made when, and what its answer is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.failure import failures
from agent.core.report.journal_events import Event
from agent.core.when.retirement import Retirement
from support.office import (
    DUE,
    RETIRE,
    Office,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_retirement_is_asked_for_one_at_a_time(office: Office) -> None:
    """The certificate is named; the gateway hears when it is done."""
    other = Retirement(change="x", certificate_id="e" * 64, due=DUE.due)
    assert office.retirements.ask(DUE)
    assert not office.retirements.ask(DUE)
    assert not office.retirements.ask(other)
    assert office.link.answer(RETIRE, {"certificateId": DUE.certificate_id})["certificateId"] == DUE.certificate_id
    assert office.gateway.retirements == [DUE.certificate_id]
    assert office.retirements.ask(other)


def test_a_refused_retirement_is_asked_for_again_ever_more_seldom(office: Office) -> None:
    """First within a minute, at last once a day, and the reason is kept until it is accepted."""
    waits = []
    for _ in range(20):
        assert office.retirements.ask(DUE)
        office.link.refuse(RETIRE, 403, "Not yours")
        assert "Not yours" in office.retirements.answers.refused[DUE.certificate_id]
        wait = office.retirements.next_try()
        assert wait is not None
        waits.append(wait)
        office.clock.now += wait - 1
        assert not office.retirements.ask(DUE)
        office.clock.now += 1.5
    assert 30 <= waits[0] <= 60
    assert waits == sorted(waits)
    assert waits[5] > 20 * waits[0]
    assert 43_200 <= waits[-1] <= 86_400
    assert office.retirements.next_try() is None
    assert len(office.gateway.refusals) == 20
    office.retirements.ask(DUE)
    office.link.answer(RETIRE, {"certificateId": DUE.certificate_id})
    assert not office.retirements.answers.refused
    assert office.gateway.retirements == [DUE.certificate_id]


UNANSWERED: dict[str, Callable[[Office], object]] = {
    "no reply": lambda office: office.link.lose(RETIRE),
    "throttled": lambda office: office.link.refuse(RETIRE, 429, "Slow down"),
    "unavailable": lambda office: office.link.refuse(RETIRE, 503, "Not now"),
    "garbled": lambda office: office.link.answer(RETIRE, b"[]"),
}


@pytest.mark.parametrize("case", UNANSWERED)
def test_a_retirement_that_was_not_answered_is_not_called_refused(office: Office, case: str) -> None:
    """It is told as what it is, asked for again, and forgotten with the answer."""
    office.retirements.ask(DUE)
    UNANSWERED[case](office)

    assert not office.retirements.answers.refused
    assert office.retirements.answers.unanswered[DUE.certificate_id].endswith(".")
    assert (office.gateway.refusals, len(office.gateway.silences)) == ([], 1)
    assert Event.RETIRE_REFUSED not in {event for event, _ in office.gateway.told}
    office.clock.now += 100_000
    office.retirements.ask(DUE)
    office.link.answer(RETIRE, {"certificateId": DUE.certificate_id})
    assert not office.retirements.answers.unanswered


def test_the_last_word_counts(office: Office) -> None:
    """A policy was put right and now no rule answers, or a rule that was missing refuses."""
    policy = failures.not_authorised("ask for retire")
    for refused in (True, False, True):
        office.retirements.ask(DUE)
        asked = office.link.take(RETIRE)
        asked.failed(policy if refused else failures.no_reply("retire"))

        assert bool(office.retirements.answers.refused) == refused
        assert bool(office.retirements.answers.unanswered) != refused
        office.clock.now += 100_000


def test_a_request_that_costs_the_connection_each_time_is_made_ever_more_seldom(office: Office) -> None:
    """Else a broker that hangs up on it would never be connected to for long."""
    waits = []
    for _ in range(6):
        assert office.retirements.ask(DUE)
        office.fleet.disconnected()
        office.fleet.disconnected()  # each attempt that fails says so, too
        office.connect()
        waits.append(office.retirements.next_try() or 0.0)
        office.clock.now += waits[-1] + 1
    assert waits[0] == 0.0
    assert waits[1:] == sorted(waits[1:])
    assert waits[1] >= 30
    assert waits[-1] > 4 * waits[1]


def test_one_refused_retirement_does_not_hold_up_another(office: Office) -> None:
    """Each certificate has a delay of its own."""
    office.retirements.ask(DUE)
    office.link.lose(RETIRE)
    assert office.retirements.ask(Retirement(change="x", certificate_id="e" * 64, due=DUE.due))


def test_a_retirement_that_a_lost_connection_left_open_is_asked_for_again(office: Office) -> None:
    """Nobody knows whether it was carried out, and asking twice does no harm."""
    office.retirements.ask(DUE)
    office.fleet.disconnected()
    office.connect()
    assert office.retirements.ask(DUE)
