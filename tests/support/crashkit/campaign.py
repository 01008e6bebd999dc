"""Break one scenario everywhere, and say what does not hold.

A disk that was judged once is not judged again: the same files with the same acknowledgements come to the same end, and
so do the same files after a recovery, whatever they were before it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.jsonio import PlainError
from agent.errors import AgentError
from agent.store.store import Store
from support.crashkit import invariants, scripts, stepper, syscalls
from support.crashkit.alice import CrashState, DeathError, Recorder, numbered_states
from support.crashkit.invariants import InvariantError
from support.crashkit.marks import Mark
from support.crashkit.pool import fork_map
from support.crashkit.scenarios import Scenario, Workplace
from support.crashkit.scripts import Verdict
from support.crashkit.stepper import HarnessError
from support.crashkit.tree import Frozen, Tree, differences, frozen, snapshot
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from agent.ports import Recovery


Told = dict[Mark, int]
Bug = Callable[[], AbstractContextManager[None]]
T = TypeVar("T")
Ends = dict[tuple[Frozen, frozenset[int | None], ChangeRecord | None], str]
Case = tuple[int, T]  # with its number, by which it is repeated

# A change that was resumed counts its starts, in the record and so in the history; all else must be as ever.
_VARIES = frozenset({"history.jsonl"})


def judge_crash(workplace: Workplace, scenario: Scenario, tree: Tree, told: Told, ends: Ends) -> str:
    """Return what is wrong with a store that a crash left, or with what comes of it when the agent starts again.

    Args:
        workplace: Where.
        scenario: The change.
        tree: What the crash left.
        told: What had been acknowledged.
        ends: What was wrong with stores that were recovered, by what was in them: many crashes come to the same.
    """
    path = workplace.lay_out(tree)
    try:
        _check_promises(path, scenario, told)
        allowed = invariants.allowed_current(*_expected(scenario, told))
        recovery = invariants.recover_left(path, allowed)
    except (InvariantError, AgentError, OSError, PlainError) as error:
        return f"{type(error).__name__}: {error}"
    key = frozen(snapshot(path)), allowed, recovery.change
    if key not in ends:
        ends[key] = _judge_recovered(path, scenario, recovery, allowed)
    return ends[key]


def _judge_recovered(path: Path, scenario: Scenario, recovery: Recovery, allowed: frozenset[int | None]) -> str:
    try:
        invariants.check_recovered(path, recovery, allowed, previous=scenario.had_previous)
        scripts.carry_out(path, scenario.plan)
        _check_end(path, scenario)
    except (InvariantError, AgentError, OSError, PlainError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _expected(scenario: Scenario, told: Told) -> tuple[frozenset[int], frozenset[int], int | None]:
    acknowledged = told.get(Mark.CURRENT)
    may_go_back = scenario.plan.verdict is Verdict.CONDEMN and acknowledged == scenario.plan.generation
    if acknowledged is None or may_go_back:
        return scenario.before, scenario.after, None
    return scenario.before, scenario.after, acknowledged


def _check_promises(path: Path, scenario: Scenario, told: Told) -> None:
    """What was reported as durable must be there, or something later."""
    if Mark.FINISHED in told:
        invariants.check_outcome(path, scenario.plan.change)
    elif Mark.SAVED in told:
        with Store(path) as store:
            known = (store.change(), *reversed(store.history()))
        found = next((record for record in known if record and record.id == scenario.plan.change), None)
        if found is None or scripts.progress(found) < told[Mark.SAVED]:
            raise InvariantError("what is known of the change is older than a record that was reported as saved")
    _check_proven(path)


def _check_proven(path: Path) -> None:
    """What is in use was proven, and the disk says so: a refusal after a restart would not be understood otherwise."""
    with Store(path) as store:
        record = store.change()
        made = record is not None and record.kind.makes_a_generation and record.generation == store.current()
    if record is not None and made and Phase.PROVEN not in {phase for phase, _ in record.passed}:
        raise InvariantError(f"the set of a change that is {record.phase} is in use, and was never proven")


def _check_end(path: Path, scenario: Scenario) -> None:
    invariants.check_outcome(path, scenario.plan.change)
    wrong = differences(_essence(scenario.done), _essence(snapshot(path)))
    if wrong:
        raise InvariantError(f"it went on to another end than an undisturbed run: {wrong}")


def _essence(tree: Tree) -> Tree:
    return {name: entry for name, entry in tree.items() if name not in _VARIES}


class Judge:
    """Judges the crashes of one scenario, each distinct one once."""

    def __init__(self, workplace: Workplace, scenario: Scenario, bug: Bug = nullcontext) -> None:
        self.workplace, self.scenario, self.bug = workplace, scenario, bug
        self._verdicts: dict[tuple[Frozen, frozenset[tuple[Mark, int]]], str] = {}
        self._ends: Ends = {}

    def __call__(self, tree: Tree, told: Told) -> str:
        """Return what is wrong, or an empty text."""
        promised: Told = {mark: value for mark, value in told.items() if mark is not Mark.END}
        key = frozen(tree), frozenset(promised.items())
        if key not in self._verdicts:
            self._verdicts[key] = judge_crash(self.workplace, self.scenario, tree, promised, self._ends)
        return self._verdicts[key]


@dataclass(frozen=True, kw_only=True)
class CampaignReport:
    """What a campaign found.

    Attributes:
        points: How many faults were tried.
        complaints: What did not hold, with the fault.
    """

    points: int
    complaints: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The first of them, for a test that fails."""
        first = "\n".join(self.complaints[:_SHOWN])
        return f"{len(self.complaints)} of {self.points} cases do not hold, of which these are the first:\n{first}"


