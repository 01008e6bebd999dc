"""The store: one writer, numbers that only grow, a history that survives, and always a set to go back to."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from agent.core.change import damaged_records
from agent.core.change.events import Issued
from agent.core.change.lifecycle import Phase, good_times
from agent.core.change.records import encode_record
from agent.core.change.reserve import SPENT, Standing
from agent.core.values import Kind
from agent.core.when.retirement import outstanding
from agent.errors import DamagedError, StoreBusyError, StoreError
from agent.store import change_log, disk, generations, readings
from agent.store import room as room_module
from agent.store.store import Store
from agent.system import clock
from support import make
from support.crashkit import invariants, scripts
from support.crashkit.material import NOW, material
from support.crashkit.pool import fork_map
from support.crashkit.scenarios import rotated, run_undisturbed, scenarios
from support.crashkit.scripts import Plan, Verdict
from support.crashkit.tree import materialise, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.core.values import Generation, Manifest


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A store with three generations: current 3, previous 2."""
    path = tmp_path / "state"
    materialise(rotated(3), path)
    return path


@pytest.fixture(name="store")
def _store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        store.lock()
        yield store


def _finals(store: Store) -> tuple[int, ...]:
    return store.numbers().final


# -- opening and locking -------------------------------------------------------------------------------------------


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
        assert store.numbers().highest == 0
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
        scripts.carry_out(path, scenarios()["enrolment"].plan)
    finally:
        os.umask(before)
    invariants.check_privacy(path)
    assert {stat.S_IMODE(item.lstat().st_mode) for item in path.rglob("*") if item.is_dir() and not item.is_symlink()}


# -- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["generations/3", "../generations/000003", "/etc", "generations/000003/", ""])
def test_a_link_that_leads_elsewhere_is_damage(path: Path, target: str) -> None:
    """Only the one form of target is believed."""
    (path / "current").unlink()
    if target:
        (path / "current").symlink_to(target)
    else:
        (path / "current").write_bytes(b"a file")
    with Store(path) as store, pytest.raises(DamagedError):
        store.current()


def test_activating_moves_both_links(store: Store) -> None:
    """The one that was current is previous."""
    ours = material(4)
    store.prepare(ours.manifest("c"), ours.content, ours.trust)
    store.activate(4)
    assert (store.current(), store.previous()) == (4, 3)


def test_a_damaged_generation_does_not_become_previous(store: Store, path: Path) -> None:
    """It is nothing to go back to; the one that is, stays."""
    (path / "generations" / "000003" / "trust.pem").write_bytes(b"x")
    store.activate(1)
    assert (store.current(), store.previous()) == (1, 2)


def test_activating_again_keeps_the_previous_generation(store: Store) -> None:
    """A step that is repeated after a crash does not lose the way back."""
    store.activate(3)
    assert (store.current(), store.previous()) == (3, 2)


def test_a_missing_generation_is_not_activated(store: Store) -> None:
    """Nothing moves."""
    with pytest.raises(DamagedError):
        store.activate(9)
    assert (store.current(), store.previous()) == (3, 2)


def test_rolling_back_finds_the_next_best_way_back(store: Store) -> None:
    """The condemned generation is not it."""
    store.roll_back(2, 3)
    assert (store.current(), store.previous()) == (2, 1)


def test_rolling_back_to_the_only_other_generation_leaves_no_previous(tmp_path: Path) -> None:
    """There is none to go back to, and the link does not pretend otherwise."""
    path = tmp_path / "state"
    materialise(rotated(2), path)
    with Store(path) as store:
        store.lock()
        store.roll_back(1, 2)
        assert (store.current(), store.previous()) == (1, None)


# -- preflight -----------------------------------------------------------------------------------------------------


def test_a_preflight_leaves_nothing_behind(store: Store, path: Path) -> None:
    """It writes, renames and links, and clears it all away."""
    before = snapshot(path)
    store.room.preflight()
    assert snapshot(path) == before


