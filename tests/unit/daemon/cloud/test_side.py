"""What follows when the session comes and goes, and when the fleet suggests a window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure import failures
from agent.core.values import Origin
from agent.core.when.schedule import Suggestion
from agent.core.worker_protocol import Do
from support import make
from support.make import HOUR, NOW, SECOND

if TYPE_CHECKING:
    from support.daemon_rig import DaemonRig


def test_a_suggested_window_moves_the_rotation(rig: DaemonRig) -> None:
    """And the change answers to whoever suggested it."""
    rig.daemon.cloud._on_suggestion(
        Suggestion(opens_at=NOW - HOUR, closes_at=NOW + HOUR / 2, source="job 7", order="job:7:1")
    )
    begun = rig.look()
    assert [(order.origin, order.order) for order in begun] == [(Origin.JOB, "job:7:1")]


def test_a_session_that_is_lost_on_probation_has_the_set_proven_once(rig: DaemonRig) -> None:
    """Long before it is due; while that is ordered a second loss orders nothing more."""
    rig.change(make.record(Phase.DEPLOYED, checked_at=NOW - 30 * SECOND))
    assert rig.look() == []
    rig.stand(generation=7)
    rig.daemon.cloud._on_suspicion()
    rig.daemon.cloud._on_suspicion()
    assert [(order.do, order.doubt, order.hasten) for order in rig.look()] == [(Do.GO_ON, True, False)]
    rig.finish()
    assert rig.look() == []


@pytest.mark.parametrize(
    ("generation", "record"),
    [
        (6, make.record(Phase.DEPLOYED)),  # the session of the set before
        (7, make.record(Phase.DEPLOYED, checked_at=NOW - 58 * SECOND, prove_at=NOW + SECOND)),
        (7, make.record(Phase.PREPARED, retry_at=NOW + HOUR)),
        (7, None),
    ],
)
def test_a_session_that_is_lost_orders_no_proof_otherwise(
    rig: DaemonRig, generation: int, record: ChangeRecord | None
) -> None:
    """Of another set, or of one that is proven in a moment, or with nothing on probation: two doubts are needed."""
    if record is not None:
        rig.change(record)
    rig.stand(generation=generation)
    rig.daemon.cloud._on_suspicion()
    assert rig.look() == []


def test_repeated_doubts_hasten_no_proof_on_probation(rig: DaemonRig) -> None:
    """The first suspicion has brought it forward. A change that has put nothing in use may give way to another rung."""
    failure = failures.hung_up()
    rig.change(make.record(Phase.DEPLOYED, prove_at=NOW, retry_at=NOW + 3 * SECOND, failure=failure))
    rig.daemon.cloud._on_doubt(failure)
    assert rig.look() == []
    rig.change(make.record(Phase.PREPARED, retry_at=NOW + HOUR, failure=failure))
    rig.daemon.cloud._on_doubt(failure)
    assert [order.do for order in rig.look()] == [Do.CLIMB]
