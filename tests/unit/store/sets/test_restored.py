"""A state directory that comes back from a backup: links that were followed, spelt out, made absolute or left out."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lasting import Lasting
from agent.core.values import Kind
from agent.store.store import Store
from support.crashkit.material import NOW, material
from support.crashkit.scenarios import scenario
from support.running.systemd import open_place
from support.simulated.stores import ZEROS
from support.suite.surroundings import NOBODY, another_user

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _followed(path: Path, link: str) -> None:
    """Put what a link leads to in its place, as `cp -rL` and `zip -r` do."""
    held = path / link
    target = held.resolve()
    held.unlink()
    shutil.copytree(target, held)


def _spelt_out(path: Path, link: str) -> None:
    """Leave a file with the target in it, as `unzip` does on a stick, and git without links."""
    held = path / link
    target = held.readlink()
    held.unlink()
    held.write_text(f"{target}\n")


def _made_absolute(path: Path, link: str) -> None:
    """Leave a link with the path of the machine where the backup was made."""
    held = path / link
    target = held.readlink()
    held.unlink()
    held.symlink_to(f"/mnt/old/{target}")


@pytest.mark.parametrize("copied", [_followed, _spelt_out, _made_absolute])
@pytest.mark.parametrize("links", [("current", "previous"), ("current",), ("previous",)])
def test_what_a_copy_has_made_of_a_link_tells_where_it_led(
    store: Store, path: Path, copied: Callable[[Path, str], None], links: tuple[str, ...]
) -> None:
    """Also where that is not the newest generation, as after a rollback."""
    for link, number in (("current", 2), ("previous", 1)):
        (path / link).unlink()
        (path / link).symlink_to(f"generations/00000{number}")
    for link in links:
        copied(path, link)
    store.recover(NOW)
    assert (store.current(), store.previous()) == (2, 1)


@pytest.mark.root
@pytest.mark.parametrize("name", ["history.jsonl", "change.json", "reserve"])
def test_what_another_user_owns_of_the_records_is_set_aside_and_keeps_no_gateway_from_its_set(
    path: Path, name: str
) -> None:
    """As root restores it with `cp -r`: what was noted, or set aside for later, is needed for no connection."""
    with open_place() as place:
        state = place / "state"
        shutil.copytree(path, state, symlinks=True)
        (state / "reserve").mkdir(mode=0o700, exist_ok=True)
        for own in ("history.jsonl", "change.json"):
            (state / own).touch(mode=0o600)
        if name != "change.json":
            (state / "change.json").unlink()
        for held in (state, *state.rglob("*")):
            os.chown(held, NOBODY, NOBODY, follow_symlinks=False)
        os.chown(state / name, 0, 0)
        with another_user(), Store(state) as store:
            store.history()  # by it the clock is judged, before anything is put right
            store.lock()
            notes = store.recover(NOW).notes
            assert f"It was moved to {name}.damaged" in notes[0]
            assert store.current() == 3
            store.generation(3)
            assert store.recover(NOW).notes == ()
        assert (state / f"{name}.damaged").exists()


def test_a_backup_of_the_set_in_use_alone_brings_it_back(tmp_path: Path, path: Path) -> None:
    """All that is left is a folder called `current`: the claim may be long gone, and nothing else would connect."""
    restored = tmp_path / "restored"
    restored.mkdir(mode=0o700)
    shutil.copytree((path / "current").resolve(), restored / "current")
    with Store(restored) as store:
        store.lock()
        notes = store.recover(NOW).notes
        assert notes[0] == "What stood in place of a link was moved to generations/000003."
        assert "Generation 3 is whole and is current now." in notes[1]
        assert (store.current(), store.previous()) == (3, None)
        store.generation(3)


@pytest.mark.parametrize("kept", [("history.jsonl",), ()])
def test_a_backup_that_left_the_links_out_brings_the_sets_back(store: Store, path: Path, kept: tuple[str, ...]) -> None:
    """As `rsync -r` makes it, and a stick without links; with the history and without it."""
    for name in {"current", "previous", "history.jsonl"} - set(kept):
        (path / name).unlink()
    store.recover(NOW)
    assert store.current() == 3


def test_a_set_that_no_record_speaks_of_was_final_once_unless_a_change_may_have_made_it(
    store: Store, path: Path
) -> None:
    """What a damaged record has made is of a number that is not known."""
    (path / "history.jsonl").unlink()
    assert store.others.committed() == {1, 2, 3}
    store.save_change(replace(scenario("rotation").plan.first_record(), generation=3), Lasting.NOW)
    assert store.others.committed() == {1, 2}
    (path / "change.json").write_bytes(ZEROS)
    assert store.others.committed() == set()


def test_a_directory_of_another_origin_is_no_set_that_was_lost(store: Store, path: Path) -> None:
    """An empty one, and another generation's copy under a number of its own."""
    (path / "history.jsonl").unlink()
    (path / "generations" / "000007").mkdir()
    shutil.copytree(path / "generations" / "000001", path / "generations" / "000009")
    assert store.others.committed() == {1, 2, 3}


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("kind", [Kind.IMPORT, Kind.TRUST])
def test_what_has_its_name_before_its_record_is_no_set_that_was_final(
    store: Store, path: Path, kind: Kind, *, history: bool
) -> None:
    """The power may have failed between the two: nothing has proven it, and it is nothing to fall back to."""
    if not history:
        (path / "history.jsonl").unlink()
    ours = material(4)
    store.prepare(ours.manifest("c4", kind), ours.content, ours.trust)
    assert store.recover(NOW).change is None
    assert store.others.committed() == {1, 2, 3}
    (path / "current").unlink()
    store.recover(NOW)
    assert store.current() != 4
