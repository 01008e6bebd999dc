"""Key and certificate replaced by hand: what a technician put into the current set is proven before it is used."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.records import decode_record, encode_outcome
from agent.core.report.screen import history_line
from agent.core.values import Kind, Origin, User
from agent.core.when.retirement import outstanding
from agent.errors import RefusedError, StoreError
from agent.sandbox.account.authority import key_to_pem
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation
from support.simulated.outside import THING
from support.simulated.troubled import PowerCut

if TYPE_CHECKING:
    from agent.core.values import Handmade
    from support.simulated.rig import Rig

DAY = timedelta(days=1)


def test_what_a_user_orders_is_that_users_and_what_was_put_in_place_by_hand_is_not(gateway: Rig) -> None:
    """A hand on the files names no user, also where the order of a user finds what it left."""
    gateway.asked_by = User(uid=1000, name="anna")
    gateway.replace_by_hand(2)
    adopt(gateway)
    assert gateway.follow().record.asked_by is None
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "a test")
    gateway.engine.give_up("wrong gateway")
    record = gateway.follow().record
    assert record.asked_by == gateway.asked_by
    assert record.failure is not None
    assert record.failure.message == "Given up, by anna (uid 1000): wrong gateway."
    assert "technician anna (uid 1000): a test" in history_line(record)
    assert decode_record(encode_outcome(record), "a line").asked_by == gateway.asked_by


def found_at_start(rig: Rig) -> Handmade | None:
    """Start anew, as a worker does: look for what was put in place by hand, then put the store right."""
    found = rig.store.others.handmade()
    rig.restart()
    return found


def adopt(rig: Rig) -> None:
    """Start anew and plan to use what was found."""
    found = found_at_start(rig)
    assert found is not None
    rig.planner.adopt(found)


def test_a_set_that_was_put_in_place_by_hand_is_proven_and_used(gateway: Rig) -> None:
    """It becomes a generation of its own, by a change like any other, and no certificate is asked for."""
    creates = gateway.asked(Operation.CREATE)
    by_hand = gateway.replace_by_hand(2)
    adopt(gateway)
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert (outcome.record.kind, outcome.record.origin) == (Kind.IMPORT, Origin.TECHNICIAN)
    assert outcome.record.reason == "the key and certificate of generation 2 were replaced by hand"
    assert [phase for phase, _ in outcome.record.passed][:2] == [Phase.PROVEN, Phase.ACTIVE]
    assert gateway.in_use() == (3, 1)
    assert gateway.certificate(3) == by_hand
    assert gateway.store.generation(3).manifest.thing_name == THING
    assert gateway.asked(Operation.CREATE) == creates
    assert gateway.connects()


def test_while_it_is_proven_the_set_before_is_in_use(gateway: Rig) -> None:
    """The agent connects with no unproven set."""
    gateway.replace_by_hand(2)
    adopt(gateway)

    assert gateway.store.current() == 1
    assert gateway.engine.change is not None
    assert gateway.engine.change.phase is Phase.PREPARED
    assert gateway.connects()


def test_the_new_set_keeps_the_anchors_of_the_old_one(gateway: Rig) -> None:
    """They were not what was replaced."""
    trust = gateway.store.generation(2).trust.pem
    gateway.replace_by_hand(2)
    found = gateway.store.others.handmade()
    assert found is not None
    assert found.trust is not None
    adopt(gateway)
    gateway.follow()

    assert gateway.store.generation(3).trust.pem == trust


def test_anchors_that_were_touched_as_well_are_replaced_by_the_configured_ones(gateway: Rig) -> None:
    """What decides whom to trust is never taken from a file that a person changed."""
    gateway.replace_by_hand(2)
    path = gateway.path / "generations" / "000002" / "trust.pem"
    path.write_bytes(path.read_bytes() + b"\n# mine\n")
    found = gateway.store.others.handmade()
    assert found is not None
    assert found.trust is None
    adopt(gateway)
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.store.generation(3).trust.pem == gateway.anchors().pem


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.REVOKED])
def test_a_set_by_hand_that_is_refused_is_set_aside(gateway: Rig, status: Status) -> None:
    """The set before gets through over the same path, so it stays."""
    gateway.replace_by_hand(2, status=status)
    adopt(gateway)
    outcome = gateway.follow(patience=DAY)

    assert outcome.record.phase is Phase.REJECTED
    assert outcome.record.failure is not None
    assert "Generation 1 is accepted over the same path." in outcome.record.failure.message
    assert gateway.store.current() == 1
    assert "000003.rejected" in gateway.generations
    assert gateway.connects()


def test_a_set_by_hand_for_another_thing_is_not_used(gateway: Rig) -> None:
    """Its policy does not let it connect as this gateway."""
    gateway.replace_by_hand(2, thing="another-gateway")
    adopt(gateway)
    outcome = gateway.follow(patience=DAY)

    assert outcome.record.phase is Phase.REJECTED
    assert outcome.record.failure is not None
    assert outcome.record.failure.code == "not-authorised"
    assert gateway.connects()


def test_a_refused_set_by_hand_is_not_tried_again_at_each_start(gateway: Rig) -> None:
    """What lies in the damaged generation is history; the gateway goes on with the set before."""
    gateway.replace_by_hand(2, status=Status.REVOKED)
    adopt(gateway)
    gateway.follow(patience=DAY)

    assert found_at_start(gateway) is None
    assert gateway.at_rest
    assert gateway.rotate().record.phase is Phase.COMMITTED


def test_the_first_set_can_be_replaced_by_hand_too(rig: Rig) -> None:
    """There is nothing to fall back on, so what is there is proven and used."""
    rig.enroll()
    by_hand = rig.replace_by_hand(1)
    adopt(rig)
    outcome = rig.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert rig.store.current() == 2
    assert rig.certificate(2) == by_hand
    assert rig.connects()


def test_a_first_set_by_hand_that_is_refused_leaves_the_ladder(rig: Rig) -> None:
    """The claim certificate is the control, and the way on."""
    rig.enroll()
    rig.replace_by_hand(1, status=Status.REVOKED)
    adopt(rig)
    outcome = rig.follow(patience=DAY)

    assert outcome.record.phase is Phase.REJECTED
    assert rig.heal().use is Rung.CLAIM
    assert rig.connects()


# -- what is no set by hand ----------------------------------------------------------------------------------------


def test_an_untouched_set_was_not_replaced(gateway: Rig) -> None:
    """Nor was there ever one on a gateway without any."""
    assert gateway.store.others.handmade() is None


def test_a_gateway_without_a_set_has_none_by_hand(rig: Rig) -> None:
    """Nothing is in use, so nothing was replaced."""
    assert rig.store.others.handmade() is None


@pytest.mark.parametrize("file", ["key.pem", "certificate.pem", "trust.pem", "credential.pem", "manifest.json"])
def test_damage_is_not_taken_for_a_replacement(gateway: Rig, file: str) -> None:
    """One bit that flipped on flash is nothing that a person meant."""
    gateway.damage(2, file)

    assert found_at_start(gateway) is None
    assert gateway.store.current() == 1


def test_a_certificate_without_its_key_is_damage(gateway: Rig) -> None:
    """The technician forgot one half; the set before is used."""
    key = key_to_pem(ec.generate_private_key(ec.SECP256R1()))
    gateway.replace_by_hand(2, key=key)

    assert found_at_start(gateway) is None
    assert gateway.store.current() == 1
    assert gateway.connects()


@pytest.mark.parametrize("file", ["key.pem", "certificate.pem", "trust.pem", "manifest.json"])
def test_a_set_by_hand_of_which_a_file_is_missing_is_damage(gateway: Rig, file: str) -> None:
    """Nothing is guessed."""
    gateway.replace_by_hand(2)
    (gateway.path / "generations" / "000002" / file).unlink()

    assert found_at_start(gateway) is None
    assert gateway.store.current() == 1


def test_a_replacement_of_the_previous_set_means_nothing(gateway: Rig) -> None:
    """Only what is in use is replaced to be used."""
    gateway.replace_by_hand(1)

    assert found_at_start(gateway) is None
    assert gateway.store.current() == 2


# -- trouble on the way --------------------------------------------------------------------------------------------


def test_a_change_in_flight_comes_first(gateway: Rig) -> None:
    """Two changes at a time there never are."""
    gateway.to_probation()
    gateway.replace_by_hand(3)
    found = gateway.store.others.handmade()
    assert found is not None

    with pytest.raises(RefusedError, match="is in flight"):
        gateway.planner.adopt(found)
    assert "000004" not in gateway.generations


def test_a_full_disk_plans_nothing(gateway: Rig) -> None:
    """The set before is in use, and the technician can free some room and start again."""
    gateway.replace_by_hand(2)
    found = found_at_start(gateway)
    assert found is not None
    gateway.disk.fail("prepare")
    with pytest.raises(StoreError, match="No space left"):
        gateway.planner.adopt(found)

    assert gateway.at_rest
    gateway.planner.adopt(found)
    assert gateway.follow().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("saves", [0, 1])
def test_a_disk_that_fails_while_it_is_planned_leaves_all_of_the_plan_or_nothing(gateway: Rig, saves: int) -> None:
    """A change that is known knows what it replaces; a person who was told of an error can try again."""
    replaced = gateway.certificate(2)
    gateway.replace_by_hand(2)
    found = found_at_start(gateway)
    assert found is not None
    gateway.disk.fail("save_change", after=saves)
    try:
        gateway.planner.adopt(found)
    except StoreError:
        assert gateway.at_rest
        gateway.planner.adopt(found)
    record = gateway.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.replaces == replaced


@pytest.mark.parametrize("phase", [Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED])
@pytest.mark.parametrize("saved", [True, False])
def test_a_power_cut_on_the_way_loses_nothing(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """The change is found at the next start and goes on, with the set that was put there by hand."""
    by_hand = gateway.replace_by_hand(2)
    adopt(gateway)
    gateway.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        gateway.follow()
    gateway.restart()
    gateway.follow()

    assert gateway.history[-1] == ("import", "committed", 3)
    assert gateway.certificate(3) == by_hand
    assert gateway.connects()


def test_both_certificates_that_are_not_in_use_any_more_are_retired(gateway: Rig) -> None:
    """The one that was replaced by hand is left behind as much as the one before it."""
    first, second = gateway.certificate(1), gateway.certificate(2)
    by_hand = gateway.replace_by_hand(2)
    adopt(gateway)
    gateway.follow()
    found = outstanding(gateway.store.history(), [by_hand], timedelta())

    assert {item.certificate_id for item in found} == {first, second}
