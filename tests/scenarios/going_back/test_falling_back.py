"""Going back: by command, by refusal, and when not to. A control must speak against the new set, or a person."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.errors import DamagedError, RefusedError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE
from support.simulated.rig import is_told
from support.suite import campaigns

if TYPE_CHECKING:
    from support.simulated.rig import Rig

DAY = timedelta(days=1)


# -- a person wants it -------------------------------------------------------------------------------------------------


def test_a_rollback_is_a_change_that_proves_the_previous_set_first(gateway: Rig) -> None:
    """No certificate is asked for: the set that is there is proven, activated and held through probation."""
    creates = gateway.asked(Operation.CREATE)
    before = len(gateway.endpoint.connections)
    outcome = gateway.run(Kind.ROLLBACK)

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.in_use() == (1, 2)
    assert gateway.asked(Operation.CREATE) == creates
    assert {item.candidate for item in gateway.endpoint.connections[before:]} == {"generation 1"}
    assert [phase for phase, _ in outcome.record.passed][:2] == [Phase.PROVEN, Phase.ACTIVE]
    assert gateway.history[-1] == ("rollback", "committed", 1)
    # Nothing is set aside: the set that was left may be gone back to in turn.
    assert gateway.generations == ["000001", "000002"]
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (2, 1)


def test_a_rollback_to_a_set_that_the_cloud_has_retired_stays_where_it_is(gateway: Rig) -> None:
    """The previous certificate is inactive: the current one, as control, shows it, and it stays in use."""
    gateway.revoke(1, status=Status.INACTIVE)
    record = gateway.run(Kind.ROLLBACK).record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.CREDENTIAL, "hung-up")
    assert "Generation 2 is accepted over the same path." in record.failure.message
    assert is_told(record.failure)
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002"]
    assert gateway.connects()


def test_there_is_nothing_to_roll_back_to_after_the_first_enrolment(rig: Rig) -> None:
    """The refusal names the way that is left."""
    rig.enroll()
    with pytest.raises(RefusedError, match="no previous generation") as refusal:
        rig.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert "iot-cert rotate" in refusal.value.hint
    assert rig.in_use() == (1, None)
    assert rig.at_rest


def test_a_rollback_to_a_damaged_set_is_refused_before_it_begins(gateway: Rig) -> None:
    """What lies on disk is read first; the message says what is wrong with it."""
    gateway.damage(1, "certificate.pem")
    with pytest.raises(DamagedError, match=r"Generation 1 is damaged: certificate\.pem changed"):
        gateway.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert gateway.at_rest
    assert gateway.connects()


@pytest.mark.parametrize(
    "phase",
    [
        Phase.PLANNED,
        Phase.KEY_READY,
        Phase.REQUESTED,
        Phase.ISSUED,
        Phase.REGISTERED,
        Phase.PREPARED,
        Phase.PROVEN,
    ],
)
def test_a_change_that_has_activated_nothing_is_simply_given_up(gateway: Rig, phase: Phase) -> None:
    """Until activation the old set was never left, so there is nothing to prove and nothing to move."""
    gateway.run_to(Kind.ROTATE, phase)
    connections = len(gateway.endpoint.connections)
    gateway.engine.give_up("the technician changed his mind")
    record = gateway.follow().record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.OPERATOR, "given-up")
    assert record.failure.message == "Given up: the technician changed his mind."
    assert len(gateway.endpoint.connections) == connections
    assert gateway.in_use() == (2, 1)
    prepared = phase in {Phase.PREPARED, Phase.PROVEN}
    assert gateway.generations == ["000001", "000002", *(["000003.rejected"] if prepared else [])]
    assert gateway.at_rest


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_an_activated_change_is_given_up_once_the_old_set_is_proven(gateway: Rig, phase: Phase) -> None:
    """In probation the way back is open: the old set connects first, then it is put back."""
    gateway.run_to(Kind.ROTATE, phase)
    assert gateway.in_use() == (3, 2)
    gateway.engine.give_up("the application does not like it")

    assert gateway.connections_of("generation 2")[-1].at == gateway.clock.now()
    record = gateway.follow().record
    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert record.failure.kind is FailureClass.OPERATOR
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", "000003.rejected"]
    assert gateway.connects()


@pytest.mark.parametrize("why", ["revoked", "no network"])
def test_no_order_goes_back_to_a_set_that_does_not_connect(gateway: Rig, why: str) -> None:
    """In probation a rollback is refused when the old set fails its proof, for whatever reason; the new one stays."""
    gateway.to_probation()
    if why == "revoked":
        gateway.revoke(2)
    else:
        gateway.endpoint.down = NO_ROUTE
    with pytest.raises(RefusedError, match="Generation 2 does not connect now, so the gateway stays on generation 3"):
        gateway.engine.give_up("test")

    assert gateway.in_use() == (3, 2)
    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.connects()


def test_no_order_goes_back_to_a_set_that_is_damaged(gateway: Rig) -> None:
    """The order is refused as one to a set that does not connect is: the new one stays."""
    gateway.to_probation()
    gateway.damage(2)
    with pytest.raises(RefusedError, match="Generation 2 cannot be used now, so the gateway stays on generation 3: "):
        gateway.engine.give_up("test")

    assert gateway.current == 3
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.connects()


def test_the_first_certificate_cannot_be_given_up_in_probation(rig: Rig) -> None:
    """There is nothing behind it, so the refusal says what replaces it."""
    rig.to_probation(Kind.ENROLL)
    with pytest.raises(RefusedError, match="first certificate: there is nothing to go back to") as refusal:
        rig.engine.give_up("test")

    assert "iot-cert rotate" in refusal.value.hint
    assert rig.follow().record.phase is Phase.COMMITTED


def test_the_first_enrolment_can_be_given_up_before_activation(rig: Rig) -> None:
    """What was prepared is set aside, the claim stays, and enrolment works again."""
    rig.run_to(Kind.ENROLL, Phase.PREPARED)
    rig.engine.give_up("wrong gateway")

    assert rig.follow().record.phase is Phase.REJECTED
    assert rig.in_use() == (None, None)
    assert rig.generations == ["000001.rejected"]
    assert rig.enroll().record.phase is Phase.COMMITTED


def test_a_rollback_can_be_given_up_too(gateway: Rig) -> None:
    """In its probation it goes back to where it came from, and neither set is set aside."""
    gateway.to_probation(Kind.ROLLBACK)
    assert gateway.in_use() == (1, 2)
    gateway.engine.give_up("it was a mistake")

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.store.current() == 2
    assert gateway.generations == ["000001", "000002"]
    assert gateway.connects()


def test_a_rollback_whose_set_is_revoked_in_probation_returns(gateway: Rig) -> None:
    """The set that was gone back to is refused, the one that was left is accepted: return to it."""
    gateway.to_probation(Kind.ROLLBACK)
    gateway.revoke(1)
    record = gateway.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert gateway.store.current() == 2
    assert gateway.connects()


# -- the control decides -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "effect"), campaigns.pairs([Phase.PREPARED, Phase.DEPLOYED], [Effect.HANG_UP, Effect.SILENCE])
)
def test_when_old_and_new_meet_the_same_nothing_is_concluded(gateway: Rig, phase: Phase, effect: Effect) -> None:
    """Both sets are hung up on for a day: that is the network, and the change goes on where it was."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.clock.advance(minutes=2)
    in_use = gateway.in_use()
    gateway.fault(Operation.CONNECT, effect, times=None)
    outcome = gateway.follow(patience=DAY)

    assert outcome.wait is not None
    failure = outcome.wait.failure
    assert failure is not None
    assert failure.kind is FailureClass.NETWORK
    assert not failure.decisive
    locked_out = effect is Effect.HANG_UP  # the server was verified and turned each of them away
    assert (failure.code == Code.LOCKED_OUT) == locked_out
    said = "the same, so no set of this gateway" if locked_out else "the same, so nothing speaks against this set."
    assert said in failure.message
    met = {item.outcome for item in gateway.connections_of("generation 2")[-5:]}
    assert met == {"hung-up" if locked_out else failure.code}
    assert is_told(failure)
    assert outcome.record.phase is phase
    assert gateway.in_use() == in_use

    gateway.cloud.faults.clear()
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == 3


def test_a_control_is_tried_only_for_what_it_can_clear_up(gateway: Rig) -> None:
    """Without a network there is nothing to compare: the old set is not dragged into it."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    before = len(gateway.connections_of("generation 2"))
    gateway.endpoint.down = NO_ROUTE
    gateway.follow(patience=DAY)

    assert len(gateway.connections_of("generation 2")) == before
    assert {item.outcome for item in gateway.connections_of("generation 3")} == {"unreachable"}


def test_after_a_rollback_previous_is_the_next_best_and_never_the_refused_one(gateway: Rig) -> None:
    """The links never lead to a set that was refused."""
    gateway.fault(Operation.REGISTER, Effect.REVOKE)
    gateway.rotate()

    assert gateway.in_use() == (2, 1)
    gateway.restart()
    assert gateway.in_use() == (2, 1)
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (1, 2)
