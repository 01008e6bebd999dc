"""A disk that fails at any call: nothing is lost, nothing is asked for twice, and the change goes on later."""

from __future__ import annotations

import errno
import os
from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING

import pytest

from agent.cli.carrying.follow import Follower
from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import HOLDING, FailureClass
from agent.core.values import Kind, Origin
from agent.errors import StoreError
from agent.sandbox.replies.faults import Effect, Operation
from agent.worker.carrying import Carrying
from support.simulated.rig import is_told
from support.simulated.troubled import IN_DOUBT, NO_ROOM
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.change.engine import Outcome
    from support.simulated.rig import Rig

CREATE, REGISTER = Operation.CREATE, Operation.REGISTER
EVER = float("inf")
STEPS = {
    "preflight": Phase.PLANNED,
    "stage_key": Phase.PLANNED,
    "staged_key": Phase.KEY_READY,
    "prepare": Phase.REGISTERED,
    "activate": Phase.PROVEN,
}
DOUBTFUL = ["stage_key", "prepare", "activate"]


@pytest.mark.parametrize(("method", "phase"), STEPS.items(), ids=STEPS)
def test_a_step_that_finds_no_room_is_tried_again(gateway: Rig, method: str, phase: Phase) -> None:
    """The change stays in its phase, the failure names the disk and what to do, and later it goes on."""
    gateway.disk.fail(method, times=EVER)
    outcome = gateway.rotate(patience=timedelta(hours=6))

    failure = outcome.record.failure
    assert outcome.record.phase is phase
    assert failure is not None
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.STORE, "store", False)
    assert (failure.message, failure.remedy) == (str(NO_ROOM), NO_ROOM.hint)
    assert is_told(failure)
    assert gateway.in_use() == (2, 1)
    # A full disk is found before a certificate is asked for; one that came already is not asked for again.
    assert gateway.asked(CREATE) - 2 == (0 if phase in {Phase.PLANNED, Phase.KEY_READY} else 1)
    assert gateway.connects()

    gateway.disk.heal()
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 1
    assert gateway.in_use() == (3, 2)


@pytest.mark.parametrize("method", DOUBTFUL)
def test_a_step_in_doubt_is_taken_again(gateway: Rig, method: str) -> None:
    """It was done but not confirmed: doing it again is safe, and the change comes to its end."""
    gateway.disk.fail(method, error=IN_DOUBT)
    outcome = gateway.rotate()

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 1
    assert gateway.in_use() == (3, 2)
    assert gateway.connects()


@pytest.mark.parametrize("method", DOUBTFUL)
def test_a_step_in_doubt_and_then_a_restart(gateway: Rig, method: str) -> None:
    """The same with a power cut in the middle of the wait."""
    gateway.disk.fail(method, error=IN_DOUBT)
    gateway.rotate(patience=timedelta(seconds=1))
    gateway.restart()

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
    assert gateway.connects()


def test_a_set_that_is_damaged_after_a_doubtful_activation_is_left_for_the_one_before(gateway: Rig) -> None:
    """`current` leads to it, which the record does not say yet: its change may not end with that."""
    gateway.disk.fail("activate", error=IN_DOUBT)
    assert gateway.rotate(patience=timedelta(seconds=1)).record.phase is Phase.PROVEN
    assert gateway.current == 3
    gateway.damage(3)

    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.current == 2
    assert gateway.connects()


@pytest.mark.parametrize(("saves", "error"), campaigns.pairs(range(1, 25, 2), [NO_ROOM, IN_DOUBT]))
def test_a_record_that_cannot_be_saved_is_saved_again_before_anything_else(
    gateway: Rig, saves: int, error: StoreError
) -> None:
    """Whichever save fails, three times in a row: no step is taken meanwhile, and none is taken twice."""
    gateway.disk.fail("save_change", after=saves, times=3, error=error)
    outcome = gateway.rotate()

    assert outcome.record.phase is Phase.COMMITTED
    assert (gateway.asked(CREATE) - 2, gateway.asked(REGISTER) - 2) == (1, 1)
    assert gateway.in_use() == (3, 2)
    assert gateway.at_rest


