"""Where the gateway's own application says that it works: who can say it, about which set, and since when."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from agent.errors import StoreError
from agent.store.notes.confirmations import ConfirmationDirectory

if TYPE_CHECKING:
    from pathlib import Path

ADMINS = frozenset({4002})

as_root = pytest.mark.skipif(os.geteuid() != 0 and "CI" not in os.environ, reason="for root alone")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "confirm"


@pytest.fixture(name="place")
def _place(path: Path) -> ConfirmationDirectory:
    return ConfirmationDirectory(path, admins=frozenset)


def test_without_a_directory_nothing_was_said(place: ConfirmationDirectory, path: Path) -> None:
    """Looking makes nothing."""
    assert not place.given(7)
    assert not path.exists()


def test_it_is_made_for_the_agent_alone_where_there_is_no_group_of_admins(
    place: ConfirmationDirectory, path: Path
) -> None:
    """Making it again is harmless."""
    for _ in range(2):
        place.expect()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@as_root
def test_it_is_made_for_the_admins_where_they_are_known(path: Path) -> None:
    """Root may give it to them; in a package it is there already."""
    ConfirmationDirectory(path, admins=lambda: ADMINS).expect()
    status = path.stat()

    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (4002, 0o770)


def test_a_word_is_about_one_generation(place: ConfirmationDirectory, path: Path) -> None:
    """The file is named like the directory that `current` leads to; what is in it does not matter."""
    place.expect()
    (path / "000007").write_bytes(b"\xff" * 100)
    (path / "8").touch()
    (path / "0000009").touch()

    assert [number for number in (6, 7, 8, 9, 1_000_007) if place.given(number)] == [7]


def test_what_was_said_before_is_taken_away(place: ConfirmationDirectory, path: Path) -> None:
    """Whatever it is that lies there, a directory apart, which is no word anyway."""
    place.expect()
    (path / "000007").touch()
    (path / "link").symlink_to("/nowhere")
    (path / "directory").mkdir()
    place.expect()

    assert [item.name for item in path.iterdir()] == ["directory"]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_file_is_no_word(place: ConfirmationDirectory, path: Path, kind: str) -> None:
    """Not even a link to one: it is looked at by its name and never followed or opened."""
    place.expect()
    (path / "file").touch()
    match kind:
        case "directory":
            (path / "000007").mkdir()
        case "link":
            (path / "000007").symlink_to("file")
        case _:
            os.mkfifo(path / "000007")

    assert not place.given(7)


@pytest.mark.parametrize("mode", [0o702, 0o720, 0o777, 0o1777, 0o770])
def test_where_others_may_write_nothing_counts(place: ConfirmationDirectory, path: Path, mode: int) -> None:
    """The error says who and what to do; neither a word is believed nor anything taken away."""
    path.mkdir()
    path.chmod(mode)
    (path / "000007").touch()
    for ask in (place.expect, lambda: place.given(7)):
        with pytest.raises(StoreError, match="Others than root and members of iot-cert-admin may write to") as refused:
            ask()
        assert "mode 0770" in refused.value.hint
    assert (path / "000007").exists()


@as_root
@pytest.mark.parametrize(("owner", "group", "counts"), [(0, 4002, True), (0, 4003, False), (4001, 4002, False)])
def test_root_the_agent_and_the_admins_may_write(path: Path, owner: int, group: int, *, counts: bool) -> None:
    """Another user's directory is not believed, though admins may write there: its owner can have it as they like."""
    place = ConfirmationDirectory(path, admins=lambda: ADMINS)
    path.mkdir()
    (path / "000007").touch()
    os.chown(path, owner, group)
    path.chmod(0o770)
    if counts:
        assert place.given(7)
        return
    with pytest.raises(StoreError, match="so no word in it counts"):
        place.given(7)


def test_a_link_in_its_place_is_not_followed(place: ConfirmationDirectory, path: Path, tmp_path: Path) -> None:
    """Who could make it could have it lead anywhere."""
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "elsewhere" / "000007").touch()
    path.symlink_to("elsewhere")
    for ask in (place.expect, lambda: place.given(7)):
        with pytest.raises(StoreError, match="is a symbolic link, where a directory is expected"):
            ask()


def test_what_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The runtime directory is missing."""
    with pytest.raises(StoreError, match=r"make .*/run/confirm: No such file or directory"):
        ConfirmationDirectory(tmp_path / "run" / "confirm").expect()
