"""Imports that are not begun, and those that bring a gateway its first set."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.change.world import read_clock
from agent.core.change.ladder import Rung
from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.core.when.retirement import outstanding
from agent.errors import RefusedError, StoreError, StoreInDoubtError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation
from support.shorthand.importing import PHASES, bring_in, brought, last, plan, uses
from support.simulated.troubled import IN_DOUBT, PowerCut

if TYPE_CHECKING:
    from support.simulated.rig import Rig

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
