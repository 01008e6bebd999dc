"""A real ext4 that is full, out of inodes or read-only. Needs root and a loop device."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

import pytest

from agent.core.change.reserve import Standing
from agent.core.values import Kind
from agent.errors import StoreError, StoreInDoubtError
from agent.store import room as room_module
from agent.store.store import Store
from support.crashkit import invariants, points, scripts, smalldisk, stepper, syscalls
from support.crashkit.gateway import MirroredGateway
from support.crashkit.scenarios import Scenario, Workplace, scenario
from support.crashkit.smalldisk import CannotMountError
from support.crashkit.tree import Tree, materialise, snapshot
from support.suite import campaigns
from support.suite.surroundings import lacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE_IN = 6


@contextmanager
def _disk(*, kibibytes: int, block: int) -> Iterator[Path]:
    disk = smalldisk.small_ext4(kibibytes=kibibytes, inodes=96, block=block)
    try:
        path = disk.__enter__()
    except CannotMountError as error:
        lacks(f"a small disk ({error})")
    yield path
    disk.__exit__(None, None, None)


@pytest.fixture(name="mount")
def _mount() -> Iterator[Path]:
    with _disk(kibibytes=1024, block=1024) as path:
        yield path


@pytest.fixture(name="coarse")
def _coarse() -> Iterator[Path]:
    """Give a disk with the blocks that most have."""
    with _disk(kibibytes=4096, block=4096) as path:
        yield path


@pytest.fixture(name="no_preflight")
def _no_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a change begin with no room at all, as when another program fills the disk meanwhile."""
    monkeypatch.setattr(room_module, "NEEDED_BYTES", 0)
    monkeypatch.setattr(room_module, "NEEDED_INODES", 0)


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


@pytest.mark.parametrize("name", ["enrolment", "rotation"])
@pytest.mark.usefixtures("no_preflight")
def test_a_disk_that_fills_up_in_mid_change_costs_nothing(mount: Path, name: str) -> None:
    """With 0 to 69 free blocks: the old set stays whole, no false success, and with room again the change ends well."""
    outcomes = []
    for blocks in sorted({*campaigns.places(70, ONE_IN), 69}):  # with the last there is room enough
        path = _lay_out(mount, scenario(name))
        with campaigns.case(blocks):
            with smalldisk.only_blocks(mount, blocks):
                outcomes.append(_attempt(path, scenario(name)))
                _check_while_full(path, scenario(name), outcomes[-1])
            _check(path, scenario(name), outcomes[-1])
    assert {"failed", "done"} <= set(outcomes) or campaigns.chosen().case is not None
    points.visited("full disks", len(outcomes), at_least=campaigns.least(70, ONE_IN))


def _check_while_full(path: Path, scenario: Scenario, outcome: str) -> None:
    if outcome == "done":
        invariants.check_consumer(path, frozenset({scenario.plan.generation}))
    elif scenario.before:
        invariants.check_consumer(path, frozenset[int | None](scenario.after))


@pytest.mark.parametrize("name", ["enrolment", "rotation"])
def test_the_preflight_refuses_before_room_becomes_a_problem(mount: Path, name: str) -> None:
    """Around the 256 KiB that a change needs, in steps of 8: it is refused at once, or it is done; never in between."""
    outcomes = []
    for blocks in (room := campaigns.take(range(200, 320, 8), 2)):
        path = _lay_out(mount, scenario(name))
        with smalldisk.only_blocks(mount, blocks):
            outcomes.append(_attempt(path, scenario(name)))
        _check(path, scenario(name), outcomes[-1])
    assert set(outcomes) == {"refused", "done"}
    points.visited("full disks", len(outcomes), at_least=len(room))


@pytest.mark.usefixtures("no_preflight")
def test_a_disk_without_inodes_costs_nothing(mount: Path) -> None:
    """With 0 to 19 free inodes: the old set stays whole, and with inodes again the rotation ends well."""
    outcomes = []
    for inodes in (few := campaigns.take(range(20), 3)):
        path = _lay_out(mount, scenario("rotation"))
        with smalldisk.only_inodes(mount, inodes):
            outcomes.append(_attempt(path, scenario("rotation")))
            _check_while_full(path, scenario("rotation"), outcomes[-1])
        _check(path, scenario("rotation"), outcomes[-1])
    assert set(outcomes) == {"failed", "done"}
    points.visited("full disks", len(outcomes), at_least=len(few))


def test_too_few_inodes_are_refused_by_the_preflight(mount: Path) -> None:
    """Fifteen inodes are one too few."""
    path = _lay_out(mount, scenario("rotation"))
    with smalldisk.only_inodes(mount, 15):
        assert _attempt(path, scenario("rotation")) in {"refused", "failed"}
    _check(path, scenario("rotation"), "refused")


def test_a_read_only_disk_can_still_be_read(mount: Path) -> None:
    """On a read-only file system a rotation says so, and the set in use is read as ever."""
    rotation = scenario("rotation")
    path = _lay_out(mount, rotation)
    smalldisk.remount(mount, "ro")
    try:
        with pytest.raises(StoreError, match="Read-only file system"):
            scripts.carry_out(path, rotation.plan)
        assert invariants.check_consumer(path, frozenset[int | None](rotation.before)) == 3
    finally:
        smalldisk.remount(mount, "rw")
    _check(path, rotation, "refused")
    points.visited("full disks", 1, at_least=1)


# -- falling back --------------------------------------------------------------------------------------------------


