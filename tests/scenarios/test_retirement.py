"""Retiring what was left behind: over the connection of what is in use, once, and written down."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core import troubles
from agent.core.failure import FailureClass
from agent.core.lifecycle import Phase
from agent.core.retirement import Retirement, outstanding
from agent.core.values import Kind, Origin
from agent.errors import CloudError, RefusedError, StoreError
from agent.sandbox.cloud import Status
from agent.sandbox.faults import TOKEN_MARK, Effect, Operation

if TYPE_CHECKING:
    from rig import Rig

DAY = timedelta(days=1)
GRACE = 7 * DAY


def waiting(rig: Rig) -> tuple[Retirement, ...]:
    """Return what is still to be retired."""
    current = rig.store.current()
    assert current is not None
    return outstanding(rig.store.history(), [rig.certificate(current)], GRACE)


def only(rig: Rig) -> Retirement:
    """Return the one certificate that is still to be retired."""
    (found,) = waiting(rig)
    return found


def sessions(rig: Rig) -> int:
    """Return how many connections are open."""
    return len(rig.endpoint._live)


# -- as it should be -----------------------------------------------------------------------------------------------


def test_the_replaced_certificate_is_retired_over_the_new_ones_connection(gateway: Rig) -> None:
    """The cloud makes it inactive, the history says so for ever after, and the gateway goes on as before."""
    due = only(gateway)
    assert due.certificate_id == gateway.certificate(1)
    before = len(gateway.endpoint.connections)
    gateway.engine.retire(due)

    (connection,) = gateway.endpoint.connections[before:]
    assert (connection.candidate, connection.outcome) == ("generation 2", "accepted")
    assert (gateway.entry(1).status, gateway.entry(2).status) == (Status.INACTIVE, Status.ACTIVE)
    assert gateway.history == [("enroll", "committed", 1), ("rotate", "retired", 2)]
    assert gateway.store.history()[-1].retired_at == gateway.clock.now()
    assert waiting(gateway) == ()
    assert sessions(gateway) == 0
    assert f"retired: The certificate {due.certificate_id[:12]} is retired" in gateway.log.text
    assert gateway.connects()


def test_a_retirement_survives_a_restart(gateway: Rig) -> None:
    """The line that was added counts, in the place of the earlier one."""
    gateway.engine.retire(only(gateway))
    gateway.restart()

    assert gateway.history == [("enroll", "committed", 1), ("rotate", "retired", 2)]
    assert waiting(gateway) == ()
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
    assert only(gateway).certificate_id == gateway.certificate(2)


def test_each_change_remembers_what_it_replaced_and_who_ordered_it(rig: Rig) -> None:
    """A first certificate replaces nothing; a change without an order answers to nobody."""
    rig.enroll()
    rig.engine.begin(Kind.ROTATE, Origin.JOB, "job j-1: test", "job:j-1:1")
    rig.follow()
    first, second = rig.store.history()

    assert (first.replaces, first.order) == (None, "")
    assert (second.replaces, second.order, second.origin) == (rig.certificate(1), "job:j-1:1", Origin.JOB)


def test_the_certificate_of_a_change_that_failed_is_retired_too(gateway: Rig) -> None:
    """It was registered, never became active and is of no use to anybody; the failure stays on record."""
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    outcome = gateway.rotate(patience=DAY)
    assert outcome.record.phase is Phase.REJECTED
    old, refused = waiting(gateway)
    assert refused.change == outcome.record.id
    gateway.engine.retire(refused)

    assert waiting(gateway) == (old,)
    last = gateway.store.history()[-1]
    assert (last.phase, last.failure) == (Phase.REJECTED, outcome.record.failure)
    assert last.retired_at == gateway.clock.now()


def test_a_rollback_brings_a_certificate_back(gateway: Rig) -> None:
    """What is in use again is not retired; what was left instead is, and the next rotation leaves both behind."""
    first, second = gateway.certificate(1), gateway.certificate(2)
    gateway.run(Kind.ROLLBACK)
    assert only(gateway).certificate_id == second
    gateway.engine.retire(only(gateway))
    assert waiting(gateway) == ()
    gateway.rotate()

    assert only(gateway).certificate_id == first
    gateway.engine.retire(only(gateway))
    assert (gateway.entry(1).status, gateway.entry(2).status) == (Status.INACTIVE, Status.INACTIVE)
    assert gateway.connects()


def test_a_gateway_leaves_nothing_behind_over_the_years(gateway: Rig) -> None:
    """After five rotations, each with its retirement, one certificate of this thing is active."""
    for _ in range(5):
        gateway.engine.retire(only(gateway))
        gateway.clock.advance(days=300)
        assert gateway.rotate().record.phase is Phase.COMMITTED
    gateway.engine.retire(only(gateway))

    mine = [entry for entry in gateway.cloud.registry.values() if entry.thing_name == "gw-0042"]
    assert [entry.status for entry in mine].count(Status.ACTIVE) == 1
    assert len(mine) == 7
    assert gateway.asked(Operation.RETIRE, "200") == 6
    assert gateway.connects()


# -- when it does not work -----------------------------------------------------------------------------------------

REFUSALS = [
    (Effect.DENY, FailureClass.POLICY),
    (Effect.REJECT, FailureClass.PROTOCOL),
    (Effect.THROTTLE, FailureClass.THROTTLED),
    (Effect.UNAVAILABLE, FailureClass.NETWORK),
    (Effect.UNAUTHORISED, FailureClass.POLICY),
    (Effect.IGNORE, FailureClass.NETWORK),
    (Effect.LOSE, FailureClass.NETWORK),
    (Effect.HANG_UP, FailureClass.NETWORK),
    (Effect.GARBLE, FailureClass.NETWORK),
]


@pytest.mark.parametrize(("effect", "kind"), REFUSALS)
def test_a_retirement_that_was_not_accepted_is_asked_for_again(
    gateway: Rig, effect: Effect, kind: FailureClass
) -> None:
    """Nothing is written down; the second try is accepted, also when the first was carried out unheard."""
    due = only(gateway)
    gateway.fault(Operation.RETIRE, effect)
    with pytest.raises(CloudError) as refusal:
        gateway.engine.retire(due)

    assert refusal.value.failure.kind is kind
    assert gateway.history[-1] == ("rotate", "committed", 2)
    assert waiting(gateway) == (due,)
    assert sessions(gateway) == 0
    gateway.engine.retire(due)
    assert gateway.entry(1).status is Status.INACTIVE
    assert waiting(gateway) == ()


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b'{"clientToken": "%clientToken%", "clientToken": "x"}',
        b'{"clientToken": "another"}',
        b'{"clientToken": 7}',
        b"{}",
        b"\xff",
        b'{"clientToken": "' + TOKEN_MARK + b'", "a": NaN}',
    ],
    ids=lambda payload: repr(payload[:24]),
)
def test_no_answer_but_an_acceptance_retires_anything(gateway: Rig, payload: bytes) -> None:
    """Whatever comes instead of one is a failure of the cloud, and nothing is written down."""
    gateway.fault(Operation.RETIRE, Effect.HOSTILE, payload=payload)
    with pytest.raises(CloudError):
        gateway.engine.retire(only(gateway))

    assert gateway.history[-1] == ("rotate", "committed", 2)


def test_without_a_network_nothing_is_retired(gateway: Rig) -> None:
    """Not even asked for."""
    gateway.endpoint.down = troubles.unreachable("sandbox", 8883, "no route to host")
    with pytest.raises(CloudError, match="does not take connections"):
        gateway.engine.retire(only(gateway))

    assert gateway.asked(Operation.RETIRE) == 0
    assert len(waiting(gateway)) == 1


def test_an_acceptance_that_cannot_be_written_down_is_asked_for_again(gateway: Rig) -> None:
    """The disk fails after the cloud has done its part: asking again is safe."""
    due = only(gateway)
    gateway.disk.fail("amend")
    with pytest.raises(StoreError, match="No space left"):
        gateway.engine.retire(due)

    assert gateway.entry(1).status is Status.INACTIVE
    assert waiting(gateway) == (due,)
    gateway.engine.retire(due)
    assert waiting(gateway) == ()
    assert gateway.asked(Operation.RETIRE, "200") == 2


def test_a_line_that_a_power_cut_tore_is_as_if_it_were_not_there(gateway: Rig) -> None:
    """The earlier line about the change counts, and the retirement is asked for again."""
    due = only(gateway)
    gateway.engine.retire(due)
    history = gateway.path / "history.jsonl"
    history.write_bytes(history.read_bytes()[:-30])
    gateway.restart()

    assert gateway.history == [("enroll", "committed", 1), ("rotate", "committed", 2)]
    assert waiting(gateway) == (due,)
    gateway.engine.retire(due)
    gateway.restart()
    assert gateway.history[-1] == ("rotate", "retired", 2)


def test_the_certificate_in_use_is_never_retired(gateway: Rig) -> None:
    """Whoever asks for it: the gateway would cut itself off."""
    due = Retirement(change="c", certificate_id=gateway.certificate(2), due=gateway.clock.now())
    with pytest.raises(RefusedError, match="in use is never retired"):
        gateway.engine.retire(due)

    assert gateway.asked(Operation.RETIRE) == 0
    assert gateway.entry(2).status is Status.ACTIVE


def test_without_a_current_set_there_is_nobody_to_ask(rig: Rig) -> None:
    """The refusal says what helps."""
    due = Retirement(change="c", certificate_id="01" * 32, due=rig.clock.now())
    with pytest.raises(RefusedError, match="no current set") as refusal:
        rig.engine.retire(due)

    assert "iot-cert rotate" in refusal.value.hint


def test_an_acceptance_is_noted_once(gateway: Rig) -> None:
    """A second note, or one about a change that nobody knows, writes nothing."""
    due = only(gateway)
    gateway.engine.note_retired("nobody")
    assert len(waiting(gateway)) == 1
    gateway.engine.note_retired(due.change)
    size = (gateway.path / "history.jsonl").stat().st_size
    gateway.clock.advance(days=1)
    gateway.engine.note_retired(due.change)

    assert (gateway.path / "history.jsonl").stat().st_size == size
    assert waiting(gateway) == ()


# -- what it means for going back ----------------------------------------------------------------------------------


def test_a_rollback_to_a_retired_set_is_refused_and_says_so(gateway: Rig) -> None:
    """Before anything is tried: when it was retired, that the current set stays, and what helps."""
    gateway.engine.retire(only(gateway))
    retired_at = gateway.clock.now()
    gateway.clock.advance(days=3)
    before = len(gateway.endpoint.connections)
    with pytest.raises(RefusedError) as refusal:
        gateway.engine.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert str(refusal.value) == (
        f"The certificate of generation 1 was retired at {retired_at:%Y-%m-%d %H:%M:%S} UTC, so the cloud does not "
        "accept it any more."
    )
    assert refusal.value.hint == "The current set stays in use; `iot-cert rotate` makes a new one."
    assert len(gateway.endpoint.connections) == before
    assert gateway.at_rest
    assert gateway.in_use() == (2, 1)


def test_a_rotation_after_a_retirement_goes_back_within_probation(gateway: Rig) -> None:
    """What is retired is the one before the last: the base of a change in flight is never touched."""
    gateway.engine.retire(only(gateway))
    gateway.to_probation()
    gateway.revoke(3)
    outcome = gateway.follow(patience=DAY)

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert gateway.store.current() == 2
    assert gateway.connects()
