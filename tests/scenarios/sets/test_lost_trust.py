"""Anchors beside rotations and retirements, and gateways that no longer trust their endpoint."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.timekeeping import read
from agent.core.values import Kind, Origin
from agent.core.when.renewal import RenewalPolicy, splay
from agent.core.when.retirement import outstanding
from agent.core.when.schedule import Past, Plan, Subject, Wishes, past_of, plan
from agent.sandbox.account.authority import Authority
from support.shorthand.anchors import DAY, HOUR, MINUTE, anchors, both, failed, healed, of, to_probation
from support.simulated.outside import START, THING

if TYPE_CHECKING:
    from support.simulated.rig import Rig


def shown(rig: Rig) -> int:
    """Return how often any certificate of this gateway was shown to a server."""
    return sum(entry.connections for entry in rig.cloud.registry.values())


# -- rotations and retirements -----------------------------------------------------------------------------------------


def past(rig: Rig) -> Past:
    """Return what the history means."""
    return past_of(rig.store.history())


def plan_of(rig: Rig) -> Plan:
    """Return the plan in force."""
    generation = rig.sets.usable()
    assert generation is not None
    reading = read(rig.clock.now(), synchronised=True, floors=rig.store.floors())
    leaf = generation.credential.leaf
    return plan(
        Subject(not_before=leaf.not_before, not_after=leaf.not_after, splay=splay(THING, leaf.sha256)),
        Wishes(policy=RenewalPolicy()),
        past(rig),
        reading,
        enrolled=True,
        configured=True,
    )


def waiting(rig: Rig) -> set[str]:
    """Return the certificates that are to be retired."""
    return {item.certificate_id for item in outstanding(rig.store.history(), [rig.certificate(2)], timedelta())}


def test_a_rotation_after_a_trust_change_keeps_anchors_and_provenance(gateway: Rig) -> None:
    """A new certificate is no reason to forget who signed for the anchors."""
    gateway.install(both(gateway))
    before = gateway.store.generation(3)
    assert gateway.rotate().record.phase is Phase.COMMITTED
    after = gateway.store.generation(4)

    assert after.trust == before.trust
    assert after.manifest.trust == before.manifest.trust
    assert after.credential.leaf.sha256 != before.credential.leaf.sha256
    assert gateway.connects()


def test_a_certificate_that_is_enrolled_anew_keeps_the_anchors(gateway: Rig) -> None:
    """The baked copy is for a gateway that has no others."""
    gateway.install(both(gateway))
    gateway.revoke(1, 2)
    assert healed(gateway).rung is Rung.CLAIM

    assert anchors(gateway) == of(gateway.root, gateway.second_root)


@pytest.mark.parametrize("taken", [True, False])
def test_a_trust_change_neither_delays_rotations_nor_retires_anything(gateway: Rig, *, taken: bool) -> None:
    """Whatever became of it: the plan is the same to the second, and so is what is to be retired."""
    before, left = plan_of(gateway), waiting(gateway)
    bundle = both(gateway) if taken else gateway.bundle(gateway.second_root)
    phase = gateway.install(bundle).record.phase
    assert phase is (Phase.COMMITTED if taken else Phase.REJECTED)

    assert (plan_of(gateway).at, plan_of(gateway).code) == (before.at, before.code)
    assert waiting(gateway) == left == {gateway.certificate(1)}
    gateway.clock.time = plan_of(gateway).at or START
    assert plan_of(gateway).due


def test_what_a_rotation_before_a_trust_change_left_behind_is_still_retired(gateway: Rig) -> None:
    """And the certificate that both generations share is not, before a rotation replaces it."""
    gateway.install(both(gateway))
    gateway.rotate()
    found = outstanding(gateway.store.history(), [gateway.certificate(4)], timedelta())

    assert {item.certificate_id for item in found} == {gateway.certificate(1), gateway.certificate(2)}


# -- lost trust --------------------------------------------------------------------------------------------------------


def move_on(rig: Rig) -> None:
    """Let the gateway have had both anchors, and have only the old one in use, when the endpoint moves."""
    rig.install(both(rig))
    rig.install(rig.bundle(rig.root, version=3))
    rig.move_endpoint(rig.second_root)


def test_lost_trust_is_found_again_in_the_previous_anchors(gateway: Rig) -> None:
    """They are installed like any others, with the certificate that is in use; no unverified server sees it."""
    move_on(gateway)
    certificate, before, since = gateway.certificate(4), shown(gateway), len(gateway.endpoint.connections)
    found = healed(gateway)

    assert found.rung is Rung.PREVIOUS_ANCHORS
    assert found.outcome is not None
    assert (found.outcome.record.kind, found.outcome.record.phase) == (Kind.TRUST, Phase.COMMITTED)
    assert found.outcome.record.origin is Origin.LADDER
    assert gateway.store.generation(5).trust.provenance == gateway.store.generation(3).trust.provenance
    assert gateway.certificate(5) == certificate
    assert gateway.connects()
    accepted = [item for item in gateway.endpoint.connections[since:] if item.outcome == "accepted"]
    assert shown(gateway) - before == len(accepted)
    assert failed(gateway, since) == [("generation 4", "unknown-root")]


def test_lost_trust_is_found_again_in_the_baked_copy(gateway: Rig) -> None:
    """An OS image brought the new root, and no bundle ever came."""
    gateway.baked = gateway.bundle(gateway.root, gateway.second_root)
    gateway.move_endpoint(gateway.second_root)
    found = healed(gateway)

    assert found.rung is Rung.BAKED_ANCHORS
    assert gateway.history[-1] == ("trust", "committed", 3)
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


def test_lost_trust_and_a_refused_certificate_are_healed_one_after_the_other(gateway: Rig) -> None:
    """The server is known by the baked copy, which does not know the certificate: the claim enrols anew."""
    gateway.baked = gateway.bundle(gateway.root, gateway.second_root)
    gateway.move_endpoint(gateway.second_root)
    gateway.revoke(1, 2)
    found = healed(gateway)

    assert found.rung is Rung.CLAIM
    assert found.outcome is not None
    assert found.outcome.record.phase is Phase.COMMITTED
    assert gateway.connects()


def assert_enrols(gateway: Rig, cut: Phase | None) -> None:
    """Have the ladder enrol by the claim, or go on with an enrolment that was cut off in a phase."""
    if cut is not None:
        gateway.stop_at(Kind.ENROLL, cut)
        gateway.restart()
        gateway.follow()
    assert healed(gateway).rung is (Rung.CLAIM if cut is None else Rung.CURRENT)


@pytest.mark.parametrize("cut", [None, Phase.ISSUED, Phase.PREPARED])
def test_a_claim_enrols_by_the_anchors_that_came_since_it_was_packed(gateway: Rig, cut: Phase | None) -> None:
    """The baked copy does not know the endpoint any more, and every certificate was revoked meanwhile."""
    gateway.install(both(gateway))
    gateway.rotate()
    gateway.clock.advance(days=2)
    gateway.move_endpoint(gateway.second_root)
    gateway.revoke(3, 4)
    assert_enrols(gateway, cut)
    assert gateway.history[-1] == ("enroll", "committed", 5)
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


@pytest.mark.parametrize("cut", [None, Phase.ISSUED, Phase.PREPARED])
def test_a_claim_enrols_though_the_baked_copy_cannot_be_read(gateway: Rig, cut: Phase | None) -> None:
    """The sets have anchors, and these are what the new one gets."""
    gateway.baked = None
    gateway.revoke(1, 2)
    assert_enrols(gateway, cut)
    assert gateway.history[-1] == ("enroll", "committed", 3)
    assert anchors(gateway) == of(gateway.root)
    assert gateway.connects()


def test_without_any_anchors_the_claim_is_shown_to_no_server(gateway: Rig) -> None:
    """No set is whole, and neither is the package's copy: a technician is called, with what is wrong."""
    gateway.baked = None
    gateway.damage(1)
    gateway.damage(2)
    since = len(gateway.endpoint.connections)
    for path in gateway.path.glob("generations/*/trust.pem"):
        path.unlink()
    found = healed(gateway)

    assert found.locked_out is not None
    assert gateway.endpoint.connections[since:] == []


