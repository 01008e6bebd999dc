"""Let every file call of a step fail in every way, and say what does not hold of its outcome and of a second try."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.store.store import Store
from support.crashkit import invariants, scripts, stepper, syscalls
from support.crashkit.campaign import CampaignReport, Case, spread
from support.crashkit.invariants import InvariantError
from support.crashkit.scenarios import NAMES, Scenario, Workplace, scenario
from support.crashkit.stepper import Failing, Raised
from support.crashkit.tree import FILE, Tree, differences, frozen, snapshot
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from support.crashkit.scripts import StepTaken
    from support.crashkit.tree import Frozen

ERRNOS = (
    errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EMFILE, errno.ENOMEM, errno.EINTR, errno.EXDEV,
    errno.EACCES,
)  # fmt: skip
READING = frozenset({"openat", "newfstatat", "fstat", "read", "pread64", "getdents64", "readlinkat"})


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One step of a change, with the store before and after it."""

    scenario: Scenario
    name: str
    step: StepTaken
    before: Tree
    after: Tree
    calls: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The step without what tells one save from another."""
        return self.name.split()[0]


@cache
def segments() -> tuple[Segment, ...]:
    """Return the steps of all scenarios; of those that make the same calls, only the first."""
    found: dict[tuple[str, tuple[str, ...]], Segment] = {}
    for name in NAMES:
        for segment in _cut_up(scenario(name)):
            found.setdefault((segment.kind, segment.calls), segment)
    return tuple(found.values())


def _cut_up(scenario: Scenario) -> list[Segment]:
    steps: list[tuple[str, StepTaken, Tree, Tree]] = []
    with Workplace() as workplace:
        path = workplace.lay_out(scenario.base)
        earlier: list[Tree] = []

        def observe(name: str, step: StepTaken, over: bool) -> None:  # noqa: FBT001 - see scripts.OBSERVERS
            if over:
                steps.append((name, step, earlier.pop(), snapshot(path)))
            else:
                earlier.append(snapshot(path))

        scripts.OBSERVERS.append(observe)
        try:
            scripts.carry_out(path, scenario.plan)
        finally:
            scripts.OBSERVERS.remove(observe)
        return [_segment(workplace, scenario, *step) for step in steps]


def _segment(
    workplace: Workplace, scenario: Scenario, name: str, step: StepTaken, before: Tree, after: Tree
) -> Segment:
    calls = stepper.dry(_work(workplace.lay_out(before), step)).calls
    return Segment(scenario=scenario, name=name, step=step, before=before, after=after, calls=tuple(calls))


def _work(path: Path, step: StepTaken) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        store = Store(path)
        store.lock()
        return lambda: _nothing(step(store))

    return prepare


def _nothing(_result: object) -> None:
    """Drop a result, which need not cross the pipe."""


def fail_everywhere(segment: Segment, *, one_in: int) -> CampaignReport:
    """Let every file call of a step fail with every errno, once and from there on; judge the outcome and a retry."""
    return spread(partial(_fail_each, segment), faults_of(segment.calls), one_in=one_in)


def says_nothing_about_data(fault: Failing, call: str) -> bool:
    """Whether a fault passes, so that nothing may be taken for damaged because of it.

    An unreadable block may, and what its owner may not read is damage: see `agent.store.sets.generations.owners`.
    """
    if fault.number == errno.EACCES:
        return not fault.sticky and call not in READING
    return fault.number != errno.EIO or call not in {"read", "pread64"}


def faults_of(calls: Sequence[str]) -> list[Failing]:
    """Return every errno at every file call, once and sticky.

    Not at the `lseek` with which the C library rewinds a directory it has read: it hides the error, and no disk is
    asked for it.
    """
    return [
        Failing(at=place, number=number, sticky=sticky)
        for place, name in enumerate(calls)
        if name in syscalls.FILES and not (name == "lseek" and calls[place - 1] == "getdents64")
        for number in ERRNOS
        for sticky in (False, True)
    ]


def _fail_each(segment: Segment, faults: Sequence[Case[Failing]]) -> list[str]:
    verdicts: dict[tuple[str, Frozen, bool], str] = {}
    found = []
    with Workplace() as workplace:
        for case, fault in faults:
            path = workplace.lay_out(segment.before)
            result = stepper.fail(_work(path, segment.step), fault).result
            outcome = result.kinds[0] if isinstance(result, Raised) else "success"
            exact = says_nothing_about_data(fault, segment.calls[fault.at])
            key = (outcome, frozen(snapshot(path)), exact)
            if key not in verdicts:
                verdicts[key] = _judge_failure(workplace, segment, path, result, exact=exact)
            complaint = verdicts[key]
            where = f"{segment.kind}, {fault} ({segment.calls[fault.at]})"
            found.append(campaigns.told(case, complaint and f"{where}: {complaint}"))
    return found


def _judge_failure(workplace: Workplace, segment: Segment, path: Path, result: object, *, exact: bool) -> str:
    """Return what is wrong with the outcome of a step in which calls failed, or with trying it again.

    Exactly: the error must say whether the step had its effect, success must mean the whole effect, and a second try
    in the same process must come to the same end. Otherwise only safety is judged.
    """
    left = snapshot(path)
    try:
        check_kind(result)
        if exact:
            _check_precision(segment, path, left, result)
        _check_still_usable(segment, workplace.lay_out(left), result, exact=exact)
        if exact:
            _check_retry(segment, path)
    except (InvariantError, AgentError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def check_kind(result: object) -> None:
    """Check that nothing but the store's own errors came out."""
    if isinstance(result, Raised) and "StoreError" not in result.kinds:
        raise InvariantError(f"a {result.kinds[0]} came out: {result.text}")