@cache
def _third_year() -> tuple[MirroredGateway, Tree, bytes]:
    """Return a gateway that has two sets, its store, and its cloud."""
    gateway = MirroredGateway()
    with Workplace() as workplace:
        path = workplace.lay_out({})
        for place, kind in enumerate((Kind.ENROLL, Kind.ROTATE), start=1):
            gateway.carry_out(path, kind, f"change-{place}")
        return gateway, snapshot(path), gateway.state()


def _locked_out(mount: Path, rung: str) -> tuple[MirroredGateway, Path]:
    """Lay the gateway out on a disk, and let nothing but one rung of the ladder be accepted."""
    gateway, tree, cloud = _third_year()
    gateway.restore(cloud)
    gateway.settle()
    path = mount / "state"
    if path.exists():
        shutil.rmtree(path)
    materialise(tree, path)
    with Store(path) as store:
        one, two = (store.generation(number).manifest.certificate_id for number in (1, 2))
    match rung:
        case "previous":
            gateway.revoke(two)
        case "claim":
            gateway.revoke(one, two)
        case _:
            gateway.move_endpoint()
    return gateway, path


RUNGS = ("previous", "claim", "baked anchors")


@contextmanager
def _crammed(mount: Path, *, blocks: int | None = None, inodes: int | None = None) -> Iterator[None]:
    """Leave no more than so much of a disk."""
    with ExitStack() as stack:
        if inodes is not None:
            stack.enter_context(smalldisk.only_inodes(mount, inodes + (blocks is not None)))
        if blocks is not None:
            stack.enter_context(smalldisk.only_blocks(mount, blocks))  # which takes an inode itself
        yield


def _falls_back(mount: Path, rung: str, *, blocks: int | None = None, inodes: int | None = None) -> Standing:
    """Have a gateway fall back on a crammed disk, and return what is left of its reserve."""
    gateway, path = _locked_out(mount, rung)
    with _crammed(mount, blocks=blocks, inodes=inodes):
        assert gateway.fall_back(path).connects
        with Store(path) as store:
            left = store.room.reserve()
    numbers = frozenset({1, 2, 3})
    invariants.check_store(path, before=numbers, after=numbers, previous=True)
    return left


@pytest.mark.parametrize("rung", RUNGS)
def test_a_gateway_falls_back_to_the_last_block(mount: Path, rung: str) -> None:
    """With 0 to 30 free blocks of 1 KiB: the gateway is connected before a person has made room."""
    left = [_falls_back(mount, rung, blocks=blocks) for blocks in campaigns.take(range(0, 31, 2), 5)]
    assert set(left) == {Standing.NO_ROOM}
    points.visited("fallbacks on full disks", len(left), at_least=campaigns.least(16, 5))


@pytest.mark.parametrize("rung", RUNGS)
def test_a_gateway_falls_back_to_the_last_block_of_an_ordinary_size(coarse: Path, rung: str) -> None:
    """The same in blocks of 4 KiB, of which everything takes more room."""
    left = [_falls_back(coarse, rung, blocks=blocks) for blocks in campaigns.take(range(0, 12, 2), 4)]
    assert set(left) == {Standing.NO_ROOM}
    points.visited("fallbacks on full disks", len(left), at_least=campaigns.least(6, 4))


@pytest.mark.parametrize("rung", RUNGS)
def test_a_gateway_falls_back_to_the_last_inode(mount: Path, rung: str) -> None:
    """With 0 to 11 free inodes and blocks enough, and with neither: each piece of the reserve holds an inode, too."""
    left = [_falls_back(mount, rung, inodes=inodes) for inodes in campaigns.take(range(12), 5)]
    left += [_falls_back(mount, rung, blocks=0, inodes=inodes) for inodes in campaigns.take([0, 1, 2], 3)]
    assert Standing.NO_ROOM in left
    points.visited("fallbacks on full disks", len(left), at_least=campaigns.least(15, 5))


@pytest.mark.parametrize(("rung", "every"), [("previous", 3), ("claim", 3), ("baked anchors", 1)])
def test_a_fallback_on_a_full_disk_that_is_killed_goes_on(mount: Path, rung: str, every: int) -> None:
    """Killed at calls that change the disk, with not a block and not an inode left; the next process ends it."""
    gateway, path = _locked_out(mount, rung)
    cloud = gateway.state()
    with _crammed(mount, blocks=0, inodes=0):
        calls = stepper.dry(lambda: partial(gateway.fall_back, path)).calls
    vital = campaigns.take([place for place, name in enumerate(calls) if name in syscalls.CHANGING][::every], ONE_IN)
    for place in vital:
        _, path = _locked_out(mount, rung)
        gateway.restore(cloud)
        with _crammed(mount, blocks=0, inodes=0):
            stepper.kill(lambda path=path: partial(gateway.fall_back, path), place)  # type: ignore[misc]
            gateway.restore(gateway.mirror.read())
            assert gateway.fall_back(path).connects, f"killed at call {place} ({calls[place]})"
    points.visited("kills of fallbacks on full disks", len(vital), at_least=campaigns.least(28, ONE_IN))


def test_an_ordinary_rotation_leaves_the_reserve_alone(mount: Path) -> None:
    """It is refused for want of room, and what is set aside stays there for the day when it is needed."""
    gateway, path = _locked_out(mount, "previous")
    with _crammed(mount, blocks=0), pytest.raises(StoreError, match="No space left"):
        gateway.carry_out(path, Kind.ROTATE, "change-3")
    with Store(path) as store:
        assert store.room.reserve() is Standing.KEPT
        assert (store.change(), store.current()) == (None, 2)
