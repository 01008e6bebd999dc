"""The worker that runs: one at a time, and told apart from what is still to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.values import Kind, Origin
from agent.core.worker_protocol import Do, Order

if TYPE_CHECKING:
    from support.daemon_rig import DaemonRig


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


def test_a_daemon_that_stops_waits_for_its_worker(rig: DaemonRig) -> None:
    """It says whether there is one to wait for."""
    assert not rig.daemon.work.stop()
    rig.daemon.work.submit(Order(do=Do.LOOK))
    rig.look()
    assert rig.daemon.work.stop()
