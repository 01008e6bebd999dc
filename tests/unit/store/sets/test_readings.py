"""A generation is read once while its files look untouched, and again before anything rests on it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.errors import DamagedError
from agent.store.files import disk
from agent.store.names import MANIFEST
from agent.store.sets import generations, readings
from agent.store.store import Store
from agent.system import clock
from support.crashkit import scripts
from support.crashkit.material import NOW
from support.crashkit.scripts import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.values import Generation, Manifest


@pytest.fixture(name="reads")
def _reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the generations that were really read, on a gateway whose files are an hour old."""
    reads: list[int] = []
    really = generations.read

    def counted(dir_fd: int, number: int) -> Generation:
        reads.append(number)
        return really(dir_fd, number)

    monkeypatch.setattr(generations, "read", counted)
    monkeypatch.setattr(clock, "stamp", lambda: time.time_ns() + HOUR)
    return reads


@pytest.fixture(name="rot")
def _rot(store: Store, path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a generation that was read rot on the disk: its content is another one, and nothing that can be seen is."""
    for number in (1, 2, 3):
        store.generation(number)
    reads.clear()
    fresh = {number: readings._states(store._directory.fd, number) for number in (1, 2, 3)}
    monkeypatch.setattr(readings, "_states", lambda _, number: fresh[number])

    def rot(number: int) -> None:
        key = path / "generations" / f"{number:06d}" / "key.pem"
        whole = key.read_bytes()
        key.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
        assert store.generation(number).number == number, "no reader sees it"

    return rot


def test_a_generation_is_read_once_while_nothing_touches_it(store: Store, reads: list[int]) -> None:
    """What is asked for most, the current set and the one before, however often; looking at the clock reads neither."""
    for _ in range(5):
        assert (store.generation(3).number, store.generation(2).number) == (3, 2)
        store.floors()
    assert reads == [3, 2]


def test_looking_at_the_clock_reads_no_manifest_twice(
    store: Store, path: Path, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the current generation was read; one that has changed since is read, and its manifest alone."""
    manifests: list[int] = []
    really = generations.read_manifest

    def counted(dir_fd: int, number: int) -> Manifest:
        manifests.append(number)
        return really(dir_fd, number)

    monkeypatch.setattr(generations, "read_manifest", counted)
    store.generation(3)
    for _ in range(5):
        assert len(store.floors()) == 1
    assert (reads, manifests) == ([3], [])
    (path / "generations" / "000003" / "key.pem").write_bytes(b"x")
    assert len(store.floors()) == 1
    assert (reads, manifests) == ([3], [3])


TOUCHES: dict[str, Callable[[Path], object]] = {
    "written": lambda file: file.write_bytes(file.read_bytes()),
    "replaced": lambda file: Path(shutil.copy2(file, file.with_name("copy"))).replace(file),
    "opened to all": lambda file: file.chmod(0o644),
    "read and dated back": lambda file: os.utime(file, ns=(0, 0)),
    "given a second name": lambda file: os.link(file, file.parents[2] / "linked"),
}


@pytest.mark.parametrize("file", [*generations.FILES, MANIFEST])
@pytest.mark.parametrize("touch", TOUCHES)
def test_a_generation_that_was_touched_is_read_again(
    store: Store, path: Path, reads: list[int], file: str, touch: str
) -> None:
    """Whichever of its files it was, and also where the content is the same."""
    store.generation(3)
    TOUCHES[touch](path / "generations" / "000003" / file)
    assert (store.generation(3).number, reads) == (3, [3, 3])


@pytest.mark.parametrize("file", [*generations.FILES, MANIFEST])
def test_damage_to_a_generation_that_was_read_is_seen(store: Store, path: Path, file: str) -> None:
    """A bit that another program flips, and a file that it takes away, each at the next look."""
    store.generation(3)
    target = path / "generations" / "000003" / file
    whole = target.read_bytes()
    target.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(DamagedError):
        store.generation(3)
    target.write_bytes(whole)
    assert store.generation(3).number == 3
    target.unlink()
    with pytest.raises(DamagedError, match=f"{file} is missing"):
        store.generation(3)


def test_a_generation_that_takes_the_place_of_another_is_read(store: Store, path: Path, reads: list[int]) -> None:
    """As when a technician puts a copy of the whole directory back: the same files by their content, and no others."""
    store.generation(3)
    folder = path / "generations" / "000003"
    shutil.copytree(folder, path / "copy")
    folder.rename(path / "away")
    (path / "copy").rename(folder)
    assert (store.generation(3).number, reads) == (3, [3, 3])


def test_a_generation_to_which_something_was_added_is_read_again(store: Store, path: Path, reads: list[int]) -> None:
    """It is not the agent who does that, so nothing about it is taken for granted."""
    store.generation(3)
    (path / "generations" / "000003" / "notes.txt").touch()
    assert (store.generation(3).number, reads) == (3, [3, 3])


def test_a_reading_during_which_a_file_changes_is_not_kept(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before the change would be answered with after it."""
    really, key = generations.read, path / "generations" / "000003" / "key.pem"

    def interrupted(dir_fd: int, number: int) -> Generation:
        found = really(dir_fd, number)
        key.write_bytes(b"x")
        return found

    monkeypatch.setattr(clock, "stamp", lambda: time.time_ns() + HOUR)
    monkeypatch.setattr(generations, "read", interrupted)
    store.generation(3)
    monkeypatch.setattr(generations, "read", really)
    with pytest.raises(DamagedError, match=r"key\.pem changed"):
        store.generation(3)


def test_damage_found_by_a_real_reading_is_not_forgotten(store: Store, rot: Callable[[int], None]) -> None:
    """Once the disk was read for a decision, no reading from before is answered with."""
    rot(2)
    assert store.others.fallbacks(3) == (1,)
    with pytest.raises(DamagedError, match=r"key\.pem changed"):
        store.generation(2)


def test_a_generation_that_rotted_unseen_is_not_activated(store: Store, rot: Callable[[int], None]) -> None:
    """Where `current` goes is read from the disk; nothing moves."""
    rot(2)
    with pytest.raises(DamagedError, match=r"key\.pem changed"):
        store.activate(2)
    assert (store.current(), store.previous()) == (3, 2)


def test_a_generation_that_rotted_unseen_does_not_become_previous(store: Store, rot: Callable[[int], None]) -> None:
    """It would be nothing to go back to."""
    rot(3)
    store.activate(1)
    assert (store.current(), store.previous()) == (1, 2)


def test_no_way_leads_back_to_a_generation_that_rotted_unseen(store: Store, rot: Callable[[int], None]) -> None:
    """Neither `current`, nor `previous` after it."""
    rot(1)
    with pytest.raises(DamagedError, match=r"key\.pem changed"):
        store.roll_back(1, 3)
    store.roll_back(2, 3)
    assert (store.current(), store.previous()) == (2, None)


def test_recovery_sees_what_rotted_unseen(store: Store, rot: Callable[[int], None]) -> None:
    """The current generation, and then the one it would go to first."""
    rot(3)
    rot(2)
    notes = store.recover(NOW).notes
    assert "Generation 1 is whole and is current now." in notes[0]
    assert (store.current(), store.previous()) == (1, None)


def test_recovery_sees_that_the_way_back_rotted_unseen(store: Store, rot: Callable[[int], None]) -> None:
    """Also where nothing is wrong with the current generation."""
    rot(2)
    damage = "Generation 2 is damaged: key.pem changed since it was written."
    assert store.recover(NOW).notes == (f"{damage} Generation 1 is previous now.",)
    assert (store.current(), store.previous()) == (3, 1)


def test_a_rotten_generation_is_looked_into_for_what_was_put_there_by_hand(
    store: Store, rot: Callable[[int], None], reads: list[int]
) -> None:
    """The disk is read for it."""
    rot(3)
    assert store.others.handmade() is None  # it is damage, and no other certificate
    assert reads == [3]


def test_few_readings_are_kept(path: Path, reads: list[int]) -> None:
    """Each has a private key in it: the oldest goes, and its generation is read again."""
    for number in (4, 5):
        scripts.carry_out(path, Plan(generation=number, base=number - 1))
    reads.clear()
    with Store(path) as store:
        for number in (1, 2, 3, 4, 5, 4, 3, 2, 1):
            store.generation(number)
    assert reads == [1, 2, 3, 4, 5, 1]


def test_a_new_reading_takes_the_old_ones_place(path: Path, reads: list[int]) -> None:
    """And no other's."""
    scripts.carry_out(path, Plan(generation=4, base=3))
    reads.clear()
    with Store(path) as store:
        for number in (1, 2, 3, 4):
            store.generation(number)
        (path / "generations" / "000004" / "key.pem").touch()
        for number in (4, 3, 2, 1):
            store.generation(number)
    assert reads == [1, 2, 3, 4, 4]


FINE, COARSE = 1_800_000_000_123_456_789, 1_800_000_000_000_000_000
MILLISECOND, HOUR = 1_000_000, 3_600_000_000_000


@pytest.mark.parametrize(
    ("changed", "later", "kept"),
    [
        (FINE, 20 * MILLISECOND, False),
        (FINE, 21 * MILLISECOND, True),
        (FINE, -HOUR, False),
        (COARSE, 2_000 * MILLISECOND, False),
        (COARSE, 2_001 * MILLISECOND, True),
    ],
    ids=["in the same tick", "later", "before, as the clock says", "in the same second", "seconds later"],
)
def test_a_reading_of_files_that_have_just_changed_is_not_kept(
    store: Store, reads: list[int], monkeypatch: pytest.MonkeyPatch, changed: int, later: int, *, kept: bool
) -> None:
    """They could change again and bear the same times: for a tick, or seconds where a file system counts those."""
    states = (disk.FileState(1, 1, changed, changed, 0), disk.FileState(2, 1, changed - HOUR, changed - HOUR, 0))
    monkeypatch.setattr(readings, "_states", lambda _, __: states)
    monkeypatch.setattr(clock, "stamp", lambda: changed + later)
    for _ in range(2):
        store.generation(3)
    assert reads == ([3] if kept else [3, 3])
