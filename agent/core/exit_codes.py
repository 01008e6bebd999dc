"""The exit codes, and which one an outcome or an error has."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import WaitCode
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.errors import AgentError, BundleError, CloudError, ConfigError, RefusedError, StoreBusyError

if TYPE_CHECKING:
    from agent.core.change.decide import Wait
    from agent.core.change.lifecycle import ChangeRecord


class Exit(IntEnum):
    """What a program that calls this command learns."""

    DONE = 0  # done, or healthy
    DEGRADED = 1  # the change failed and the previous set is in use, or something needs attention
    USAGE = 2  # the command line, a file that it names, or the configuration is wrong
    CRITICAL = 3  # there is no usable set, or it has expired
    REFUSED = 4  # not now or not you: permission, another change, a used-up budget
    UNAVAILABLE = 5  # no network or no answer from the cloud; the change is kept
    INTERRUPTED = 130  # by Ctrl-C; the change is kept


def of_error(error: AgentError) -> Exit:
    """Return the exit code of an error."""
    match error:
        case ConfigError() | BundleError(code="no-root" | "trusted-root" | "url" | "malformed-document"):
            return Exit.USAGE
        case RefusedError() | StoreBusyError():
            return Exit.REFUSED
        case CloudError() | BundleError(passing=True):
            return Exit.UNAVAILABLE
        case _:
            return Exit.REFUSED if error.denied else Exit.DEGRADED


def of_outcome(record: ChangeRecord, wait: Wait | None, *, has_set: bool) -> Exit:
    """Return the exit code of a change.

    Args:
        record: How far it came.
        wait: What it waits for, or None when it has ended.
        has_set: Whether the gateway has a usable set now.
    """
    if wait is not None and wait.failure is not None and wait.failure.code == Code.LOCKED_OUT:
        return Exit.CRITICAL
    if wait is not None:
        return _of_wait(wait.code, wait.failure.kind if wait.failure else None)
    if record.phase.succeeded:
        return Exit.DEGRADED if record.degraded else Exit.DONE
    if record.failure is not None and record.failure.kind is FailureClass.OPERATOR:
        return Exit.REFUSED if record.failure.code == Code.VETOED else Exit.DONE
    # Rejected after it was put in use: there was nothing to go back to, and the set in use is the one that is refused.
    refused = record.phase == "rejected" and any(phase.activated for phase, _ in record.passed)
    return Exit.DEGRADED if has_set and not refused else Exit.CRITICAL


def _of_wait(code: str, kind: FailureClass | None) -> Exit:
    match code:
        case WaitCode.PROBATION:
            return Exit.DONE
        case WaitCode.BUDGET:
            return Exit.REFUSED
        case WaitCode.CRASH_LOOP:
            return Exit.DEGRADED
        case _:
            if kind is FailureClass.OPERATOR:
                return Exit.REFUSED
            here = kind in {FailureClass.STORE, FailureClass.DEPENDANT}
            return Exit.DEGRADED if here else Exit.UNAVAILABLE