def test_a_claim_enrols_by_the_anchors_of_the_set_before(gateway: Rig) -> None:
    """The set in use is damaged, so that its anchors are none; those before it know the endpoint."""
    gateway.install(both(gateway))
    gateway.rotate()
    gateway.clock.advance(days=2)
    gateway.move_endpoint(gateway.second_root)
    gateway.revoke(3, 4)
    gateway.damage(4)
    found = healed(gateway)

    assert found.rung is Rung.CLAIM
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


def test_a_server_that_no_anchors_verify_is_shown_nothing_and_waited_for(gateway: Rig) -> None:
    """No certificate, no claim, no change; when the endpoint is itself again, so is the gateway."""
    gateway.install(both(gateway))
    before, since, past_changes = shown(gateway), len(gateway.endpoint.connections), gateway.history
    gateway.move_endpoint(Authority("Another root", START))
    found = healed(gateway)

    assert (found.rung, found.outcome) == (None, None)
    assert "is not trusted: no anchor of the set signs its chain." in str(found.climb)
    assert shown(gateway) == before
    assert failed(gateway, since) == [
        ("generation 3", "unknown-root"),
        ("generation 3 with the previous anchors", "unknown-root"),
        ("generation 3 with the baked anchors", "unknown-root"),
    ]
    assert gateway.history == past_changes
    assert gateway.at_rest
    gateway.move_endpoint(gateway.root)
    assert gateway.connects()


