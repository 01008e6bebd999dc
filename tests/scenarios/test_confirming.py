"""The word that a set on probation works: a person's, and where it is asked for, the gateway's own application's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rig import PowerCut

from agent.core.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.errors import RefusedError
from agent.sandbox.faults import Effect, Operation

if TYPE_CHECKING:
    from rig import Rig


# -- a person's word ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.ENROLL, Kind.ROTATE, Kind.ROLLBACK])
def test_a_person_who_is_content_need_not_wait_for_the_end_of_probation(rig: Rig, kind: Kind) -> None:
    """One more proof, and the set is final minutes before its time."""
    if kind is not Kind.ENROLL:
        rig.enroll()
        rig.rotate()
    until = rig.to_probation(kind).record.probation_until
    assert until is not None
    proofs = len(rig.endpoint.connections)
    rig.engine.confirm()
    record = rig.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.confirmed_at == rig.clock.now()
    assert rig.clock.now() < until
    assert [item.outcome for item in rig.endpoint.connections[proofs:]] == ["accepted"]
    assert rig.store.history()[-1].confirmed_at == record.confirmed_at


def test_a_word_makes_nothing_final_that_is_refused(gateway: Rig) -> None:
    """The certificate was deactivated; the person's word only has that found out now."""
    gateway.to_probation()
    gateway.revoke(3)
    gateway.engine.confirm()

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


def test_a_word_without_a_network_is_kept_until_the_proof_can_be_made(gateway: Rig) -> None:
    """The last proof waits; the word need not be given again, and giving it again does no harm."""
    gateway.to_probation()
    gateway.fault(Operation.CONNECT, Effect.HANG_UP, times=None)
    first = gateway.engine.confirm()
    assert gateway.engine.run().wait is not None
    gateway.clock.advance(seconds=10)
    gateway.engine.confirm()
    gateway.cloud.faults.clear()
    record = gateway.follow().record

    assert record.phase is Phase.COMMITTED
    assert record.confirmed_at is not None
    assert record.confirmed_at < gateway.clock.now()
    assert first.id == record.id


@pytest.mark.parametrize("saved", [True, False])
def test_a_kill_between_word_and_end_keeps_the_one_or_the_other(gateway: Rig, *, saved: bool) -> None:
    """Once it is on disk it counts; before that it was not given. Either way the change ends as it should."""
    gateway.to_probation()
    gateway.disk.cut_power(Phase.DEPLOYED, saved=saved)
    with pytest.raises(PowerCut):
        gateway.engine.confirm()
    found = gateway.restart()
    assert found is not None
    assert (found.confirmed_at is not None) == saved

    record = gateway.follow().record
    assert record.phase is Phase.COMMITTED
    assert (record.confirmed_at is not None) == saved


def test_a_word_while_other_programs_are_told_comes_after_them(gateway: Rig) -> None:
    """The application was restarted and is content, while another program is not up yet: that one has its time."""
    gateway.programs.refused = {3}
    gateway.engine.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.engine.run()
    assert gateway.engine.confirm().phase is Phase.ACTIVE
    gateway.programs.refused = set()
    record = gateway.follow().record

    assert (record.phase, record.degraded) == (Phase.COMMITTED, None)
    assert gateway.programs.uses == 3
    assert record.probation_until == dict(record.passed)[Phase.DEPLOYED]


def test_a_word_given_twice_says_what_it_said(gateway: Rig) -> None:
    """The change it was about is final, and that is what it is answered with."""
    gateway.to_probation()
    gateway.engine.confirm()
    ended = gateway.follow().record

    assert gateway.engine.confirm() == ended
    assert gateway.at_rest


def test_a_word_about_nothing_is_refused(gateway: Rig) -> None:
    """Before a set is in use, while it is given up, and after it was."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    with pytest.raises(RefusedError, match="in phase prepared; nothing is on probation yet"):
        gateway.engine.confirm()

    gateway.follow(patience=gateway.settings.limits.check_every)
    gateway.engine.give_up("test")
    with pytest.raises(RefusedError, match="is being given up: Given up: test"):
        gateway.engine.confirm()
    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    with pytest.raises(RefusedError, match="Nothing is on probation"):
        gateway.engine.confirm()


def test_a_gateway_that_never_changed_anything_has_nothing_to_confirm(rig: Rig) -> None:
    """There is not even a last change."""
    with pytest.raises(RefusedError, match="Nothing is on probation"):
        rig.engine.confirm()
