"""The verb `cloud`: what an operator does with the account, on a machine that is no gateway."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING

from agent.errors import AgentError

if TYPE_CHECKING:
    import argparse

    from agent.cli.writing.output import Output
    from agent.core.exit_codes import Exit


def carry_out(arguments: argparse.Namespace, output: Output) -> Exit:
    """Carry out one of its actions.

    Raises:
        AgentError: It needs what is not installed, or was not carried out.
    """
    try:
        from agent.fleet import task, verbs  # noqa: PLC0415 - neither this nor boto3 is part of a gateway's package
    except ImportError as error:
        raise _missing(error) from error
    from agent.system.clock import SystemClock, sleep  # noqa: PLC0415 - beside what needs it

    answer = input if sys.stdin.isatty() and sys.stdout.isatty() else None
    terminal = task.OperatorTerminal(
        now=SystemClock().now(), chance=secrets.token_bytes, answer=answer, pause=sleep, progress=_progress
    )
    return verbs.run(arguments, output, terminal)


def _missing(error: ImportError) -> AgentError:
    if (error.name or "").startswith("agent."):
        return AgentError(
            "`iot-cert cloud` is not part of a gateway's package: it is for the operator's own machine, where it is "
            "installed from the project's sources with the extra `cloud`."
        )
    return AgentError(
        f"`iot-cert cloud` needs the Python package {error.name}, which is not installed.",
        hint="Install iot-cert-agent with the extra `cloud`, on the operator's machine: pip install '.[cloud]'",
    )


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