def test_a_preflight_finds_out_that_no_directory_can_be_renamed(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some overlays, where files can be: a generation could be written there, and never put in place."""
    before, rename = snapshot(path), os.rename

    def overlay(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if disk.is_directory(src_dir_fd, old):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", overlay)
    with pytest.raises(StoreError, match=r"Cannot rename \.new-preflight .*: Invalid cross-device link"):
        store.room.preflight()
    assert snapshot(path) == before


def test_a_preflight_clears_an_earlier_one_away(store: Store, path: Path) -> None:
    """What a crash left does not make it fail."""
    for name in (".new-preflight", ".new-preflight.moved"):
        (path / "generations" / name).mkdir()
        (path / "generations" / name / "file").write_bytes(b"x")
    store.room.preflight()
    assert not list((path / "generations").glob(".new-*"))


def test_too_little_room_is_said_in_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what is free, what is needed, and that nothing was asked for."""
    monkeypatch.setattr(room_module, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(
        StoreError, match=r"has \d+ KiB free and a change needs \d+ KiB\. No certificate was asked"
    ) as e:
        store.room.preflight()
    assert "Free some space" in e.value.hint


def test_too_few_inodes_are_said_in_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that nothing was asked for."""
    monkeypatch.setattr(room_module, "NEEDED_INODES", 1 << 60)
    with pytest.raises(StoreError, match=r"has \d+ inodes free and a change needs \d+\. No certificate was asked") as e:
        store.room.preflight()
    assert "Remove some files" in e.value.hint


# -- room for falling back -------------------------------------------------------------------------------------------


class Steps:
    """A step that finds no room so often, and then does what it should."""

    def __init__(self, failures: int, number: int = errno.ENOSPC) -> None:
        self.failures, self.number, self.taken = failures, number, 0

    def take(self, answer: str) -> str:
        """Take it."""
        self.taken += 1
        if self.taken <= self.failures:
            raise StoreError("Cannot write here.") from OSError(self.number, os.strerror(self.number))
        return answer


def test_a_step_that_finds_room_leaves_the_reserve_alone(store: Store) -> None:
    """And answers for itself."""
    told: list[str] = []
    assert store.room.on_reserve(told.append, Steps(0).take, "done") == "done"
    assert (told, store.room.reserve()) == ([], Standing.KEPT)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_step_that_finds_none_is_taken_once_more_on_the_reserve(store: Store, number: int) -> None:
    """The room is given up first, and that is told."""
    told: list[str] = []
    assert store.room.on_reserve(told.append, Steps(1, number).take, "done") == "done"
    assert (told, store.room.reserve()) == ([SPENT], Standing.MISSING)


def test_a_step_is_not_taken_a_third_time(store: Store) -> None:
    """Nothing more is there to be given."""
    step = Steps(9)
    with pytest.raises(StoreError):
        store.room.on_reserve(print, step.take, "done")
    assert step.taken == 2
    with pytest.raises(StoreError):
        store.room.on_reserve(print, step.take, "done")
    assert step.taken == 3


def test_other_trouble_is_not_mended_by_room(store: Store) -> None:
    """A disk with errors keeps its reserve."""
    step = Steps(9, errno.EIO)
    with pytest.raises(StoreError):
        store.room.on_reserve(print, step.take, "done")
    assert (step.taken, store.room.reserve()) == (1, Standing.KEPT)


def test_recovery_makes_what_is_missing_and_nothing_twice(store: Store, path: Path) -> None:
    """A state directory of an older version has none until the next start."""
    shutil.rmtree(path / "reserve")
    assert store.recover(NOW).notes == ()
    made = {item.name: item.stat().st_ino for item in (path / "reserve").iterdir()}
    assert store.recover(NOW).notes == ()
    assert {item.name: item.stat().st_ino for item in (path / "reserve").iterdir()} == made != {}


def test_recovery_makes_none_while_a_change_is_in_flight(store: Store, path: Path) -> None:
    """It may be waiting for just that room."""
    shutil.rmtree(path / "reserve")
    store.save_change(scenarios()["rotation"].plan.first_record())
    store.recover(NOW)
    assert store.room.reserve() is Standing.MISSING


def test_recovery_fails_for_no_reserve(store: Store, path: Path) -> None:
    """It is said, and the agent starts."""
    shutil.rmtree(path / "reserve")
    (path / "reserve" / "a person's").mkdir(parents=True)
    (note,) = store.recover(NOW).notes
    assert note.startswith("Nothing is set aside for falling back should the disk be full. Cannot rename")


@pytest.mark.parametrize("link", ["current", "previous"])
def test_recovery_goes_to_a_whole_generation_on_the_reserve(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch, link: str
) -> None:
    """On a disk without inodes, of which a link takes one."""
    (path / "generations" / ("000003" if link == "current" else "000002") / "key.pem").write_bytes(b"x")
    real = os.symlink

    def symlink(target: str, name: str, *, dir_fd: int) -> None:
        if store.room.reserve() is Standing.KEPT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(target, name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "symlink", symlink)
    notes = store.recover(NOW).notes

    assert (store.current(), store.previous()) == ((2, 1) if link == "current" else (3, 1))
    assert SPENT in notes


def test_pruning_and_recovery_leave_the_reserve_alone(store: Store, path: Path) -> None:
    """It is neither litter nor an old generation."""
    before = snapshot(path / "reserve")
    store.prune(0)
    store.recover(NOW)
    assert snapshot(path / "reserve") == before


def test_what_leads_back_needs_less_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than it uses; the error is one that the reserve may mend."""
    monkeypatch.setattr(room_module, "GENERATION_BYTES", 1 << 60)
    store.room.preflight()
    with pytest.raises(StoreError, match="KiB free and a change needs") as error:
        store.room.preflight(back=True)
    assert error.value.no_room
    monkeypatch.setattr(room_module, "NEEDED_BYTES", 1 << 61)
    monkeypatch.setattr(room_module, "GENERATION_BYTES", 0)
    store.room.preflight(back=True)


# -- numbers -------------------------------------------------------------------------------------------------------


def test_numbers_begin_with_one(tmp_path: Path) -> None:
    """An empty store."""
    with Store(tmp_path) as store:
        assert store.next_number() == 1


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


# -- the change in flight ------------------------------------------------------------------------------------------


def test_a_change_is_read_back(store: Store) -> None:
    """What was saved is found, secret and all."""
    record = scenarios()["rotation"].plan.first_record()
    store.save_change(record)
    assert store.change() == record


def test_a_change_with_a_very_long_message_can_be_read_back(store: Store) -> None:
    """A service's own text may be in it, and must not make the record unreadable."""
    long = replace(scripts.REFUSED, message="x" * 100_000, remedy="y" * 100_000)
    store.save_change(replace(scenarios()["rotation"].plan.first_record(), failure=long))
    found = store.change()
    assert found is not None
    assert found.failure is not None
    assert found.failure.message.startswith("xxxx")


def test_a_damaged_change_is_set_aside_and_kept(store: Store, path: Path) -> None:
    """Nothing it prepared is used, and people can still look at it."""
    (path / "change.json").write_bytes(b"{")
    with pytest.raises(DamagedError):
        store.change()
    assert "set aside as change.json.damaged" in store.recover(NOW).notes[0]
    assert (path / "change.json.damaged").read_bytes() == b"{"
    assert store.recover(NOW).notes == ()


ZEROS = bytes(400)


def certificate_of(store: Store, number: int) -> str:
    """Return the certificate of a whole generation."""
    return store.generation(number).manifest.certificate_id


def left(store: Store) -> list[str]:
    """Return what is to be retired of what damaged records left behind."""
    current = store.current()
    in_use = () if current is None else (certificate_of(store, current),)
    salvaged = [record for record in store.history() if damaged_records.is_salvaged(record)]
    return [item.certificate_id for item in outstanding(salvaged, in_use, timedelta())]


def legible(**changes: Any) -> bytes:
    """Return a record of generation 4 that lacks what makes it one, as half of it."""
    record = replace(scenarios()["rotation"].plan.first_record(), id="c4", **changes)
    return encode_record(record).replace(b'"format":1', b'"form', 1)


@pytest.mark.parametrize("data", [lambda: ZEROS, bytes, legible], ids=["zeros", "empty", "legible"])
@pytest.mark.parametrize("stage", [False, True], ids=["final", "staged"])
def test_a_certificate_whose_record_is_damaged_is_left_behind(
    store: Store, path: Path, data: Callable[[], bytes], *, stage: bool
) -> None:
    """Its generation tells of it, whole or still without its name; what is in use is not touched."""
    ours = material(4)
    store.prepare(ours.manifest("c4"), ours.content, ours.trust)
    if stage:
        (path / "generations" / "000004").rename(path / "generations" / ".000004")
    (path / "change.json").write_bytes(data())
    recovery = store.recover(NOW)

    assert recovery.change is None
    assert ours.content.leaf.sha256 in recovery.notes[0]
    record = store.history()[-1]
    assert (record.id, record.generation, record.phase, record.entered_at) == ("c4", 4, Phase.REJECTED, NOW)
    assert left(store) == [ours.content.leaf.sha256]
    assert (store.current(), store.previous(), store.next_number()) == (3, 2, 5)
    assert store.numbers().final == (1, 2, 3)
    assert store.numbers().rejected == (() if stage else (4,))
    assert store.recover(NOW).notes == ()


@pytest.mark.parametrize("data", [lambda: ZEROS, legible], ids=["zeros", "legible"])
def test_the_certificate_in_use_is_not_left_behind_by_a_damaged_record(
    store: Store, path: Path, data: Callable[[], bytes]
) -> None:
    """It was put in use before that; what it replaced is, since `previous` says which that was."""
    ours = material(4)
    store.prepare(ours.manifest("c4"), ours.content, ours.trust)
    store.activate(4)
    (path / "change.json").write_bytes(data())
    (note,) = store.recover(NOW).notes

    assert "Generation 4, which it had put in use, stays in use." in note
    assert (store.current(), store.previous()) == (4, 3)
    assert left(store) == [certificate_of(store, 3)]
    assert store.generation(4).manifest.certificate_id == ours.content.leaf.sha256


def test_what_the_set_in_use_replaced_is_not_listed_where_that_is_not_certain(store: Store, path: Path) -> None:
    """`previous` is gone or damaged: nothing is guessed."""
    ours = material(4)
    store.prepare(ours.manifest("c4"), ours.content, ours.trust)
    store.activate(4)
    (path / "previous").unlink()
    (path / "change.json").write_bytes(ZEROS)
    store.recover(NOW)

    assert store.current() == 4
    assert left(store) == []


def test_a_certificate_is_left_behind_when_the_power_failed_before_it_was_in_use(store: Store, path: Path) -> None:
    """`previous` points where `current` does, which is between the two moves of an activation."""
    ours = material(4)
    store.prepare(ours.manifest("c4"), ours.content, ours.trust)
    (path / "previous").unlink()
    (path / "previous").symlink_to("generations/000003")
    (path / "change.json").write_bytes(ZEROS)
    store.recover(NOW)

    assert (store.current(), store.previous()) == (3, 2)
    assert left(store) == [ours.content.leaf.sha256]


def test_a_damaged_record_without_a_generation_tells_what_it_still_says(store: Store, path: Path) -> None:
    """The certificate had come and perhaps been registered; its key lay in the stage."""
    ours = material(4)
    store.stage_key(4, ours.key_pem)
    issued = Issued(certificate_pem="x", certificate_id=ours.content.leaf.sha256, token="y", at=NOW)  # noqa: S106
    (path / "change.json").write_bytes(legible(phase=Phase.REGISTERED, issued=issued, requests=(NOW,)))
    store.recover(NOW)

    record = store.history()[-1]
    assert (record.id, record.generation, record.requests) == ("c4", 0, (NOW,))
    assert left(store) == [ours.content.leaf.sha256]
    assert store.numbers().staged == ()


@pytest.mark.parametrize("kind", [Kind.TRUST, Kind.IMPORT])
def test_a_damaged_change_that_asked_for_no_certificate_leaves_none(store: Store, path: Path, kind: Kind) -> None:
    """Its generation has the certificate in use, or one that a person brought."""
    ours = material(3) if kind is Kind.TRUST else material(4)
    manifest = replace(ours.manifest("c4", kind), number=4)
    store.prepare(manifest, ours.content, ours.trust)
    (path / "change.json").write_bytes(ZEROS)
    store.recover(NOW)

    assert left(store) == []
    assert store.history()[-1].requests == ()
    assert store.numbers().rejected == (4,)


def test_what_a_link_keeps_for_a_rollback_is_not_taken_for_the_lost_changes_own(store: Store, path: Path) -> None:
    """A history that was lost, too, knows neither of the sets; the newer one was gone back from."""
    store.roll_back(2, 99)
    (path / "previous").unlink()
    (path / "previous").symlink_to("generations/000003")
    (path / "history.jsonl").unlink()
    (path / "change.json").write_bytes(ZEROS)
    store.recover(NOW)

    (record,) = store.history()
    assert (record.generation, record.issued) == (2, None)
    assert (store.current(), store.previous(), store.numbers().final) == (2, 3, (1, 2, 3))


def test_two_records_that_were_lost_in_the_same_way_are_two(store: Store, path: Path) -> None:
    """A file system may leave zeros each time; each counts as a request."""
    for written in (1_800_000_000, 1_800_000_100):
        (path / "change.json").write_bytes(ZEROS)
        os.utime(path / "change.json", (written, written))
        store.recover(NOW)
    (path / "change.json.damaged").rename(path / "change.json")  # the process was killed before it could move it
    store.recover(NOW)

    salvaged = [record for record in store.history() if damaged_records.is_salvaged(record)]
    assert [record.requests for record in salvaged] == [(NOW,)] * 2
    assert len({record.id for record in salvaged}) == 2


def test_the_end_of_a_change_that_had_ended_is_not_written_again(store: Store, path: Path) -> None:
    """It was in the history, and only its own file was left and damaged meanwhile."""
    finished = store.history()[-1]
    (path / "change.json").write_bytes(encode_record(finished).replace(b'"format":1', b'"form', 1))
    (note,) = store.recover(NOW).notes

    assert f"Change {finished.id} had ended already, as committed." in note
    assert store.history()[-1] == finished
    assert (store.current(), store.numbers().final) == (3, (1, 2, 3))


def test_a_disk_that_takes_no_line_keeps_no_agent_from_starting(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damaged record and what it had prepared stay for the next start, which has them both."""
    ours = material(4)
    store.prepare(ours.manifest("c4"), ours.content, ours.trust)
    (path / "generations" / "000004").rename(path / "generations" / ".000004")
    (path / "change.json").write_bytes(ZEROS)
    with monkeypatch.context() as full:
        full.setattr("agent.store.durable.append", refuse)
        recovery = store.recover(NOW)

    assert recovery.change is None
    assert "left lying there" in recovery.notes[0]
    assert (path / "change.json").read_bytes() == ZEROS
    assert left(store) == []
    store.recover(NOW)
    assert left(store) == [ours.content.leaf.sha256]


def refuse(*_: object, **__: object) -> None:
    """Have no room."""
    raise StoreError("Cannot write there: No space left on device.")


def test_a_stage_of_the_change_in_flight_survives_recovery_and_others_do_not(store: Store) -> None:
    """A key that was staged for no change is erased."""
    ours = material(4)
    store.save_change(scenarios()["rotation"].plan.first_record())
    for number in (4, 9):
        store.stage_key(number, ours.key_pem)
    notes = store.recover(NOW).notes
    assert notes == ("The unfinished generation 9 belongs to no change and was erased.",)
    assert store.numbers().staged == (4,)


def test_an_unproven_generation_never_becomes_current_by_recovery(store: Store, path: Path) -> None:
    """When current is damaged, a whole but unproven generation in flight is passed over."""
    ours = material(4)
    record = replace(scenarios()["rotation"].plan.first_record(), phase=Phase.PREPARED)
    store.save_change(record)
    store.prepare(ours.manifest(record.id), ours.content, ours.trust)
    (path / "generations" / "000003" / "key.pem").write_bytes(b"x")
    store.recover(NOW)
    assert store.current() == 2


def test_a_proven_generation_in_flight_is_the_first_to_go_to(store: Store, path: Path) -> None:
    """It is newer and works."""
    ours = material(4)
    record = replace(scenarios()["rotation"].plan.first_record(), phase=Phase.PROVEN)
    store.save_change(record)
    store.prepare(ours.manifest(record.id), ours.content, ours.trust)
    (path / "generations" / "000003" / "key.pem").write_bytes(b"x")
    store.recover(NOW)
    assert store.current() == 4


def test_a_condemned_generation_never_becomes_current_by_recovery(store: Store, path: Path) -> None:
    """It worked once and was refused since: on the way back from it, the one before it is put in use."""
    ours = material(4)
    first = scenarios()["rollback"].plan.first_record()
    record = replace(first, generation=4, base=3, phase=Phase.DEPLOYED, condemned=scripts.REFUSED)
    store.save_change(record)
    store.prepare(ours.manifest(record.id), ours.content, ours.trust)
    (path / "current").unlink()
    store.recover(NOW)
    assert store.current() == 3


def test_without_any_whole_generation_current_stays_as_it_is(store: Store, path: Path) -> None:
    """A program that can live with the damage is better off than one whose certificate has vanished."""
    for number in (1, 2, 3):
        (path / "generations" / f"00000{number}" / "trust.pem").write_bytes(b"x")
    notes = store.recover(NOW).notes
    assert any("No other generation is whole" in note for note in notes)
    assert store.current() == 3


# -- history -------------------------------------------------------------------------------------------------------


def test_a_torn_line_hides_no_other(store: Store, path: Path) -> None:
    """Lines before and after it are read."""
    history = path / "history.jsonl"
    first, *rest = history.read_bytes().splitlines(keepends=True)
    history.write_bytes(first + rest[0][:40] + b"\n" + b"".join(rest[1:]))
    assert [record.generation for record in store.history()] == [1, 3]


def test_a_line_of_a_newer_agent_is_passed_over(store: Store, path: Path) -> None:
    """An agent that was downgraded goes on."""
    with (path / "history.jsonl").open("ab") as file:
        file.write(b'{"format":99}\n')
    assert [record.generation for record in store.history()] == [1, 2, 3]


def test_finishing_twice_writes_one_line(store: Store) -> None:
    """A crash between the line and the clearing is repeated without harm."""
    record = store.history()[-1]
    store.save_change(record)
    store.finish(record)
    assert [item.id for item in store.history()].count(record.id) == 1
    assert store.change() is None


def test_the_history_holds_nothing_secret(path: Path) -> None:
    """No ownership token, no certificate, no key."""
    text = (path / "history.jsonl").read_text()
    assert '"token":"token"' not in text
    assert "BEGIN" not in text


def test_a_long_history_is_shortened_to_the_newest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when it is longer by the slack."""
    monkeypatch.setattr(change_log, "HISTORY_KEPT", 2)
    monkeypatch.setattr(change_log, "HISTORY_SLACK", 1)
    store.prune(3)
    assert len(store.history()) == 3
    monkeypatch.setattr(change_log, "HISTORY_SLACK", 0)
    store.prune(3)
    assert [record.generation for record in store.history()] == [2, 3]


def test_a_shortened_history_forgets_no_certificate_that_is_to_be_retired(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stay active in the cloud for ever, and nothing on the gateway would know of it."""
    for left, retired_at in (("a", None), ("b", NOW), ("c", None), ("d", None)):
        store.finish(make.finished(id=f"of-{left}", replaces=left * 64, retired_at=retired_at))
    monkeypatch.setattr(change_log, "HISTORY_KEPT", 1)
    monkeypatch.setattr(change_log, "HISTORY_SLACK", 0)
    store.prune(3)
    assert [record.replaces for record in store.history()] == ["a" * 64, "c" * 64, "d" * 64]
    monkeypatch.setattr(change_log, "OWED_KEPT", 1)
    store.prune(3)
    assert [record.replaces for record in store.history()] == ["c" * 64, "d" * 64]


# -- pruning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "left"), [(0, (2, 3)), (1, (1, 2, 3)), (9, (1, 2, 3))])
def test_pruning_keeps_current_previous_and_so_many_more(store: Store, keep: int, left: tuple[int, ...]) -> None:
    """Those in use are never counted."""
    store.prune(keep)
    assert _finals(store) == left


def test_pruning_keeps_what_is_in_use_however_old(store: Store) -> None:
    """Current and previous need not be the newest."""
    store.roll_back(2, 3)
    assert (store.current(), store.previous()) == (2, 1)
    assert store.prune(0) == (3,)
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
        assert store.prune(0) == (1,)
        assert store.recover(NOW).notes == ()
        assert _finals(store) == (2, 3)


def test_a_generation_that_is_half_erased_has_the_name_of_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a way back nor a person may take it for a set that is whole."""
    with monkeypatch.context() as stubborn:
        stubborn.setattr(os, "rmdir", refuse)
        with pytest.raises(StoreError):
            store.prune(0)
    assert (_finals(store), store.numbers().staged) == ((2, 3), (1,))
    store.prune(0)
    assert store.numbers().staged == ()


def test_pruning_again_erases_what_was_left(store: Store, path: Path) -> None:
    """A directory that an earlier try renamed and could not erase is not forgotten."""
    (path / "generations" / "000001").rename(path / "generations" / ".000001")
    store.prune(0)
    assert store.numbers().staged == ()


# -- the clock -----------------------------------------------------------------------------------------------------


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


# -- read again, or not --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("file", [*generations.FILES, generations.MANIFEST])
@pytest.mark.parametrize("touch", TOUCHES)
def test_a_generation_that_was_touched_is_read_again(
    store: Store, path: Path, reads: list[int], file: str, touch: str
) -> None:
    """Whichever of its files it was, and also where the content is the same."""
    store.generation(3)
    TOUCHES[touch](path / "generations" / "000003" / file)
    assert (store.generation(3).number, reads) == (3, [3, 3])


@pytest.mark.parametrize("file", [*generations.FILES, generations.MANIFEST])
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


# -- who may read ------------------------------------------------------------------------------------------------------


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
        store.save_change(Plan(generation=1, base=None, kind=Kind.ENROLL).first_record())
    generations = path / "generations"
    modes = {stat.S_IMODE(item.stat().st_mode) for item in (generations, generations / ".000001")}
    assert modes == {directory}
    assert {stat.S_IMODE(item.stat().st_mode) for item in (generations / ".000001").iterdir()} == {file}
    assert {stat.S_IMODE((path / name).stat().st_mode) for name in ("change.json", "lock")} == {0o600}
