"""One certificate after another: what each change costs, what it leaves behind, and what it never repeats."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.values import KeyAlgorithm, Kind, Origin
from agent.errors import RefusedError
from agent.sandbox.account.authority import AWS_NOT_AFTER
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Operation
from agent.store.sets import generations
from agent.system import clock
from support.simulated.outside import THING
from support.simulated.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.values import Generation


def test_a_rotation_is_asked_for_with_the_old_set_and_proven_with_the_new(gateway: Rig) -> None:
    """The claim plays no part; the old certificate stays active, since both work until it is retired."""
    before = len(gateway.endpoint.connections)
    assert gateway.rotate().record.phase is Phase.COMMITTED

    asked, *proofs = gateway.endpoint.connections[before:]
    assert (asked.candidate, asked.certificate_id) == ("generation 2", gateway.certificate(2))
    assert {(proof.candidate, proof.certificate_id) for proof in proofs} == {("generation 3", gateway.certificate(3))}
    assert {proof.client_id for proof in proofs} == {asked.client_id} == {f"{THING}-cert-agent"}
    assert gateway.in_use() == (3, 2)
    assert gateway.entry(2).status is Status.ACTIVE
    assert gateway.entry(3).status is Status.ACTIVE
    assert gateway.history[-1] == ("rotate", "committed", 3)
    assert gateway.at_rest


def test_probation_is_a_proof_a_minute_and_then_it_is_final(gateway: Rig) -> None:
    """From activation to commit the new set is proven again each minute, while the previous one is kept ready."""
    gateway.configure(limits=Limits())
    outcome = gateway.to_probation()

    assert gateway.in_use() == (3, 2)
    assert outcome.record.phase is Phase.DEPLOYED
    assert outcome.wait is not None
    assert "on probation until" in outcome.wait.why
    assert "the previous set is kept ready" in outcome.wait.why
    start = len(gateway.connections_of("generation 3"))
    assert gateway.follow().record.phase is Phase.COMMITTED
    times = [connection.at for connection in gateway.connections_of("generation 3")[start - 1 :]]
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {timedelta(minutes=1)}


def test_a_rotation_reads_each_generation_a_few_times(gateway: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """To read one is to parse its private key. Looking at the clock, asking and proving take what was read before.

    The disk is looked at where a link is moved, and where it is asked what there is to go back to.
    """
    reads: Counter[int] = Counter()
    really = generations.read

    def counted(dir_fd: int, number: int) -> Generation:
        reads[number] += 1
        return really(dir_fd, number)

    monkeypatch.setattr(generations, "read", counted)
    monkeypatch.setattr(clock, "stamp", lambda: time.time_ns() + 3_600_000_000_000)  # all files are an hour old
    gateway.restart()
    reads.clear()
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert reads == {2: 1, 3: 3}


def test_ten_rotations_leave_current_previous_and_three_others(rig: Rig) -> None:
    """Numbers only grow, each change asks once and registers once, and no key is ever used twice."""
    rig.enroll()
    seen = {rig.store.generation(1).credential.leaf.spki_sha256}
    for number in range(2, 12):
        rig.clock.advance(days=1)
        assert rig.rotate().record.phase is Phase.COMMITTED
        assert rig.in_use() == (number, number - 1)
        assert (rig.asked(Operation.CREATE), rig.asked(Operation.REGISTER)) == (number, number)
        seen.add(rig.store.generation(number).credential.leaf.spki_sha256)

    assert len(seen) == 11
    assert rig.generations == ["000007", "000008", "000009", "000010", "000011"]
    assert rig.history == [("enroll", "committed", 1), *(("rotate", "committed", n) for n in range(2, 12))]
    assert len(rig.cloud.certificates_of(THING)) == 11
    assert rig.connects()


def test_of_the_rejected_generations_only_the_last_is_kept(gateway: Rig) -> None:
    """A person who asks why finds the last one; the flash does not fill up with the others."""
    for _ in range(3):
        gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
        gateway.disk.fail("activate")
        gateway.engine.run()
        gateway.engine.give_up("changed my mind")
        gateway.follow()
        gateway.clock.advance(days=1)
    assert gateway.generations == ["000001", "000002", "000003.rejected", "000004.rejected", "000005.rejected"]

    gateway.rotate()
    assert gateway.generations == ["000001", "000002", "000005.rejected", "000006"]
    assert gateway.in_use() == (6, 2)


def test_a_number_is_never_used_again(gateway: Rig) -> None:
    """Also the number of a generation that was erased stays taken, since the history speaks of it."""
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.engine.give_up("changed my mind")
    gateway.follow()
    assert gateway.generations == ["000001", "000002"]

    gateway.rotate()
    assert gateway.in_use() == (4, 2)


@pytest.mark.parametrize(
    ("algorithm", "described"), [(KeyAlgorithm.EC_P384, "EC P-384"), (KeyAlgorithm.RSA_2048, "RSA 2048")]
)
def test_other_kinds_of_key_are_made_and_accepted(gateway: Rig, algorithm: KeyAlgorithm, described: str) -> None:
    """A fleet moves from one kind of key to another by an ordinary rotation."""
    gateway.use_keys(algorithm)
    assert gateway.rotate().record.phase is Phase.COMMITTED

    assert gateway.store.generation(2).credential.leaf.key == "EC P-256"
    assert gateway.store.generation(3).credential.leaf.key == described
    assert gateway.connects()


def test_a_certificate_of_awss_own_shape_runs_to_2049(gateway: Rig) -> None:
    """What AWS issues itself ends with the year 2049 and names the thing only in the registry."""
    manifest = gateway.store.generation(2).manifest

    assert manifest.not_after == AWS_NOT_AFTER
    assert manifest.thing_name == THING


def test_a_certificate_with_a_chosen_lifetime_is_taken_as_it_comes(state: Path) -> None:
    """A certificate provider's short-lived ones are rotated just the same, ten times in ten days."""
    rig = Rig(state, lifetime=timedelta(days=2))
    rig.enroll()
    for _ in range(10):
        rig.clock.advance(days=1)
        assert rig.rotate().record.phase is Phase.COMMITTED

    leaf = rig.store.generation(11).credential.leaf
    assert timedelta(days=2) <= leaf.not_after - leaf.not_before <= timedelta(days=2, minutes=6)
    assert leaf.issuer == "CN=Sandbox gateway CA 1"
    assert rig.connects()


