"""Retirements: which request is made when, and what its answer is called."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.advance import advance
from agent.core.change.events import Dropped
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.dependants import Unit
from agent.core.exit_codes import Exit
from agent.core.failure import failures
from agent.core.report.findings import Judgement, judge
from agent.core.report.journal_events import Event
from agent.core.report.known import ConnectionState
from agent.core.when.retirement import Retirement
from agent.core.worker_protocol import Do, WorkerError
from agent.errors import RefusedError
from support import make
from support.daemon_rig import NEVER_USED, OLD, OLDER, ConnectedRig, seen_set
from support.make import DAY, HOUR, NOW
from support.office import (
    DUE,
    RETIRE,
    Office,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path


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


# -- which one is due --------------------------------------------------------------------------------------------------


NGINX, BRIDGE = Unit(name="nginx.service"), Unit(name="bridge.service")


def left(certificate_id: str = OLD, at: datetime = NOW - 8 * DAY, **changes: Any) -> ChangeRecord:
    """Return a rotation that left a certificate behind, so that its grace is over."""
    return make.finished(Phase.COMMITTED, at, replaces=certificate_id, **changes)


def gave_up(at: datetime = NOW - 9 * DAY) -> ChangeRecord:
    """Return a rotation whose certificate was registered and never used."""
    passed = ((Phase.REGISTERED, at), (Phase.REJECTED, at))
    return make.finished(Phase.REJECTED, at, issued=replace(make.issued(at), certificate_id=NEVER_USED), passed=passed)


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[ConnectedRig]:
    """Give a connected daemon with two dependants and one certificate whose grace is over."""
    made = ConnectedRig(tmp_path, NGINX, BRIDGE)
    made.leave_behind(left())
    yield made
    made.close()


def test_what_is_due_is_asked_for_once_all_programs_use_the_new_set(connected: ConnectedRig) -> None:
    """Not before they were served, not while one of them fails, and not while they have another set."""
    assert connected.asks_for() == []
    assert connected.retirement().waits_for == ("nginx.service", "bridge.service")
    connected.serve(generation=6)
    assert connected.asks_for() == []
    connected.serve("bridge.service")
    assert connected.asks_for() == []
    assert connected.retirement().waits_for == ("bridge.service",)
    connected.serve()
    assert connected.asks_for() == [OLD]
    assert connected.retirement().waits_for == ()


def test_what_no_program_ever_had_waits_for_none(connected: ConnectedRig) -> None:
    """It was given up before it was in use."""
    connected.leave_behind(gave_up())
    assert connected.asks_for() == [NEVER_USED]


def test_without_dependants_nothing_waits(tmp_path: Path) -> None:
    """As it was before there were any."""
    connected = ConnectedRig(tmp_path)
    connected.leave_behind(left())
    assert connected.asks_for() == [OLD]
    connected.close()


def test_the_command_spares_what_a_program_may_use_and_names_it(connected: ConnectedRig) -> None:
    """What can be retired is, and then it says what was not, and why."""
    connected.serve("nginx.service")
    connected.leave_behind(gave_up(NOW - HOUR))
    caller = connected.say("retire")
    assert connected.asks_for() == [NEVER_USED]
    assert caller.last == {}
    connected.accept()
    connected.look()
    assert connected.asks_for() == []
    assert caller.last["exit"] == Exit.REFUSED
    assert caller.last["message"] == (
        "Not retired: 010101010101, which other programs of this gateway may use still: nginx.service."
    )
    assert "--now" in caller.last["hint"]


def test_the_command_that_can_retire_nothing_says_so_at_once(connected: ConnectedRig) -> None:
    """Nothing is asked of the cloud."""
    caller = connected.say("retire")
    assert caller.last["exit"] == Exit.REFUSED
    assert "nginx.service, bridge.service" in caller.last["message"]
    assert connected.asks_for() == []


def test_a_persons_word_goes_over_the_programs(connected: ConnectedRig) -> None:
    """And over the grace, as ever; only once."""
    connected.leave_behind(left(OLDER, NOW - HOUR))
    caller = connected.say("retire", now=True)
    assert connected.asks_for() == [OLD]
    connected.accept()
    assert connected.asks_for() == [OLDER]
    connected.accept()
    connected.look()
    assert caller.last == {"event": "retired", "left": 0, "exit": Exit.DONE}
    connected.leave_behind(left("05" * 32, NOW - 8 * DAY))
    assert connected.asks_for() == []


def test_a_program_that_fails_meanwhile_ends_the_command(connected: ConnectedRig) -> None:
    """It would wait for ever for what is not asked for any more."""
    connected.serve()
    connected.leave_behind(left(OLDER, NOW - HOUR))
    caller = connected.say("retire")
    assert connected.asks_for() == [OLD]
    connected.serve("nginx.service")
    connected.accept()
    connected.look()
    assert "020202020202" in caller.last["message"]
    assert caller.last["exit"] == Exit.REFUSED


def test_a_request_without_an_answer_is_a_note(connected: ConnectedRig) -> None:
    """The gateway is as well as before; the command that asked is told, and everything is asked for again later."""
    connected.serve()
    connected.leave_behind(left(OLDER, NOW - HOUR))
    caller = connected.say("retire")
    assert connected.asks_for() == [OLD]
    connected.link.lose("/retire")
    assert caller.last["exit"] == Exit.UNAVAILABLE
    assert caller.last["message"] == "010101010101 is not retired: retire was not answered in time."
    assert connected.asks_for() == []
    found = connected.retirement()
    assert (found.refused, found.unanswered) == ("", "retire was not answered in time.")
    assert judge(connected.status()) == Judgement(health=(), exit=Exit.DONE)


def test_a_refusal_is_a_fault_and_holds_up_no_other(connected: ConnectedRig) -> None:
    """The command is told, the status says so, and what else was asked for goes on."""
    connected.serve()
    connected.leave_behind(left(OLDER, NOW - HOUR))
    caller = connected.say("retire")
    assert connected.asks_for() == [OLD]
    connected.link.refuse("/retire", 403, "gw-0042 has no such certificate.")
    assert caller.last["exit"] == Exit.REFUSED
    assert "has no such certificate" in caller.last["message"]
    assert "--drop" in caller.last["hint"]
    assert connected.asks_for() == [OLDER]
    found = connected.retirement()
    assert ("has no such certificate" in found.refused, found.unanswered) == (True, "")
    assert judge(connected.status()).exit is Exit.DEGRADED


def test_the_command_ends_well_where_the_cloud_never_registered_it(connected: ConnectedRig) -> None:
    """A worker writes it down, and its sentence goes to the client that waits."""
    connected.serve()
    never = replace(gave_up(NOW - HOUR), passed=((Phase.REJECTED, NOW),), unanswered=1)
    connected.leave_behind(never)
    caller = connected.say("retire")
    assert connected.asks_for() == [OLD]
    connected.accept()
    assert connected.asks_for() == [NEVER_USED]
    connected.link.refuse("/retire", 403, "gw-0042 has no such certificate.")
    (order,) = connected.look()
    assert connected.asks_for() == []
    assert (order.do, order.change) == (Do.NOTE_UNREGISTERED, never.id)
    connected.leave_behind(advance(never, Dropped(at=NOW)))
    connected.finish(seen=seen_set(NOW - DAY * 10, DAY * 8000))
    assert caller.last == {"event": "retired", "left": 0, "exit": Exit.DONE}
    assert judge(connected.status()) == Judgement(health=(), exit=Exit.DONE)


def test_where_the_fleet_retires_by_other_means_nothing_is_asked(tmp_path: Path) -> None:
    """The command says so, and the status counts what was left behind."""
    connected = ConnectedRig(tmp_path, retire=False)
    connected.leave_behind(left())
    assert connected.asks_for() == []
    found = connected.status()
    assert (found.retiring, found.not_asked_for, judge(found).exit) == ((), 1, Exit.DONE)
    for over in (False, True):
        with pytest.raises(RefusedError, match=r"`rotation\.retire` is false"):
            connected.say("retire", now=over)
    connected.close()


def test_a_dropped_retirement_is_a_workers_to_write_down(connected: ConnectedRig) -> None:
    """The client that asked for it is told what the worker says."""
    caller = connected.say("drop", certificate=OLD[:8])
    (order,) = connected.look()
    assert (order.do, order.certificate) == (Do.DROP_RETIREMENT, OLD[:8])
    connected.leave_behind(advance(left(), Dropped(at=NOW)))
    connected.finish(seen=seen_set(NOW - DAY * 10, DAY * 8000), dropped="It is dropped.")
    assert caller.last == {"event": "dropped", "text": "It is dropped.", "exit": Exit.DONE}
    connected.serve()
    assert connected.asks_for() == []
    assert connected.status().retiring == ()


def test_what_cannot_be_dropped_is_told(connected: ConnectedRig) -> None:
    """With the code that the worker gives it."""
    caller = connected.say("drop", certificate="ff" * 4)
    connected.look()
    connected.finish(error=WorkerError(message="There is none.", hint="Look.", exit=4))
    assert caller.last == {"event": "error", "message": "There is none.", "hint": "Look.", "exit": 4}