def test_previous_anchors_that_fail_after_all_are_not_used(gateway: Rig) -> None:
    """They verified the server on the ladder, and it moved on before they were proven: the change waits or ends."""
    move_on(gateway)
    climb = gateway.climber.find_footing()
    assert climb.use is Rung.PREVIOUS_ANCHORS
    gateway.planner.install(gateway.climber.anchors, Origin.LADDER, "ladder: test")
    gateway.move_endpoint(gateway.root)
    gateway.follow(patience=timedelta(days=3))

    assert gateway.at_rest
    assert gateway.connects()


def test_an_expired_server_is_judged_under_a_synchronised_clock_alone(gateway: Rig) -> None:
    """A wrong clock makes any server look expired, so no anchors are exchanged for it."""
    move_on(gateway)
    gateway.move_endpoint(gateway.root)
    gateway.endpoint.server_trouble = failures.server_certificate("sandbox", Code.SERVER_EXPIRED, "it ended")
    gateway.clock.is_synchronised = False
    since = len(gateway.endpoint.connections)
    climb = gateway.climber.find_footing()

    assert (climb.use, climb.try_next) == (None, None)
    assert failed(gateway, since) == [("generation 4", Code.SERVER_EXPIRED)]


def test_a_trust_change_that_waits_does_not_keep_the_ladder_away_for_ever(gateway: Rig) -> None:
    """The endpoint moved past the old anchors and the shipped ones; the baked copy knows it and comes to the rescue."""
    third = Authority("Sandbox endpoint root C", START)
    gateway.claim_present = False
    gateway.baked = gateway.bundle(third)
    gateway.move_endpoint(third)
    outcome = gateway.install(both(gateway), patience=7 * DAY)

    assert outcome.record.phase is Phase.REJECTED
    assert healed(gateway).rung is Rung.BAKED_ANCHORS
    assert gateway.connects()


def test_a_trust_change_that_nothing_verifies_gives_way_to_the_next(gateway: Rig) -> None:
    """Not at once, since it may be a portal's log-in that is in the way; then the bundle that fits has its turn."""
    third = Authority("Sandbox endpoint root C", START)
    gateway.move_endpoint(third)
    assert gateway.install(both(gateway), patience=9 * MINUTE).record.phase is Phase.PREPARED
    record = gateway.follow(patience=HOUR).record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.decisive) == (FailureClass.SERVER_TRUST, False)
    assert gateway.in_use() == (2, 1)
    assert gateway.install(gateway.bundle(third)).record.phase is Phase.COMMITTED
    assert gateway.connects()


@pytest.mark.parametrize("stage", ["asking", "proving", "probation", "trust probation"])
def test_no_change_in_flight_keeps_the_ladder_away_when_the_endpoint_moves_on(gateway: Rig, stage: str) -> None:
    """Neither the old anchors nor the new know the server; the baked copy does, so the change gives way to it."""
    third = Authority("Sandbox endpoint root C", START)
    gateway.claim_present = False
    gateway.baked = gateway.bundle(third)
    match stage:
        case "asking" | "proving":
            gateway.run_to(Kind.ROTATE, Phase.KEY_READY if stage == "asking" else Phase.PREPARED)
        case "probation":
            gateway.to_probation()
        case _:
            to_probation(gateway, both(gateway))
    certificate = gateway.certificate(gateway.current or 0)
    gateway.move_endpoint(third)
    done = gateway.operate(patience=HOUR).go_on()
    if done.rung is None:
        done = healed(gateway)

    assert done.rung is Rung.BAKED_ANCHORS
    gateway.operations.go_on()
    assert gateway.at_rest
    assert gateway.connects()
    assert stage == "trust" or gateway.certificate(gateway.current or 0) == certificate  # it is not to blame
