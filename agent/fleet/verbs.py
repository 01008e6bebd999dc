"""The operator's verbs, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.fleet.aws import connect, telling
from agent.fleet.commands import (
    adoption,
    checking,
    devices,
    first_deployment,
    orphans,
    overview,
    own_ca,
    rotation,
    setting_up,
)
from agent.fleet.task import OperatorTask, OperatorTerminal

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from agent.cli.writing.output import Output
    from agent.core.exit_codes import Exit

VERBS: dict[str, Callable[[OperatorTask], Exit]] = {
    "setup": setting_up.setup,
    "arm": devices.arm,
    "devices": devices.devices,
    "block": devices.block,
    "readmit": devices.readmit,
    "status": overview.status,
    "rotate": rotation.rotate,
    "check": checking.check,
    "ca": own_ca.ca,
    "adopt": adoption.adoption,
    "orphans": orphans.orphans,
    "first-deployment": first_deployment.first_deployment,
}


def run(arguments: argparse.Namespace, output: Output, terminal: OperatorTerminal) -> Exit:
    """Carry out one verb.

    Raises:
        AgentError: It was not carried out, or not to its end.
    """
    fleet = connect(arguments.stack, arguments.region, arguments.profile)
    task = OperatorTask(arguments=arguments, output=output, fleet=fleet, **vars(terminal))
    with telling():
        return VERBS[arguments.action](task)
