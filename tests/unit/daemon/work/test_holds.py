"""What fails is put off, and what that must not put off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.core.worker_protocol import Do, Order, WorkerError
from agent.daemon.work.holds import BUSY
from support import make
from support.make import NOW

if TYPE_CHECKING:
    from support.running.daemon_rig import DaemonRig


def test_an_order_that_fails_is_not_repeated_at_once(rig: DaemonRig) -> None:
    """What could not even be begun, for lack of space say, waits before it is tried again."""
    rig.due()
    rig.look()
    rig.finish(error=WorkerError(message="No space left."))
    assert rig.look() == []
    assert rig.holds.failed


def test_an_order_of_the_fleets_that_is_refused_holds_no_other_up(rig: DaemonRig) -> None:
    """Its job is told, and the next one is begun at once: only what the daemon does by itself is put off by failing."""
    for number in range(4):
        rig.job(f"job:{number}:1", Kind.ROLLBACK)
        assert [order.order for order in rig.look()] == [f"job:{number}:1"]
        rig.finish(error=WorkerError(message="There is no previous generation.", exit=4))
    rig.job("job:9:1")
    assert [order.order for order in rig.look()] == ["job:9:1"]


def test_a_busy_store_keeps_the_order(rig: DaemonRig) -> None:
    """An operator's command works on the store: the same order comes first once it is done."""
    rig.due()
    first = rig.look()
    rig.finish(error=WorkerError(message="Process 7 is working.", exit=4, busy=True))
    rig.wait(BUSY)
    again = rig.look()
    assert [(order.do, order.reason) for order in again] == [(order.do, order.reason) for order in first]


def test_a_job_waits_for_the_change_that_a_busy_store_has_begun(rig: DaemonRig) -> None:
    """An operator's import kept it from beginning: it is neither begun in the middle of that, nor told as failed."""
    rig.job("job:1:1")
    (first,) = rig.look()
    rig.finish(error=WorkerError(message="Process 7 is working.", exit=4, busy=True))
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW))
    rig.wait(BUSY)
    assert first not in rig.look()
    (rig.config.state_dir / "change.json").unlink()
    rig.daemon.facts.refresh()
    rig.see()
    assert first in rig.look()


TROUBLE = WorkerError(message="No space left.")


def test_what_a_person_asks_for_is_done_although_the_last_order_failed(rig: DaemonRig) -> None:
    """The wait is for what failed by itself; what was ordered then goes on waiting."""
    rig.due()
    rig.look()
    rig.finish(error=TROUBLE)
    assert rig.look() == []
    rig.daemon.work.submit(Order(do=Do.NOTE_RETIRED))
    rig.ask(Order(do=Do.EXAMINE))
    assert [order.do for order in rig.look()] == [Do.EXAMINE]
    rig.finish(examination=())
    assert rig.look() == []


def test_what_a_person_asks_for_waits_for_a_busy_store(rig: DaemonRig) -> None:
    """Two processes cannot work on it, not even for a person."""
    rig.ask(Order(do=Do.EXAMINE))
    rig.look()
    rig.finish(error=WorkerError(message="Process 7 is working.", exit=4, busy=True))
    rig.ask(Order(do=Do.REHEARSE))
    assert rig.look() == []
    rig.wait(BUSY)
    assert [order.do for order in rig.look()] == [Do.EXAMINE]


def test_trouble_that_lasts_is_tried_again_within_five_minutes(rig: DaemonRig) -> None:
    """A disk that was full for a day is noticed to be writable again."""
    rig.due()
    for _ in range(20):
        rig.wait(300)
        assert len(rig.look()) == 1
        rig.finish(error=TROUBLE)
    assert 100 < max(rig.holds.delays) <= 300


def test_a_reload_ends_the_wait_after_trouble(rig: DaemonRig) -> None:
    """An operator who reloads has put something right."""
    rig.due()
    rig.look()
    rig.finish(error=TROUBLE)
    assert rig.look() == []
    config = rig.config
    config.path.write_text(f"endpoint: localhost\nstate_dir: {config.state_dir}\nruntime_dir: {config.runtime_dir}\n")
    rig.daemon.surroundings._calls.reload()
    assert [order.do for order in rig.orders[1:]] == [Do.LOOK]


def test_trouble_with_the_disk_does_not_hold_the_ladder_back(rig: DaemonRig) -> None:
    """A rotation finds no room and is held back for long; falling back has room of its own and is not."""
    rig.due()
    rig.look()
    rig.finish(error=WorkerError(message="No space left."))
    assert rig.look() == []
    rig.daemon.cloud._on_doubt(make.failure(FailureClass.NETWORK, "hung-up"))
    assert [(order.do, order.origin) for order in rig.look()] == [(Do.CLIMB, Origin.LADDER)]
