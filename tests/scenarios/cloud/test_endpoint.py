"""An endpoint that is away, or that is not who it should be: nothing is lost, spent or concluded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.rig import is_told
from support.suite import campaigns

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure
    from support.simulated.rig import Rig

DAY = timedelta(days=1)
HOURS = timedelta(hours=2)  # two dozen of the longest waits for a network or a server
HOST = "sandbox-ats.iot.eu-west-1.amazonaws.com"
DOWN = {
    "no route": failures.unreachable(HOST, 8883, "no route to host"),
    "no name": failures.name_not_found(HOST),
    "a firewall": failures.tls_interrupted(HOST, "connection reset"),
}
UNTRUSTED = {
    "another's certificate": failures.server_certificate(HOST, Code.WRONG_HOST, "its certificate is for example.com"),
    "an unknown root": failures.server_certificate(HOST, Code.UNKNOWN_ROOT, "no anchor of the set signs its chain"),
    "an old TLS version": failures.tls_version(HOST, "protocol version"),
}
EXPIRED = failures.server_certificate(HOST, Code.SERVER_EXPIRED, "its certificate ended yesterday")
NOT_YET = failures.server_certificate(HOST, Code.SERVER_NOT_YET_VALID, "its certificate begins tomorrow")
PHASES = [
    Phase.PLANNED,
    Phase.KEY_READY,
    Phase.ISSUED,
    Phase.REGISTERED,
    Phase.PREPARED,
    Phase.PROVEN,
    Phase.ACTIVE,
    Phase.DEPLOYED,
]


@pytest.mark.parametrize("trouble", DOWN.values(), ids=DOWN)
def test_without_a_network_no_certificate_is_spent(gateway: Rig, trouble: Failure) -> None:
    """A rotation that cannot even connect waits for a day with its key ready, and goes on by itself."""
    creates = gateway.asked(Operation.CREATE)
    gateway.endpoint.down = trouble
    outcome = gateway.rotate(patience=DAY)

    failure = outcome.record.failure
    assert outcome.record.phase is Phase.KEY_READY
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureClass.NETWORK, trouble.code)
    assert is_told(failure)
    assert outcome.record.requests == ()
    assert gateway.asked(Operation.CREATE) == creates
    # Patience grows to an hour and no further.
    assert outcome.wait is not None
    assert outcome.wait.until - gateway.clock.now() <= timedelta(hours=1)

    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == creates + 1
    assert gateway.in_use() == (3, 2)


STAYING = [Phase.KEY_READY, Phase.PREPARED, Phase.DEPLOYED]
LASTING = [phase for phase in PHASES if phase is not Phase.ISSUED]
ACTIVATED = {Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED}  # or about to be, which takes no network


@pytest.mark.parametrize("phase", campaigns.one_of_each(LASTING, lambda phase: f"{phase in ACTIVATED}"))
def test_an_outage_of_a_day_in_any_phase_changes_nothing(gateway: Rig, phase: Phase) -> None:
    """The links stay where they are; when the network is back the change goes on within the hour."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.endpoint.down = DOWN["no route"]
    outcome = gateway.follow(patience=DAY)

    assert outcome.wait is not None
    assert not outcome.record.phase.ended
    assert outcome.record.condemned is None
    assert gateway.in_use() == ((3, 2) if phase in ACTIVATED else (2, 1))

    gateway.endpoint.down = None
    back = gateway.clock.now()
    outcome = gateway.follow()
    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.clock.now() - back <= timedelta(hours=1, minutes=10)
    assert gateway.in_use() == (3, 2)
    assert len(outcome.record.requests) == 1
    assert gateway.connects()


def test_a_certificate_in_hand_through_an_outage_of_a_day_is_replaced(gateway: Rig) -> None:
    """Its token has died unused and the certificate with it, so a new key is made and one more is asked for."""
    gateway.fault(Operation.REGISTER, Effect.THROTTLE)
    gateway.rotate(patience=timedelta(seconds=5))
    key = gateway.store.staged_key(3)
    gateway.endpoint.down = DOWN["no route"]
    outcome = gateway.follow(patience=DAY)
    assert len(outcome.record.requests) == 1
    assert gateway.in_use() == (2, 1)

    gateway.endpoint.down = None
    outcome = gateway.follow()
    assert outcome.record.phase is Phase.COMMITTED
    assert len(outcome.record.requests) == 2
    assert gateway.store.generation(3).credential.key_pem != key
    assert gateway.connects()


