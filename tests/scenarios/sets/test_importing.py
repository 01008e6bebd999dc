"""A set that a person brings along: proven before it is used, or used before it is proven when root says so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.report.screen import history_line
from agent.core.values import Kind, Origin
from agent.core.when.retirement import outstanding
from agent.errors import CloudError, RefusedError
from agent.operations.execute import ended_locked_out
from agent.sandbox.account.authority import Authority
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation
from support.shorthand.importing import DAY, HOUR, MINUTE, PHASES, bring_in, brought, last, plan, uses
from support.simulated.outside import THING
from support.simulated.troubled import PowerCut
from support.suite import campaigns

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord
    from support.simulated.rig import Rig

NO_NETWORK = failures.unreachable("the endpoint", 8883, "Network is unreachable")


def passed(record: ChangeRecord) -> list[Phase]:
    """Return the phases that a change went through after the one it began in."""
    return [phase for phase, _ in record.passed]


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
    assert not ended_locked_out(bring_in(gateway, brought(gateway, status=Status.REVOKED)).record)


def test_a_gateway_whose_only_set_is_unproven_and_refused_is_locked_out(rig: Rig) -> None:
    """Then the ladder is what helps."""
    assert ended_locked_out(bring_in(rig, brought(rig, status=Status.REVOKED), unproven=True).record)


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


# -- power cuts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs(PHASES, [True, False]))
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


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs(PHASES[1:], [True, False]))
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


def test_a_certificate_that_was_attached_to_another_thing_is_imported_for_it(gateway: Rig) -> None:
    """No thing can be renamed on AWS: another one gets its certificate, which is proven as that one and not retired."""
    gateway.entry(2).thing_name = "gw-0043"
    assert not gateway.connects()
    before = gateway.store.generation(2)
    own = before.credential, before.trust
    assert gateway.planner.bring_in(own[0], THING, own[1], "the thing in use") is None
    gateway.planner.bring_in(own[0], "gw-0043", own[1], "the thing was renamed")

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert (gateway.in_use(), gateway.certificate(3)) == ((3, 2), gateway.certificate(2))
    assert gateway.connects()
    left = {item.certificate_id for item in outstanding(gateway.store.history(), (), timedelta())}
    assert gateway.certificate(3) not in left
