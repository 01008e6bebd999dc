"""Retirements: which request is made when, and what its answer is called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.failure import failures
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.when.retirement import Retirement
from support.make import DAY, NOW
from support.running.daemon_rig import OLD, ConnectedRig
from support.running.office import DUE, RETIRE, Office

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_retirement_is_asked_for_one_at_a_time(office: Office) -> None:
    """The certificate is named; the gateway hears when it is done."""
    other = Retirement(change="x", certificate_id="e" * 64, due=DUE.due)
    assert office.retirements.ask(DUE)
    assert not office.retirements.ask(DUE)
    assert not office.retirements.ask(other)
    assert office.link.answer(RETIRE, {"certificateId": DUE.certificate_id})["certificateId"] == DUE.certificate_id
    assert office.gateway.deactivated == [DUE.certificate_id]
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
    assert office.gateway.deactivated == [DUE.certificate_id]


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


def test_what_was_never_registered_is_settled_by_the_refusal(office: Office) -> None:
    """No fault, no second request: the account has none such of the thing, and that it was registered is not known."""
    doubtful = replace(DUE, doubtful=True)
    office.retirements.ask(doubtful)
    office.link.refuse(RETIRE, 403, "gw-0042 is being repaired.")
    assert office.gateway.unregistered == []
    office.clock.now += 100_000
    office.retirements.ask(doubtful)
    office.link.refuse(RETIRE, 403, "gw-0042 has no such certificate.")

    assert office.gateway.unregistered == [DUE.certificate_id]
    assert (office.retirements.answers.refused, len(office.gateway.refusals)) == ({}, 1)
    assert not office.retirements.ask(doubtful)


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
    """The gateway does not know whether it was carried out, and asking twice does no harm."""
    office.retirements.ask(DUE)
    office.fleet.disconnected()
    office.connect()
    assert office.retirements.ask(DUE)


# -- after an outage ---------------------------------------------------------------------------------------------------


def after_outage(office: Office, hours: float, *, place: float = 0.5, item: Retirement = DUE) -> None:
    """Have no connection for so long, with something due meanwhile."""
    office.gateway.place = place
    office.gateway.left = (item,)
    office.fleet.disconnected()
    office.clock.now += hours * 3600
    office.fleet.disconnected()  # each attempt that fails says so, too
    office.connect()


@pytest.mark.parametrize(("hours", "place", "wait"), [(6, 0.5, 5400), (6, 0.0, 0), (0.1, 0.5, 90), (240, 0.5, 21_600)])
def test_what_came_due_in_an_outage_waits_for_the_gateways_turn(
    office: Office, hours: float, place: float, wait: float
) -> None:
    """In half its length, and in half a day at most, the fleet's are asked for one after the other."""
    after_outage(office, hours, place=place)
    assert office.retirements.next_try() == (pytest.approx(wait) if wait else None)
    if wait:
        office.clock.now += wait - 1
        assert not office.retirements.ask(DUE)
        office.clock.now += 2
    assert office.retirements.ask(DUE)


def test_a_turn_that_is_waited_for_is_not_put_off_by_another_outage(office: Office) -> None:
    """A link that is never up for long would else retire nothing."""
    after_outage(office, 6)
    for _ in range(10):
        after_outage(office, 0.2)
    assert office.retirements.ask(DUE)


def test_what_is_not_of_an_outage_waits_for_no_turn(office: Office) -> None:
    """A process that has just started, and what comes due later."""
    office.gateway.left = (DUE,)
    office.connect()
    assert office.retirements.next_try() is None
    after_outage(office, 6, item=replace(DUE, due=NOW + DAY))
    assert office.retirements.next_try() is None


def test_a_persons_order_waits_for_no_turn(connected: ConnectedRig) -> None:
    """Whether it was given before the connection was back, or after."""
    connected.serve()
    retirements = connected.daemon.cloud.fleet.retirements
    connected.stand(state=ConnectionState.DOWN)
    retirements.disconnected()
    connected.passed.now += 6 * 3600
    retirements.connected()
    connected.stand(generation=7, state=ConnectionState.UP)
    assert connected.asks_for() == []
    assert (retirements.next_try() or 0) > 60
    retirements.order_all(over=False)
    assert connected.asks_for() == [OLD]
