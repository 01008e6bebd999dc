"""Retirement and the sets that may be gone back to, also after damage to records."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.core.when import retirement
from agent.errors import RefusedError, StoreError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.shorthand.retiring import DAY, only, waiting

if TYPE_CHECKING:
    from support.simulated.rig import Rig

# -- what it means for going back --------------------------------------------------------------------------------------


def test_a_rollback_to_a_retired_set_is_refused_and_says_so(gateway: Rig) -> None:
    """Before anything is tried: when it was retired, that the current set stays, and what helps."""
    gateway.retirements.retire(only(gateway))
    retired_at = gateway.clock.now()
    gateway.clock.advance(days=3)
    before = len(gateway.endpoint.connections)
    with pytest.raises(RefusedError) as refusal:
        gateway.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert str(refusal.value) == (
        f"The certificate of generation 1 was retired at {retired_at:%Y-%m-%d %H:%M:%S} UTC, so the cloud does not "
        "accept it any more."
    )
    assert refusal.value.hint == "The current set stays in use; `iot-cert rotate` makes a new one."
    assert len(gateway.endpoint.connections) == before
    assert gateway.at_rest
    assert gateway.in_use() == (2, None)


def test_a_retired_certificates_key_is_destroyed(gateway: Rig) -> None:
    """Nothing on the disk holds it any more; the one in use and the next rotation go on as before."""
    key = (gateway.path / "generations/000001/key.pem").read_bytes().strip()
    gateway.retirements.retire(only(gateway))

    assert not [file for file in gateway.path.rglob("*") if file.is_file() and key in file.read_bytes()]
    gateway.restart()
    assert gateway.in_use() == (2, None)
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


def test_the_only_way_back_that_a_person_can_open_is_kept_until_there_is_another(gateway: Rig) -> None:
    """Without a claim certificate on the gateway: the next change that is final destroys the key."""
    gateway.claim_present = False
    gateway.retirements.retire(only(gateway))
    assert gateway.in_use() == (2, 1)
    gateway.rotate()

    assert gateway.in_use() == (3, 2)
    assert gateway.store.numbers().final == (2, 3)


def test_a_set_that_was_activated_again_and_gone_back_to_is_kept(gateway: Rig) -> None:
    """The history says that it was retired once; it is what a rollback returns to now."""
    gateway.claim_present = False
    gateway.retirements.retire(only(gateway))
    gateway.revoke(1, status=Status.ACTIVE)
    gateway.planner.begin(Kind.ROLLBACK, Origin.LADDER, "ladder: test")
    gateway.follow()
    assert gateway.in_use()[0] == 1
    gateway.rotate()

    assert gateway.in_use() == (3, 1)
    assert gateway.connects()


def test_the_key_of_a_failed_change_is_destroyed_with_its_certificate(gateway: Rig) -> None:
    """What a person may ask about is left: its certificate, its manifest, and the set to fall back on."""
    gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    gateway.rotate(patience=DAY)
    (left,) = (gateway.path / "generations").glob("*.rejected")
    assert (left / "key.pem").exists()
    gateway.retirements.retire(waiting(gateway)[1])

    assert sorted(file.name for file in left.iterdir()) == ["certificate.pem", "manifest.json", "trust.pem"]
    assert gateway.in_use() == (2, 1)


def test_a_key_that_cannot_be_destroyed_is_told_and_the_retirement_noted(gateway: Rig) -> None:
    """The cloud accepted it: asking again would not mend the disk."""
    gateway.disk.fail("destroy", error=StoreError("Cannot erase key.pem: Input/output error.", hint="See the disk."))
    gateway.retirements.retire(only(gateway))

    assert "could not be destroyed, and is tried again: Cannot erase key.pem: Input/output error." in gateway.log.text
    assert waiting(gateway) == ()
    gateway.restart()
    assert gateway.in_use() == (2, 1)
    gateway.retirements.destroy_left()
    assert gateway.in_use() == (2, None)
    assert not (gateway.path / "generations/000001").exists()


def test_nothing_is_destroyed_that_may_have_to_serve(gateway: Rig) -> None:
    """What was not retired, what a change rests on, the only way back, and what was activated again and in use."""
    gateway.retirements.destroy_left()
    assert gateway.in_use() == (2, 1)
    gateway.claim_present = False
    gateway.retirements.retire(only(gateway))
    gateway.revoke(1, status=Status.ACTIVE)
    gateway.planner.begin(Kind.ROLLBACK, Origin.LADDER, "ladder: test")
    gateway.follow()
    gateway.rotate()
    gateway.claim_present = True
    gateway.retirements.destroy_left()
    assert gateway.in_use() == (3, 1)
    assert gateway.store.generation(1).number == 1


def test_a_rotation_after_a_retirement_goes_back_within_probation(gateway: Rig) -> None:
    """What is retired is the one before the last: the base of a change in flight is never touched."""
    gateway.retirements.retire(only(gateway))
    gateway.to_probation()
    gateway.revoke(3)
    outcome = gateway.follow(patience=DAY)

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert gateway.store.current() == 2
    assert gateway.connects()


# -- what a damaged record leaves behind -------------------------------------------------------------------------------


def lose_record(rig: Rig, data: bytes = bytes(400)) -> None:
    """Let the record of the change in flight be damaged while the gateway is off, and start it again."""
    (rig.path / "change.json").write_bytes(data)
    assert rig.restart() is None
    assert rig.at_rest


def half(rig: Rig) -> bytes:
    """Return the record of the change in flight as a write that was cut off leaves it: its end is zeros."""
    data = (rig.path / "change.json").read_bytes()
    return data[:-40] + bytes(40)


LEFT_BEHIND = [Phase.PREPARED, Phase.PROVEN]


@pytest.mark.parametrize("phase", LEFT_BEHIND)
@pytest.mark.parametrize("legible", [False, True])
def test_the_certificate_of_a_change_whose_record_was_damaged_is_retired(
    gateway: Rig, phase: Phase, *, legible: bool
) -> None:
    """Nothing of the record need be legible, since its generation says which certificate that is."""
    change = gateway.run_to(Kind.ROTATE, phase)
    orphan = gateway.certificate(3)
    assert gateway.cloud.registry[orphan].status is Status.ACTIVE
    lose_record(gateway, half(gateway) if legible else bytes(400))

    record = gateway.store.history()[-1]
    assert (record.id, record.generation, record.phase) == (change.id, 3, Phase.REJECTED)
    assert f"The certificate {orphan} that it had got is left behind" in gateway.log.text
    assert [item.certificate_id for item in waiting(gateway)] == [gateway.certificate(1), orphan]
    gateway.retirements.retire(waiting(gateway)[-1])
    assert gateway.cloud.registry[orphan].status is Status.INACTIVE
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()
    assert gateway.rotate().record.generation == 4


def test_a_certificate_that_had_just_been_registered_is_known_by_the_text(gateway: Rig) -> None:
    """There is no generation yet; what is legible of the record names it."""
    gateway.run_to(Kind.ROTATE, Phase.REGISTERED)
    record = gateway.store.change()
    assert record is not None
    assert record.issued is not None
    lose_record(gateway, half(gateway))

    found = waiting(gateway)[-1]
    assert found.certificate_id == record.issued.certificate_id
    assert found.change == record.id
    gateway.retirements.retire(found)
    assert gateway.cloud.registry[found.certificate_id].status is Status.INACTIVE
    assert gateway.generations == ["000001", "000002"]


@pytest.mark.parametrize("legible", [False, True])
@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_set_in_use_stays_in_use_when_the_record_that_put_it_there_is_damaged(
    gateway: Rig, phase: Phase, *, legible: bool
) -> None:
    """What it replaced is left behind, and retired over the connection of what is in use."""
    gateway.run_to(Kind.ROTATE, phase)
    lose_record(gateway, half(gateway) if legible else bytes(400))

    assert gateway.in_use() == (3, 2)
    assert [item.certificate_id for item in waiting(gateway)] == [gateway.certificate(1), gateway.certificate(2)]
    assert "Generation 3, which it had put in use, stays in use." in gateway.log.text
    for due in waiting(gateway):
        gateway.retirements.retire(due)
    assert gateway.entry(3).status is Status.ACTIVE
    assert gateway.connects()
    gateway.clock.advance(days=2)
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert only(gateway).certificate_id == gateway.certificate(3)


def test_what_was_gone_back_to_is_in_use_whatever_a_damaged_record_left_behind(gateway: Rig) -> None:
    """A person goes back to the set that was replaced: now that one is spared, and the other is left behind."""
    gateway.run_to(Kind.ROTATE, Phase.DEPLOYED)
    lose_record(gateway)
    gateway.run(Kind.ROLLBACK)

    assert gateway.store.current() == 2
    assert [item.certificate_id for item in waiting(gateway)] == [gateway.certificate(1), gateway.certificate(3)]


def test_the_requests_of_a_change_whose_record_was_damaged_count(gateway: Rig) -> None:
    """A gateway that loses its record each time asks for no more than its daily limit all the same."""
    limit = gateway.settings.limits.daily_limit
    for number in range(limit):
        gateway.run_to(Kind.ROTATE, Phase.PREPARED)
        lost = gateway.path / "change.json"
        lost.write_bytes(bytes(400))
        os.utime(lost, (number, number))  # all of them were written at another time
        assert gateway.restart() is None
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    outcome = gateway.follow(patience=timedelta(minutes=5))

    assert outcome.wait is not None
    assert outcome.wait.code == "budget"
    assert gateway.asked(Operation.CREATE, "200") == 2 + limit


def test_what_a_damaged_record_left_behind_may_be_with_other_programs(gateway: Rig) -> None:
    """Whether it was in use for a while is not known, so it waits for them."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    lose_record(gateway)
    found = retirement.waiting(waiting(gateway), gateway.store.history(), ("bridge.service",))

    assert [item.waits_for for item in found] == [("bridge.service",)] * 2
