"""Gates: the operator's executables that are asked before a certificate is, and before another set is put in use.

Each says by its exit code: 0, go on; 77, the change is to end; anything else, not now. One that fails, or takes too
long, has not said that the change may go on, so it is asked again later. One that cannot be run at all has said
nothing. For how long either may hold a change is `agent.core.gates`'s to say. They are run as hooks are, and nothing is
written down of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.core.dependants import LONGEST, MAX_NAME, MAX_PROBLEM, Report, Step
from agent.core.text import printable
from agent.dependants import hooks
from agent.system import children, clock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from agent.core.dependants import GateCommands
    from agent.dependants.export import Extract

VETO = 77  # EX_NOPERM of sysexits.h
PENDING = ("KIND", "CHANGE", "REASON")  # of the change that asks, where hooks are told of the one that made the set


def ask(gates: GateCommands | None, given: Extract, environment: Mapping[str, str]) -> Report:
    """Ask each in the order of their names until one says that the change is not to go on; return what they said.

    Args:
        gates: Who.
        given: The set in use, and what is about to be done.
        environment: What they are told of the set in use.
    """
    pending = {name: printable(given.about.get(f"PENDING_{name}", ""), MAX_PROBLEM) for name in PENDING}
    steps = (
        ()
        if gates is None
        else _steps(gates, {**environment, **{f"IOT_CERT_{name}": value for name, value in pending.items()}})
    )
    return Report(at=clock.SystemClock().now(), generation=given.generation, set=given.set, steps=tuple(steps))


def _steps(gates: GateCommands, environment: Mapping[str, str]) -> Iterator[Step]:
    found, problem = hooks.find(gates.directory)
    if problem:
        is_there = os.access(gates.directory, os.F_OK)  # else it is a link to what may be mounted yet
        yield Step(name="gates' directory", problem=printable(problem, MAX_PROBLEM), untried=is_there)
        return
    deadline = clock.monotonic() + LONGEST.total_seconds()
    for gate in found:
        left = deadline - clock.monotonic()
        step = _step(gates, gate, min(gates.timeout.total_seconds(), left), environment)
        yield step
        if step.problem and not step.untried:  # those behind one that cannot be run have their say
            return


def _step(gates: GateCommands, gate: Path, timeout: float, environment: Mapping[str, str]) -> Step:
    name = printable(f"gate {gate.name}", MAX_NAME)  # a file's name may be no text
    not_run, failed = hooks.run(gate, gates.user, timeout, environment)
    problem = printable(not_run or failed, MAX_PROBLEM)
    return Step(name=name, problem=problem, goes_back=failed == children.ended(VETO), untried=bool(not_run))
