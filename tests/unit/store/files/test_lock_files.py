"""The files of locks, whatever stands in their place."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from agent.store.files import disk, lock_files
from support.suite.surroundings import need_root

if TYPE_CHECKING:
    from collections.abc import Callable


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _full_directory(path: Path) -> None:
    path.mkdir()
    (path / "kept").touch()


def _link(path: Path) -> None:
    path.symlink_to("elsewhere")


def _device(path: Path) -> None:
    if os.geteuid() == 0:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("make", [Path.mkdir, _full_directory, _socket, _link, os.mkfifo, _device])
def test_what_stands_in_its_place_is_moved_away_and_kept(
    tmp_path: Path, folder: int, make: Callable[[Path], None]
) -> None:
    """The lock is a file then, and made nowhere else."""
    make(tmp_path / "lock")
    os.close(lock_files.opened(folder, "lock"))
    assert (tmp_path / "lock").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.name != "lock"] == ["lock.damaged"]


def test_a_lock_that_another_process_has_made_meanwhile_stays(tmp_path: Path, folder: int) -> None:
    """The later of two must not move the file that the first has locked."""
    fd = lock_files.opened(folder, "lock")
    fcntl.flock(fd, fcntl.LOCK_EX)
    lock_files.make_way(folder, "lock")
    assert os.fstat(fd).st_ino == (tmp_path / "lock").stat().st_ino
    os.close(fd)


@pytest.mark.parametrize(("mode", "left"), [(0o600, ["lock", "lock.damaged"]), (0o644, ["lock"])])
def test_a_lock_that_root_has_made_keeps_no_user_from_its_work(mode: int, left: list[str]) -> None:
    """What may be read is locked as it is; what may not is moved away, since no process of this user holds it."""
    need_root()
    with TemporaryDirectory() as name:  # not below pytest's directory, which is root's alone
        os.chown(name, 65_534, 65_534)
        path = Path(name, "lock")
        path.touch()
        path.chmod(mode)
        os.seteuid(65_534)
        try:
            with disk.directory(name) as folder:
                os.close(lock_files.opened(folder, "lock"))
        finally:
            os.seteuid(0)
        assert sorted(found.name for found in Path(name).iterdir()) == left


def test_an_error_that_has_another_reason_stays_one(folder: int) -> None:
    """The caller says what it means."""
    with pytest.raises(OSError, match="File name too long"):
        lock_files.opened(folder, "x" * 300)
