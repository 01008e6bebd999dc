"""Other trust anchors: proven alone against the live endpoint before they are used, and given up where they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.failure import Failure, FailureClass
from agent.core.trust.updates import BundleOutcome, outcome_of
from agent.core.values import Kind, Origin, Provenance, TrustSource
from agent.errors import RefusedError
from agent.operations.execute import ended_locked_out
from agent.sandbox.account.authority import fingerprint
from agent.sandbox.replies.faults import Effect, Operation
from support.shorthand.anchors import DAY, HOUR, MINUTE, anchors, both, failed, healed, of, to_probation
from support.simulated.outside import START
from support.suite import campaigns

if TYPE_CHECKING:
    from datetime import timedelta

    from agent.core.change.lifecycle import ChangeRecord
    from support.simulated.rig import Rig

TRUST_PHASES = (Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED)


# -- union before difference -------------------------------------------------------------------------------------------


def test_a_root_is_exchanged_by_union_before_difference(gateway: Rig) -> None:
    """A, then A and B, then the endpoint moves, then B: no set in use ever fails to connect."""
    since = len(gateway.endpoint.connections)
    certificate = gateway.certificate(2)
    assert gateway.install(both(gateway)).record.phase is Phase.COMMITTED
    assert gateway.connects()
    gateway.move_endpoint(gateway.second_root)
    assert gateway.connects()
    only = gateway.bundle(gateway.second_root, version=3)
    assert gateway.install(only).record.phase is Phase.COMMITTED

    assert gateway.connects()
    assert failed(gateway, since) == []
    assert anchors(gateway) == of(gateway.second_root)
    assert gateway.history[-2:] == [("trust", "committed", 3), ("trust", "committed", 4)]
    assert gateway.in_use() == (4, 3)
    assert {gateway.certificate(number) for number in (2, 3, 4)} == {certificate}


def test_the_record_says_which_anchor_the_endpoint_chained_to(gateway: Rig) -> None:
    """At the last proof, so that people are told which anchor matters."""
    first, second = (fingerprint(root.certificate) for root in (gateway.root, gateway.second_root))
    to_probation(gateway, both(gateway))
    before = gateway.store.change()
    gateway.move_endpoint(gateway.second_root)
    gateway.follow()

    assert before is not None
    assert before.anchor == first
    assert gateway.store.history()[-1].anchor == second


def test_a_generation_knows_where_its_anchors_came_from(gateway: Rig) -> None:
    """Source, version and date lie in its manifest; a handed-on certificate keeps what is said of it."""
    before = gateway.store.generation(2)
    gateway.install(both(gateway))
    after = gateway.store.generation(3)

    assert after.trust.provenance == Provenance(source=TrustSource.BUNDLE, version=2, issued_at=START)
    assert after.manifest.trust == after.trust.provenance
    assert (after.manifest.kind, after.manifest.origin) == (Kind.TRUST, Origin.INBOX)
    assert after.credential == before.credential
    assert after.manifest.thing_name == before.manifest.thing_name
    assert after.manifest.not_after == before.manifest.not_after


def test_a_trust_change_asks_for_no_certificate_and_keeps_the_key(gateway: Rig) -> None:
    """It costs nothing of the day's budget."""
    before = [gateway.asked(operation) for operation in (Operation.CREATE, Operation.REGISTER)]
    gateway.install(both(gateway))

    assert [gateway.asked(operation) for operation in (Operation.CREATE, Operation.REGISTER)] == before
    assert gateway.store.generation(3).credential.key_pem == gateway.store.generation(2).credential.key_pem


# -- what is not taken -------------------------------------------------------------------------------------------------


def test_anchors_that_do_not_verify_the_endpoint_are_rejected_and_nothing_moves(gateway: Rig) -> None:
    """B alone, while the endpoint still chains to A: at once, with a sentence that names the reason."""
    files = {path: path.read_bytes() for path in (gateway.path / "generations" / "000002").iterdir()}
    start = gateway.clock.now()
    record = gateway.install(gateway.bundle(gateway.second_root)).record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.SERVER_TRUST, "unknown-root")
    assert "Generation 2 is accepted over the same path." in record.failure.message
    assert outcome_of(record, BundleOutcome()).outcome == "refused"
    assert gateway.clock.now() - start < MINUTE
    assert gateway.in_use() == (2, 1)
    assert anchors(gateway) == of(gateway.root)
    assert gateway.generations == ["000001", "000002", "000003.rejected"]
    assert {path: path.read_bytes() for path in files} == files
    assert gateway.connects()
    assert gateway.at_rest


