"""`status`: the fleet on one screen, from fleet indexing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.exit_codes import Exit
from agent.core.text import counted
from agent.fleet.decide.overview import LIFE, overview

if TYPE_CHECKING:
    from collections import Counter

    from agent.fleet.decide.overview import Overview
    from agent.fleet.task import OperatorTask

_BAR = 30  # columns


def status(task: OperatorTask) -> Exit:
    """Show how many gateways there are, by what their certificates have left and by what fails."""
    query = task.arguments.query
    total = task.fleet.count(query)
    found = overview(task.watched(task.fleet.search(query), "Things read", total), task.now)
    code = Exit.DEGRADED if found.troubled else Exit.DONE
    if task.output.as_json:
        task.output.emit(_plain(found))
        return code
    every = counted(found.gateways + found.others, "thing")
    task.show([f"{counted(found.gateways, 'gateway')} with the agent, of {every}."])
    if not found.gateways:
        task.show(["No thing has the shadow `certificate` in the index. The agent writes it when it is connected;"])
        task.show(["`iot-cert cloud check` says whether named shadows are indexed."])
        return code
    task.show(["", "Certificates have left", *_lines(found.left, LIFE)])
    task.show(["", "Gateways say", *_lines(found.health)])
    task.show(["", "Last failures", *_lines(found.failures)] if found.failures else [])
    task.show(["", "Versions", *_lines(found.versions)])
    for trouble, things in found.examples.items():
        task.show(["", f"{trouble}, such as:", *(f"  {thing}" for thing in things)])
    return code


def _lines(counted: Counter[str], order: tuple[str, ...] = ()) -> list[str]:
    names = [name for name in order if counted[name]] or [name for name, _ in counted.most_common()]
    most = max(counted.values())
    return [f"  {name:<24.24} {counted[name]:>8}  {'#' * -(-counted[name] * _BAR // most)}" for name in names]


def _plain(found: Overview) -> dict[str, object]:
    return {
        "gateways": found.gateways,
        "things_without_agent": found.others,
        "left": dict(found.left),
        "health": dict(found.health),
        "failures": dict(found.failures),
        "versions": dict(found.versions),
        "examples": found.examples,
    }
