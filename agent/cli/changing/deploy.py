"""The verb `deploy`: have the gateway's other programs take the set up. Root's alone, and the helper's own program."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from agent.cli.writing import standard
from agent.config.reader import load
from agent.core.dependants import Leave, Occasion
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.dependants.deployer import Deployer
from agent.dependants.report_file import any_configured
from agent.errors import ConfigError, RefusedError
from agent.store.files.disk import explained
from agent.store.files.ownership import keep_memory_private
from agent.system.changeable import changeable_by_others

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.dependants import Report


def carry_out(arguments: argparse.Namespace, output: Output) -> Exit:
    """Serve the dependants and say how they stand, or be the helper.

    Raises:
        AgentError: It is refused, or could not be done.
    """
    if os.geteuid() != 0:
        raise RefusedError("Only root may have other programs reloaded.", hint="Run it with sudo.")
    keep_memory_private()
    if arguments.serve:
        return _be_helper(arguments.config)
    config = load(arguments.config)
    if not any_configured(config.dependants):
        return _show(None, output)
    report = _deployer(config).serve(Occasion.AGAIN, afresh=arguments.afresh)
    return _show(report, output)


def _deployer(config: Config) -> Deployer:
    """Return who serves by this configuration, once it is certain that it is root's own.

    Raises:
        ConfigError: Another user may change it.
    """
    for path in (config.path, config.state_dir.parent):
        try:
            others = changeable_by_others(path)
        except OSError as error:
            raise ConfigError(f"{path}: it cannot be looked at: {error.strerror}") from None
        if others:
            raise ConfigError(f"{others}, so root does nothing by {config.path}.")
    return Deployer(config.dependants, config.state_dir, config.deploy_dir)


def _show(report: Report | None, output: Output) -> Exit:
    if report is None:
        output.tell({"event": "dependants"}, "No dependants are configured.")
        return Exit.DONE
    lines = (f"failed  {step.problem}" if step.problem else f"ok      {step.name}" for step in report.steps)
    output.tell({"event": "dependants", **to_plain(report)}, *lines)
    return Exit.DEGRADED if report.problems else Exit.DONE


def _be_helper(path: Path) -> Exit:
    from agent.dependants.helper import serve  # noqa: PLC0415 - the helper's alone
    from agent.system.service.service_manager import Notifier  # noqa: PLC0415

    notifier = Notifier()
    descriptors = notifier.listen_fds()
    if not descriptors:
        why = notifier.unheard() or "--serve is for systemd, which hands the socket over."
        raise RefusedError(why, hint="Run `iot-cert deploy`.")
    with socket.socket(fileno=descriptors[0]) as listener:
        serve(listener, lambda: _owner(path), lambda occasion: _deploy(path, occasion))
    return Exit.DONE


def _owner(path: Path) -> int:
    state_dir = load(path).state_dir
    with explained(f"look at {state_dir}"):
        return state_dir.stat().st_uid


def _deploy(path: Path, occasion: Occasion | Leave) -> Report:
    """Serve by the configuration as it is now, and say in the journal what came of it."""
    deployer = _deployer(load(path))
    report = deployer.ask(occasion) if isinstance(occasion, Leave) else deployer.serve(occasion)
    for step in report.problems:
        standard.complain(step.problem)
    return report