def test_the_anchors_in_use_are_no_change(gateway: Rig) -> None:
    """In any order, of any version: nothing is planned, written or connected."""
    gateway.install(both(gateway))
    since, present = len(gateway.endpoint.connections), gateway.generations
    again = gateway.bundle(gateway.second_root, gateway.root, version=9)

    assert gateway.planner.install(again, Origin.INBOX, "again") is None
    assert gateway.at_rest
    assert gateway.generations == present
    assert len(gateway.endpoint.connections) == since


def test_one_change_at_a_time(gateway: Rig) -> None:
    """A bundle waits while another change is in flight, and says so."""
    gateway.to_probation()
    with pytest.raises(RefusedError, match=r"Change \S+ \(rotate\) is in flight; it comes first\."):
        gateway.planner.install(both(gateway), Origin.INBOX, "test")
    gateway.follow()

    assert gateway.install(both(gateway)).record.phase is Phase.COMMITTED


def test_without_a_usable_set_there_is_nothing_to_give_anchors_to(rig: Rig) -> None:
    """Before the first certificate, and with a damaged one."""
    with pytest.raises(RefusedError, match="no usable set"):
        rig.planner.install(both(rig), Origin.INBOX, "test")
    rig.enroll()
    rig.damage(1)
    with pytest.raises(RefusedError, match="no usable set"):
        rig.planner.install(both(rig), Origin.INBOX, "test")

    assert rig.generations == ["000001"]
    assert rig.at_rest


def test_a_person_may_give_a_trust_change_up_in_probation(gateway: Rig) -> None:
    """It is undone like any other."""
    to_probation(gateway, both(gateway))
    gateway.engine.give_up("test")
    record = gateway.follow().record

    assert outcome_of(record, BundleOutcome()).outcome == "given-up"
    assert gateway.in_use()[0] == 2
    assert anchors(gateway) == of(gateway.root)
    assert gateway.connects()


# -- trouble on the way ------------------------------------------------------------------------------------------------


def test_a_server_that_changes_its_chain_in_probation_leads_back(gateway: Rig) -> None:
    """The anchor that was taken away is needed after all: the set before, which still has it, is put back."""
    gateway.install(both(gateway))
    to_probation(gateway, gateway.bundle(gateway.root, version=3))
    gateway.move_endpoint(gateway.second_root)
    record = gateway.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.SERVER_TRUST, "unknown-root")
    assert outcome_of(record, BundleOutcome()).outcome == "rolled-back"
    assert gateway.store.current() == 3
    assert anchors(gateway) == of(gateway.root, gateway.second_root)
    assert gateway.connects()


@pytest.mark.parametrize(
    ("trouble", "patience"),
    [
        (failures.unreachable("sandbox", 8883, "no route to host"), 3 * DAY),
        (failures.name_not_found("sandbox"), 2 * HOUR),
        (failures.silent(), 2 * HOUR),
    ],
    ids=["no-route", "no-name", "silence"],
)
def test_without_a_network_the_change_is_kept(gateway: Rig, trouble: Failure, patience: timedelta) -> None:
    """For days, without a verdict on the anchors; when the network is back they are proven and used."""
    gateway.endpoint.down = trouble
    outcome = gateway.install(both(gateway), patience=patience)
    assert outcome.record.phase is Phase.PREPARED
    assert outcome.wait is not None
    assert gateway.in_use() == (2, 1)
    gateway.endpoint.down = None

    assert gateway.follow(patience=DAY).record.phase is Phase.COMMITTED
    assert anchors(gateway) == of(gateway.root, gateway.second_root)


def test_an_outage_in_probation_condemns_nothing(gateway: Rig) -> None:
    """No network is not a refusal, whatever it was that changed last."""
    to_probation(gateway, both(gateway))
    gateway.endpoint.down = failures.unreachable("sandbox", 8883, "no route to host")
    assert gateway.follow(patience=2 * DAY).record.phase is Phase.DEPLOYED
    gateway.endpoint.down = None

    assert gateway.follow(patience=DAY).record.phase is Phase.COMMITTED


def test_a_revoked_certificate_is_no_fault_of_the_anchors(gateway: Rig) -> None:
    """It is refused with the old anchors and the new: the ladder is called for, and the failure says what it is."""
    gateway.revoke(2)
    record = gateway.install(both(gateway), patience=DAY).record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert record.failure.kind is FailureClass.CREDENTIAL
    assert ended_locked_out(record)
    assert healed(gateway).rung is Rung.PREVIOUS
    assert gateway.connects()


