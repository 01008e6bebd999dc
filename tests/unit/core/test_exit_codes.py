from __future__ import annotations

import errno

import pytest

from agent.core.change.decide import Wait, stopped
from agent.core.change.lifecycle import Phase
from agent.core.exit_codes import Exit, of_error, of_outcome
from agent.core.failure.failure import Failure, FailureClass
from agent.core.failure.failures import hung_up
from agent.errors import (
    AgentError,
    CloudError,
    ConfigError,
    DamagedError,
    MaterialError,
    RefusedError,
    StoreBusyError,
    StoreError,
    StoreInDoubtError,
)
from support import make
from support.make import MINUTE, NOW

F = FailureClass


def wait(code: str, failure: Failure | None = None) -> Wait:
    """Return a wait for a reason."""
    return Wait(why="It waits.", until=NOW + MINUTE, code=code, failure=failure)


def because(number: int) -> StoreError:
    """Return what a system call's error becomes."""
    error = StoreError("Cannot open it.")
    error.__cause__ = OSError(number, "because")
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.USAGE),
        (RefusedError("x"), Exit.REFUSED),
        (StoreBusyError("x"), Exit.REFUSED),
        (CloudError(hung_up()), Exit.UNAVAILABLE),
        (StoreError("x"), Exit.DEGRADED),
        (StoreInDoubtError("x"), Exit.DEGRADED),
        (DamagedError("x"), Exit.DEGRADED),
        (MaterialError("x"), Exit.DEGRADED),
        (AgentError("x"), Exit.DEGRADED),
        (because(errno.EACCES), Exit.REFUSED),
        (because(errno.EPERM), Exit.REFUSED),
        (because(errno.ENOSPC), Exit.DEGRADED),
    ],
    ids=lambda item: type(item).__name__,
)
def test_every_error_has_its_exit_code(error: AgentError, code: Exit) -> None:
    """Whose fault it is decides, and what the operating system does not permit is a refusal."""
    assert of_error(error) is code


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("probation", None, Exit.DONE),
        ("budget", None, Exit.REFUSED),
        ("crash-loop", None, Exit.DEGRADED),
        ("clock", None, Exit.UNAVAILABLE),
        ("retry", F.NETWORK, Exit.UNAVAILABLE),
        ("retry", F.THROTTLED, Exit.UNAVAILABLE),
        ("retry", F.SERVER_TRUST, Exit.UNAVAILABLE),
        ("retry", F.STORE, Exit.DEGRADED),
        ("retry", F.DEPENDANT, Exit.DEGRADED),
        ("retry", None, Exit.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.DEPLOYED])
@pytest.mark.parametrize("has_set", [True, False])
def test_a_wait_has_the_exit_code_of_its_reason(
    code: str, kind: FailureClass | None, expected: Exit, phase: Phase, *, has_set: bool
) -> None:
    """Whether there is a set plays no part while the change is still under way."""
    failure = make.failure(kind) if kind else None

    assert of_outcome(make.record(phase), wait(code, failure), has_set=has_set) is expected


def test_a_change_that_was_told_to_stop_is_kept() -> None:
    """It is no failure: the caller is told to come again."""
    told = stopped(NOW)

    assert (told.code, told.until, told.failure) == ("stopped", NOW, None)
    assert of_outcome(make.record(Phase.PREPARED), told, has_set=True) is Exit.UNAVAILABLE


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.RETIRED])
@pytest.mark.parametrize("has_set", [True, False])
def test_a_change_that_succeeded_is_done(phase: Phase, *, has_set: bool) -> None:
    """Also one whose predecessor is retired since."""
    assert of_outcome(make.finished(phase), None, has_set=has_set) is Exit.DONE


@pytest.mark.parametrize("phase", [Phase.REJECTED, Phase.ROLLED_BACK])
@pytest.mark.parametrize(
    ("kind", "has_set", "expected"),
    [
        (F.CREDENTIAL, True, Exit.DEGRADED),
        (F.CREDENTIAL, False, Exit.CRITICAL),
        (F.PROTOCOL, False, Exit.CRITICAL),
        (None, True, Exit.DEGRADED),
        (None, False, Exit.CRITICAL),
        (F.OPERATOR, True, Exit.DONE),
        (F.OPERATOR, False, Exit.DONE),
    ],
)
def test_a_change_that_failed_is_as_bad_as_what_is_left(
    phase: Phase, kind: FailureClass | None, *, has_set: bool, expected: Exit
) -> None:
    """With a set in use the gateway is degraded, without one it is cut off; what a person gave up is done."""
    record = make.finished(phase, failure=make.failure(kind, decisive=True) if kind else None)

    assert of_outcome(record, None, has_set=has_set) is expected


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.DEPLOYED])
def test_a_set_that_is_refused_and_stays_in_use_is_critical(phase: Phase) -> None:
    """There was nothing to go back to, so the gateway is cut off, as `iot-cert status` says."""
    failure = make.failure(F.CREDENTIAL, decisive=True)
    record = make.finished(Phase.REJECTED, failure=failure, passed=((phase, NOW), (Phase.REJECTED, NOW)))

    assert of_outcome(record, None, has_set=True) is Exit.CRITICAL


def test_the_numbers_never_change() -> None:
    """Scripts and unit files rest on them, and so does the overview, which does not import this module."""
    assert {code.name: int(code) for code in Exit} == {
        "DONE": 0,
        "DEGRADED": 1,
        "USAGE": 2,
        "CRITICAL": 3,
        "REFUSED": 4,
        "UNAVAILABLE": 5,
        "INTERRUPTED": 130,
    }
