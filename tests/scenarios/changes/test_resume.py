"""A process that ends anywhere: whatever is on disk then, the next start goes on from a named phase."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import CRASH_PAUSE
from agent.core.change.lifecycle import Phase
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.rig import is_told
from support.simulated.troubled import PowerCut
from support.suite import campaigns

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord
    from support.simulated.rig import Rig

DAY = timedelta(days=1)
CREATE, REGISTER = Operation.CREATE, Operation.REGISTER
ISSUING = [
    Phase.PLANNED,
    Phase.KEY_READY,
    Phase.REQUESTED,
    Phase.ISSUED,
    Phase.REGISTERED,
    Phase.PREPARED,
    Phase.PROVEN,
    Phase.ACTIVE,
    Phase.DEPLOYED,
    Phase.COMMITTED,
]
RETURNING = [phase for phase in ISSUING if phase is Phase.PREPARED or phase.activated or phase is Phase.PROVEN]
CUTS = [(phase, saved) for phase in ISSUING for saved in (False, True)]
CUT_NAMES = [f"{'after' if saved else 'before'} {phase} is saved" for phase, saved in CUTS]


@pytest.mark.parametrize(("phase", "saved"), CUTS, ids=CUT_NAMES)
def test_a_rotation_survives_a_power_cut_at_every_phase(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """Stopped just before or just after a phase is on disk, it is committed after a restart."""
    before = len(gateway.endpoint.connections)
    if (phase, saved) == (Phase.PLANNED, False):
        # The plan itself was not saved: there is no change, and nothing to resume.
        gateway.stop_at(Kind.ROTATE, phase, saved=saved)
        assert gateway.restart() is None
        gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    else:
        gateway.stop_at(Kind.ROTATE, phase, saved=saved)
        record = gateway.restart()
        assert record is not None
        assert gateway.sets.usable() is not None
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
    # A reply that went to a process that is gone is the one reason to ask twice: no process has that certificate.
    answer_lost = (phase, saved) == (Phase.ISSUED, False)
    assert gateway.asked(CREATE) - 2 == (2 if answer_lost else 1)
    assert len(outcome.record.requests) == (2 if answer_lost or (phase, saved) == (Phase.REQUESTED, True) else 1)
    # A registration that was not noted is sent again with the same token, which the cloud answers again.
    assert gateway.asked(REGISTER) - 2 == (2 if (phase, saved) == (Phase.REGISTERED, False) else 1)
    assert {item.outcome for item in gateway.endpoint.connections[before:]} == {"accepted"}
    assert gateway.history[-1] == ("rotate", "committed", 3)
    assert gateway.at_rest
    assert gateway.connects()


@pytest.mark.parametrize(("phase", "saved"), CUTS[1:], ids=CUT_NAMES[1:])
def test_a_first_enrolment_survives_a_power_cut_at_every_phase(rig: Rig, phase: Phase, *, saved: bool) -> None:
    """The same for the first certificate, which has nothing to fall back on but the claim."""
    rig.stop_at(Kind.ENROLL, phase, saved=saved)
    assert rig.restart() is not None

    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.in_use() == (1, None)
    assert rig.asked(CREATE) == (2 if (phase, saved) == (Phase.ISSUED, False) else 1)
    assert rig.connects()


@pytest.mark.parametrize(("phase", "saved"), campaigns.pairs(RETURNING, [False, True]))
def test_a_rollback_survives_a_power_cut_at_every_phase(gateway: Rig, phase: Phase, *, saved: bool) -> None:
    """A rollback by command makes nothing new, so going on with it costs nothing."""
    gateway.stop_at(Kind.ROLLBACK, phase, saved=saved)
    if gateway.restart() is None:
        gateway.planner.begin(Kind.ROLLBACK, Origin.TECHNICIAN, "test")

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (1, 2)
    assert gateway.connects()


@pytest.mark.parametrize("phase", ISSUING[:-1])
def test_two_power_cuts_in_a_row_are_no_worse_than_one(gateway: Rig, phase: Phase) -> None:
    """The power fails again right after the next phase; the third start finishes it."""
    gateway.stop_at(Kind.ROTATE, phase)
    gateway.restart()
    gateway.disk.cut_power(ISSUING[ISSUING.index(phase) + 1], saved=False)
    with pytest.raises(PowerCut):
        gateway.follow()
    gateway.restart()

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
    assert gateway.connects()


def test_a_power_cut_in_a_rollback_ends_on_the_old_set(gateway: Rig) -> None:
    """Condemned is condemned: before or after the link moved, the next start finishes the way back."""
    gateway.fault(REGISTER, Effect.REVOKE)
    gateway.stop_at(Kind.ROTATE, Phase.ROLLED_BACK, saved=False)
    # The link has moved, the record still says that it is to.
    record = gateway.restart()
    assert record is not None
    assert record.condemned is not None
    assert gateway.store.current() == 2

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", "000003.rejected"]
    assert gateway.connects()


@pytest.mark.parametrize("end", [Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK])
def test_an_end_that_was_saved_and_not_yet_filed_is_filed_once(gateway: Rig, end: Phase) -> None:
    """The power fails between the end of a change and its line in the history: there is one line, and no change."""
    if end is Phase.REJECTED:
        gateway.fault(REGISTER, Effect.NEVER_ACTIVE)
    if end is Phase.ROLLED_BACK:
        gateway.fault(REGISTER, Effect.REVOKE)
    gateway.stop_at(Kind.ROTATE, end)
    record = gateway.restart()
    assert record is not None
    assert record.phase is end

    gateway.follow()
    assert gateway.history[2:] == [("rotate", end, 3)]
    assert gateway.at_rest
    assert gateway.connects()


def test_what_was_found_and_where_it_goes_on_is_told(gateway: Rig) -> None:
    """The reader of the journal after a power cut finds the change and its phase."""
    record = gateway.run_to(Kind.ROTATE, Phase.PREPARED)

    assert f"Change {record.id} was found in phase prepared and goes on from there." in gateway.log.text
    assert record.resumes == 1


# -- a token that died in the meantime ---------------------------------------------------------------------------------


def test_an_enrolment_that_lay_for_two_hours_begins_again_with_a_new_key(rig: Rig) -> None:
    """The token lives for an hour; the certificate in hand is gone, and so is its key."""
    rig.stop_at(Kind.ENROLL, Phase.ISSUED)
    key = rig.store.staged_key(1)
    rig.clock.advance(hours=2)
    rig.restart()
    outcome = rig.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert len(outcome.record.requests) == 2
    assert rig.asked(CREATE) == 2
    assert rig.asked(REGISTER) == 1
    assert rig.store.generation(1).credential.key_pem != key
    assert rig.connects()


def test_a_registration_whose_answer_the_power_cut_took_is_assumed_and_proven(gateway: Rig) -> None:
    """It got through before the power failed; two hours later its token is dead and the certificate alive."""
    gateway.stop_at(Kind.ROTATE, Phase.REGISTERED, saved=False)
    gateway.clock.advance(hours=2)
    gateway.restart()
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert (gateway.asked(CREATE) - 2, gateway.asked(REGISTER) - 2) == (1, 1)
    assert gateway.in_use() == (3, 2)
    assert gateway.connects()


def test_a_token_that_died_in_the_cloud_first_is_replaced(gateway: Rig) -> None:
    """The cloud has forgotten a certificate that the gateway still holds for fresh: a new key and a new one."""
    gateway.fault(REGISTER, Effect.THROTTLE)
    gateway.rotate(patience=timedelta(seconds=5))
    in_hand = gateway.store.change()
    assert in_hand is not None
    assert in_hand.issued is not None
    del gateway.cloud.registry[in_hand.issued.certificate_id]
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert len(outcome.record.requests) == 2
    assert gateway.connects()


def test_whatever_became_of_the_registration_the_gateway_stays_connected(gateway: Rig) -> None:
    """Stopped with a certificate in hand, for two hours: the old set is in use, and a rotation gets through."""
    gateway.stop_at(Kind.ROTATE, Phase.ISSUED)
    gateway.clock.advance(hours=2)
    gateway.restart()
    gateway.follow()
    assert gateway.at_rest
    assert gateway.connects()

    assert gateway.rotate(patience=2 * DAY).record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 <= 3


# -- crash loops -------------------------------------------------------------------------------------------------------


def _crash(rig: Rig, times: int) -> ChangeRecord:
    record = None
    for _ in range(times):
        record = rig.restart()
    assert record is not None
    return record


@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.ISSUED, Phase.REGISTERED, Phase.PREPARED])
def test_a_change_that_crashes_the_agent_eleven_times_is_given_up(gateway: Rig, phase: Phase) -> None:
    """Before activation: rejected, set aside, and the reason stands in the history, with what it came to each time."""
    gateway.run_to(Kind.ROTATE, phase)
    assert _crash(gateway, 10).resumes == 11
    before = len(gateway.endpoint.connections)
    record = gateway.follow().record

    failure = record.failure
    assert record.phase is Phase.REJECTED
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureClass.STORE, "crash-loop")
    assert failure.message == f"The agent stopped 11 times in phase {phase} without getting any further."
    assert is_told(failure)
    assert len(gateway.endpoint.connections) == before
    assert gateway.store.history()[-1].failure == failure
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", *(["000003.rejected"] if phase is Phase.PREPARED else [])]

    assert gateway.rotate(patience=2 * DAY).record.phase is Phase.COMMITTED


def test_ten_crashes_are_not_yet_a_loop(gateway: Rig) -> None:
    """The eleventh start still tries."""
    gateway.stop_at(Kind.ROTATE, Phase.PREPARED)
    _crash(gateway, 10)

    assert gateway.follow().record.phase is Phase.COMMITTED


def test_an_activated_change_that_crash_loops_slows_down_and_stays(gateway: Rig) -> None:
    """After activation a crash says nothing against the set: it is tried every few minutes, until it gets through."""
    gateway.to_probation()
    gateway.clock.advance(minutes=5)
    _crash(gateway, 11)
    start = gateway.clock.now()
    outcome = gateway.engine.run()

    assert outcome.wait is not None
    assert outcome.wait.code == "crash-loop"
    assert outcome.wait.until == start + CRASH_PAUSE
    assert outcome.wait.why.startswith("The agent stopped 11 times in phase deployed without getting any further.")
    assert gateway.in_use() == (3, 2)
    # Starts within the wait are no steps that were cut off, so they do not count.
    assert _crash(gateway, 5).resumes == 11
    assert gateway.follow(patience=2 * DAY).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


def test_starts_in_an_ordinary_wait_are_no_crashes(gateway: Rig) -> None:
    """A gateway that is switched off every evening does not crash-loop."""
    gateway.endpoint.down = failures.unreachable("sandbox", 8883, "no route to host")
    gateway.rotate(patience=timedelta(minutes=1))
    assert _crash(gateway, 20).resumes == 0

    gateway.endpoint.down = None
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


def test_a_failure_that_was_noted_is_no_crash(gateway: Rig) -> None:
    """Starts between failures that were recorded do not add up: each failure is progress of a kind."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    gateway.fault(Operation.ASK, Effect.SILENCE, times=None)
    for _ in range(15):
        outcome = gateway.engine.run()
        assert outcome.wait is not None
        gateway.clock.time = outcome.wait.until
        gateway.restart()

    gateway.cloud.faults.clear()
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_a_run_that_is_told_to_stop_still_writes_down_how_the_change_ended(gateway: Rig) -> None:
    """A rollback that comes as a rotation is committed stops its worker, and must find nothing in flight."""
    gateway.to_probation()
    gateway.engine.confirm()
    outcome = gateway.engine.run(lambda: gateway.engine.change is not None and gateway.engine.change.phase.ended)

    assert (outcome.record.phase, outcome.wait) == (Phase.COMMITTED, None)
    assert gateway.at_rest