def test_a_certificate_that_just_came_is_kept_in_memory_until_it_can_be_saved(gateway: Rig) -> None:
    """The disk fills up between request and reply: an hour's tries to save it, and not one to ask again."""
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    # The third save from here is the one that holds the certificate: key ready, requested, issued.
    gateway.disk.fail("save_change", after=2, times=EVER)
    outcome = gateway.follow(patience=timedelta(minutes=30))

    assert outcome.record.phase is Phase.ISSUED
    assert outcome.wait is not None
    assert outcome.wait.why == f"{NO_ROOM} Nothing further is done before."
    assert outcome.wait.failure is not None
    assert outcome.wait.failure.kind is FailureClass.STORE
    assert (gateway.asked(CREATE) - 2, gateway.asked(REGISTER) - 2) == (1, 0)
    on_disk = gateway.store.change()
    assert on_disk is not None
    assert on_disk.phase is Phase.REQUESTED
    assert "The change record could not be saved" in gateway.log.text

    gateway.disk.heal()
    outcome = gateway.follow()
    assert outcome.record.phase is Phase.COMMITTED
    assert len(outcome.record.requests) == 1
    assert gateway.asked(CREATE) - 2 == 1


def test_a_record_is_saved_again_ever_more_rarely_and_never_later_than_a_minute(gateway: Rig) -> None:
    """A full disk stays full for days; each new trouble begins with seconds again."""
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    for _ in range(2):
        gateway.disk.fail("save_change", after=1, times=EVER)
        waits = []
        for _ in range(40):
            outcome = gateway.engine.run()
            assert outcome.wait is not None
            waits.append(int((outcome.wait.until - gateway.clock.now()).total_seconds()))
            gateway.clock.time = outcome.wait.until
        assert waits == [5, 10, 20, 40, *[60] * 36]
        gateway.disk.heal()
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_when_the_process_dies_with_it_the_request_was_counted(gateway: Rig) -> None:
    """The certificate that could not be saved is lost with the process; the next one is counted as the second."""
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.disk.fail("save_change", after=2, times=EVER)
    gateway.follow(patience=timedelta(minutes=1))
    gateway.disk.heal()
    gateway.restart()
    outcome = gateway.follow()

    assert outcome.record.phase is Phase.COMMITTED
    assert len(outcome.record.requests) == 2
    assert gateway.asked(CREATE) - 2 == 2


@pytest.mark.parametrize("error", [NO_ROOM, IN_DOUBT], ids=["no room", "in doubt"])
def test_a_rollback_on_a_bad_disk_is_finished_later(gateway: Rig, error: StoreError) -> None:
    """The way back is taken again until it is durable; no verdict is lost."""
    gateway.fault(REGISTER, Effect.REVOKE)
    gateway.disk.fail("roll_back", times=3, error=error)
    outcome = gateway.rotate()

    assert outcome.record.phase is Phase.ROLLED_BACK
    assert outcome.record.failure is not None
    assert outcome.record.failure.kind is FailureClass.CREDENTIAL
    assert gateway.store.current() == 2
    assert gateway.generations == ["000001", "000002", "000003.rejected"]
    assert gateway.connects()


@pytest.mark.parametrize("error", [NO_ROOM, IN_DOUBT], ids=["no room", "in doubt"])
def test_an_end_that_cannot_be_filed_is_an_error_and_running_again_goes_on(gateway: Rig, error: StoreError) -> None:
    """The set is final and in use; what is missing is the line in the history, and it is written later, once."""
    gateway.disk.fail("finish", error=error)
    with pytest.raises(StoreError):
        gateway.rotate()
    assert gateway.in_use() == (3, 2)

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.history.count(("rotate", "committed", 3)) == 1
    assert gateway.at_rest


def test_a_change_that_cannot_be_written_down_does_not_begin(gateway: Rig) -> None:
    """No room for the plan: an error, no change, and the same command works later."""
    gateway.disk.fail("save_change")
    with pytest.raises(StoreError):
        gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")

    assert gateway.at_rest
    assert gateway.rotate().record.phase is Phase.COMMITTED


def test_old_generations_that_cannot_be_erased_are_no_reason_to_fail(gateway: Rig) -> None:
    """The rotation is done; the trouble is told, and the next one tidies up."""
    for _ in range(4):
        gateway.clock.advance(days=1)
        gateway.rotate()
    gateway.disk.fail("prune")
    gateway.clock.advance(days=1)
    assert gateway.rotate().record.phase is Phase.COMMITTED

    assert "Old generations could not be erased" in gateway.log.text
    assert len(gateway.generations) == 6
    gateway.clock.advance(days=1)
    gateway.rotate()
    assert len(gateway.generations) == 5


