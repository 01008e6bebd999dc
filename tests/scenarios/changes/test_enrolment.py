"""The first certificate: from the claim certificate to a generation that has held through probation."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.errors import RefusedError
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import START, THING
from support.simulated.rig import is_told

if TYPE_CHECKING:
    from support.simulated.rig import Rig

CLAIM_ID = "iot-cert-agent-0042"
OWN_ID = "gw-0042-cert-agent"


def test_a_factory_fresh_gateway_gets_its_own_certificate(rig: Rig) -> None:
    """One request, one registration, one proof, ten minutes of probation; then the first generation is final."""
    outcome = rig.enroll()

    assert outcome.record.phase is Phase.COMMITTED
    assert outcome.record.failure is None
    assert rig.clock.now() - START == timedelta(minutes=10)
    assert "previous" not in rig.log.text  # there is none to keep
    # On disk: a whole first generation, nothing to go back to, nothing in flight, one line of history.
    assert rig.in_use() == (1, None)
    assert rig.generations == ["000001"]
    assert rig.at_rest
    assert rig.history == [("enroll", "committed", 1)]
    # In the cloud: asked once, registered once, and active for this thing.
    assert (rig.asked(Operation.CREATE), rig.asked(Operation.REGISTER)) == (1, 1)
    assert rig.entry(1).status is Status.ACTIVE
    assert rig.entry(1).thing_name == THING
    assert [entry.certificate_id for entry in rig.cloud.certificates_of(THING)] == [rig.certificate(1)]


def test_the_claim_asks_and_the_new_certificate_proves(rig: Rig) -> None:
    """The claim certificate connects once, under its own client id, and all that follows is done with the new one."""
    rig.enroll()

    first, *others = rig.endpoint.connections
    assert (first.candidate, first.client_id) == ("the claim certificate", CLAIM_ID)
    assert {(other.candidate, other.client_id, other.certificate_id) for other in others} == {
        ("generation 1", OWN_ID, rig.certificate(1))
    }
    assert all(connection.outcome == "accepted" for connection in rig.endpoint.connections)
    # Each proof is more than a connection: an authorised request that is answered.
    assert rig.asked(Operation.ASK) == len(others)


def test_the_claim_never_enters_a_generation(rig: Rig) -> None:
    """What all gateways share is not written where a gateway's own keys are."""
    rig.enroll()

    for path in (rig.path / "generations" / "000001").iterdir():
        assert rig.cloud.claim.key_pem not in path.read_bytes()
        assert rig.cloud.claim.certificate_pem not in path.read_bytes()


def test_progress_is_told_phase_by_phase(rig: Rig) -> None:
    """A person who follows an enrolment reads one sentence for each phase, in order."""
    rig.enroll()

    phases = [entry.code for entry in rig.log.entries]
    assert phases == [phase for phase in Phase if phase not in {Phase.REJECTED, Phase.ROLLED_BACK, Phase.RETIRED}]
    assert all(entry.text.endswith(".") for entry in rig.log.entries)


def test_without_a_claim_certificate_enrolment_waits_and_says_so(rig: Rig) -> None:
    """A claim that is missing is a matter for people; nothing is asked for, and the change goes on once it is there."""
    rig.claim_present = False
    outcome = rig.run(Kind.ENROLL, patience=timedelta(minutes=1))

    failure = outcome.record.failure
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureClass.STORE, "material")
    assert "claim certificate" in failure.message
    assert not rig.endpoint.connections

    rig.claim_present = True
    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.connects()


def test_rotation_needs_a_certificate_first(rig: Rig) -> None:
    """A gateway that was never enrolled is told to enrol."""
    with pytest.raises(RefusedError, match="no certificate to rotate") as refusal:
        rig.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")

    assert "iot-cert enroll" in refusal.value.hint
    assert rig.at_rest


def test_enrolment_that_is_not_configured_is_refused(rig: Rig) -> None:
    """Without a template there is nothing to enrol with; the refusal names the key to add."""
    rig.configure(enrollment=None)
    with pytest.raises(RefusedError, match="not configured") as refusal:
        rig.planner.begin(Kind.ENROLL, Origin.TECHNICIAN, "test")

    assert "`enrollment:`" in refusal.value.hint


def test_a_first_certificate_that_never_works_is_rejected_and_enrolment_starts_afresh(rig: Rig) -> None:
    """The claim is the control: it gets through where the new set does not, so the set is given up after a minute."""
    rig.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    outcome = rig.enroll()

    failure = outcome.record.failure
    assert outcome.record.phase is Phase.REJECTED
    assert is_told(failure)
    assert failure is not None
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.CREDENTIAL, "hung-up", True)
    assert "The claim certificate is accepted over the same path." in failure.message
    # The control was really tried, over the same path, and asked for nothing.
    assert [connection.outcome for connection in rig.connections_of("generation 1")] == ["hung-up"] * 6
    assert len(rig.connections_of("the claim certificate")) == 7
    assert rig.asked(Operation.ASK) == 0
    assert rig.clock.now() - START >= timedelta(minutes=1)
    # Nothing is in use, what was refused is set aside, and the claim is still there.
    assert rig.in_use() == (None, None)
    assert rig.generations == ["000001.rejected"]
    assert rig.history == [("enroll", "rejected", 1)]

    assert rig.enroll().record.phase is Phase.COMMITTED
    assert rig.in_use() == (2, None)
    assert rig.connects()


def test_the_cloud_decides_the_name_unless_the_gateway_is_told_who_it_is(rig: Rig) -> None:
    """With `thing_name` configured a registration for another thing is not used."""
    rig.configure(thing_name="gw-0043")
    outcome = rig.enroll()

    failure = outcome.record.failure
    assert outcome.record.phase is Phase.REJECTED
    assert is_told(failure)
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureClass.PROTOCOL, "wrong-thing")
    assert "'gw-0042'" in failure.message
    assert "'gw-0043'" in failure.message
    assert rig.in_use() == (None, None)

    rig.configure(thing_name=THING)
    assert rig.enroll().record.phase is Phase.COMMITTED


def test_a_gateway_that_has_a_certificate_knows_that_it_was_enrolled(rig: Rig) -> None:
    """Once enrolled, always enrolled: also when the certificate on disk is damaged later."""
    assert not rig.sets.has_ever_enrolled()
    rig.enroll()
    assert rig.sets.has_ever_enrolled()

    rig.damage(1)
    rig.restart()
    assert rig.sets.usable() is None
    assert rig.sets.has_ever_enrolled()
