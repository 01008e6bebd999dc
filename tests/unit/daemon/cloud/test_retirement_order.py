"""Which certificate a daemon has retired next, and which it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.advance import advance
from agent.core.change.events import Dropped
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.exit_codes import Exit
from agent.core.report.findings import Judgement, judge
from agent.core.worker_protocol import Do, WorkerError
from agent.errors import RefusedError
from support import make
from support.make import DAY, HOUR, NOW
from support.running.daemon_rig import NEVER_USED, OLD, OLDER, ConnectedRig, seen_set
from support.unit.daemon.daemon_retirement import left

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


def gave_up(at: datetime = NOW - 9 * DAY) -> ChangeRecord:
    """Return a rotation whose certificate was registered and never used."""
    passed = ((Phase.REGISTERED, at), (Phase.REJECTED, at))
    return make.finished(Phase.REJECTED, at, issued=replace(make.issued(at), certificate_id=NEVER_USED), passed=passed)


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
