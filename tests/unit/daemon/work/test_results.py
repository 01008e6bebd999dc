"""What is told of a worker's end, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change.decide import Wait
from agent.core.change.ladder import Climb, Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.failure.retry import CAP
from agent.core.report.findings import judge
from agent.core.worker_protocol import Do, Order, WorkerError
from support import make
from support.make import DAY, NOW
from support.running.daemon_rig import DaemonRig, seen_set

if TYPE_CHECKING:
    import pytest


def test_a_look_that_failed_is_told_and_tried_again(rig: DaemonRig) -> None:
    """Nothing says ok that was not looked at; what kept it from looking may pass by itself."""
    rig.daemon.work.submit(Order(do=Do.LOOK))
    rig.look()
    rig.finish(error=WorkerError(message="Cannot lock it."))
    assert (judge(rig.status()).exit, "Cannot lock it." in judge(rig.status()).health[0]) == (1, True)
    assert rig.look() == []
    rig.wait(300)
    assert [order.do for order in rig.look()] == [Do.LOOK]
    rig.finish(seen=seen_set(NOW - 10 * DAY, 8000 * DAY))
    assert (judge(rig.status()).exit, rig.look()) == (0, [])


def test_a_ladder_that_is_climbed_for_days_says_the_same_once(
    rig: DaemonRig, capfd: pytest.CaptureFixture[str]
) -> None:
    """The journal is not filled by a gateway that waits for its certificate to be activated again."""
    capfd.readouterr()
    for met in ("hung up", "hung up", "not authorised"):
        rig.daemon.cloud._on_doubt(make.failure(message="The broker hung up."))
        rig.look()
        assert rig.orders[-1].do is Do.CLIMB
        rig.tell("ladder", f"The current set is not accepted: {met}.")
        rig.finish(climb=Climb(use=Rung.TECHNICIAN, why="there is no set left"))
    said = capfd.readouterr().err
    assert [said.count(text) for text in ("hung up.", "not authorised.", "There is no set left")] == [1, 1, 1]


def test_a_gateway_that_is_locked_out_says_so_until_a_set_is_accepted(rig: DaemonRig) -> None:
    """With what helps, and as critical; a climb that found no path to the endpoint takes nothing of it back."""
    rig.daemon.work.submit(Order(do=Do.CLIMB))
    rig.look()
    rig.finish(climb=Climb(use=Rung.TECHNICIAN, why="the endpoint accepts no set of this gateway", remedy="Help it."))
    said = "The endpoint accepts no set of this gateway. Help it. The agent goes on trying by itself."
    assert said in judge(rig.status()).health
    assert judge(rig.status()).exit == 3

    rig.daemon.work.submit(Order(do=Do.CLIMB))
    rig.look()
    rig.finish(climb=Climb(why="no route to host"))
    assert said in judge(rig.status()).health

    rig.daemon.work.submit(Order(do=Do.CLIMB))
    rig.look()
    rig.finish(climb=Climb(use=Rung.CURRENT, why="the current set is accepted"))
    assert said not in judge(rig.status()).health


def test_a_change_that_a_full_disk_holds_up_is_gone_on_with_ever_more_rarely(rig: DaemonRig) -> None:
    """The record on the disk knows of no wait, and had a worker started every second; a save begins it anew."""
    rig.see()
    rig.change(make.record(phase=Phase.REQUESTED))
    failure = make.failure(kind=FailureClass.STORE, code=Code.STORE, message="No space left on device.")
    full = Wait(why="It is full.", until=NOW, code="retry", failure=failure)
    assert [order.do for order in rig.look()] == [Do.GO_ON]
    rig.finish(wait=full, exit=1)
    for seconds in (5, 10, 20, 40, 80, 160, CAP, CAP):
        rig.wait(seconds / 2 - 1)  # by chance up to half of it is left out
        assert rig.look() == []
        rig.wait(seconds / 2 + 1)
        assert [order.do for order in rig.look()] == [Do.GO_ON]
        rig.finish(wait=full, exit=1)
    rig.wait(300)
    rig.look()
    began = len(rig.orders)
    rig.finish(wait=Wait(why="The network is down.", until=NOW, code="retry", failure=make.failure()), exit=1)
    assert [order.do for order in rig.orders[began:]] == [Do.GO_ON]