# -- a quiet probation -------------------------------------------------------------------------------------------------


def test_a_quiet_probation_writes_nothing(gateway: Rig) -> None:
    """Its proofs say only when they were; the record is written again at its end."""
    gateway.to_probation()
    saved, proofs = gateway.disk.calls.count("save_change"), len(gateway.connections_of("generation 3"))
    record = gateway.follow().record

    assert record.phase is Phase.COMMITTED
    assert len(gateway.connections_of("generation 3")) - proofs >= 4
    assert gateway.disk.calls.count("save_change") == saved + 1
    assert record.good_time == gateway.clock.now()


def test_a_probation_that_is_cut_off_proves_the_set_once_more_and_goes_on(gateway: Rig) -> None:
    """When it was proven last died with the process; so it is proven now, and then at its turn again."""
    gateway.to_probation()
    gateway.follow(patience=timedelta(minutes=5))
    gateway.clock.advance(seconds=1)
    gateway.restart(orderly=True)
    proofs = len(gateway.connections_of("generation 3"))
    outcome = gateway.engine.run()

    assert len(gateway.connections_of("generation 3")) == proofs + 1
    assert outcome.wait is not None
    assert outcome.wait.until == gateway.clock.now() + gateway.settings.limits.check_every
    assert gateway.follow().record.phase is Phase.COMMITTED
