"""Directories: made with their modes, and erased with nothing secret left behind."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from agent.store.files import directories
from agent.store.files.durable import Modes

if TYPE_CHECKING:
    from pathlib import Path


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_directory_has_its_mode_whatever_the_umask(tmp_path: Path, folder: int, umask: int) -> None:
    """Private by default, wider when asked for."""
    directories.make_directory(folder, "private", Modes())
    directories.make_directory(folder, "wide", Modes(directory_mode=0o750))
    assert (_mode(tmp_path / "private"), _mode(tmp_path / "wide")) == (0o700, 0o750), f"umask {umask:o}"


def test_erasing_overwrites_before_it_removes(tmp_path: Path, folder: int) -> None:
    """A process that has the file open reads zeros afterwards."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "key").write_bytes(b"secret")
    with (tmp_path / "d" / "key").open("rb") as witness:
        directories.erase_directory(folder, "d")
        assert witness.read() == bytes(6)
    assert not (tmp_path / "d").exists()


def test_erasing_does_not_write_into_what_has_another_name(tmp_path: Path, folder: int) -> None:
    """It may be another program's file, or a backup that was made with `cp -al`."""
    (tmp_path / "precious").write_bytes(b"data")
    (tmp_path / "d").mkdir()
    os.link(tmp_path / "precious", tmp_path / "d" / "key.pem")
    directories.erase_directory(folder, "d")
    assert (tmp_path / "precious").read_bytes() == b"data"
    assert not (tmp_path / "d").exists()


def test_erasing_does_not_write_through_a_link(tmp_path: Path, folder: int) -> None:
    """A link in the directory is removed and its target stays as it is."""
    (tmp_path / "precious").write_bytes(b"data")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "l").symlink_to("../precious")
    directories.erase_directory(folder, "d")
    assert (tmp_path / "precious").read_bytes() == b"data"


@pytest.mark.parametrize(("name", "left"), [("key.pem", bytes(6)), ("certificate.pem", b"public")])
def test_what_is_public_is_removed_without_being_overwritten(
    tmp_path: Path, folder: int, name: str, left: bytes
) -> None:
    """Each overwriting is a sync; a name that is not known to be public may be a secret's."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(b"public")
    with (tmp_path / "d" / name).open("rb") as witness:
        directories.erase_directory(folder, "d", frozenset({"certificate.pem"}))
        assert witness.read() == left
    assert not (tmp_path / "d").exists()


def test_a_trial_leaves_room_and_no_data(tmp_path: Path, folder: int) -> None:
    """The room is taken, as a quota counts it, and the file has nothing that was written."""
    directories.try_out(folder, 65_536)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 65_536
    assert (tmp_path / "file").read_bytes() == bytes(65_536)
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == directories.TRIED_OUT - {".new-file", ".new-link"}
