"""Getting back to the cloud: the ladder finds a set that works, and one ordinary change follows from it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.backend.names import Metric
from agent.change.plan import MAX_REASON
from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.core.when.retirement import outstanding
from agent.core.when.schedule import past_of
from agent.errors import RefusedError
from agent.operations.execute import Done, ended_locked_out
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig

DAY = timedelta(days=1)


def healed(rig: Rig, why: str = "the set in use is refused", *, rotate: bool = False) -> Done:
    """Climb, and carry out what follows."""
    return rig.operations.climb(why, rotate=rotate)


def last(rig: Rig, number: int) -> list[tuple[str, str, int]]:
    """Return the last finished changes."""
    return rig.history[-number:]


# -- what follows from a rung --------------------------------------------------------------------------------------


def test_a_refused_set_is_left_for_the_previous_one_which_is_replaced_at_once(gateway: Rig) -> None:
    """Two changes of the ladder's: back to what works, and from there to a certificate of its own."""
    gateway.revoke(2)
    found = healed(gateway)

    assert found.rung is Rung.PREVIOUS
    assert found.outcome is not None
    assert (found.outcome.record.kind, found.outcome.record.phase) == (Kind.ROTATE, Phase.COMMITTED)
    assert last(gateway, 2) == [("rollback", "committed", 1), ("rotate", "committed", 3)]
    assert {record.origin for record in gateway.store.history()[-2:]} == {Origin.LADDER}
    assert {record.reason for record in gateway.store.history()[-2:]} == {"ladder: the set in use is refused"}
    assert gateway.store.current() == 3
    assert gateway.connects()


def test_what_was_refused_is_retired_with_the_rest(gateway: Rig) -> None:
    """Each of the two changes left a certificate behind."""
    first, second = gateway.certificate(1), gateway.certificate(2)
    gateway.revoke(2)
    healed(gateway)
    found = outstanding(gateway.store.history(), [gateway.certificate(3)], timedelta())

    assert {item.certificate_id for item in found} == {first, second}


def test_with_every_set_refused_the_claim_enrols_the_gateway_anew(gateway: Rig) -> None:
    """It stays the thing it was."""
    gateway.revoke(1, 2)
    found = healed(gateway)

    assert found.rung is Rung.CLAIM
    assert last(gateway, 1) == [("enroll", "committed", 3)]
    assert gateway.store.generation(3).manifest.thing_name == "gw-0042"
    assert gateway.connects()


def test_a_claim_whose_token_is_spent_enrols_when_the_operator_readmits_the_gateway(rig: Rig) -> None:
    """Before that the refusal names the verb; nothing that the gateway has is given up for it."""
    rig.run(Kind.ENROLL)
    rig.rotate()
    rig.revoke(1, 2)
    refused = healed(rig)

    assert refused.rung is Rung.CLAIM
    assert refused.outcome is not None
    assert refused.outcome.record.failure is not None
    assert "iot-cert cloud readmit" in refused.outcome.record.failure.remedy
    assert rig.in_use() == (2, 1)
    assert [metric for metric, _, _ in rig.cloud.stack.outbox.counted].count(Metric.RE_ENROLMENTS_REFUSED) >= 1

    rig.readmit()
    rig.clock.advance(days=1)
    assert healed(rig).rung is Rung.CLAIM
    assert last(rig, 1)[0][:2] == ("enroll", "committed")
    assert rig.connects()


@pytest.mark.parametrize("rotate", [True, False])
def test_a_set_that_works_after_all_is_rotated_only_for_whom_asked(gateway: Rig, *, rotate: bool) -> None:
    """A person who ordered a rotation gets it; a daemon that had its doubts does not need one."""
    found = healed(gateway, rotate=rotate)

    assert found.rung is Rung.CURRENT
    assert (found.outcome is not None) == rotate
    assert gateway.store.current() == (3 if rotate else 2)


def test_with_no_set_left_nothing_is_begun(gateway: Rig) -> None:
    """A technician is needed, and is told."""
    for number in (1, 2):
        for name in ("key.pem", "credential.pem"):
            (gateway.path / "generations" / f"{number:06d}" / name).unlink()
    gateway.claim_present = False
    found = healed(gateway)

    assert (found.rung, found.outcome) == (Rung.TECHNICIAN, None)
    assert gateway.at_rest
    assert gateway.in_use() == (2, 1)


def test_with_every_set_hung_up_on_nothing_is_begun(gateway: Rig) -> None:
    """No set is accepted: a technician is told what helps, and the agent goes on trying."""
    gateway.revoke(1, 2)
    gateway.claim_present = False
    found = healed(gateway)

    assert (found.rung, found.outcome) == (Rung.TECHNICIAN, None)
    assert found.locked_out is not None
    assert "iot-cert import" in found.locked_out.remedy


def test_without_a_network_nothing_is_concluded(gateway: Rig) -> None:
    """No rung is left for want of a path, and nothing is begun."""
    gateway.revoke(2)
    gateway.endpoint.down = failures.unreachable("sandbox", 8883, "no route to host")
    before = len(gateway.endpoint.connections)
    found = healed(gateway)

    assert (found.rung, found.outcome) == (None, None)
    assert [item.candidate for item in gateway.endpoint.connections[before:]] == ["generation 2"]
    assert gateway.at_rest


def test_a_gateway_that_never_had_a_certificate_has_no_ladder(rig: Rig) -> None:
    """It enrols, when a person says so."""
    with pytest.raises(RefusedError, match="no certificate to rotate yet") as refusal:
        healed(rig)

    assert "iot-cert enroll" in refusal.value.hint
    assert rig.endpoint.connections == []


