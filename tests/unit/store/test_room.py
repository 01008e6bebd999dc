"""Room: what a change needs is looked for beforehand, and what leads back has some set aside."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from agent.core.change.reserve import SPENT, Standing
from agent.errors import StoreError
from agent.store import room as room_module
from agent.store.files import disk
from support.crashkit.tree import snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from agent.store.store import Store


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
    with pytest.raises(StoreError, match=r"Cannot make a generation in .*: Invalid cross-device link"):
        store.room.preflight()
    assert snapshot(path) == before


def test_a_preflight_names_a_file_system_without_links(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says of vfat what it says of a missing permission, which no `sudo` would mend."""
    before = snapshot(path)

    def vfat(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", vfat)
    with pytest.raises(StoreError, match=r"Cannot make a generation in .*: Operation not supported") as caught:
        store.room.preflight()
    assert "vfat has no links" in caught.value.hint
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
