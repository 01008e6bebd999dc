"""The exit codes, and which one an outcome or an error has."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import TYPE_CHECKING

from agent.core.failure import FailureClass
from agent.core.lifecycle import Phase
from agent.errors import AgentError, CloudError, ConfigError, RefusedError, StoreBusyError

if TYPE_CHECKING:
    from agent.engine import Outcome


class Exit(IntEnum):
    """What a program that calls this command learns."""

    DONE = 0  # done, or healthy
    DEGRADED = 1  # the change failed and the previous set is in use, or something needs attention
    USAGE = 2  # the command line or the configuration is wrong
    CRITICAL = 3  # there is no usable set, or it has expired
    REFUSED = 4  # not now or not you: permission, another change, a used-up budget
    UNAVAILABLE = 5  # no network or no answer from the cloud; the change is kept
    INTERRUPTED = 130  # by Ctrl-C; the change is kept


def of_error(error: AgentError) -> Exit:
    """Return the exit code of an error."""
    match error:
        case ConfigError():
            return Exit.USAGE
        case RefusedError() | StoreBusyError():
            return Exit.REFUSED
        case CloudError():
            return Exit.UNAVAILABLE
        case _:
            denied = getattr(error.__cause__, "errno", None) in {errno.EACCES, errno.EPERM}
            return Exit.REFUSED if denied else Exit.DEGRADED


def of_outcome(outcome: Outcome, *, has_set: bool) -> Exit:
    """Return the exit code of a change.

    Args:
        outcome: How far it came.
        has_set: Whether the gateway has a usable set now.
    """
    record = outcome.record
    if outcome.wait is not None:
        return _of_wait(outcome.wait.code, outcome.wait.failure.kind if outcome.wait.failure else None)
    if record.phase in {Phase.COMMITTED, Phase.RETIRED}:
        return Exit.DONE
    if record.failure is not None and record.failure.kind is FailureClass.OPERATOR:
        return Exit.DONE
    return Exit.DEGRADED if has_set else Exit.CRITICAL


def _of_wait(code: str, kind: FailureClass | None) -> Exit:
    match code:
        case "probation":
            return Exit.DONE
        case "budget":
            return Exit.REFUSED
        case "crash-loop":
            return Exit.DEGRADED
        case _:
            return Exit.DEGRADED if kind is FailureClass.STORE else Exit.UNAVAILABLE
