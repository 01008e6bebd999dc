"""A change that can neither succeed nor go back ends, so that the ladder can heal the gateway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.change.ladder import Rung
from agent.core.values import Kind
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from support.simulated.rig import Rig

DAY = timedelta(days=1)


def test_a_first_certificate_that_is_revoked_in_probation_is_replaced_by_the_claim(rig: Rig) -> None:
    """The only set is refused for good and the claim is accepted: the change must end, so that the ladder can enrol."""
    rig.fault(Operation.REGISTER, Effect.REVOKE)
    rig.run(Kind.ENROLL, patience=3 * DAY)
    assert rig.climber.find_footing().use is Rung.CLAIM

    assert rig.at_rest
    assert rig.heal().use is Rung.CLAIM
    assert rig.connects()


def test_a_refused_set_whose_base_is_damaged_is_replaced_by_the_claim(gateway: Rig) -> None:
    """The way back is broken on disk: going back can never work, so the change must end and the ladder go on."""
    gateway.run(Kind.ROLLBACK)  # generation 1 is current, and the only other set is 2
    gateway.to_probation()
    gateway.damage(1)
    gateway.damage(2)
    gateway.revoke(3)
    gateway.follow(patience=3 * DAY)
    assert gateway.climber.find_footing().use is Rung.CLAIM

    assert gateway.at_rest
    assert gateway.heal().use is Rung.CLAIM
    assert gateway.connects()


def test_a_refused_set_whose_base_is_damaged_goes_to_the_one_that_is_whole(gateway: Rig) -> None:
    """The same with a third set that is whole and accepted: it lies ready, but nothing leads there."""
    gateway.to_probation()
    gateway.damage(2)
    gateway.revoke(3)
    gateway.follow(patience=DAY)

    assert gateway.at_rest
    assert gateway.store.current() == 1
    assert gateway.connects()
