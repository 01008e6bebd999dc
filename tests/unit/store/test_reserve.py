"""The reserve on disk: real, whole or not there, never written again, and given up down to the last piece."""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING

import pytest

from agent.core.change.reserve import BYTES, INODES, PIECES, Standing
from agent.errors import StoreError
from agent.store import reserve
from agent.store.files import disk, durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Iterator[int]:
    with disk.directory(str(tmp_path)) as fd:
        yield fd


def _make(root: int) -> None:
    reserve.make(root, durable.Modes())


def _names(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir())


def test_it_holds_blocks_and_inodes_that_are_real(root: int, tmp_path: Path) -> None:
    """Neither a hole nor something that a compressing file system would store in less."""
    _make(root)
    pieces = [path.stat() for path in (tmp_path / "reserve").iterdir()]
    content = b"".join(path.read_bytes() for path in sorted((tmp_path / "reserve").iterdir()))

    assert sum(status.st_blocks * 512 for status in pieces) >= BYTES
    assert len({status.st_ino for status in pieces}) + 1 == INODES
    assert len(zlib.compress(content, 9)) >= len(content) == BYTES
    assert reserve.standing(root) is Standing.KEPT


def test_it_is_its_owners_alone_whatever_the_umask(root: int, tmp_path: Path) -> None:
    """As everything in the state directory that is not for applications."""
    before = os.umask(0)
    try:
        _make(root)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "reserve").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "reserve").iterdir()} == {0o600}


def test_giving_it_up_leaves_nothing(root: int, tmp_path: Path) -> None:
    """And says whether there was anything to give."""
    _make(root)
    assert reserve.give_up(root)
    assert _names(tmp_path) == []
    assert reserve.standing(root) is Standing.MISSING
    assert not reserve.give_up(root)


@pytest.mark.parametrize("left", [1, PIECES - 1])
def test_a_process_that_dies_while_it_gives_up_leaves_something_to_give(root: int, tmp_path: Path, left: int) -> None:
    """What is left counts as no reserve and is given up by the next, or replaced when there is room."""
    _make(root)
    for path in sorted((tmp_path / "reserve").iterdir())[left:]:
        path.unlink()
    assert reserve.standing(root) is Standing.MISSING
    _make(root)
    assert reserve.standing(root) is Standing.KEPT

    for path in sorted((tmp_path / "reserve").iterdir())[left:]:
        path.unlink()
    assert reserve.give_up(root)
    assert _names(tmp_path) == []


def test_a_reserve_that_cannot_be_given_up_whole_counts_as_none(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The piece that tells whether it is there goes first, and what has gone is room for the step."""
    _make(root)
    removed: list[str] = []

    def unlink(name: str, *, dir_fd: int) -> None:
        if removed:
            raise OSError(5, "Input/output error")
        removed.append(name)
        real(name, dir_fd=dir_fd)

    real = os.unlink
    monkeypatch.setattr(os, "unlink", unlink)
    assert reserve.give_up(root)
    assert reserve.standing(root) is Standing.MISSING


def test_a_piece_that_was_cut_short_counts_as_none(root: int, tmp_path: Path) -> None:
    """A person made room by hand."""
    _make(root)
    os.truncate(tmp_path / "reserve" / "15", 0)
    assert reserve.standing(root) is Standing.MISSING


@pytest.mark.parametrize("failing", ["open", "write", "fsync", "rename"])
def test_a_try_that_fails_leaves_nothing(
    root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """It takes no room from what comes next."""

    def fail(*arguments: object, **named: object) -> object:
        if failing == "open" and arguments[0] != "07":
            return real(*arguments, **named)
        raise OSError(28, "No space left on device")

    real = getattr(os, failing)
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(StoreError) as error:
        _make(root)
    monkeypatch.undo()

    assert error.value.no_room
    assert _names(tmp_path) == []


def _file(path: Path) -> None:
    path.write_text("mine")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("put", [_file, os.mkfifo, _loop])
def test_something_else_of_that_name_is_moved_out_of_the_way_and_kept(
    root: int, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    """It is no reserve, and gives none up; but a gateway must not be without one for it."""
    put(tmp_path / "reserve")
    before = (tmp_path / "reserve").lstat()
    assert reserve.standing(root) is Standing.MISSING
    assert not reserve.give_up(root)
    _make(root)
    assert reserve.standing(root) is Standing.KEPT
    assert _names(tmp_path) == ["reserve", "reserve.damaged"]
    assert (tmp_path / "reserve.damaged").lstat().st_ino == before.st_ino


def test_who_cannot_look_is_told_nothing(tmp_path: Path) -> None:
    """The daemon asks by path."""
    assert reserve.standing_at(tmp_path) is Standing.MISSING
    assert reserve.standing_at(tmp_path / "gone") is None
