"""A set on probation that the daemon's own session, or a policy that is late, speaks against."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import NO_ROUTE, THING
from support.simulated.rig import is_told

if TYPE_CHECKING:
    from datetime import datetime

    from support.simulated.rig import Rig

# -- the daemon's session tells ----------------------------------------------------------------------------------------


def start(gateway: Rig) -> datetime:
    """Bring a gateway into a quiet probation, far from its next proof, and return the time."""
    gateway.to_probation()
    gateway.clock.advance(seconds=20)
    return gateway.clock.now()


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.REVOKED])
def test_a_set_that_is_refused_on_probation_is_left_within_seconds(gateway: Rig, status: Status) -> None:
    """The session is lost; two refusals while the base is accepted are enough for a set that was accepted before."""
    lost = start(gateway)
    gateway.revoke(3, status=status)
    gateway.engine.doubt()
    record = gateway.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert "Generation 2 is accepted over the same path." in record.failure.message
    refused = [item.at for item in gateway.connections_of("generation 3") if item.outcome == "hung-up"]
    assert len(refused) == 2
    assert refused[1] - refused[0] >= timedelta(seconds=2)
    assert gateway.clock.now() - lost < timedelta(seconds=15)
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


def test_a_stray_hang_up_on_probation_rolls_nothing_back(gateway: Rig) -> None:
    """The broker hangs up once on the session and once on the proof; the proof after that is accepted."""
    start(gateway)
    gateway.fault(Operation.CONNECT, Effect.HANG_UP)
    gateway.engine.doubt()
    outcome = gateway.follow(patience=timedelta(seconds=1))
    assert outcome.wait is not None
    assert outcome.wait.failure is not None
    assert "refused again, it is left for generation 2" in outcome.wait.failure.promise
    assert is_told(outcome.wait.failure)

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


def test_a_session_that_is_lost_with_the_network_speaks_against_no_set(gateway: Rig) -> None:
    """Both sets are hung up on, as long as it lasts; the proofs are few, and probation goes on afterwards."""
    lost = start(gateway)
    gateway.fault(Operation.CONNECT, Effect.HANG_UP, times=None)
    before = len(gateway.connections_of("generation 3"))
    while gateway.clock.now() < lost + timedelta(minutes=30):
        gateway.engine.doubt()
        assert gateway.engine.run().wait is not None
        gateway.clock.advance(seconds=1)

    assert gateway.in_use() == (3, 2)
    assert len(gateway.connections_of("generation 3")) - before < 25
    gateway.cloud.faults.clear()
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_a_kill_between_doubt_and_proof_loses_neither(gateway: Rig) -> None:
    """What the session told is on disk before the proof; the next process makes it."""
    start(gateway)
    gateway.revoke(3)
    gateway.engine.doubt()
    found = gateway.restart()
    assert found is not None
    assert found.prove_at == gateway.clock.now()
    lost = gateway.clock.now()

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.clock.now() - lost < timedelta(seconds=15)


def test_a_set_that_is_refused_while_other_programs_fail_with_it_is_left_within_seconds(gateway: Rig) -> None:
    """A dependant fails, since the certificate is refused; its own patience of two minutes is not waited for."""
    gateway.programs.refused = {3}
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    outcome = gateway.follow(patience=timedelta(seconds=5))
    assert outcome.record.phase is Phase.ACTIVE
    gateway.clock.advance(seconds=6)
    lost = gateway.clock.now()
    while outcome.wait is None or outcome.wait.until <= lost:  # until it waits for the dependant
        outcome = gateway.engine.run()
    gateway.revoke(3)
    gateway.engine.doubt()
    record = gateway.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert record.failure is not None
    assert record.failure.kind is FailureClass.CREDENTIAL
    assert gateway.clock.now() - lost < timedelta(seconds=15)
    assert gateway.programs.uses == 2


def test_a_network_that_fails_while_other_programs_are_told_does_not_keep_the_set_from_them(gateway: Rig) -> None:
    """The session is lost and so is the proof, for the lack of a network; they are told all the same."""
    gateway.programs.refused = {3}
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.follow(patience=timedelta(seconds=5))
    gateway.endpoint.down = NO_ROUTE
    gateway.engine.doubt()
    gateway.programs.refused = set()
    outcome = gateway.follow(patience=timedelta(minutes=1))

    assert outcome.record.phase is Phase.DEPLOYED
    assert gateway.programs.uses == 3


def test_a_refusal_that_only_the_claim_speaks_for_has_to_last(gateway: Rig) -> None:
    """The base is revoked as well: going back to it would not help, so the fresh set gets its minute."""
    lost = start(gateway)
    gateway.revoke(1, 2, 3)
    gateway.engine.doubt()
    outcome = gateway.follow(patience=timedelta(seconds=50))
    assert outcome.record.phase is Phase.DEPLOYED
    assert outcome.record.refusals > 2
    assert outcome.record.failure is not None
    assert outcome.record.failure.kind is FailureClass.CREDENTIAL

    gateway.follow()
    assert gateway.clock.now() - lost >= timedelta(minutes=1)


# -- policies take their time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.ENROLL, Kind.ROTATE])
def test_a_policy_that_takes_seven_minutes_to_spread_is_waited_for(rig: Rig, kind: Kind) -> None:
    """AWS says six to eight minutes; "not authorised" on a fresh certificate proves nothing for ten."""
    if kind is Kind.ROTATE:
        rig.enroll()
    rig.cloud.provisioning.policy_delay = timedelta(minutes=7)
    start = rig.clock.now()
    rig.planner.begin(kind, Origin.TECHNICIAN, "test")
    outcome = rig.follow(patience=timedelta(minutes=6))

    failure = outcome.record.failure
    assert outcome.record.phase is Phase.PREPARED
    assert failure is not None
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.POLICY, "not-authorised", False)
    assert f"connect as {THING}-cert-agent" in failure.message
    assert "10 min" in failure.promise
    assert is_told(failure)

    outcome = rig.follow()
    assert outcome.record.phase is Phase.COMMITTED
    proven = dict(outcome.record.passed)[Phase.PROVEN]
    assert timedelta(minutes=7) <= proven - start <= timedelta(minutes=10)
    assert rig.asked(Operation.CREATE) == len(rig.store.history())
    assert rig.connects()


@pytest.mark.parametrize("kind", [Kind.ENROLL, Kind.ROTATE])
def test_a_policy_that_never_comes_is_a_refusal_after_ten_minutes_and_not_before(rig: Rig, kind: Kind) -> None:
    """Ten minutes of "not authorised", with the control accepted, and the new set is given up."""
    if kind is Kind.ROTATE:
        rig.enroll()
    before = rig.in_use()
    rig.cloud.provisioning.policy_delay = timedelta(days=365)
    start = rig.clock.now()
    rig.planner.begin(kind, Origin.TECHNICIAN, "test")
    assert rig.follow(patience=timedelta(minutes=9, seconds=50)).record.phase is Phase.PREPARED

    record = rig.follow().record
    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.decisive) == (FailureClass.POLICY, True)
    assert timedelta(minutes=10) <= rig.clock.now() - start <= timedelta(minutes=13)
    assert rig.in_use() == before
    assert any(name.endswith(".rejected") for name in rig.generations)


def test_a_policy_that_is_taken_away_in_probation_leads_back(gateway: Rig) -> None:
    """The new set had its requests answered; now it may connect no more for a minute while the old one may."""
    lost = start(gateway)
    gateway.entry(3).policies = []
    gateway.engine.doubt()
    record = gateway.follow().record

    assert record.phase is Phase.ROLLED_BACK
    assert timedelta(minutes=1) <= gateway.clock.now() - lost < timedelta(minutes=3)
    assert record.failure is not None
    assert record.failure.kind is FailureClass.POLICY
    assert gateway.in_use() == (2, 1)
    assert gateway.connects()


def test_a_policy_that_an_operator_replaces_on_probation_costs_a_wait(gateway: Rig) -> None:
    """For half a minute the new set has none; it is authorised again before that counts."""
    start(gateway)
    entry = gateway.entry(3)
    policies, entry.policies = entry.policies, []
    gateway.engine.doubt()
    gateway.follow(patience=timedelta(seconds=30))
    entry.policies = policies

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
