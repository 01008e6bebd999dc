"""The changes that are broken in every way: each with the state it begins in and the states it may be seen in."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from agent.core.values import Kind
from agent.store.reserve import NAME
from agent.store.store import Store
from support.crashkit import scripts
from support.crashkit.material import NOW
from support.crashkit.scripts import Plan, Verdict
from support.crashkit.tree import Tree, materialise, snapshot

# In memory where there is such a place: these tests write the same few files thousands of times.
SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108 - a private directory is made in it


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A change and where it begins.

    Attributes:
        name: For people.
        base: The store before.
        plan: The change.
        before: What `current` may be before the change takes effect; empty for none.
        after: What it may be from then on.
        done: The store after an undisturbed run.
    """

    name: str
    base: Tree
    plan: Plan
    before: frozenset[int]
    after: frozenset[int]
    done: Tree

    @property
    def had_previous(self) -> bool:
        """Whether there was a previous generation before."""
        return "previous" in self.base


class Workplace:
    """Fresh directories, one after another, in one scratch directory that goes away."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="crashkit-", dir=SCRATCH))
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._root)

    def lay_out(self, tree: Tree) -> Path:
        """Return a new directory with this tree in it."""
        self._number += 1
        path = self._root / f"{self._number}"
        materialise(tree, path)
        return path


def run_undisturbed(base: Tree, plan: Plan) -> Tree:
    """Return what a change leaves behind when nothing happens."""
    with Workplace() as workplace:
        path = workplace.lay_out(base)
        scripts.carry_out(path, plan)
        return snapshot(path)


@cache
def only_the_reserve() -> Tree:
    """Return an empty store in which room is set aside, so that no change is broken while that is done.

    What breaks there is a story of its own, in `support.crashkit.recoveries`: it takes as many calls as all the rest.
    """
    with Workplace() as workplace:
        path = workplace.lay_out({})
        with Store(path) as store:
            store.lock()
            store.recover(NOW)
        return {name: entry for name, entry in snapshot(path).items() if name.startswith(NAME)}


@cache
def rotated(newest: int) -> Tree:
    """Return a store in which generation `newest` is current, after so many changes."""
    if newest == 0:
        return {}
    if newest == 1:
        return run_undisturbed({}, Plan(generation=1, base=None, kind=Kind.ENROLL, keep=9))
    return run_undisturbed(rotated(newest - 1), Plan(generation=newest, base=newest - 1, keep=9))


def _make(name: str, base: Tree, plan: Plan) -> Scenario:
    before = frozenset({plan.base} if plan.base is not None else set[int]())
    after = before if plan.verdict is Verdict.REJECT else before | {plan.generation}
    done = run_undisturbed(base, plan)
    return Scenario(name=name, base=base, plan=plan, before=before, after=after, done=done)


_PLANS = {
    "enrolment": Plan(generation=1, base=None, kind=Kind.ENROLL),
    "rotation": Plan(generation=4, base=3, keep=0),
    "rejection": Plan(generation=3, base=2, verdict=Verdict.REJECT),
    "rollback": Plan(generation=3, base=2, verdict=Verdict.CONDEMN),
    "going back": Plan(generation=2, base=3, kind=Kind.ROLLBACK),
    "going back refused": Plan(generation=2, base=3, kind=Kind.ROLLBACK, verdict=Verdict.CONDEMN),
}
NAMES = tuple(_PLANS)


@cache
def scenario(name: str) -> Scenario:
    """Return a scenario; it alone is made, since the tests of one name may be all that a process runs."""
    plan = _PLANS[name]
    return _make(name, only_the_reserve() if plan.base is None else rotated(plan.base), plan)