def report(found: Sequence[str]) -> CampaignReport:
    """Return one complaint, or an empty text, for each point as a report."""
    return CampaignReport(points=len(found), complaints=tuple(filter(None, found)))


def spread(
    function: Callable[[Sequence[Case[T]]], Iterable[str]],
    items: Sequence[T],
    *,
    one_in: int = 1,
    until: str | None = None,
) -> CampaignReport:
    """Try the cases that are taken in one worker, which judges no disk twice: see `Judge`.

    Args:
        function: Tries the cases, and yields a complaint or an empty text for each; see `campaigns.told`.
        items: All of them.
        one_in: One in so many is taken for a sample.
        until: Once a complaint has this text in it, that will do, and no more cases are tried; they come in no order.
    """
    taken = [(place, items[place]) for place in campaigns.places(len(items), one_in)]
    return share(function, taken, until=until)


def share(
    function: Callable[[Sequence[Case[T]]], Iterable[str]], taken: Sequence[Case[T]], *, until: str | None = None
) -> CampaignReport:
    """Try these cases in one worker; see `spread`."""
    if until is not None:
        taken = random.Random(0).sample(taken, len(taken))  # noqa: S311 - an order, not a secret
    (found,) = fork_map(partial(_up_to, until, function), [taken])
    return report(found)


def _up_to(
    until: str | None, function: Callable[[Sequence[Case[T]]], Iterable[str]], taken: Sequence[Case[T]]
) -> list[str]:
    found = []
    for complaint in function(taken):
        found.append(complaint)
        if until is not None and complaint and until in complaint:
            break
    return found


_SHOWN = 5


# -- kills ---------------------------------------------------------------------------------------------------------


def after_changes(calls: Sequence[str]) -> list[int]:
    """Return the calls before which the disk has changed: a kill at any other leaves what one of these leaves."""
    return [place for place in range(len(calls)) if calls[place - 1] in syscalls.CHANGING]


def kill_everywhere(
    scenario: Scenario,
    *,
    umask: int = 0o022,
    among: Callable[[Sequence[str]], Sequence[int]] = lambda calls: range(len(calls)),
    one_in: int = 1,
    bug: Bug = nullcontext,
    until: str | None = None,
) -> CampaignReport:
    """Kill the change at every call, judge what is left, and let it go on.

    Args:
        scenario: The change.
        umask: Of the process.
        among: Which of its calls, by their names; all of them unless it is said.
        one_in: One in so many is taken for a sample.
        bug: What is planted.
        until: See `spread`.
    """
    places = among(_calls(scenario, bug))
    return spread(partial(_kill_at_each, scenario, umask, bug), places, one_in=one_in, until=until)


def _carry_out(path: Path, scenario: Scenario, bug: Bug) -> None:
    with bug():
        scripts.carry_out(path, scenario.plan)


def _calls(scenario: Scenario, bug: Bug = nullcontext) -> list[str]:
    with Workplace() as workplace:
        path = workplace.lay_out(scenario.base)
        run = stepper.dry(lambda: partial(_carry_out, path, scenario, bug))
        if run.result is not None:
            raise HarnessError(f"an undisturbed run ended with {run.result}")
        return run.calls


