"""A start after whatever happened: what it finishes, leaves behind, sets aside and goes back to."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change import damaged_records
from agent.core.change.lasting import Lasting
from agent.core.change.lifecycle import Issued, Phase
from agent.core.change.records import encode_record
from agent.core.change.reserve import SPENT, Standing
from agent.core.values import Kind
from support.crashkit import scripts
from support.crashkit.material import NOW, material
from support.crashkit.scenarios import scenario
from support.crashkit.tree import snapshot
from support.shorthand import planted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.store.store import Store


from support.simulated.stores import ZEROS, certificate_of, left, refuse


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
    store.save_change(scenario("rotation").plan.first_record(), Lasting.NOW)
    store.recover(NOW)
    assert store.room.reserve() is Standing.MISSING


def test_recovery_fails_for_no_reserve(store: Store, path: Path) -> None:
    """It is said, and the agent starts."""
    shutil.rmtree(path / "reserve")
    (path / "reserve" / "a person's").mkdir(parents=True)
    (note,) = store.recover(NOW).notes
    assert note.startswith("Nothing is set aside for falling back should the disk be full. Cannot put reserve in place")


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
    store.prune(0, frozenset())
    store.recover(NOW)
    assert snapshot(path / "reserve") == before


def legible(**changes: Any) -> bytes:
    """Return a record of generation 4 that lacks what makes it one, as half of it."""
    record = replace(scenario("rotation").plan.first_record(), id="c4", **changes)
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

    salvaged = [record for record in store.history() if damaged_records.ended_damaged(record)]
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
        full.setattr("agent.store.files.durable.append", refuse)
        recovery = store.recover(NOW)

    assert recovery.change is None
    assert "left lying there" in recovery.notes[0]
    assert (path / "change.json").read_bytes() == ZEROS
    assert left(store) == []
    store.recover(NOW)
    assert left(store) == [ours.content.leaf.sha256]


def test_a_stage_of_the_change_in_flight_survives_recovery_and_others_do_not(store: Store) -> None:
    """A key that was staged for no change is erased."""
    ours = material(4)
    store.save_change(scenario("rotation").plan.first_record(), Lasting.NOW)
    for number in (4, 9):
        store.stage_key(number, ours.key_pem)
    notes = store.recover(NOW).notes
    assert notes == ("The unfinished generation 9 belongs to no change and was erased.",)
    assert store.numbers().staged == (4,)


def test_an_unproven_generation_never_becomes_current_by_recovery(store: Store, path: Path) -> None:
    """When current is damaged, a whole but unproven generation in flight is passed over."""
    ours = material(4)
    record = replace(scenario("rotation").plan.first_record(), phase=Phase.PREPARED)
    store.save_change(record, Lasting.NOW)
    store.prepare(ours.manifest(record.id), ours.content, ours.trust)
    (path / "generations" / "000003" / "key.pem").write_bytes(b"x")
    store.recover(NOW)
    assert store.current() == 2


def test_a_proven_generation_in_flight_is_the_first_to_go_to(store: Store, path: Path) -> None:
    """It is newer and works."""
    ours = material(4)
    record = replace(scenario("rotation").plan.first_record(), phase=Phase.PROVEN)
    store.save_change(record, Lasting.NOW)
    store.prepare(ours.manifest(record.id), ours.content, ours.trust)
    (path / "generations" / "000003" / "key.pem").write_bytes(b"x")
    store.recover(NOW)
    assert store.current() == 4


def test_a_condemned_generation_never_becomes_current_by_recovery(store: Store, path: Path) -> None:
    """It worked once and was refused since: on the way back from it, the one before it is put in use."""
    ours = material(4)
    first = scenario("rollback").plan.first_record()
    record = replace(first, generation=4, base=3, phase=Phase.DEPLOYED, condemned=scripts.REFUSED)
    store.save_change(record, Lasting.NOW)
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


FILES = (".new-change.json", ".new-current", "generations/.new-1")
DIRECTORIES = (".new-reserve", "generations/.new-preflight")


@pytest.mark.root
@pytest.mark.parametrize("kind", planted.MOVABLE)
def test_a_start_frees_each_name_for_writing_and_keeps_what_is_not_ours(store: Store, path: Path, kind: str) -> None:
    """Of files it takes files and links for litter, of directories those that it makes itself."""
    is_litter = dict.fromkeys(FILES, kind not in planted.FOREIGN)
    is_litter |= dict.fromkeys(DIRECTORIES, kind.startswith("directory"))
    for name, erased in is_litter.items():
        with planted.at(path / name, kind) as plant:
            store.recover(NOW)
            assert not plant.stands
            if not erased:
                plant.require_kept(path / f"{name.replace('.new-', '')}.damaged")


@pytest.mark.root
@pytest.mark.parametrize("kind", planted.MOVABLE)
def test_nothing_keeps_a_running_agent_from_trying_the_disk_or_setting_room_aside(
    store: Store, path: Path, kind: str
) -> None:
    """Else no change would begin before the next start."""
    with planted.at(path / "generations" / ".new-preflight", kind), planted.at(path / ".new-reserve", kind):
        store.room.preflight()
        shutil.rmtree(path / "reserve")
        store.room.keep_reserve()
        assert (path / "reserve").is_dir()
