"""Reading a directory: bounded, through no link, and with errors that say what to do."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from agent.errors import DamagedError, StoreError
from agent.store.files import disk

if TYPE_CHECKING:
    from pathlib import Path


def test_a_regular_file_is_read_whole(tmp_path: Path, folder: int) -> None:
    """A file of just the allowed size is fine."""
    (tmp_path / "a").write_bytes(b"12345")
    assert disk.read(folder, "a", 5) == b"12345"


def test_an_oversize_file_is_refused(tmp_path: Path, folder: int) -> None:
    """One byte too many is damage, and no more than that is read."""
    (tmp_path / "a").write_bytes(b"123456")
    with pytest.raises(DamagedError, match="larger than the 5 bytes"):
        disk.read(folder, "a", 5)


def test_a_link_is_not_followed(tmp_path: Path, folder: int) -> None:
    """A link is refused even when it leads to a sound file."""
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DamagedError, match="b is a symbolic link"):
        disk.read(folder, "b", 10)


def test_a_fifo_is_refused_without_waiting(tmp_path: Path, folder: int) -> None:
    """No process writes to it, and reading it does not hang."""
    os.mkfifo(tmp_path / "a")
    with pytest.raises(DamagedError, match="a is a pipe, where a regular file is expected"):
        disk.read(folder, "a", 10)


def test_a_socket_is_refused_as_what_it_is(tmp_path: Path, folder: int) -> None:
    """The kernel opens none ("No such device or address"); it is damage, which callers move out of the way."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "a"))
    with pytest.raises(DamagedError, match="a is a socket, where a regular file is expected"):
        disk.read(folder, "a", 10)


def test_a_missing_file_is_told_apart_from_a_damaged_one(folder: int) -> None:
    """Callers treat absence in their own way."""
    with pytest.raises(FileNotFoundError):
        disk.read(folder, "a", 10)


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Not even the last part of a path may lead elsewhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(StoreError, match="is a symbolic link, where a directory is expected") as caught:
        disk.open_directory(str(tmp_path / "link"))
    assert caught.value.hint == f"Name {tmp_path}/real in its place: no link is followed here."
    (tmp_path / "real").rmdir()
    with pytest.raises(StoreError, match="is a symbolic link") as caught:
        disk.open_directory(str(tmp_path / "link"))
    assert caught.value.hint.startswith(f"{tmp_path}/real is not there: mount its file system")
    (tmp_path / "real").symlink_to("link")
    with pytest.raises(StoreError, match="is a symbolic link") as caught:
        disk.open_directory(str(tmp_path / "link"))
    assert caught.value.hint == "The links there lead in a circle: put the directory itself in their place."


def test_what_is_no_directory_is_called_what_it_is(tmp_path: Path, folder: int) -> None:
    """The kernel says `Not a directory` of all of them, and of a file above as well."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("file", "a file"), ("pipe", "a pipe")):
        with pytest.raises(StoreError, match=f"{name} is {what}, where a directory is expected"):
            disk.open_directory(name, folder)
    with pytest.raises(StoreError, match="Cannot open the directory file/below: Not a directory"):
        disk.open_directory("file/below", folder)


def test_a_missing_directory_is_an_explained_error(tmp_path: Path) -> None:
    """The sentence names the directory."""
    with pytest.raises(StoreError, match=r"Cannot open the directory .*gone: No such file"):
        disk.open_directory(str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "remount"),
        (errno.EACCES, "as root"),
        (errno.EIO, "dmesg"),
        (errno.EUCLEAN, "dmesg"),
        (errno.EPERM, "lsattr"),
        (errno.EBUSY, "findmnt"),
        (errno.EFBIG, "LimitFSIZE="),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.ESTALE, "mount it again"),
        (errno.ENOLCK, "no locks"),
        (errno.EOPNOTSUPP, "such as ext4"),
    ],
)
def test_an_error_says_what_to_do(number: int, hint: str) -> None:
    """Each errno a person can act on has a remedy."""
    with pytest.raises(StoreError, match="Cannot try") as caught, disk.explained("try"):
        raise OSError(number, "x")
    assert hint in caught.value.hint


def test_a_dangling_link_exists(tmp_path: Path, folder: int) -> None:
    """A name is taken whatever it leads to."""
    (tmp_path / "l").symlink_to("nowhere")
    assert disk.exists(folder, "l")
    assert not disk.exists(folder, "m")


def test_a_link_is_read_and_a_file_in_its_place_is_damage(tmp_path: Path, folder: int) -> None:
    """Absence is None, a file is refused."""
    (tmp_path / "l").symlink_to("there")
    (tmp_path / "f").write_bytes(b"")
    assert disk.link_target(folder, "l") == "there"
    assert disk.link_target(folder, "m") is None
    with pytest.raises(DamagedError, match="f is not a symbolic link"):
        disk.link_target(folder, "f")