def test_the_request_keeps_the_subject_that_policies_may_rely_on(gateway: Rig) -> None:
    """The first request names the agent, later ones keep what stands in the current certificate or say the thing."""
    subjects = [gateway.store.generation(number).credential.leaf.subject for number in (1, 2)]

    assert subjects == ["CN=iot-cert-agent", f"CN={THING}"]
    gateway.rotate()
    assert gateway.store.generation(3).credential.leaf.subject == f"CN={THING}"


def test_the_trust_anchors_are_carried_over(gateway: Rig) -> None:
    """A rotation changes key and certificate and nothing else: the bundle it was proven with stays to the byte."""
    gateway.rotate()

    assert gateway.store.generation(3).trust.pem == gateway.store.generation(2).trust.pem


def test_a_second_change_is_refused_while_one_is_in_flight(gateway: Rig) -> None:
    """The refusal names the change, what it is for and what to do; the change itself is not touched."""
    outcome = gateway.to_probation()
    on_disk = gateway.store.change()
    for kind in (Kind.ROTATE, Kind.ENROLL, Kind.ROLLBACK):
        with pytest.raises(RefusedError) as refusal:
            gateway.planner.begin(kind, Origin.TECHNICIAN, "me too")
        assert outcome.record.id in str(refusal.value)
        assert "(rotate) is in flight" in str(refusal.value)
        assert "Run the same command again" in refusal.value.hint

    assert on_disk is not None
    assert gateway.store.change() == on_disk
    assert gateway.engine.change == outcome.record
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_the_phases_and_their_times_stand_in_the_history(gateway: Rig) -> None:
    """One line for each change says who wanted it, why, and when each phase was passed."""
    gateway.rotate()

    record = gateway.store.history()[-1]
    assert (record.kind, record.origin, record.reason) == (Kind.ROTATE, Origin.TECHNICIAN, "test")
    phases = [phase for phase, _ in record.passed]
    assert phases == list(Phase)[1:10]
    times = [at for _, at in record.passed]
    assert times == sorted(times)
    assert record.issued is not None
    assert record.issued.certificate_id == gateway.certificate(3)
    assert (record.issued.token, record.issued.certificate_pem) == ("", "")


def test_another_thing_is_refused_until_the_certificate_is_nearly_over(gateway: Rig) -> None:
    """`thing_name` accepts no other thing; a gateway that would be cut off goes on under the name that it has."""
    gateway.configure(thing_name="gw-0043")
    with pytest.raises(RefusedError, match="`thing_name` is gw-0043, and the set in use is for gw-0042"):
        gateway.rotate()
    current = gateway.store.current()
    assert current is not None
    leaf = gateway.store.generation(current).credential.leaf
    gateway.clock.time = leaf.not_after - (leaf.not_after - leaf.not_before) * 0.04
    assert gateway.rotate().record.phase is Phase.COMMITTED


def test_a_set_knows_what_it_was_made_with(rig: Rig) -> None:
    """What was asked for is kept with each set that the cloud issues; an enrolment's ends with the next one."""
    configured = {"key.algorithm": "ec-p256", "enrollment.template": "gateway", "rotation.template": "gateway-rotation"}
    rig.configure(made_with=lambda key_pem: configured if b"PRIVATE KEY" in key_pem else {})
    rig.enroll()
    assert rig.store.generation(1).manifest.made_with == configured
    rig.rotate()
    assert set(rig.store.generation(2).manifest.made_with) == {"key.algorithm", "rotation.template"}