@pytest.mark.parametrize("phase", PHASES)
def test_a_short_outage_in_any_phase_costs_no_second_certificate(gateway: Rig, phase: Phase) -> None:
    """Within the token's life the certificate in hand is registered when the network is back."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.endpoint.down = DOWN["no route"]
    gateway.follow(patience=timedelta(minutes=5))
    gateway.endpoint.down = None

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == 3
    assert gateway.in_use() == (3, 2)


def test_enrolment_waits_out_a_day_without_network(rig: Rig) -> None:
    """The first certificate comes when there is a network to get it over."""
    rig.endpoint.down = DOWN["no name"]
    outcome = rig.run(Kind.ENROLL, patience=DAY)
    assert outcome.record.phase is Phase.KEY_READY

    rig.endpoint.down = None
    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.asked(Operation.CREATE) == 1


@pytest.mark.parametrize(("wrong", "phase"), campaigns.pairs(["an expired certificate", *UNTRUSTED], STAYING))
def test_an_endpoint_that_cannot_be_trusted_is_told_and_waited_out(gateway: Rig, wrong: str, phase: Phase) -> None:
    """Nothing is sent to it, it says nothing against the new set, and the change goes on when it is right again."""
    trouble = UNTRUSTED.get(wrong, EXPIRED)
    gateway.run_to(Kind.ROTATE, phase)
    in_use = gateway.in_use()
    gateway.clock.advance(minutes=2)
    requests = len(gateway.cloud.requests)
    gateway.endpoint.server_trouble = trouble
    # For nearly a day in one of the cases: after a day other changes have their turn.
    outcome = gateway.follow(patience=DAY - timedelta(hours=1) if trouble is EXPIRED else HOURS)

    failure = outcome.record.failure
    assert outcome.record.phase is phase
    assert failure is not None
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.SERVER_TRUST, trouble.code, False)
    assert is_told(failure)
    assert len(gateway.cloud.requests) == requests
    assert gateway.in_use() == in_use

    gateway.endpoint.server_trouble = None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == 3
    assert gateway.connects()


@pytest.mark.parametrize("phase", [Phase.PREPARED, Phase.DEPLOYED])
def test_a_set_with_the_same_anchors_is_no_witness_against_the_endpoint(gateway: Rig, phase: Phase) -> None:
    """It would meet the same certificate and judge it alike, so no connection is spent on it."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.clock.advance(minutes=2)
    gateway.endpoint.server_trouble = UNTRUSTED["an unknown root"]
    before = len(gateway.endpoint.connections)
    gateway.follow(patience=timedelta(hours=1))

    tried = {connection.candidate for connection in gateway.endpoint.connections[before:]}
    assert tried == {"generation 3"}
    assert "as a control" not in gateway.log.text


@pytest.mark.parametrize(("phase", "wrong"), campaigns.pairs(STAYING, ["expired", "not yet valid"]))
def test_an_unsynchronised_clock_is_to_blame(gateway: Rig, phase: Phase, wrong: str) -> None:
    """The same answer under an unsynchronised clock names the clock, shows its time, and waits for it to be set."""
    trouble = EXPIRED if wrong == "expired" else NOT_YET
    gateway.run_to(Kind.ROTATE, phase)
    in_use = gateway.in_use()
    gateway.clock.advance(minutes=2)
    gateway.clock.is_synchronised = False
    gateway.endpoint.server_trouble = trouble
    outcome = gateway.follow(patience=timedelta(hours=6))

    failure = outcome.record.failure
    assert outcome.record.phase is phase
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureClass.CLOCK, trouble.code)
    assert "is not synchronised" in failure.message
    assert "timedatectl" in failure.remedy
    assert is_told(failure)
    assert gateway.in_use() == in_use
    # A clock is usually set within minutes of a boot, so the next look is never far.
    assert outcome.wait is not None
    assert outcome.wait.until - gateway.clock.now() <= timedelta(minutes=10)

    gateway.clock.is_synchronised = True
    gateway.endpoint.server_trouble = None
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_a_new_root_at_the_endpoint_cuts_nothing_off_for_good(gateway: Rig) -> None:
    """The endpoint moves to a root that no set knows, and back: the change is kept, the sets are too."""
    root = gateway.endpoint.root_sha256
    gateway.endpoint.root_sha256 = "0" * 64
    outcome = gateway.rotate(patience=DAY)
    assert outcome.record.phase is Phase.KEY_READY
    assert outcome.record.failure is not None
    assert outcome.record.failure.code == "unknown-root"

    gateway.endpoint.root_sha256 = root
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.connects()
