"""The store: one writer, numbers that only grow, a history that survives, and always a set to go back to."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from agent.core.change.lasting import Lasting
from agent.core.change.lifecycle import good_times
from agent.core.values import Kind
from agent.errors import DamagedError, StoreBusyError, StoreError
from agent.store.sets.generations import LAST
from agent.store.store import Store
from support.crashkit import invariants, scripts
from support.crashkit.material import NOW, material
from support.crashkit.pool import fork_map
from support.crashkit.scenarios import rotated, run_undisturbed, scenario
from support.crashkit.scripts import Plan, Verdict
from support.crashkit.tree import materialise, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable


from support.simulated.stores import refuse


def _finals(store: Store) -> tuple[int, ...]:
    return store.numbers().final


def test_an_empty_directory_is_a_store_without_anything(tmp_path: Path) -> None:
    """Reading it makes nothing and finds nothing."""
    with Store(tmp_path) as store:
        assert (store.current(), store.previous(), store.change(), store.history()) == (None, None, None, ())
        with pytest.raises(DamagedError, match="Generation 1 is missing"):
            store.generation(1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The sentence says which directory cannot be opened."""
    with pytest.raises(StoreError, match="gone: No such file or directory"):
        Store(tmp_path / "gone")


def test_a_second_writer_is_refused_and_told_who_is_first(path: Path) -> None:
    """The sentence names the process, and what to do."""
    with Store(path) as first:
        first.lock()
        (message, hint), *_ = fork_map(_try_to_lock, [path])
    assert message == f"Process {os.getpid()} is working on {path}."
    assert "iot-cert status" in hint


def _try_to_lock(path: Path) -> tuple[str, str]:
    with Store(path) as second:
        try:
            second.lock()
        except StoreBusyError as error:
            return str(error), error.hint
    return "", ""


def test_readers_need_no_lock(store: Store, path: Path) -> None:
    """A reader sees the set in use while a writer works."""
    with Store(path) as reader:
        assert reader.current() == store.current() == 3


