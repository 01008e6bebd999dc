"""How many certificates are asked for: each costs the account something, and a day has a limit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.text import clock_time
from agent.core.values import Kind, Origin
from agent.errors import MaterialError
from agent.sandbox.replies.faults import Effect, Operation

if TYPE_CHECKING:
    from agent.core.change.decide import Wait
    from support.simulated.rig import Rig

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CREATE, REGISTER = Operation.CREATE, Operation.REGISTER


def _budget_wait(wait: Wait | None) -> Wait:
    assert wait is not None
    assert wait.code == "budget"
    return wait


def test_the_fifth_request_within_a_day_waits_for_the_first_to_be_a_day_old(rig: Rig) -> None:
    """Four certificates a day, over all changes; the fifth change is kept with its key ready, and says until when."""
    rig.enroll()
    first = rig.store.history()[0].requests[0]
    for _ in range(3):
        rig.rotate()
    outcome = rig.rotate()

    wait = _budget_wait(outcome.wait)
    assert outcome.record.phase is Phase.KEY_READY
    assert wait.until == first + DAY
    assert wait.why == (
        "4 certificates were asked for within 24 hours and the limit is 4; "
        f"the next may be asked for at {clock_time(first + DAY)}"
    )
    assert rig.asked(CREATE) == 4
    assert rig.in_use() == (4, 3)

    outcome = rig.follow(patience=DAY)
    assert outcome.record.phase is Phase.COMMITTED
    assert outcome.record.requests == (first + DAY,)
    assert rig.in_use() == (5, 4)


def test_a_restart_does_not_refill_the_day(rig: Rig) -> None:
    """What was asked for is counted from the disk, by the history and by the change in flight."""
    rig.enroll()
    for _ in range(2):
        rig.rotate()
        rig.restart()
    rig.fault(CREATE, Effect.LOSE, times=None)
    outcome = rig.rotate(patience=timedelta(hours=1))
    _budget_wait(outcome.wait)
    rig.restart()
    outcome = rig.follow(patience=timedelta(hours=1))

    _budget_wait(outcome.wait)
    assert rig.asked(CREATE) == 4


def test_a_request_whose_reply_was_lost_counts_after_a_start_in_1970(gateway: Rig) -> None:
    """The power fails before the reply is written down, and takes the clock along: two were asked for, two count."""
    gateway.stop_at(Kind.ROTATE, Phase.ISSUED, saved=False)
    now = gateway.clock.time
    gateway.clock.time, gateway.clock.is_synchronised = EPOCH, False
    assert gateway.restart() is not None
    gateway.clock.time, gateway.clock.is_synchronised = now + timedelta(minutes=5), True
    record = gateway.follow().record

    assert record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 2
    assert len(record.requests) == 2


def test_changes_that_were_given_up_count_like_others(gateway: Rig) -> None:
    """A certificate that was asked for and set aside was asked for all the same."""
    for _ in range(4):
        gateway.run_to(Kind.ROTATE, Phase.PREPARED)
        gateway.engine.give_up("test")
        gateway.follow()

    _budget_wait(gateway.rotate().wait)
    assert gateway.asked(CREATE) - 2 == 4
    assert gateway.in_use() == (2, 1)


def test_the_limit_is_the_operators(gateway: Rig) -> None:
    """With a limit of one a day the second rotation waits for tomorrow."""
    gateway.configure(limits=Limits(daily_limit=1))
    gateway.rotate()
    outcome = gateway.rotate()

    assert _budget_wait(outcome.wait).until == gateway.store.history()[-1].requests[0] + DAY


@pytest.mark.parametrize("effect", [Effect.THROTTLE, Effect.DENY, Effect.UNAUTHORISED])
def test_a_request_that_was_refused_costs_nothing(gateway: Rig, effect: Effect) -> None:
    """Refused five times, then granted: one certificate was issued, and one counts."""
    gateway.fault(CREATE, effect, times=5)
    record = gateway.rotate().record

    assert record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 6
    assert len(record.requests) == 1
    for _ in range(3):
        assert gateway.rotate().record.phase is Phase.COMMITTED
    _budget_wait(gateway.rotate().wait)


@pytest.mark.parametrize("operation", [CREATE, REGISTER])
def test_throttling_is_met_with_patience_that_grows(gateway: Rig, operation: Operation) -> None:
    """A throttled account is asked less and less often, up to once an hour, and never faster than every ten seconds."""
    gateway.fault(operation, Effect.THROTTLE, times=8)
    gateway.rotate(patience=timedelta(minutes=50))

    times = [item.at for item in gateway.cloud.requests if item.operation == operation and item.outcome == "throttle"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= timedelta(seconds=10)
    assert gaps[-1] <= timedelta(hours=1)
    assert len(gaps) > 3


def test_lost_replies_count_since_what_came_of_them_is_unknown(gateway: Rig) -> None:
    """Four requests without an answer may be four certificates: the day's limit is reached, and tomorrow goes on."""
    gateway.fault(CREATE, Effect.LOSE, times=4)
    outcome = gateway.rotate()
    _budget_wait(outcome.wait)
    assert len(outcome.record.requests) == 4
    assert gateway.asked(CREATE) - 2 == 4

    assert gateway.follow(patience=2 * DAY).record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 5


