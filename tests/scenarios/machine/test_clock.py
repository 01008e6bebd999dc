"""Clocks that lie: a gateway without a battery boots in 1970, a time server is wrong, a person sets the year back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase, good_times
from agent.core.failure import failures
from agent.core.failure.failure import FailureClass
from agent.core.text import duration
from agent.core.timekeeping import BUILD_TIME
from agent.core.values import Kind, Origin
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.outside import START
from support.suite import campaigns

if TYPE_CHECKING:
    from support.simulated.rig import Rig

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DOWN = failures.unreachable("sandbox", 8883, "no route to host")
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


def test_a_gateway_that_boots_in_1970_enrols_once_its_clock_is_set(rig: Rig) -> None:
    """In 1970 nothing is tried; the wait says which date the clock shows and ends soon after it is right."""
    rig.clock.time, rig.clock.is_synchronised = EPOCH, False
    rig.planner.begin(Kind.ENROLL, Origin.TECHNICIAN, "test")
    outcome = rig.follow(patience=5 * MINUTE)

    assert outcome.wait is not None
    assert outcome.wait.code == "clock"
    assert "UTC, which cannot be, since it was later than 2026-11-01" in outcome.wait.why
    assert outcome.wait.until - rig.clock.now() <= MINUTE
    assert outcome.record.phase is Phase.PLANNED
    assert not rig.endpoint.connections

    rig.clock.time, rig.clock.is_synchronised = START, True
    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.connects()


@pytest.mark.parametrize("phase", PHASES)
def test_a_power_cut_that_takes_the_clock_along_judges_nothing(gateway: Rig, phase: Phase) -> None:
    """Back in 1970 in any phase: no step, no link and no connection, whatever the endpoint says, until it is set."""
    gateway.run_to(Kind.ROTATE, phase)
    now, in_use = gateway.clock.now(), gateway.in_use()
    connections = len(gateway.endpoint.connections)
    gateway.clock.time, gateway.clock.is_synchronised = EPOCH, False
    gateway.restart()
    outcome = gateway.follow(patience=5 * MINUTE)

    assert outcome.wait is not None
    assert outcome.wait.code == "clock"
    assert outcome.record.phase is phase
    assert gateway.in_use() == in_use
    assert len(gateway.endpoint.connections) == connections

    gateway.clock.time, gateway.clock.is_synchronised = now + 5 * MINUTE, True
    outcome = gateway.follow()
    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
    assert gateway.asked(Operation.CREATE) == 3


def test_in_1970_no_refusal_rolls_back(gateway: Rig) -> None:
    """The new set is revoked while the clock is wrong; the verdict waits for the clock, then it falls."""
    gateway.to_probation()
    now = gateway.clock.now()
    gateway.revoke(3)
    gateway.clock.time = EPOCH
    gateway.follow(patience=5 * MINUTE)
    assert gateway.in_use() == (3, 2)

    gateway.clock.time = now + HOUR
    assert gateway.follow().record.phase is Phase.ROLLED_BACK
    assert gateway.in_use() == (2, 1)


def test_a_clock_before_the_last_good_proof_is_not_believed(gateway: Rig) -> None:
    """What was once proven under a synchronised clock lies in the past, also after a battery died."""
    gateway.clock.is_synchronised = False
    last = gateway.store.history()[-1].good_time
    assert last is not None
    gateway.clock.time = last - DAY
    assert gateway.clock.now() > BUILD_TIME
    outcome = gateway.rotate(patience=5 * MINUTE)

    assert outcome.wait is not None
    assert outcome.wait.code == "clock"
    gateway.clock.time = last + DAY
    assert gateway.follow().record.phase is Phase.COMMITTED


def test_nothing_is_pruned_by_a_clock_that_cannot_be_right(rig: Rig) -> None:
    """The end of a change is written down in any case; erasing waits for a clock that can be believed."""
    rig.enroll()
    for _ in range(4):
        rig.clock.advance(days=1)
        rig.rotate()
    rig.clock.advance(days=1)
    rig.stop_at(Kind.ROTATE, Phase.COMMITTED)
    now = rig.clock.now()
    rig.clock.time = EPOCH
    rig.restart()

    assert rig.follow().record.phase is Phase.COMMITTED
    assert rig.generations == ["000001", "000002", "000003", "000004", "000005", "000006"]
    assert rig.in_use() == (6, 5)
    rig.clock.time = now + DAY
    rig.rotate()
    assert rig.generations == ["000003", "000004", "000005", "000006", "000007"]


@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.PREPARED])
def test_a_clock_set_back_by_a_year_in_a_retry_wait_does_not_wait_a_year(gateway: Rig, phase: Phase) -> None:
    """The clock ran a year ahead, unsynchronised, when the next try was planned; then it was put right."""
    true = gateway.true_time()
    gateway.clock.time += 365 * DAY
    gateway.clock.is_synchronised = False
    gateway.run_to(Kind.ROTATE, phase)
    gateway.endpoint.down = DOWN
    planned = gateway.follow(patience=timedelta(hours=5)).wait
    assert planned is not None
    assert planned.code == "retry"

    gateway.endpoint.down = None
    true.advance(hours=6)
    gateway.clock.time, gateway.clock.is_synchronised = true.now(), True
    start = gateway.clock.now()
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.clock.now() - start <= timedelta(minutes=11)


def test_a_clock_set_back_by_a_year_in_probation_does_not_wait_a_year(gateway: Rig) -> None:
    """Probation was to end next year; it ends with one more proof instead."""
    true = gateway.true_time()
    gateway.clock.time += 365 * DAY
    gateway.clock.is_synchronised = False
    outcome = gateway.to_probation()
    assert outcome.record.probation_until is not None

    true.advance(minutes=5)
    gateway.clock.time, gateway.clock.is_synchronised = true.now(), True
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.clock.now() - true.now() <= timedelta(minutes=10)
    assert gateway.connects()


def test_a_clock_set_back_by_a_year_for_good_is_what_the_gateway_waits_for(gateway: Rig) -> None:
    """Before anything that certainly happened, time stands still for the agent, and both sets stay as they are."""
    gateway.to_probation()
    now = gateway.clock.now()
    gateway.clock.time -= 365 * DAY
    outcome = gateway.follow(patience=5 * MINUTE)
    assert outcome.wait is not None
    assert outcome.wait.code == "clock"
    assert gateway.in_use() == (3, 2)

    gateway.clock.time = now + DAY
    assert gateway.follow().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("hours", [1, 12])
def test_a_clock_set_back_by_hours_delays_a_retry_by_no_more_than_its_longest(gateway: Rig, hours: int) -> None:
    """Whatever is done to the clock in between, an hour after the network is back the change is on its way."""
    gateway.endpoint.down = DOWN
    gateway.rotate(patience=DAY)
    gateway.endpoint.down = None
    gateway.clock.time -= timedelta(hours=hours)
    start = gateway.clock.now()

    assert gateway.follow(patience=DAY).record.phase is Phase.COMMITTED
    assert gateway.clock.now() - start <= timedelta(hours=2, minutes=11)


@pytest.mark.parametrize(("phase", "synchronised"), campaigns.pairs(PHASES, [True, False]))
def test_a_clock_that_jumps_ten_years_ahead_ends_in_a_set_that_connects(
    gateway: Rig, phase: Phase, *, synchronised: bool
) -> None:
    """Waits are over, the token counts as dead, and what is prepared is proven as ever."""
    gateway.run_to(Kind.ROTATE, phase)
    gateway.clock.is_synchronised = synchronised
    gateway.clock.advance(days=3650)
    gateway.follow(patience=DAY)
    gateway.cloud.faults.clear()

    assert gateway.at_rest
    assert gateway.connects()
    assert gateway.rotate(patience=2 * DAY).record.phase is Phase.COMMITTED


def test_a_synchronised_clock_that_was_ahead_for_one_rotation_is_believed_again_at_once(gateway: Rig) -> None:
    """Its own notes of that hour lie in the future now, for weeks; the certificate's start is the cloud's time."""
    true = gateway.true_time()
    gateway.clock.time += 20 * DAY
    assert gateway.rotate().record.phase is Phase.COMMITTED

    true.advance(hours=1)
    gateway.clock.time = true.now()
    assert max(good_times(gateway.store.history())) > gateway.clock.now()
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (4, 3)


def test_a_jump_ahead_and_back_under_an_unsynchronised_clock_leaves_no_mark(gateway: Rig) -> None:
    """A proof under a clock that is not synchronised is no floor for later ones."""
    true = gateway.true_time()
    gateway.clock.time += 3650 * DAY
    gateway.clock.is_synchronised = False
    assert gateway.rotate().record.phase is Phase.COMMITTED

    true.advance(hours=1)
    gateway.clock.time, gateway.clock.is_synchronised = true.now(), True
    assert max((*gateway.store.floors(), *good_times(gateway.store.history()))) <= gateway.clock.now()
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (4, 3)


def test_a_slow_clock_takes_a_sound_certificate_and_is_then_known_to_be_slow(gateway: Rig) -> None:
    """A clock a day behind, unvouched, judges no dates; then the certificate in use shows that it is behind."""
    true = gateway.true_time()
    gateway.clock.time -= DAY
    gateway.clock.is_synchronised = False
    outcome = gateway.rotate(patience=5 * MINUTE)
    assert outcome.wait is not None
    assert outcome.wait.code == "clock"
    assert gateway.in_use() == (3, 2)

    gateway.clock.time, gateway.clock.is_synchronised = true.now(), True
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(Operation.CREATE) == 3


def test_a_refusal_is_not_believed_sooner_because_the_clock_jumped(gateway: Rig) -> None:
    """The first refusal starts the patience; a jump of ten years in between is a refusal that lasted ten years."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    gateway.clock.advance(days=3650)
    gateway.fault(Operation.CONNECT, Effect.HANG_UP)
    outcome = gateway.follow(patience=timedelta(seconds=1))

    assert outcome.record.phase is Phase.PREPARED
    assert outcome.record.failure is not None
    assert outcome.record.failure.kind is FailureClass.CREDENTIAL
    assert gateway.follow().record.phase is Phase.COMMITTED


@pytest.mark.parametrize("slow", [20 * MINUTE, HOUR])
def test_a_vouched_clock_that_is_slow_costs_no_certificate(rig: Rig, slow: timedelta) -> None:
    """A person vouches for it, and it is behind. What was just made is proven by the broker's clock, and used.

    It was refused, and each enrolment asked for three in vain.
    """
    rig.true_time()
    rig.cloud.provisioning.lifetime = 10 * DAY
    rig.clock.time -= slow

    assert rig.enroll().record.phase is Phase.COMMITTED
    assert rig.asked(Operation.CREATE) == 1
    told = duration(slow - 5 * MINUTE)  # the signer dates a certificate back by so much
    assert f"this clock is {told} slow" in rig.log.text