def test_the_lock_ends_with_its_holder(path: Path) -> None:
    """After a close another may write."""
    for _ in range(2):
        with Store(path) as store:
            store.lock()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_what_stands_in_place_of_the_lock_is_moved_away(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Nothing is created elsewhere, and there is one writer all the same."""
    make(tmp_path / "lock")
    with Store(tmp_path) as store, Store(tmp_path) as other:
        store.lock()
        with pytest.raises(StoreBusyError):
            other.lock()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
def test_what_stands_in_place_of_the_generations_is_moved_away(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """There is nothing in it, and a writer makes the directory anew."""
    make(tmp_path / "generations")
    with Store(tmp_path) as store:
        assert store.numbers().taken == frozenset()
        store.lock()
    assert (tmp_path / "generations").is_dir()
    assert (tmp_path / "generations.damaged").exists()


def test_a_link_in_place_of_the_generations_is_named_and_stays(tmp_path: Path) -> None:
    """Applications reach a set through it, which moving it away would take from them."""
    (tmp_path / "real").mkdir()
    (tmp_path / "generations").symlink_to("real")
    with pytest.raises(StoreError, match="generations is a symbolic link, where a directory is expected") as caught:
        Store(tmp_path)
    assert "Put the directory itself in its place" in caught.value.hint
    assert (tmp_path / "generations").is_symlink()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nothing_in_a_store_can_be_read_by_others(tmp_path: Path, umask: int) -> None:
    """After a whole enrolment, under the loosest and the tightest umask."""
    before = os.umask(umask)
    try:
        path = tmp_path / "state"
        path.mkdir(mode=0o700)
        scripts.carry_out(path, scenario("enrolment").plan)
    finally:
        os.umask(before)
    invariants.check_privacy(path)
    assert {stat.S_IMODE(item.lstat().st_mode) for item in path.rglob("*") if item.is_dir() and not item.is_symlink()}


def test_numbers_begin_with_one(tmp_path: Path) -> None:
    """An empty store."""
    with Store(tmp_path) as store:
        assert store.next_number() == 1


def test_the_last_number_of_all_does_not_end_the_numbers(tmp_path: Path) -> None:
    """A directory of another origin may bear it; the lowest number that is free is as good as any."""
    materialise(rotated(2), tmp_path / "state")
    for name in (f"{LAST}", f"{LAST - 1}.rejected", "0000007"):
        (tmp_path / "state" / "generations" / name).mkdir()
    with Store(tmp_path / "state") as store:
        assert store.next_number() == 3
        assert store.numbers().strange == ("0000007",)


def test_numbers_only_grow_even_after_pruning(tmp_path: Path) -> None:
    """A rejected generation 4 that is gone still counts, by the history."""
    path = tmp_path / "state"
    rejected = Plan(generation=4, base=3, verdict=Verdict.REJECT)
    materialise(run_undisturbed(rotated(3), rejected), path)
    later = run_undisturbed(snapshot(path), replace(rejected, generation=5))
    with Store(path) as store:
        assert store.next_number() == 5
    again = tmp_path / "again"
    materialise(later, again)
    with Store(again) as store:
        assert store.numbers().rejected == (5,)
        assert store.next_number() == 6
    (again / "generations" / "000005.rejected").rename(tmp_path / "taken away")
    with Store(again) as store:
        assert store.next_number() == 6


@pytest.mark.parametrize(("keep", "left"), [(0, (2, 3)), (1, (1, 2, 3)), (9, (1, 2, 3))])
def test_pruning_keeps_current_previous_and_so_many_more(store: Store, keep: int, left: tuple[int, ...]) -> None:
    """Those in use are never counted."""
    store.prune(keep, frozenset())
    assert _finals(store) == left


def test_pruning_keeps_what_is_in_use_however_old(store: Store) -> None:
    """Current and previous need not be the newest."""
    store.roll_back(2, 3)
    assert (store.current(), store.previous()) == (2, 1)
    store.prune(0, frozenset())
    assert _finals(store) == (1, 2)


def test_only_the_newest_rejected_generation_is_kept(path: Path) -> None:
    """For the person who asks why."""
    for number in (4, 5, 6):
        scripts.carry_out(path, Plan(generation=number, base=3, verdict=Verdict.REJECT))
    with Store(path) as store:
        assert store.numbers().rejected == (6,)


def test_ten_rotations_leave_exactly_what_is_kept(tmp_path: Path) -> None:
    """Current, previous and three more, the history of all, and no litter."""
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    scripts.carry_out(path, Plan(generation=1, base=None, kind=Kind.ENROLL))
    for number in range(2, 12):
        scripts.carry_out(path, Plan(generation=number, base=number - 1))
    with Store(path) as store:
        assert (store.current(), store.previous(), _finals(store)) == (11, 10, (7, 8, 9, 10, 11))
        assert [record.generation for record in store.history()] == list(range(1, 12))
    eleven = frozenset({11})
    assert invariants.check_store(path, before=eleven, after=eleven, previous=True).notes == ()


def test_a_directory_inside_an_old_generation_is_erased_with_it(path: Path) -> None:
    """A person's backup in there keeps neither pruning nor the next start from going on."""
    (path / "generations" / "000001" / "backup").mkdir()
    (path / "generations" / "000001" / "backup" / "key.pem").write_bytes(b"a copy")
    with Store(path) as store:
        store.lock()
        store.prune(0, frozenset())
        assert store.recover(NOW).notes == ()
        assert _finals(store) == (2, 3)


def test_a_generation_that_is_half_erased_has_the_name_of_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a way back nor a person may take it for a set that is whole."""
    with monkeypatch.context() as stubborn:
        stubborn.setattr(os, "rmdir", refuse)
        with pytest.raises(StoreError):
            store.prune(0, frozenset())
    assert (_finals(store), store.numbers().staged) == ((2, 3), (1,))
    store.prune(0, frozenset())
    assert store.numbers().staged == ()


def test_pruning_again_erases_what_was_left(store: Store, path: Path) -> None:
    """A directory that an earlier try renamed and could not erase is not forgotten."""
    (path / "generations" / "000001").rename(path / "generations" / ".000001")
    store.prune(0, frozenset())
    assert store.numbers().staged == ()


class Floors(NamedTuple):
    """What a store knows about the past."""

    proofs: int
    newest: bool


def test_the_past_is_known_from_proofs_and_the_current_certificate(store: Store) -> None:
    """Each proof under a synchronised clock, and the start of the certificate's validity."""
    floors = (*store.floors(), *good_times(store.history()))
    assert Floors(len(floors), max(floors) == NOW) == Floors(4, newest=True)


def test_a_certificate_vouches_for_the_past_whatever_became_of_its_key(store: Store, path: Path) -> None:
    """The manifest is sealed; one that is not as it was written vouches for nothing."""
    (path / "generations" / "000003" / "key.pem").write_bytes(b"x")
    assert len(store.floors()) == 1
    manifest = path / "generations" / "000003" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"rotate", b"enroll"))
    assert (len(store.floors()), len(good_times(store.history()))) == (0, 3)


@pytest.mark.parametrize(("state", "directory", "file"), [(0o700, 0o700, 0o600), (0o750, 0o750, 0o640)])
def test_the_group_may_read_generations_where_the_state_directory_lets_it_in(
    tmp_path: Path, state: int, directory: int, file: int
) -> None:
    """Applications use the certificate through it; the record, the history and the lock are the owner's alone."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(state)
    with Store(path) as store:
        store.lock()
        store.stage_key(1, material(1).key_pem)
        store.save_change(Plan(generation=1, base=None, kind=Kind.ENROLL).first_record(), Lasting.NOW)
    generations = path / "generations"
    modes = {stat.S_IMODE(item.stat().st_mode) for item in (generations, generations / ".000001")}
    assert modes == {directory}
    assert {stat.S_IMODE(item.stat().st_mode) for item in (generations / ".000001").iterdir()} == {file}
    assert {stat.S_IMODE((path / name).stat().st_mode) for name in ("change.json", "lock")} == {0o600}