def test_a_first_enrolment_on_a_full_disk_asks_for_nothing(rig: Rig) -> None:
    """The room is proven first, so no certificate is wasted on a disk that cannot hold it."""
    rig.disk.fail("preflight", times=EVER)
    outcome = rig.run(Kind.ENROLL, patience=timedelta(days=1))

    assert outcome.record.phase is Phase.PLANNED
    assert not rig.endpoint.connections
    rig.disk.heal()
    assert rig.follow().record.phase is Phase.COMMITTED


def test_trouble_that_a_file_system_tells_of_at_a_close_stops_no_rotation(
    gateway: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS, FUSE and failing disks may; what is durable was synced before, and the descriptor is closed nevertheless."""
    really = os.close

    def close(fd: int) -> None:
        really(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", close)
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


class Patience(Event):
    """A wait that moves the gateway's clock instead, in which something happens after so many; without it, a stop."""

    def __init__(self, gateway: Rig, then: Callable[[], None] | None = None, after: int = 0) -> None:
        super().__init__()
        self._gateway = gateway
        self._then = then or self.set
        self._after = after
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Move the clock."""
        self.waits += 1
        if self.waits == self._after:
            self._then()
        self._gateway.clock.time += timedelta(seconds=timeout or 0)
        return self.is_set()


def begin_on_a_disk_that_fills_up(gateway: Rig) -> None:
    """Begin a rotation whose certificate cannot be saved when it comes."""
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.disk.fail("save_change", after=2, times=EVER)


def test_a_worker_stays_with_a_certificate_that_it_alone_has(gateway: Rig) -> None:
    """Room is made within minutes: nothing is asked for again. Without such a certificate it leaves at once."""
    begin_on_a_disk_that_fills_up(gateway)
    patience = Patience(gateway, gateway.disk.heal, after=6)
    outcome = Carrying(gateway.engine, gateway.clock, patience).carry()
    assert gateway.asked(CREATE) - 2 == 1
    assert outcome.record.phase.activated
    assert patience.waits == 6
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_a_worker_leaves_when_no_room_was_made(gateway: Rig) -> None:
    """The daemon has other work, and what was asked for is counted."""
    begin_on_a_disk_that_fills_up(gateway)
    began = gateway.clock.now()
    outcome = Carrying(gateway.engine, gateway.clock, Patience(gateway)).carry()
    assert outcome.unsaved_certificate
    assert HOLDING <= gateway.clock.now() - began < HOLDING + timedelta(minutes=2)


def test_a_worker_that_is_told_to_stop_does(gateway: Rig) -> None:
    """A machine that goes down waits for nothing."""
    begin_on_a_disk_that_fills_up(gateway)
    patience = Patience(gateway, after=2)
    Carrying(gateway.engine, gateway.clock, patience).carry()
    assert patience.waits == 2


def test_a_command_stays_with_it_however_little_patience_was_asked_for(gateway: Rig) -> None:
    """And with nothing else that the disk does not take."""
    begin_on_a_disk_that_fills_up(gateway)
    began = gateway.clock.now()
    assert impatient(gateway).unsaved_certificate
    assert HOLDING - timedelta(minutes=1) <= gateway.clock.now() - began <= HOLDING
    gateway.disk.heal()
    assert gateway.follow().record.phase is Phase.COMMITTED
    gateway.planner.begin(Kind.ROTATE, Origin.TECHNICIAN, "test")
    gateway.disk.fail("save_change", times=EVER)
    began = gateway.clock.now()
    assert not impatient(gateway).unsaved_certificate
    assert gateway.clock.now() == began


def impatient(gateway: Rig) -> Outcome:
    """Follow a change as a command does that was told to wait for nothing."""

    def sleep(seconds: float) -> None:
        gateway.clock.time += timedelta(seconds=seconds)

    return Follower(
        engine=gateway.engine, clock=gateway.clock, sleep=sleep, reporter=gateway.log, patience=timedelta()
    ).follow()