def _kill_at_each(scenario: Scenario, umask: int, bug: Bug, points: Sequence[Case[int]]) -> Iterator[str]:
    os.umask(umask)
    with Workplace() as workplace:
        judge = Judge(workplace, scenario, bug)
        for case, point in points:
            yield campaigns.told(case, _kill_once(judge, scenario.base, {}, point)[0])


def _kill_once(judge: Judge, tree: Tree, told: Told, at: int) -> tuple[str, Tree, Told]:
    path = judge.workplace.lay_out(tree)
    run = stepper.kill(lambda: partial(_carry_out, path, judge.scenario, judge.bug), at)
    left = snapshot(path)
    later = told | run.marks
    complaint = judge(left, later)
    return (complaint and f"killed at call {at}: {complaint}"), left, later


def kill_twice(scenario: Scenario, *, first: int, every: int, seed: int, one_in: int) -> CampaignReport:
    """Kill at `first` sampled calls, then kill each following start at every `every`-th call of it."""
    total = len(_calls(scenario))
    points = random.Random(seed).sample(range(total), min(first, total))  # noqa: S311 - a sample, not a secret
    return spread(partial(_kill_twice_each, scenario, every), points, one_in=one_in)


def _kill_twice_each(scenario: Scenario, every: int, points: Sequence[Case[int]]) -> list[str]:
    found: list[str] = []
    with Workplace() as workplace:
        judge = Judge(workplace, scenario)
        for case, point in points:
            _, tree, told = _kill_once(judge, scenario.base, {}, point)
            for second in range(point % every, _calls_from(workplace, scenario, tree), every):
                complaint, _, _ = _kill_once(judge, tree, told, second)
                found.append(campaigns.told(case, complaint and f"killed at call {point}, then {complaint}"))
    return found


def _calls_from(workplace: Workplace, scenario: Scenario, tree: Tree) -> int:
    path = workplace.lay_out(tree)
    return len(stepper.dry(lambda: partial(scripts.carry_out, path, scenario.plan)).calls)


# -- power cuts ----------------------------------------------------------------------------------------------------


def cut_power_everywhere(
    scenario: Scenario,
    *,
    umask: int = 0o022,
    one_in: int = 1,
    bug: Bug = nullcontext,
    until: str | None = None,
) -> CampaignReport:
    """Judge every disk that a power cut during the change may leave, or those up to a complaint; see `spread`."""
    return share(partial(_judge_each, scenario), _states(scenario, None, umask, bug, one_in=one_in), until=until)


def kill_then_cut(scenario: Scenario, *, every: int, one_in: int) -> CampaignReport:
    """Kill the change at every `every`-th operation, start it again, and cut the power during that."""
    with Workplace() as workplace:
        total = len(_record(workplace, scenario, None, nullcontext).operations)
    return share(partial(_kill_then_cut_each, scenario, one_in), list(enumerate(range(0, total, every))))


def _kill_then_cut_each(scenario: Scenario, one_in: int, points: Sequence[Case[int]]) -> Iterator[str]:
    states = [_states(scenario, point, first=point * _CUTS, one_in=one_in) for _, point in points]
    return _judge_each(scenario, [state for found in states for state in found])


_CUTS = 100_000  # more than there are after one kill


def _states(
    scenario: Scenario,
    die_at: int | None,
    umask: int = 0o022,
    bug: Bug = nullcontext,
    *,
    first: int = 0,
    one_in: int = 1,
) -> list[Case[CrashState]]:
    mask = os.umask(umask)
    try:
        with Workplace() as workplace:
            recorder = _record(workplace, scenario, die_at, bug)
    finally:
        os.umask(mask)
    return list(numbered_states(recorder.base, recorder.operations, first=first, one_in=one_in))


def _record(workplace: Workplace, scenario: Scenario, die_at: int | None, bug: Bug) -> Recorder:
    path = workplace.lay_out(scenario.base)
    with Recorder(path, scenario.base, die_at=die_at) as recorder:
        try:
            _carry_out(path, scenario, bug)
        except DeathError:
            recorder.revive()
            _carry_out(path, scenario, bug)
    return recorder


def _judge_each(scenario: Scenario, states: Sequence[Case[CrashState]]) -> Iterator[str]:
    with Workplace() as workplace:
        judge = Judge(workplace, scenario)
        for case, state in states:
            complaint = judge(state.tree, state.told)
            yield campaigns.told(case, complaint and f"{state.how}: {complaint}")