def test_a_first_enrolment_whose_registrations_are_never_answered_costs_few_certificates(rig: Rig) -> None:
    """For 60 hours each certificate may be registered unheard, for a thing that is not known: five, and not twelve."""
    rig.fault(REGISTER, Effect.LOSE, times=None)
    began = rig.clock.now()
    outcome = rig.run(Kind.ENROLL, patience=timedelta(hours=60))

    asked = [item.at - began for item in rig.cloud.requests if item.operation == CREATE]
    hours = [round(at / timedelta(hours=1)) for at in asked]
    assert hours == [0, 1, 7, 31, 55]
    assert outcome.wait is not None
    assert outcome.wait.code == "retry"
    assert "to leave few" in outcome.wait.why

    rig.engine.hasten()  # a technician who has mended the cause does not wait a day
    rig.follow(patience=timedelta())
    assert rig.asked(CREATE) == 6


def test_one_change_asks_for_three_bad_certificates_and_no_more(gateway: Rig) -> None:
    """After the third unacceptable one the change ends; the day still has one for another try."""
    gateway.fault(CREATE, Effect.WRONG_KEY, times=3)
    record = gateway.rotate().record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert record.failure.kind is FailureClass.PROTOCOL
    assert len(record.requests) == 3
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 4


def test_a_torn_history_hides_no_other_change(rig: Rig) -> None:
    """A line that a power cut tore is passed over; the others still count."""
    rig.enroll()
    for _ in range(2):
        rig.rotate()
    with (rig.path / "history.jsonl").open("ab") as file:
        file.write(b'{"format":1,"id":"chan')
    rig.restart()
    assert rig.rotate().record.phase is Phase.COMMITTED
    assert len(rig.store.history()) == 4
    _budget_wait(rig.rotate().wait)


def test_what_the_template_is_given_comes_from_the_configuration(gateway: Rig) -> None:
    """A rotation names the thing it is for, unless the operator says otherwise; another thing's name is denied."""
    rotation = gateway.settings.rotation
    gateway.configure(rotation=replace(rotation, parameters=lambda: {"ThingName": "gw-0043"}))
    gateway.planner.begin(Kind.ROTATE, Origin.SCHEDULE, "the renewal window is open")
    record = gateway.follow().record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.POLICY, "denied")
    gateway.configure(rotation=rotation)
    assert gateway.rotate().record.phase is Phase.COMMITTED


def _gone() -> dict[str, str]:
    raise MaterialError("/serial: the file for parameter SerialNumber cannot be read: No such file or directory")


def test_what_enrolment_alone_needs_stands_in_no_other_way(gateway: Rig) -> None:
    """A serial number that cannot be read any more: rotations, ways back and other anchors need none."""
    assert gateway.settings.enrollment is not None
    gateway.configure(enrollment=replace(gateway.settings.enrollment, parameters=_gone))
    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    assert gateway.install(gateway.bundle(gateway.root, gateway.second_root)).record.phase is Phase.COMMITTED
    assert gateway.connects()


def test_what_a_rotation_needs_is_looked_for_before_a_certificate_is_asked_for(gateway: Rig) -> None:
    """One that cannot be registered is worth nothing; ways back need none, and then it is back."""
    rotation, asked = gateway.settings.rotation, gateway.asked(Operation.CREATE)
    gateway.rotate()
    gateway.configure(rotation=replace(rotation, parameters=_gone))
    waiting = gateway.rotate(patience=timedelta(minutes=30))
    assert waiting.wait is not None
    assert waiting.wait.failure is not None
    assert (waiting.wait.failure.code, "/serial: the file" in waiting.wait.failure.message) == ("material", True)
    assert gateway.asked(Operation.CREATE) == asked + 1
    gateway.engine.give_up("the file is gone")
    gateway.follow()
    assert gateway.run(Kind.ROLLBACK).record.phase is Phase.COMMITTED
    gateway.configure(rotation=rotation)
    assert gateway.rotate().record.phase is Phase.COMMITTED
