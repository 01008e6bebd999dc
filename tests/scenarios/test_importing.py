"""A set that a person brings along: proven before it is used, or used before it is proven when root says so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.change.world import read_clock
from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.report.screen import history_line
from agent.core.values import Kind, Origin
from agent.core.when.retirement import outstanding
from agent.crypto import keys
from agent.errors import CloudError, RefusedError, StoreError, StoreInDoubtError
from agent.operations.execute import locked_out
from agent.sandbox.authority import Authority, key_to_pem, name
from agent.sandbox.cloud import Status
from agent.sandbox.faults import Operation
from agent.sandbox.policies import GATEWAY
from support.rig import DECADE, IN_DOUBT, THING, PowerCut, Rig

if TYPE_CHECKING:
    from agent.change.engine import Outcome
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import CredentialSet, TrustBundle

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
PHASES = (Phase.PREPARED, Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED)
NO_NETWORK = failures.unreachable("the endpoint", 8883, "Network is unreachable")


def brought(
    rig: Rig,
    *,
    status: Status = Status.ACTIVE,
    thing: str = THING,
    registered: bool = True,
    ahead: timedelta = timedelta(),
) -> CredentialSet:
    """Return a new key and certificate that the cloud knows, or does not, as a technician has them on a stick."""
    pair = ec.generate_private_key(ec.SECP256R1())
    now = rig.clock.now()
    certificate = rig.cloud.authority.issue_client(name("brought"), pair.public_key(), now + ahead, now + DECADE)
    if registered:
        entry = rig.cloud.registry.add(certificate, status)
        entry.policies, entry.thing_name = [GATEWAY], thing
    return keys.credential_set(key_to_pem(pair), certificate.public_bytes(Encoding.PEM))


def plan(
    rig: Rig, credential: CredentialSet, *, unproven: bool = False, trust: TrustBundle | None = None
) -> ChangeRecord | None:
    """Plan to use it."""
    return rig.planner.bring_in(credential, THING, trust or rig.anchors(), "from a stick", unproven=unproven)


def bring_in(rig: Rig, credential: CredentialSet, *, unproven: bool = False, patience: timedelta = 2 * HOUR) -> Outcome:
    """Plan to use it and follow that."""
    assert plan(rig, credential, unproven=unproven) is not None
    return rig.follow(patience=patience)


def last(rig: Rig) -> ChangeRecord:
    """Return the last finished change."""
    return rig.store.history()[-1]


def passed(record: ChangeRecord) -> list[Phase]:
    """Return the phases that a change went through after the one it began in."""
    return [phase for phase, _ in record.passed]


def uses(rig: Rig, credential: CredentialSet) -> bool:
    """Whether a set is the current one, whole and to the byte."""
    current = rig.sets.usable()
    return current is not None and current.credential == credential


# -- a good set --------------------------------------------------------------------------------------------------------


def test_a_good_set_is_proven_and_used_and_the_one_before_is_kept(gateway: Rig) -> None:
    """No certificate is asked for; the replaced one is retired after the grace, like any other."""
    credential, replaced = brought(gateway), gateway.certificate(2)
    asked = gateway.asked(Operation.CREATE)
    outcome = bring_in(gateway, credential)

    assert outcome.record.phase is Phase.COMMITTED
    assert passed(outcome.record) == list(PHASES[1:])
    assert gateway.history[-1] == ("import", "committed", 3)
    assert gateway.in_use() == (3, 2)
    assert uses(gateway, credential)
    assert gateway.connects()
    assert gateway.asked(Operation.CREATE) == asked
    due = outstanding(gateway.store.history(), [credential.leaf.sha256], 7 * DAY)
    assert replaced in [item.certificate_id for item in due]
    assert credential.leaf.sha256 not in [item.certificate_id for item in due]


def test_nothing_is_used_before_it_is_proven(gateway: Rig) -> None:
    """Until then the set before is current, and the record says where to go on."""
    record = plan(gateway, brought(gateway))
    assert record is not None
    assert (record.phase, record.unproven) == (Phase.PREPARED, False)
    assert (record.generation, record.base, record.replaces) == (3, 2, gateway.certificate(2))
    assert gateway.in_use() == (2, 1)
    assert gateway.store.change() == record


def test_the_generation_says_who_brought_it(gateway: Rig) -> None:
    """Kind, origin, thing and change lie in its manifest."""
    record = plan(gateway, brought(gateway))
    assert record is not None
    manifest = gateway.store.generation(3).manifest
    assert (manifest.kind, manifest.origin, manifest.thing_name) == (Kind.IMPORT, Origin.TECHNICIAN, THING)
    assert manifest.change == record.id
    assert record.reason == "from a stick"


def test_a_rollback_leads_back_to_the_set_before(gateway: Rig) -> None:
    """It is kept for that."""
    bring_in(gateway, brought(gateway))
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    assert gateway.in_use()[0] == 2
    assert gateway.connects()


def test_a_rotation_starts_from_what_was_brought(gateway: Rig) -> None:
    """It is a set like any other."""
    bring_in(gateway, brought(gateway))
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (4, 3)
    assert last(gateway).thing_name == THING


def test_anchors_may_come_with_it(gateway: Rig) -> None:
    """They are proven together with the certificate and go with it."""
    both = gateway.bundle(gateway.root, gateway.second_root)
    assert plan(gateway, brought(gateway), trust=both) is not None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.store.generation(3).trust.fingerprints == both.fingerprints
    gateway.move_endpoint(gateway.second_root)
    assert gateway.connects()


def test_anchors_that_do_not_verify_the_endpoint_are_not_used(gateway: Rig) -> None:
    """Nothing is refused by that, so it is tried for a day; then other changes have their turn."""
    wrong = gateway.bundle(Authority("Another owner's root", gateway.clock.now()))
    assert plan(gateway, brought(gateway), trust=wrong) is not None
    assert gateway.follow(patience=3 * DAY).record.phase is Phase.REJECTED
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


# -- a set that is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.REVOKED, Status.INACTIVE, None])
def test_a_set_that_the_cloud_refuses_is_given_up(gateway: Rig, status: Status | None) -> None:
    """Revoked, inactive or unknown: the set before was current all the time and is accepted as before."""
    credential = brought(gateway, status=status or Status.ACTIVE, registered=status is not None)
    outcome = bring_in(gateway, credential)

    assert outcome.record.phase is Phase.REJECTED
    assert outcome.record.failure is not None
    assert outcome.record.failure.decisive
    assert Phase.ACTIVE not in passed(outcome.record)
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()
    assert gateway.at_rest


def test_a_gateway_is_not_locked_out_because_what_was_brought_is_refused(gateway: Rig) -> None:
    """What the change started from works, so no ladder is climbed."""
    assert not locked_out(bring_in(gateway, brought(gateway, status=Status.REVOKED)).record)


def test_a_gateway_whose_only_set_is_unproven_and_refused_is_locked_out(rig: Rig) -> None:
    """Then the ladder is what helps."""
    assert locked_out(bring_in(rig, brought(rig, status=Status.REVOKED), unproven=True).record)


def test_nothing_that_was_refused_is_retired(gateway: Rig) -> None:
    """The certificate in use above all."""
    bring_in(gateway, brought(gateway, status=Status.REVOKED))
    due = outstanding(gateway.store.history()[2:], [gateway.certificate(2)], timedelta())
    assert due == ()


def test_another_try_after_a_refusal_makes_another_generation(gateway: Rig) -> None:
    """Once the operator activated the certificate, the same files work."""
    credential = brought(gateway, status=Status.INACTIVE)
    bring_in(gateway, credential)
    gateway.cloud.set_status(credential.leaf.sha256, Status.ACTIVE)
    assert bring_in(gateway, credential).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (4, 2)


def test_without_network_it_waits_to_be_proven(gateway: Rig) -> None:
    """The set before stays in use meanwhile."""
    gateway.endpoint.down = NO_NETWORK
    waits = bring_in(gateway, credential := brought(gateway), patience=HOUR)
    assert waits.record.phase is Phase.PREPARED
    assert gateway.in_use() == (2, 1)
    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert uses(gateway, credential)


# -- used before it is proven ------------------------------------------------------------------------------------------


def test_an_unproven_set_is_used_at_once_and_marked_for_ever(gateway: Rig) -> None:
    """No connection is made before; probation proves it; the history and its reader know."""
    since = len(gateway.endpoint.connections)
    record = plan(gateway, credential := brought(gateway), unproven=True)
    assert record is not None
    assert (record.phase, record.unproven) == (Phase.PROVEN, True)
    gateway.follow(patience=MINUTE)
    assert gateway.in_use() == (3, 2)
    assert len(gateway.endpoint.connections) == since

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert len(gateway.endpoint.connections) > since
    assert uses(gateway, credential)
    assert last(gateway).unproven
    assert "(activated unproven)" in history_line(last(gateway))


def test_what_was_proven_is_never_marked(gateway: Rig) -> None:
    """Rotations, rollbacks and imports with proof."""
    bring_in(gateway, brought(gateway))
    gateway.run(Kind.ROLLBACK)
    gateway.rotate()
    assert not any(record.unproven for record in gateway.store.history())
    assert "unproven" not in history_line(last(gateway))


def test_an_unproven_set_that_is_refused_is_rolled_back(gateway: Rig) -> None:
    """As soon as it is certain, with the mark in the history."""
    outcome = bring_in(gateway, brought(gateway, status=Status.REVOKED), unproven=True)
    assert outcome.record.phase is Phase.ROLLED_BACK
    assert last(gateway).unproven
    assert "(activated unproven): " in history_line(last(gateway))
    assert gateway.in_use()[0] == 2
    assert gateway.connects()
    due = outstanding(gateway.store.history()[2:], [gateway.certificate(2)], timedelta())
    assert due == ()


def test_without_network_an_unproven_set_stays_and_is_proven_when_it_returns(gateway: Rig) -> None:
    """Days without a network prove nothing against it."""
    gateway.endpoint.down = NO_NETWORK
    waits = bring_in(gateway, credential := brought(gateway), unproven=True, patience=5 * DAY)
    assert waits.wait is not None
    assert waits.record.phase is Phase.DEPLOYED
    assert gateway.in_use() == (3, 2)

    gateway.endpoint.down = None
    outcome = gateway.follow()
    assert outcome.record.phase is Phase.COMMITTED
    assert outcome.record.checked_at is not None
    assert uses(gateway, credential)


def test_a_wrong_set_without_network_is_rolled_back_when_it_returns(gateway: Rig) -> None:
    """The set before was kept for that, however long it took."""
    gateway.endpoint.down = NO_NETWORK
    bring_in(gateway, brought(gateway, registered=False), unproven=True, patience=5 * DAY)
    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use()[0] == 2
    assert gateway.connects()


def test_wrong_anchors_in_an_unproven_set_do_not_keep_the_gateway_off_for_ever(gateway: Rig) -> None:
    """They verify nothing, while those of the set before do: that is decisive."""
    wrong = gateway.bundle(Authority("Another owner's root", gateway.clock.now()))
    assert plan(gateway, brought(gateway), trust=wrong, unproven=True) is not None
    assert gateway.follow(patience=3 * DAY).record.phase is Phase.ROLLED_BACK
    assert gateway.in_use()[0] == 2
    assert gateway.connects()


def test_an_unproven_set_may_be_given_up(gateway: Rig) -> None:
    """By `rollback`, like any change in flight, as long as the set before works."""
    plan(gateway, brought(gateway), unproven=True)
    gateway.follow(patience=MINUTE)
    gateway.engine.give_up("a mistake")
    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use()[0] == 2


def test_without_network_an_unproven_set_is_not_given_up(gateway: Rig) -> None:
    """Whether the set before works cannot be told then."""
    gateway.endpoint.down = NO_NETWORK
    bring_in(gateway, brought(gateway), unproven=True, patience=HOUR)
    with pytest.raises((RefusedError, CloudError), match="Generation 2 does not connect now"):
        gateway.engine.give_up("a mistake")
    assert gateway.in_use()[0] == 3


# -- what is not begun -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unproven", [False, True])
def test_the_certificate_in_use_is_not_imported_again(gateway: Rig, unproven: bool) -> None:  # noqa: FBT001 - a case
    """Nothing is written, nothing is planned."""
    bring_in(gateway, credential := brought(gateway))
    before = gateway.generations, gateway.history
    assert plan(gateway, credential, unproven=unproven) is None
    assert (gateway.generations, gateway.history) == before
    assert gateway.at_rest


def test_the_certificate_before_may_be_imported_again(gateway: Rig) -> None:
    """It is not in use, so it is a set like any other."""
    before = gateway.store.generation(1).credential
    assert bring_in(gateway, before).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


@pytest.mark.parametrize("kind", [Kind.ROTATE, Kind.IMPORT])
def test_a_change_in_flight_comes_first(gateway: Rig, kind: Kind) -> None:
    """Its generation and its record stay as they are."""
    if kind is Kind.IMPORT:
        plan(gateway, brought(gateway))
        record = gateway.engine.change
    else:
        record = gateway.run_to(kind, Phase.REGISTERED)
    before = gateway.generations, gateway.store.change()
    assert record is not None
    with pytest.raises(RefusedError, match=rf"Change {record.id} \({kind}\) is in flight; it comes first"):
        plan(gateway, brought(gateway), unproven=True)
    assert (gateway.generations, gateway.store.change()) == before
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_nothing_is_begun_on_a_full_disk(gateway: Rig) -> None:
    """That is seen before anything is written."""
    gateway.disk.fail("preflight")
    before = gateway.generations
    with pytest.raises(StoreError, match="No space left"):
        plan(gateway, brought(gateway))
    assert gateway.generations == before
    assert gateway.at_rest


@pytest.mark.parametrize("method", ["prepare", "save_change"])
def test_a_disk_that_fails_while_it_is_planned_changes_nothing(gateway: Rig, method: str) -> None:
    """What was written is not in the way, and the next try works."""
    gateway.disk.fail(method)
    with pytest.raises(StoreError, match="No space left"):
        plan(gateway, credential := brought(gateway), unproven=True)
    gateway.disk.heal()
    assert gateway.restart() is None
    assert gateway.in_use() == (2, 1)
    assert bring_in(gateway, credential).record.phase is Phase.COMMITTED
    assert uses(gateway, credential)


def test_a_plan_in_doubt_is_known(gateway: Rig) -> None:
    """It is on disk, so it is carried on whatever a power cut makes of it."""
    gateway.disk.fail("save_change", error=IN_DOUBT)
    with pytest.raises(StoreInDoubtError):
        plan(gateway, brought(gateway))
    assert gateway.engine.change is not None
    assert gateway.follow().record.phase is Phase.COMMITTED


# -- power cuts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("phase", PHASES)
def test_power_may_fail_at_any_phase(gateway: Rig, phase: Phase, saved: bool) -> None:  # noqa: FBT001 - a case
    """The set is in use in the end, or nothing was begun; the gateway always has one that works."""
    credential = brought(gateway)
    gateway.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        bring_in(gateway, credential)
    found = gateway.restart()
    assert gateway.connects()
    if found is None:
        assert (phase, saved) == (Phase.PREPARED, False)
        assert gateway.in_use() == (2, 1)
        return
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert uses(gateway, credential)


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("phase", PHASES[1:])
def test_power_may_fail_while_an_unproven_set_is_brought_in(
    gateway: Rig, phase: Phase, saved: bool  # noqa: FBT001 - a case
) -> None:  # fmt: skip
    """The mark outlives it."""
    credential = brought(gateway)
    gateway.disk.cut_power(phase, saved=saved)
    with pytest.raises(PowerCut):
        bring_in(gateway, credential, unproven=True)
    found = gateway.restart()
    if found is None:
        assert (phase, saved) == (Phase.PROVEN, False)
        assert gateway.in_use() == (2, 1)
        return
    assert found.unproven
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert last(gateway).unproven
    assert uses(gateway, credential)


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED, Phase.ROLLED_BACK])
def test_power_may_fail_while_a_refused_unproven_set_is_rolled_back(gateway: Rig, phase: Phase) -> None:
    """The set before comes back all the same."""
    gateway.disk.cut_power(phase, saved=True)
    with pytest.raises(PowerCut):
        bring_in(gateway, brought(gateway, status=Status.REVOKED), unproven=True)
    assert gateway.restart() is not None
    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use()[0] == 2
    assert gateway.connects()


def test_an_unproven_set_that_rots_on_the_disk_is_given_up(gateway: Rig) -> None:
    """Damage is found before the link moves."""
    plan(gateway, brought(gateway), unproven=True)
    gateway.damage(3)
    gateway.restart()
    assert gateway.follow().record.phase is Phase.REJECTED
    assert gateway.in_use() == (2, 1)


# -- the first set -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unproven", [False, True])
def test_what_was_there_before_the_agent_becomes_generation_one(rig: Rig, unproven: bool) -> None:  # noqa: FBT001
    """No certificate is asked for, nothing is retired, and the gateway counts as enrolled."""
    outcome = bring_in(rig, credential := brought(rig), unproven=unproven)
    assert outcome.record.phase is Phase.COMMITTED
    assert (outcome.record.base, outcome.record.replaces) == (None, None)
    assert rig.in_use() == (1, None)
    assert uses(rig, credential)
    assert rig.asked(Operation.CREATE) == rig.asked(Operation.REGISTER) == 0
    assert outstanding(rig.store.history(), [credential.leaf.sha256], timedelta()) == ()
    assert rig.sets.has_ever_enrolled()
    assert rig.connects()


def test_the_first_set_may_come_without_any_claim(rig: Rig) -> None:
    """A gateway that had a certificate needs none, and rotates from it."""
    rig.claim_present = False
    rig.configure(enrollment=None)
    assert bring_in(rig, brought(rig)).record.phase is Phase.COMMITTED
    assert rig.rotate().record.phase is Phase.COMMITTED
    assert rig.in_use() == (2, 1)


def test_a_first_set_that_is_refused_leaves_the_gateway_as_it_was(rig: Rig) -> None:
    """The claim is the control; enrolment works as before."""
    assert bring_in(rig, brought(rig, status=Status.REVOKED)).record.phase is Phase.REJECTED
    assert rig.in_use() == (None, None)
    assert not rig.sets.has_ever_enrolled()
    assert rig.enroll().record.phase is Phase.COMMITTED
    assert rig.connects()


def test_a_first_set_that_is_unproven_and_refused_lets_the_ladder_go_on(rig: Rig) -> None:
    """There is nothing to go back to; the claim gets the gateway a certificate of its own."""
    outcome = bring_in(rig, brought(rig, status=Status.REVOKED), unproven=True)
    assert outcome.record.phase is Phase.REJECTED
    assert last(rig).unproven
    assert rig.heal().use == Rung.CLAIM
    assert rig.connects()


@pytest.mark.parametrize("unproven", [False, True])
@pytest.mark.parametrize("phase", PHASES[1:])
def test_power_may_fail_while_the_first_set_is_brought_in(
    rig: Rig, phase: Phase, unproven: bool  # noqa: FBT001 - a case
) -> None:  # fmt: skip
    """It goes on from there; still no certificate is asked for."""
    credential = brought(rig)
    rig.disk.cut_power(phase, saved=True)
    with pytest.raises(PowerCut):
        bring_in(rig, credential, unproven=unproven)
    assert rig.restart() is not None
    assert rig.follow().record.phase is Phase.COMMITTED
    assert uses(rig, credential)
    assert rig.in_use() == (1, None)
    assert rig.asked(Operation.CREATE) == 0


def test_a_crash_before_anything_was_planned_leaves_no_trap(rig: Rig) -> None:
    """The generation is whole and no change's: it is not used unless it is brought in again."""
    credential = brought(rig)
    rig.disk.cut_power(Phase.PREPARED, saved=False)
    with pytest.raises(PowerCut):
        plan(rig, credential)
    assert rig.restart() is None
    assert rig.in_use() == (None, None)
    assert bring_in(rig, credential).record.phase is Phase.COMMITTED
    assert uses(rig, credential)


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=300)])
def test_a_certificate_that_another_clock_dated_ahead_does_not_make_the_right_clock_impossible(
    gateway: Rig, ahead: timedelta
) -> None:
    """An authority of the operator's own may have a clock of its own, and the cloud accepts what it made."""
    assert bring_in(gateway, brought(gateway, ahead=ahead)).record.phase is Phase.COMMITTED
    assert read_clock(gateway.clock, gateway.store).believable
    assert gateway.install(gateway.bundle(gateway.root, gateway.second_root)).record.phase is Phase.COMMITTED
    assert read_clock(gateway.clock, gateway.store).believable
    assert gateway.rotate().record.phase is Phase.COMMITTED
    gateway.clock.time -= timedelta(days=900)
    assert not read_clock(gateway.clock, gateway.store).believable
