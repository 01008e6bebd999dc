"""The worker that runs: one at a time, and told apart from what is still to come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.change.records import encode_outcome
from agent.core.dependants import Unit
from agent.core.report.findings import judge
from agent.core.values import Kind, Origin
from agent.core.worker_protocol import Do, Order, WorkerError
from support import make
from support.make import DAY, MINUTE, NOW
from support.running.daemon_rig import ConnectedRig, seen_set

if TYPE_CHECKING:
    from pathlib import Path

    from support.running.daemon_rig import DaemonRig


def test_what_is_due_is_begun_once(rig: DaemonRig) -> None:
    """One worker at a time, however often the facts are looked at."""
    rig.due()
    begun = rig.look()
    assert [(order.do, order.kind, order.origin) for order in begun] == [(Do.BEGIN, Kind.ROTATE, Origin.SCHEDULE)]
    assert rig.look() == []


def test_what_is_being_made_is_known_from_the_order_until_its_worker_has_ended(rig: DaemonRig) -> None:
    """Waiting or running: it may not be on record yet, and the same order, typed again, joins it."""
    rig.daemon.work.submit(Order(do=Do.BEGIN, kind=Kind.ROLLBACK))
    assert rig.daemon.work.making() is Kind.ROLLBACK
    rig.look()
    assert rig.daemon.work.making() is Kind.ROLLBACK
    rig.finish()
    assert rig.daemon.work.making() is None


def test_a_worker_is_told_what_only_the_daemon_knows(rig: DaemonRig) -> None:
    """The configuration in force, which the file may not be any more, and when the client id was used last."""
    rig.daemon.cloud.session._connected_at = 41.0
    rig.daemon.work.submit(Order(do=Do.LOOK))
    (order,) = rig.look()
    assert (order.configuration, order.connected_at) == (rig.config.source, 41.0)


ENDS = {
    "at a wait": ({}, True),
    "refused": ({"error": WorkerError(message="Not now.")}, False),
    "by a signal": ({"error": WorkerError(message="It died.", died=True)}, False),
}


@pytest.mark.parametrize("do", [Do.GO_ON, Do.EXAMINE, Do.CONFIRM, Do.NOTE_RETIRED])
@pytest.mark.parametrize(("end", "orderly"), ENDS.values(), ids=ENDS)
def test_every_worker_is_told_whether_the_one_before_was_cut_off(
    rig: DaemonRig, do: Do, end: dict[str, Any], *, orderly: bool
) -> None:
    """Whatever it is started for: it takes the change up, and a step that may have been sent has to be known of."""
    rig.daemon.work.submit(Order(do=Do.LOOK))
    (first,) = rig.look()
    rig.finish(**end)
    rig.wait(10)
    rig.daemon.work.submit(Order(do=do, hasten=True))
    order = rig.look()[0]
    assert (first.orderly, order.do, order.orderly) == (False, do, orderly)


def test_a_daemon_that_stops_waits_for_its_worker(rig: DaemonRig) -> None:
    """It says whether there is one to wait for."""
    assert not rig.daemon.work.stop()
    rig.daemon.work.submit(Order(do=Do.LOOK))
    rig.look()
    assert rig.daemon.work.stop()


def at_its_last_step(path: Path) -> ConnectedRig:
    """Return a daemon whose worker has just told of a change's last step, and has not looked yet."""
    rig = ConnectedRig(path, Unit(name="nginx.service"))
    rig.serve(generation=7)
    rig.see()
    rig.change(make.record(Phase.DEPLOYED, generation=8, base=7, checked_at=NOW - MINUTE))
    rig.daemon.cloud.session._link = None
    rig.daemon.work.submit(Order(do=Do.GO_ON))
    rig.look()
    rig.serve(generation=8)
    (rig.config.state_dir / "change.json").unlink()
    with (rig.config.state_dir / "history.jsonl").open("ab") as file:
        file.write(encode_outcome(make.finished(Phase.COMMITTED, NOW, generation=8, base=7)))
    (rig.config.state_dir / "generations" / "000008").mkdir()
    (rig.config.state_dir / "current").unlink()
    (rig.config.state_dir / "current").symlink_to("generations/000008")
    rig.tell("committed", "Generation 8 is final.")
    return rig


def sees_the_new_set(rig: ConnectedRig) -> None:
    """Let the running worker end, and hold what is told to what it has seen."""
    seen = seen_set(NOW - DAY, 90 * DAY)
    assert seen.current is not None
    rig.finish(seen=replace(seen, current=replace(seen.current, generation=8)))
    status = rig.status()
    assert judge(status).findings == ()
    assert (status.change, status.last is not None) == (None, True)


@pytest.mark.parametrize("dies", [False, True])
def test_the_end_of_a_change_is_not_told_with_what_was_seen_before_it(tmp_path: Path, *, dies: bool) -> None:
    """Its last step is on disk before its worker, or the next one, has looked: until then it is in flight."""
    rig = at_its_last_step(tmp_path)
    if dies:
        rig.finish(error=WorkerError(message="The worker process ended by signal 9.", died=True))
    status = rig.status()
    assert judge(status).findings == ()
    assert (status.change is not None, status.last) == (True, None)
    if dies:
        rig.wait(3600)
        assert [order.do for order in rig.look()] == [Do.LOOK]
    sees_the_new_set(rig)
    rig.close()
