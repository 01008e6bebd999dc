"""Starts of the agent that bring a change no further: it is given up, or slowed down."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.core.change import decide
from agent.core.change.advance import advance
from agent.core.change.lifecycle import Phase
from support import make
from support.make import DAY, HOUR, NOW
from support.shorthand.deciding import act, fails, waits


@pytest.mark.parametrize("phase", make.BEFORE_ACTIVATION)
def test_too_many_starts_without_progress_end_a_change_before_activation(phase: Phase) -> None:
    """The eleventh start is one too many, and the reason names the phase and the number."""
    assert not isinstance(act(make.record(phase, resumes=10)), decide.Reject)
    action = act(make.record(phase, resumes=11))

    assert isinstance(action, decide.Reject)
    assert action.failure.code == "crash-loop"
    assert f"stopped 11 times in phase {phase} " in action.failure.message
    assert action.failure.remedy


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_too_many_starts_after_activation_slow_the_change_down(phase: Phase) -> None:
    """After activation a crash says nothing against the set, so it stays and is tried after a rest."""
    record = make.record(phase, resumes=11, resumed_at=NOW - timedelta(seconds=10), checked_at=NOW - HOUR)
    wait = waits(record)

    assert (wait.code, wait.until) == ("crash-loop", NOW + timedelta(seconds=20))
    assert "stopped 11 times" in wait.why
    assert type(act(record, wait.until)) in {decide.Deploy, decide.HoldProbation, decide.EndProbation}


@pytest.mark.parametrize(("resumes", "seconds"), [(11, 30), (12, 60), (15, 150), (16, 180), (1_000, 180)])
def test_no_crash_loop_keeps_a_set_in_use_for_longer_than_minutes(resumes: int, seconds: int) -> None:
    """It may be a set that the cloud refuses, which only the next try finds out."""
    wait = waits(make.record(Phase.DEPLOYED, resumes=resumes, resumed_at=NOW))

    assert (wait.code, wait.until) == ("crash-loop", NOW + timedelta(seconds=seconds))


def test_a_crash_loop_of_a_generation_that_may_be_in_use_slows_down() -> None:
    """A proven set that `current` points at already is tried after a rest and not set aside."""
    record = make.record(Phase.PROVEN, resumes=11, resumed_at=NOW)
    wait = waits(record, linked=7)

    assert (wait.code, wait.until) == ("crash-loop", NOW + decide.CRASH_PAUSE)
    assert type(act(record, NOW + decide.CRASH_PAUSE, linked=7)) is decide.Activate
    assert type(act(record, linked=6)) is decide.Reject
    assert type(act(make.record(Phase.PREPARED, resumes=11), linked=7)) is decide.Reject


def test_a_clock_that_was_set_back_does_not_prolong_the_wait_of_a_crash_loop() -> None:
    """A start that lies in the future is no reason to wait longer than the rest itself."""
    record = make.record(Phase.ACTIVE, resumes=11, resumed_at=NOW + 30 * DAY)

    assert type(act(record)) is decide.Deploy


def test_a_crash_loop_after_activation_without_a_time_rests_from_now_on() -> None:
    """A record that lost the time of its last start."""
    assert waits(make.record(Phase.ACTIVE, resumes=11)).until == NOW + decide.CRASH_PAUSE


def test_a_failure_that_was_told_is_no_crash() -> None:
    """A step that fails for ever with a reason is never taken for a crash loop."""
    record, now = make.record(Phase.PREPARED, resumes=10), NOW
    for _ in range(50):
        record = advance(record, fails(record, make.failure(), now))
        assert record.retry_at is not None
        now = record.retry_at
        assert type(act(record, now)) is decide.Prove
