"""A lock that says that a process is there, and that ends with it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.store.files.lock_files import opened_at
from agent.system.locks import HeldError, Holder, LifeLock, held, holder
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "daemon.lock"


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir()
    return place


@pytest.fixture(name="lock")
def _lock(place: Path) -> Iterator[LifeLock]:
    lock = LifeLock(place / NAME, opened_at)
    yield lock
    lock.close()


def rival(place: Path) -> subprocess.Popen[str]:
    """Start another process that holds the lock."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom agent.store.files.lock_files import opened_at\n"
        f"from agent.system.locks import LifeLock\nlock = LifeLock(Path({str(place / NAME)!r}), opened_at)\n"
        "lock.hold()\nprint('held', flush=True)\nsys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def refused(lock: LifeLock) -> Holder:
    """Return who keeps a lock from being held."""
    with pytest.raises(HeldError) as caught:
        lock.hold()
    return caught.value.holder


def test_one_process_holds_it_until_it_ends(place: Path, lock: LifeLock) -> None:
    """The second is told which that is, also by who only asks; killed, it holds nothing."""
    process = rival(place)
    told = held(place / NAME)
    assert told is not None
    assert (refused(lock).pid, told.pid) == (process.pid, process.pid)
    assert told.who == f" (process {process.pid})"
    process.kill()
    process.communicate()
    lock.hold()
    assert held(place / NAME) is not None


def test_holding_it_again_is_nothing_new(place: Path, lock: LifeLock) -> None:
    """And neither writes nor opens anything."""
    lock.hold()
    before, opened = ((place / NAME).stat(), place.stat()), descriptors()
    lock.hold()
    assert ((place / NAME).stat(), place.stat()) == before
    assert descriptors() - opened == set()
    assert (place / NAME).stat().st_mode & 0o777 == 0o600


def test_it_is_held_as_soon_as_there_is_a_place_for_it(place: Path, lock: LifeLock) -> None:
    """Before that nothing is wrong, and nothing is made."""
    place.rmdir()
    lock.hold()
    assert not place.exists()
    place.mkdir()
    assert held(place / NAME) is None
    lock.hold()
    assert held(place / NAME) is not None


@pytest.mark.parametrize("way", ["the file", "the directory"])
def test_another_in_its_place_is_held_instead(place: Path, lock: LifeLock, way: str) -> None:
    """A file that was removed locks nothing, although a process has it open."""
    lock.hold()
    if way == "the file":
        (place / NAME).unlink()
    else:
        place.rename(place.parent / "aside")
        lock.hold()  # while there is none, the old one is kept
        place.mkdir()
    lock.hold()
    assert held(place / NAME) is not None


def test_another_who_was_first_in_the_new_place_is_met(place: Path, lock: LifeLock) -> None:
    """Two that waited for the directory: the second to come is refused."""
    place.rmdir()
    lock.hold()
    place.mkdir()
    other = LifeLock(place / NAME, opened_at)
    other.hold()
    assert refused(lock).pid == os.getpid()
    other.close()


def test_a_directory_that_cannot_be_written_is_said(place: Path, lock: LifeLock) -> None:
    """It keeps no daemon from going on; a file from an earlier life can be locked nevertheless."""
    (place / NAME).symlink_to("elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LifeLock(place / NAME, lambda path: os.open(path, os.O_RDWR | os.O_NOFOLLOW)).hold()
    (place / NAME).unlink()
    (place / NAME).touch()
    other = os.open(place / NAME, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert refused(lock).pid == os.getpid()
    os.close(other)
    lock.hold()


def test_a_command_that_only_asks_hinders_no_daemon(place: Path, lock: LifeLock) -> None:
    """And is told nothing where there is nothing to be told."""
    assert held(place / NAME) is None
    (place / NAME).touch()
    assert held(place / NAME) is None
    lock.hold()


def test_a_process_that_the_kernel_does_not_name_is_left_out(place: Path, lock: LifeLock) -> None:
    """A file that no process has locked has no holder, and the words for it are none."""
    (place / NAME).touch()
    with (place / NAME).open() as file:
        assert holder(file.fileno()) is None
    assert Holder(pid=None).who == ""
    lock.hold()