def test_with_every_certificate_refused_nothing_is_said_of_the_anchors(gateway: Rig) -> None:
    """Nothing on this gateway gets through, so the change waits and is neither used nor rejected."""
    gateway.fault(Operation.CONNECT, Effect.HANG_UP, times=None)
    outcome = gateway.install(both(gateway), patience=DAY)

    assert outcome.record.phase is Phase.PREPARED
    assert outcome.record.failure is not None
    assert not outcome.record.failure.decisive
    gateway.cloud.faults.clear()
    assert gateway.follow(patience=DAY).record.phase is Phase.COMMITTED


def test_a_certificate_that_is_revoked_in_probation_takes_no_anchors_along(gateway: Rig) -> None:
    """The change goes back, as any would; the ladder finds a set, and the same anchors may be shipped again."""
    to_probation(gateway, both(gateway))
    gateway.revoke(2)
    record = gateway.follow(patience=DAY).record
    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert record.failure.kind is FailureClass.CREDENTIAL
    healed(gateway)

    assert gateway.connects()
    assert gateway.install(both(gateway)).record.phase is Phase.COMMITTED


# -- power cuts --------------------------------------------------------------------------------------------------------


def is_sound(rig: Rig, record: ChangeRecord | None) -> bool:
    """Whether a gateway after a cut is at rest with a set that connects, on the old anchors or the new."""
    if record is not None:
        rig.follow()
    return rig.at_rest and rig.connects()


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs(TRUST_PHASES, [True, False]))
def test_a_power_cut_at_any_phase_ends_well(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """The change goes on from where it was; what was not yet planned leaves the old anchors, and comes again."""
    gateway.stop_installing_at(both(gateway), phase, saved=saved)
    record = gateway.restart()
    planned = saved or phase is not Phase.PREPARED

    assert (record is not None) == planned
    assert is_sound(gateway, record)
    assert (anchors(gateway) == of(gateway.root, gateway.second_root)) == planned
    if not planned:
        assert gateway.install(both(gateway)).record.phase is Phase.COMMITTED
        assert gateway.connects()


@pytest.mark.parametrize("phase", TRUST_PHASES[:2])
def test_a_power_cut_before_the_use_of_bad_anchors_leaves_the_good_ones(gateway: Rig, phase: Phase) -> None:
    """B alone is rejected after a restart just as without one; where it was proven, the endpoint then moved back."""
    if phase is Phase.PROVEN:
        gateway.move_endpoint(gateway.second_root)
        gateway.baked = both(gateway)
    gateway.stop_installing_at(gateway.bundle(gateway.second_root), phase)
    gateway.move_endpoint(gateway.root)

    assert is_sound(gateway, gateway.restart())
    assert anchors(gateway) == of(gateway.root)


def distrust(gateway: Rig) -> None:
    """Let the root that the endpoint chains to be distrusted from now on."""
    root = fingerprint(gateway.root.certificate)
    gateway.configure(distrust=lambda facts: "its keys were lost" if facts.sha256 == root else "")


def test_a_distrusted_root_is_left_for_anchors_that_do_without_it(gateway: Rig) -> None:
    """The endpoint's chain is signed by two roots. What a new connection finds is followed by the ladder."""
    gateway.endpoint.other_root_sha256 = fingerprint(gateway.second_root.certificate)
    gateway.baked = gateway.bundle(gateway.second_root)
    distrust(gateway)
    found = gateway.examiner.examine()
    assert found.connected is None
    assert found.climb is not None
    assert found.climb.use is Rung.BAKED_ANCHORS
    done = gateway.operations.climb(found.climb.why)
    assert done.outcome is not None
    assert (done.outcome.record.kind, done.outcome.record.phase) == (Kind.TRUST, Phase.COMMITTED)
    assert anchors(gateway) == of(gateway.second_root)
    assert gateway.examiner.examine().climb is None


def test_a_distrusted_root_that_the_endpoint_needs_stays(gateway: Rig) -> None:
    """A gateway is not cut off: nothing is written, and the next look finds the same."""
    distrust(gateway)
    gateway.baked = gateway.bundle(gateway.second_root)
    before = gateway.in_use(), len(gateway.store.history())
    found = gateway.examiner.examine()
    assert found.climb is not None
    assert found.climb.use is Rung.CURRENT
    done = gateway.operations.climb(found.climb.why)
    assert done.outcome is None
    assert (gateway.in_use(), len(gateway.store.history())) == before
