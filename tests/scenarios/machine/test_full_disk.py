"""A full disk stops no gateway from falling back: its records have room set aside, which nothing else may use."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import SPENT, Standing
from agent.core.values import Kind, Origin
from agent.crypto import keys
from agent.errors import StoreError
from agent.sandbox.account.authority import Authority, key_to_pem, name
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation
from support.simulated.outside import DECADE, START, THING
from support.simulated.troubled import PowerCut
from support.suite import campaigns

if TYPE_CHECKING:
    from agent.change.engine import Outcome
    from agent.core.values import CredentialSet
    from agent.operations.execute import Done
    from support.simulated.rig import Rig

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
HOURS = timedelta(hours=2)  # two dozen of the longest waits for a disk
BACK = (Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED)
ANEW = (Phase.PLANNED, Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED, *BACK)


def fill(rig: Rig) -> None:
    """Let the disk be full, with the reserve in place."""
    assert rig.store.room.reserve() is Standing.KEPT
    rig.disk.full = True


def healed(rig: Rig) -> Done:
    """Climb, and carry out what follows for hours: a record that cannot be saved is tried again every five seconds."""
    return rig.operate(patience=timedelta(hours=3)).climb("the set in use is refused")


def carried(rig: Rig, kind: Kind, origin: Origin) -> Outcome:
    """Begin a change and carry it on for days."""
    done = rig.operations.begin(kind, origin, "test")
    assert done.outcome is not None
    return done.outcome


def brought(rig: Rig) -> CredentialSet:
    """Return a new key and certificate that the cloud knows, as a technician has them on a stick."""
    pair, now = ec.generate_private_key(ec.SECP256R1()), rig.clock.now()
    certificate = rig.cloud.authority.issue_client(name("brought"), pair.public_key(), now, now + DECADE)
    entry = rig.cloud.registry.add(certificate, Status.ACTIVE)
    entry.policies, entry.thing_name = [GATEWAY], THING
    return keys.credential_set(key_to_pem(pair), certificate.public_bytes(Encoding.PEM))


def uses_the_reserve(rig: Rig) -> bool:
    """Whether the reserve was given up, and that was told once."""
    return rig.store.room.reserve() is Standing.NO_ROOM and rig.log.text.count(SPENT) == 1


# -- the rungs of the ladder ---------------------------------------------------------------------------------------


def test_the_previous_set_is_put_back_and_rotated_from(gateway: Rig) -> None:
    """The set in use is revoked: no person has to make room before the gateway is connected again."""
    fill(gateway)
    gateway.revoke(2)
    found = healed(gateway)

    assert found.rung is Rung.PREVIOUS
    assert gateway.history[-2:] == [("rollback", "committed", 1), ("rotate", "committed", 3)]
    assert gateway.in_use() == (3, 1)
    assert gateway.connects()
    assert uses_the_reserve(gateway)


def test_the_claim_enrols_anew(gateway: Rig) -> None:
    """Every set is revoked: there is room for a whole new generation."""
    fill(gateway)
    gateway.revoke(1, 2)
    found = healed(gateway)

    assert found.rung is Rung.CLAIM
    assert gateway.history[-1] == ("enroll", "committed", 3)
    assert gateway.connects()
    assert uses_the_reserve(gateway)


def test_other_anchors_are_put_to_the_certificate(gateway: Rig) -> None:
    """The endpoint moved to a root that the baked copy knows alone."""
    third = Authority("Sandbox endpoint root C", START)
    gateway.baked = gateway.bundle(third)
    gateway.move_endpoint(third)
    fill(gateway)
    found = healed(gateway)

    assert found.rung is Rung.BAKED_ANCHORS
    assert gateway.history[-1] == ("trust", "committed", 3)
    assert gateway.connects()
    assert uses_the_reserve(gateway)


def test_other_programs_that_cannot_be_served_do_not_stop_it(gateway: Rig) -> None:
    """Their report, their copies: whatever has no room of its own is told, and the gateway is connected."""
    fill(gateway)
    gateway.revoke(2)
    gateway.programs.stubborn = True
    healed(gateway)

    assert gateway.connects()
    assert gateway.at_rest
    assert {record.degraded is not None for record in gateway.store.history()[-2:]} == {True}


# -- what a person does --------------------------------------------------------------------------------------------


def test_a_rollback_by_command_is_carried_out(gateway: Rig) -> None:
    """It leads back, whatever wants it."""
    fill(gateway)
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (1, 2)
    assert uses_the_reserve(gateway)


def test_what_a_person_brings_along_is_taken_in(gateway: Rig) -> None:
    """Key and certificate on a stick, with every set on the gateway refused."""
    gateway.revoke(1, 2)
    fill(gateway)
    assert gateway.planner.bring_in(brought(gateway), THING, gateway.anchors(), "from a stick") is not None

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.connects()
    assert uses_the_reserve(gateway)


def test_a_change_that_waits_for_room_can_be_given_up_for_the_ladder(gateway: Rig) -> None:
    """Its end is on record although the disk is full, or it would keep the ladder away."""
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    fill(gateway)
    assert gateway.follow(patience=DAY).record.phase is Phase.PLANNED
    gateway.revoke(2)
    gateway.engine.give_up("the gateway has no connection")
    assert gateway.follow().record.phase is Phase.REJECTED

    assert gateway.at_rest
    assert healed(gateway).rung is Rung.PREVIOUS
    assert gateway.connects()


# -- in the middle of an ordinary change -----------------------------------------------------------------------------


def test_a_new_set_that_is_refused_in_probation_is_left(gateway: Rig) -> None:
    """The disk filled up since: proofs, refusals and the way back are written down all the same."""
    gateway.to_probation()
    fill(gateway)
    gateway.clock.advance(minutes=3)
    gateway.engine.run()  # a proof in peace
    gateway.revoke(3)

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()
    assert uses_the_reserve(gateway)


def test_a_rotation_whose_source_is_refused_ends_and_the_ladder_has_its_turn(gateway: Rig) -> None:
    """The disk filled up after the preflight: the rejection is filed, since nothing else is begun before."""
    gateway.run_to(Kind.ROTATE, Phase.KEY_READY)
    fill(gateway)
    gateway.revoke(2)
    assert gateway.follow(patience=DAY).record.phase is Phase.REJECTED

    assert healed(gateway).rung is Rung.PREVIOUS
    assert gateway.connects()


@pytest.mark.parametrize("phase", ANEW)
def test_no_change_that_the_disk_cut_short_keeps_the_ladder_away(gateway: Rig, phase: Phase) -> None:
    """Its own set and the one that it began with are refused while it waits for room: there is room to leave both."""
    gateway.run_to(Kind.ROTATE, phase)
    fill(gateway)
    gateway.follow(patience=timedelta(hours=1))
    gateway.revoke(2, *([3] if phase in BACK else []))
    if gateway.engine.change is not None:
        gateway.follow(patience=timedelta(hours=3))
    if not gateway.connects():
        healed(gateway)

    assert gateway.connects()
    assert gateway.at_rest
    assert uses_the_reserve(gateway)


def test_a_set_that_is_in_use_unrecorded_is_left_on_a_full_disk_too(gateway: Rig) -> None:
    """The power failed after `current` was moved, and the disk is full at the next start: the set can be left."""
    gateway.stop_at(Kind.ROTATE, Phase.ACTIVE)
    fill(gateway)
    record = gateway.restart()

    assert record is not None
    assert record.phase is Phase.ACTIVE
    gateway.revoke(3)
    assert gateway.follow(patience=timedelta(hours=1)).record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


# -- who may not -----------------------------------------------------------------------------------------------------


def test_a_rotation_is_not_begun(gateway: Rig) -> None:
    """The reserve is there for the day when it is needed."""
    fill(gateway)
    with pytest.raises(StoreError, match="No space left"):
        gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "test")

    assert gateway.at_rest
    assert gateway.store.room.reserve() is Standing.KEPT


@pytest.mark.parametrize("phase", ANEW[:7])
def test_a_rotation_that_uses_no_new_set_yet_waits(gateway: Rig, phase: Phase) -> None:
    """Up to its activation it uses nothing of the reserve; with room again it goes on to its end."""
    gateway.run_to(Kind.ROTATE, phase)
    fill(gateway)
    outcome = gateway.follow(patience=HOURS)

    assert not outcome.record.phase.activated
    assert gateway.in_use() == (2, 1)
    assert gateway.store.room.reserve() is Standing.KEPT
    gateway.disk.heal()
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.store.room.reserve() is Standing.KEPT


@pytest.mark.parametrize("method", ["save_change", "preflight", "prepare"])
def test_other_trouble_with_the_disk_is_not_for_the_reserve(gateway: Rig, method: str) -> None:
    """Only want of room is mended by giving room up."""
    gateway.disk.fail(method, times=float("inf"), error=StoreError("Cannot write here: Input/output error."))
    gateway.revoke(1, 2)
    with pytest.raises(StoreError) if method == "save_change" else nullcontext():
        gateway.planner.begin(Kind.ENROLL, Origin.LADDER, "test")
        gateway.follow(patience=HOURS)

    assert gateway.store.room.reserve() is Standing.KEPT


# -- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs(BACK, [True, False]))
def test_a_power_cut_on_the_way_back_does_not_end_it(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """At every phase, before it was saved or after: the next start goes on, with what is left of the reserve."""
    fill(gateway)
    gateway.revoke(2)
    gateway.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        carried(gateway, Kind.ROLLBACK, Origin.LADDER)
    found = gateway.restart()
    outcome = gateway.follow(patience=timedelta(days=3)) if found else carried(gateway, Kind.ROLLBACK, Origin.LADDER)

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.store.current() == 1
    assert gateway.connects()
    assert uses_the_reserve(gateway)


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs(ANEW, [True, False]))
def test_a_power_cut_while_the_claim_enrols_does_not_end_it(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """The same with a new generation to be written."""
    fill(gateway)
    gateway.revoke(1, 2)
    gateway.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        healed(gateway)
    if gateway.restart():
        gateway.follow(patience=timedelta(days=3))
    else:
        healed(gateway)

    assert gateway.at_rest
    assert gateway.connects()
    assert gateway.asked(Operation.CREATE) - 2 <= 2
    assert uses_the_reserve(gateway)


# -- made, and made again ----------------------------------------------------------------------------------------------


def test_it_is_made_at_the_first_start_and_never_written_again(rig: Rig) -> None:
    """Before there is a set to lose; each later start finds it and writes nothing."""
    rig.restart()
    pieces = sorted((rig.path / "reserve").iterdir())
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in pieces]
    rig.enroll()
    rig.rotate()
    rig.restart()

    assert len(before) == 16
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in pieces] == before


def test_it_is_made_again_when_a_change_ends_and_there_is_room(gateway: Rig) -> None:
    """No start has to come before: the next fallback may be needed sooner."""
    fill(gateway)
    gateway.revoke(2)
    carried(gateway, Kind.ROLLBACK, Origin.LADDER)
    assert gateway.store.room.reserve() is Standing.NO_ROOM
    gateway.disk.full = False
    gateway.rotate()

    assert gateway.store.room.reserve() is Standing.KEPT


def test_while_a_change_is_in_flight_it_is_not_made(gateway: Rig) -> None:
    """The change may be waiting for just that room."""
    fill(gateway)
    gateway.revoke(1, 2)
    gateway.planner.begin(Kind.ENROLL, Origin.LADDER, "test")
    gateway.disk.full = False
    gateway.restart()
    assert gateway.store.room.reserve() is Standing.MISSING
    gateway.follow(patience=timedelta(days=3))

    assert gateway.store.room.reserve() is Standing.KEPT


def test_two_fallbacks_in_a_row_get_by_with_one_reserve(gateway: Rig) -> None:
    """First the previous set, then the claim: a rollback gives back what it used."""
    fill(gateway)
    gateway.revoke(2)
    carried(gateway, Kind.ROLLBACK, Origin.LADDER)
    gateway.revoke(1)

    assert healed(gateway).rung is Rung.CLAIM
    assert gateway.connects()
