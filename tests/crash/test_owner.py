"""Root's command works on a store that belongs to the agent's user, and dies."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.store.files.ownership import become_owner
from support.crashkit import campaign, points, stepper
from support.crashkit.scenarios import Workplace, scenario
from support.crashkit.scripts import carry_out
from support.crashkit.stepper import Raised
from support.suite.campaigns import least, told
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from support.crashkit.campaign import Case


pytestmark = pytest.mark.root


def _as_root_would(path: Path) -> Callable[[], object]:
    """Begin as root's command does; what is returned is traced."""
    become_owner(path)
    return partial(carry_out, path, scenario("enrolment").plan)


def _theirs(workplace: Workplace) -> Path:
    path = workplace.lay_out({})
    path.parent.chmod(0o755)
    os.chown(path, NOBODY, NOBODY)
    return path


def test_what_root_makes_belongs_to_the_owner_of_the_store() -> None:
    """Every file, directory and link that root's command leaves behind is the owner's."""
    with Workplace() as workplace:
        path = _theirs(workplace)
        assert stepper.dry(partial(_as_root_would, path)).result is None
        owners = {item.lstat().st_uid for item in path.rglob("*")}
    assert owners == {NOBODY}


def test_the_agent_can_go_on_where_root_was_killed() -> None:
    """At whatever call root's command dies, the agent's user can recover the store and finish the change."""
    with Workplace() as workplace:
        total = len(stepper.dry(partial(_as_root_would, _theirs(workplace))).calls)
    report = campaign.spread(_kill_and_go_on, range(0, total, 2), one_in=11)
    points.visited("kills of root's command", report.points, at_least=least(100, 11))
    assert report.complaints == (), report.shown


def _kill_and_go_on(cases: Sequence[Case[int]]) -> list[str]:
    return [told(case, _kill_once(at)) for case, at in cases]


def _kill_once(at: int) -> str:
    with Workplace() as workplace:
        path = _theirs(workplace)
        stepper.kill(partial(_as_root_would, path), at)
        result = stepper.dry(partial(_as_root_would, path)).result
    return f"killed at call {at}: {result.text}" if isinstance(result, Raised) else ""
