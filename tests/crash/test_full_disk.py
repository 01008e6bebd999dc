"""A real ext4 that is full, out of inodes or read-only. Needs root and a loop device."""

from __future__ import annotations

import shutil
from functools import cache
from typing import TYPE_CHECKING

import pytest
from crashkit import invariants, points, scripts, smalldisk
from crashkit.scenarios import Scenario, scenarios
from crashkit.smalldisk import CannotMountError
from crashkit.tree import materialise
from surroundings import lacks

from agent.adapters import store as store_module
from agent.errors import StoreError, StoreInDoubtError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="mount")
def _mount() -> Iterator[Path]:
    disk = smalldisk.small_ext4(kibibytes=1024, inodes=96)
    try:
        path = disk.__enter__()
    except CannotMountError as error:
        lacks(f"a small disk ({error})")
    yield path
    disk.__exit__(None, None, None)


@pytest.fixture(name="no_preflight")
def _no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a change begin with no room at all, as when somebody else fills the disk meanwhile."""
    monkeypatch.setattr(store_module, "NEEDED_BYTES", 0)
    monkeypatch.setattr(store_module, "NEEDED_INODES", 0)


def _attempt(path: Path, scenario: Scenario) -> str:
    """Carry the change out as far as it goes and say what came of it."""
    try:
        scripts.carry_out(path, scenario.plan)
    except StoreInDoubtError:
        return "in doubt"
    except StoreError as error:
        return "refused" if "No certificate was asked for" in str(error) else "failed"
    return "done"


def _lay_out(mount: Path, scenario: Scenario) -> Path:
    path = mount / "state"
    if path.exists():
        shutil.rmtree(path)
    materialise(scenario.base, path)
    return path


def _check(path: Path, scenario: Scenario, outcome: str) -> None:
    after = scenario.after if outcome in {"done", "failed", "in doubt"} else scenario.before
    invariants.check_store(path, before=scenario.before, after=after, previous=scenario.had_previous)
    scripts.carry_out(path, scenario.plan)
    invariants.check_outcome(path, scenario.plan.change)


@cache
def _scenario(name: str) -> Scenario:
    return scenarios()[name]


@pytest.mark.parametrize("name", ["enrolment", "rotation"])
@pytest.mark.usefixtures("no_preflight")
def test_a_disk_that_fills_up_in_mid_change_costs_nothing(mount: Path, name: str) -> None:
    """With 0 to 69 free blocks: the old set stays whole, no false success, and with room again the change ends well."""
    outcomes = []
    for blocks in range(70):
        path = _lay_out(mount, _scenario(name))
        with smalldisk.only_blocks(mount, blocks):
            outcomes.append(_attempt(path, _scenario(name)))
            _check_while_full(path, _scenario(name), outcomes[-1])
        _check(path, _scenario(name), outcomes[-1])
    assert {"failed", "done"} <= set(outcomes)
    points.visited("full disks", len(outcomes), at_least=70)


def _check_while_full(path: Path, scenario: Scenario, outcome: str) -> None:
    if outcome == "done":
        invariants.check_consumer(path, frozenset({scenario.plan.generation}))
    elif scenario.before:
        invariants.check_consumer(path, frozenset[int | None](scenario.after))


@pytest.mark.parametrize("name", ["enrolment", "rotation"])
def test_the_preflight_refuses_before_room_becomes_a_problem(mount: Path, name: str) -> None:
    """Around the 256 KiB that a change needs, in steps of 8: it is refused at once, or it is done; never in between."""
    outcomes = []
    for blocks in range(200, 320, 8):
        path = _lay_out(mount, _scenario(name))
        with smalldisk.only_blocks(mount, blocks):
            outcomes.append(_attempt(path, _scenario(name)))
        _check(path, _scenario(name), outcomes[-1])
    assert set(outcomes) == {"refused", "done"}
    points.visited("full disks", len(outcomes), at_least=15)


@pytest.mark.usefixtures("no_preflight")
def test_a_disk_without_inodes_costs_nothing(mount: Path) -> None:
    """With 0 to 19 free inodes: the old set stays whole, and with inodes again the rotation ends well."""
    outcomes = []
    for inodes in range(20):
        path = _lay_out(mount, _scenario("rotation"))
        with smalldisk.only_inodes(mount, inodes):
            outcomes.append(_attempt(path, _scenario("rotation")))
            _check_while_full(path, _scenario("rotation"), outcomes[-1])
        _check(path, _scenario("rotation"), outcomes[-1])
    assert set(outcomes) == {"failed", "done"}
    points.visited("full disks", len(outcomes), at_least=20)


def test_too_few_inodes_are_refused_by_the_preflight(mount: Path) -> None:
    """Fifteen inodes are one too few."""
    path = _lay_out(mount, _scenario("rotation"))
    with smalldisk.only_inodes(mount, 15):
        assert _attempt(path, _scenario("rotation")) in {"refused", "failed"}
    _check(path, _scenario("rotation"), "refused")


def test_a_read_only_disk_can_still_be_read(mount: Path) -> None:
    """On a read-only file system a rotation says so, and the set in use is read as ever."""
    scenario = _scenario("rotation")
    path = _lay_out(mount, scenario)
    smalldisk.remount(mount, "ro")
    try:
        with pytest.raises(StoreError, match="Read-only file system"):
            scripts.carry_out(path, scenario.plan)
        assert invariants.check_consumer(path, frozenset[int | None](scenario.before)) == 3
    finally:
        smalldisk.remount(mount, "rw")
    _check(path, scenario, "refused")
    points.visited("full disks", 1, at_least=1)
