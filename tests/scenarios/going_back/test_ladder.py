"""Locked out: down the ladder from the current set to the claim certificate, and up again to a set that works."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.values import Kind
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE, THING

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure
    from support.simulated.rig import Rig

FILES = ["key.pem", "certificate.pem", "credential.pem", "trust.pem", "manifest.json"]


def _tried(rig: Rig, since: int) -> list[tuple[str, str]]:
    return [(item.candidate, item.outcome) for item in rig.endpoint.connections[since:]]


def test_a_sound_gateway_stands_on_its_current_set(gateway: Rig) -> None:
    """The first rung holds, so no other is tried."""
    before = len(gateway.endpoint.connections)
    climb = gateway.climber.find_footing()

    assert climb.use is Rung.CURRENT
    assert _tried(gateway, before) == [("generation 2", "accepted")]


def test_another_client_with_the_same_id_is_no_reason_to_leave_a_rung(gateway: Rig) -> None:
    """Each connection is taken over before anything is answered, which says nothing against the set."""
    client_id = gateway.endpoint.connections[-1].client_id
    gateway.endpoint.rivals.add(client_id)
    before = len(gateway.endpoint.connections)
    climb = gateway.climber.find_footing()

    assert (climb.use, climb.why) == (None, f"Another client connected as {client_id} and ended this connection.")
    assert _tried(gateway, before) == [("generation 2", "accepted")]
    assert gateway.in_use() == (2, 1)


def test_a_proof_that_another_client_cuts_off_is_tried_again(gateway: Rig) -> None:
    """The new set is neither refused nor compared with others, each of which would cost that client a connection."""
    client_id = gateway.endpoint.connections[-1].client_id
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    gateway.endpoint.rivals.add(client_id)
    before = len(gateway.endpoint.connections)
    outcome = gateway.engine.run()

    assert outcome.wait is not None
    assert outcome.wait.failure is not None
    assert (outcome.record.phase, outcome.wait.failure.code) == (Phase.PREPARED, "taken-over")
    assert _tried(gateway, before) == [("generation 3", "accepted")]
    gateway.endpoint.rivals.clear()
    gateway.follow()
    assert gateway.in_use() == (3, 2)


def test_when_the_current_certificate_is_revoked_the_previous_one_carries_the_next(gateway: Rig) -> None:
    """Back to the previous set, as a change like any other, and from there to a new certificate."""
    gateway.revoke(2)
    before = len(gateway.endpoint.connections)
    assert gateway.heal().use is Rung.PREVIOUS

    assert _tried(gateway, before)[:2] == [("generation 2", "hung-up"), ("generation 1", "accepted")]
    assert gateway.history[-2:] == [("rollback", "committed", 1), ("rotate", "committed", 3)]
    assert gateway.in_use() == (3, 1)
    assert gateway.connects()
    assert "The current set is not accepted" in gateway.log.text


@pytest.mark.parametrize("status", [Status.REVOKED, Status.INACTIVE])
def test_when_both_are_revoked_the_claim_enrols_anew(gateway: Rig, status: Status) -> None:
    """The same thing, by the same claim certificate, with a new key; the numbers go on."""
    gateway.revoke(1, 2, status=status)
    before = len(gateway.endpoint.connections)
    assert gateway.heal().use is Rung.CLAIM

    assert [name for name, _ in _tried(gateway, before)[:3]] == [
        "generation 2",
        "generation 1",
        "the claim certificate",
    ]
    assert gateway.history[-1] == ("enroll", "committed", 3)
    assert gateway.store.generation(3).manifest.thing_name == THING
    assert gateway.store.current() == 3
    assert gateway.connects()
    assert gateway.rotate(patience=timedelta(days=2)).record.phase is Phase.COMMITTED


def test_certificates_that_the_cloud_has_deleted_are_healed_too(gateway: Rig) -> None:
    """A registry that forgot the gateway is met like one that revoked it."""
    for number in (1, 2):
        del gateway.cloud.registry[gateway.certificate(number)]

    assert gateway.heal().use is Rung.CLAIM
    assert gateway.connects()


def test_when_nothing_is_left_a_technician_is_asked_for(rig: Rig) -> None:
    """No certificate on disk and no claim: the ladder ends, and says so in a sentence."""
    rig.claim_present = False
    climb = rig.climber.find_footing()

    assert climb.use is Rung.TECHNICIAN
    assert climb.why == "there is no set on this gateway that could be tried"
    assert not rig.endpoint.connections


def test_a_broker_that_hangs_up_on_everything_calls_a_technician_and_is_waited_for(gateway: Rig) -> None:
    """A verified server turns each set away: that is said, with what helps, and nothing changes until it is over."""
    gateway.fault(Operation.CONNECT, Effect.HANG_UP, times=None)
    climb = gateway.heal()

    assert (climb.use, climb.try_next) == (Rung.TECHNICIAN, None)
    assert "iot-cert import" in climb.remedy
    assert gateway.in_use() == (2, 1)
    gateway.cloud.faults.clear()
    assert gateway.connects()


@pytest.mark.parametrize("trouble", [NO_ROUTE, failures.name_not_found("sandbox")], ids=lambda failure: failure.code)
def test_without_a_network_no_gateway_moves_down_the_ladder(gateway: Rig, trouble: Failure) -> None:
    """What every set would meet just the same is met once; nothing is asked for and nothing changes."""
    gateway.revoke(2)
    gateway.endpoint.down = trouble
    before, requests = len(gateway.endpoint.connections), len(gateway.cloud.requests)
    climb = gateway.heal()

    assert (climb.use, climb.try_next) == (None, None)
    assert climb.why == trouble.message
    assert _tried(gateway, before) == [("generation 2", trouble.code)]
    assert len(gateway.cloud.requests) == requests
    assert gateway.in_use() == (2, 1)
    assert gateway.at_rest


@pytest.mark.parametrize(
    "trouble",
    [
        failures.server_certificate("sandbox", Code.WRONG_HOST, "its certificate is for example.com"),
        failures.server_certificate("sandbox", Code.UNKNOWN_ROOT, "no anchor of the set signs its chain"),
        failures.server_certificate("sandbox", Code.SERVER_EXPIRED, "it ended yesterday"),
    ],
    ids=lambda failure: failure.code,
)
def test_a_stranger_at_the_other_end_is_shown_no_claim(gateway: Rig, trouble: Failure) -> None:
    """The gateway has no anchors but these, so the ladder waits and shows no certificate to any server."""
    gateway.endpoint.server_trouble = trouble
    before, requests = len(gateway.endpoint.connections), len(gateway.cloud.requests)
    climb = gateway.heal()

    assert (climb.use, climb.try_next) == (None, None)
    assert climb.why == trouble.message
    assert _tried(gateway, before) == [("generation 2", trouble.code)]
    assert len(gateway.cloud.requests) == requests
    assert gateway.in_use() == (2, 1)
    assert gateway.at_rest


@pytest.mark.parametrize("file", FILES)
def test_a_damaged_current_set_is_left_for_the_previous_one_at_the_next_start(gateway: Rig, file: str) -> None:
    """One flipped bit in any file: the start finds it, goes to the generation that is whole, and tells."""
    gateway.damage(2, file)
    assert gateway.sets.usable() is None
    gateway.restart()

    assert gateway.store.current() == 1
    assert "Generation 1 is whole and is current now." in gateway.log.text
    assert gateway.connects()
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 1)
    # What is damaged is never repaired in place, and starting again finds nothing more to do.
    gateway.restart()
    assert gateway.in_use() == (3, 1)


def test_a_current_that_is_no_link_is_put_right_at_the_next_start(gateway: Rig) -> None:
    """A person copied the state directory without its links: a file named `current` is replaced by one."""
    (gateway.path / "current").unlink()
    (gateway.path / "current").write_text("generations/000002")
    gateway.restart()

    assert gateway.store.current() in {1, 2}
    assert gateway.connects()


def test_a_missing_current_is_found_again_at_the_next_start(gateway: Rig) -> None:
    """Without the link the newest set that was once final is taken, or the one before it."""
    (gateway.path / "current").unlink()
    gateway.restart()

    assert gateway.store.current() in {1, 2}
    assert gateway.connects()


def test_a_damaged_set_and_a_damaged_previous_one_leave_the_claim(gateway: Rig) -> None:
    """Nothing whole is left on disk; the links are left alone, and the claim certificate enrols the gateway anew."""
    gateway.damage(1)
    gateway.damage(2)
    gateway.restart()
    assert gateway.store.current() == 2
    assert gateway.sets.usable() is None
    assert gateway.sets.has_ever_enrolled()

    assert gateway.heal().use is Rung.CLAIM
    assert gateway.store.current() == 3
    assert gateway.connects()


def test_a_damaged_set_is_damaged_for_the_ladder_too(gateway: Rig) -> None:
    """A set that breaks while the agent runs is passed over for the next rung, before any restart."""
    gateway.damage(2)
    before = len(gateway.endpoint.connections)
    climb = gateway.climber.find_footing()

    assert climb.use is Rung.PREVIOUS
    assert _tried(gateway, before) == [("generation 1", "accepted")]


@pytest.mark.parametrize("recorded", [True, False])
def test_damage_to_the_prepared_set_ends_the_change_and_nothing_else(gateway: Rig, *, recorded: bool) -> None:
    """What was written has rotted before it was used: set aside, with the old set in use, whatever the record says."""
    if recorded:
        gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    else:
        gateway.stop_at(Kind.ROTATE, Phase.PREPARED)
        gateway.restart()
    gateway.damage(3)
    record = gateway.follow().record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert record.failure.code == "damaged"
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", "000003.rejected"]
    assert gateway.connects()


def test_damage_to_the_new_set_in_probation_leads_back(gateway: Rig) -> None:
    """The active set rots in probation: the previous one is put back, in the same process or at the next start."""
    gateway.to_probation()
    gateway.damage(3)
    record = gateway.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


def test_a_staged_key_that_is_gone_is_made_again(gateway: Rig) -> None:
    """A certificate for a lost key is worthless: begin again with a new key."""
    for phase in (Phase.KEY_READY, Phase.REGISTERED):
        gateway.run_to(Kind.ROTATE, phase)
        number = gateway.store.next_number() - 1
        (gateway.path / "generations" / f".{number:06d}" / "key.pem").unlink()
        assert gateway.follow().record.phase is Phase.COMMITTED
        assert gateway.connects()


def test_a_damaged_change_record_is_set_aside_and_the_gateway_goes_on(gateway: Rig) -> None:
    """Nothing that an unreadable record may have prepared is used, and another change can begin."""
    gateway.run_to(Kind.ROTATE, Phase.KEY_READY)
    (gateway.path / "change.json").write_bytes(b"\x00" * 400)
    assert gateway.restart() is None

    assert (gateway.path / "change.json.damaged").exists()
    assert gateway.generations == ["000001", "000002"]
    assert gateway.in_use() == (2, 1)
    assert gateway.rotate().record.phase is Phase.COMMITTED