def _check_precision(segment: Segment, path: Path, left: Tree, result: object) -> None:
    if not isinstance(result, Raised):
        wrong = differences(segment.after, left)
        if wrong:
            raise InvariantError(f"it reported success and the effect is not there: {wrong}")
        return
    effect = scripts.had_effect(path, segment.scenario.plan, segment.name)
    in_doubt = "StoreInDoubtError" in result.kinds
    if effect is not None and in_doubt and not effect:
        raise InvariantError(f"in doubt, and nothing happened: {result.text}")
    if effect and not in_doubt:
        raise InvariantError(f"it reported failure and the effect is there: {result.text}")


def _check_still_usable(segment: Segment, path: Path, result: object, *, exact: bool) -> None:
    allowed = {_current(segment.before), _current(segment.after)}
    if not isinstance(result, Raised):
        allowed = {_current(segment.after)}
    elif exact and "StoreInDoubtError" not in result.kinds:
        allowed = {_current(segment.before)}
    numbers = frozenset(number for number in allowed if number is not None)
    before = numbers if None not in allowed else frozenset[int]()
    keeps_previous = "previous" in segment.before and "previous" in segment.after
    invariants.check_store(path, before=before, after=numbers, previous=keeps_previous and exact)


def _current(tree: Tree) -> int | None:
    return int(tree["current"][2].decode().rpartition("/")[2]) if "current" in tree else None


def _check_retry(segment: Segment, path: Path) -> None:
    """The same process may try again, without a recovery in between."""
    with Store(path) as store:
        store.lock()
        segment.step(store)
    wrong = differences(_whole_lines(segment.after), _whole_lines(snapshot(path)))
    if wrong:
        raise InvariantError(f"a second try came to another end: {wrong}")


def _whole_lines(tree: Tree) -> Tree:
    """Leave empty lines out of the history: one is put where a torn line was ended."""
    return {
        name: (kind, mode, data.replace(b"\n\n", b"\n") if kind == FILE else data)
        for name, (kind, mode, data) in tree.items()
    }