def test_a_long_story_is_cut_to_the_length_of_a_reason(gateway: Rig) -> None:
    """Whatever the failure had to say."""
    gateway.revoke(2)
    healed(gateway, "because " * 1000)

    assert all(len(record.reason) == MAX_REASON for record in gateway.store.history()[-2:])


# -- when it goes wrong on the way -----------------------------------------------------------------------------------


def test_a_previous_set_that_is_refused_after_all_is_not_rotated_from(gateway: Rig) -> None:
    """It was accepted on the ladder and revoked before it was proven again: the change ends, and nothing follows."""
    gateway.revoke(2)
    entry = gateway.entry(1)
    entry.revoke_at_connection = entry.connections + 2
    found = healed(gateway)

    assert found.rung is Rung.PREVIOUS
    assert found.outcome is not None
    assert (found.outcome.record.kind, found.outcome.record.phase) == (Kind.ROLLBACK, Phase.REJECTED)
    assert gateway.at_rest
    assert healed(gateway).rung is Rung.CLAIM
    assert gateway.connects()


def test_a_rotation_that_fails_leaves_the_gateway_on_the_older_set_and_unfinished(gateway: Rig) -> None:
    """It connects, and the schedule knows that it is not to stay there."""
    gateway.revoke(2)
    gateway.fault(Operation.CREATE, Effect.REJECT)
    found = healed(gateway)

    assert found.outcome is not None
    assert found.outcome.record.phase is Phase.REJECTED
    assert last(gateway, 2) == [("rollback", "committed", 1), ("rotate", "rejected", 3)]
    assert gateway.connects()
    assert past_of(gateway.store.history()).unfinished


def test_a_ladder_that_stopped_after_the_rollback_is_unfinished(gateway: Rig) -> None:
    """The process ended between the two changes: the rotation follows by the schedule."""
    gateway.revoke(2)
    gateway.planner.begin(Kind.ROLLBACK, Origin.LADDER, "ladder: test")
    gateway.follow()

    assert past_of(gateway.store.history()).unfinished
    gateway.rotate()
    assert not past_of(gateway.store.history()).unfinished


def test_healing_keeps_the_budget(gateway: Rig) -> None:
    """A gateway that asked for its share today waits on the older set, which connects."""
    gateway.use_up_budget()
    gateway.revoke(2)
    before = gateway.asked(Operation.CREATE)
    start = gateway.clock.now()
    found = healed(gateway)

    assert found.outcome is not None
    assert found.outcome.record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == before + 1
    assert timedelta(hours=23) < gateway.clock.now() - start < timedelta(hours=25)


def test_the_ladder_goes_back_to_a_retired_set_that_is_accepted(gateway: Rig) -> None:
    """An operator made the old certificate active again to rescue gateways without a claim: what is accepted counts."""
    gateway.claim_present = False
    (due,) = outstanding(gateway.store.history(), [gateway.certificate(2)], timedelta())
    gateway.retirements.retire(due)
    gateway.revoke(1, status=Status.ACTIVE)
    gateway.revoke(2)
    found = healed(gateway)

    assert found.rung is Rung.PREVIOUS
    assert last(gateway, 2) == [("rollback", "committed", 1), ("rotate", "committed", 3)]
    assert gateway.connects()


# -- when the ladder is called for -----------------------------------------------------------------------------------


def test_a_change_that_finds_its_own_source_refused_is_locked_out(gateway: Rig) -> None:
    """Nothing came of it because the set in use is refused: the ladder is the way on."""
    gateway.revoke(2)
    record = gateway.rotate(patience=DAY).record

    assert record.phase is Phase.REJECTED
    assert ended_locked_out(record)
    assert healed(gateway).rung is Rung.PREVIOUS


def test_a_first_certificate_that_is_refused_in_probation_is_locked_out(rig: Rig) -> None:
    """The only set there is: it stays where it is, and the ladder goes on from there."""
    rig.fault(Operation.REGISTER, Effect.REVOKE)
    record = rig.run(Kind.ENROLL, patience=3 * DAY).record

    assert (record.phase, ended_locked_out(record)) == (Phase.REJECTED, True)
    assert healed(rig).rung is Rung.CLAIM
    assert rig.connects()


def test_a_change_whose_own_certificate_is_refused_is_not_locked_out(gateway: Rig) -> None:
    """The set it came from works, so there is nothing to heal."""
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    record = gateway.rotate(patience=DAY).record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert record.failure.kind is FailureClass.CREDENTIAL
    assert not ended_locked_out(record)


@pytest.mark.parametrize("effect", [Effect.REJECT, Effect.DENY])
def test_a_change_that_the_service_refused_is_not_locked_out(gateway: Rig, effect: Effect) -> None:
    """The gateway connects; it is the request that is wrong."""
    gateway.fault(Operation.CREATE, effect, times=None)
    record = gateway.rotate(patience=DAY).record

    assert record.phase is Phase.REJECTED
    assert not ended_locked_out(record)


def test_a_change_that_succeeded_or_went_back_is_not_locked_out(gateway: Rig) -> None:
    """There is a set in use that works."""
    assert not ended_locked_out(gateway.rotate().record)
    gateway.to_probation()
    gateway.revoke(4)
    record = gateway.follow(patience=DAY).record
    assert record.phase is Phase.ROLLED_BACK
    assert not ended_locked_out(record)
