"""What keeps an operator's verb from its end, by what the operator does about it; each has its exit code."""

from __future__ import annotations

from agent.core.exit_codes import Exit
from agent.errors import AgentError


class AccountError(AgentError):
    """The account refuses, or is not what the verb needs.

    Attributes:
        exit: The command's exit code.
    """

    exit = Exit.DEGRADED


class UsageError(AccountError):
    """The command line, its file, the credentials or the stack's name are not what is needed."""

    exit = Exit.USAGE


class DeniedError(AccountError):
    """The operator may not do that, by AWS's word or by their own answer."""

    exit = Exit.REFUSED


class NotNowError(AccountError):
    """AWS does not answer, or puts off; the same command does what is left."""

    exit = Exit.UNAVAILABLE


class NotOfferedError(AccountError):
    """The endpoint does not have what is asked for: an emulator, or a region that lacks it."""
