"""A drop of the inbox: read as it is or refused unread, answered beside it, and removed when it is the same one."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.trust.updates import MAX_ARCHIVE, BundleOutcome
from agent.errors import BundleError, StoreError
from agent.store.files import disk
from agent.trust import inbox
from support.suite.surroundings import NOBODY
from support.unit.trust.inboxes import drops, names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def refused(path: Path, name: str) -> BundleError:
    """Return how a drop is refused."""
    with pytest.raises(BundleError) as error:
        inbox.read(path, name)
    assert str(error.value).endswith(".")
    return error.value


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_drop_is_read_whole(tmp_path: Path) -> None:
    """It stays where it is."""
    (tmp_path / "bundle.tar").write_bytes(b"content")

    assert inbox.read(tmp_path, "bundle.tar") == b"content"
    assert names(tmp_path) == ["bundle.tar"]


def test_a_drop_that_is_gone_is_gone(tmp_path: Path) -> None:
    """The pipeline took it away again; there is nothing to answer."""
    with pytest.raises(FileNotFoundError):
        inbox.read(tmp_path, "bundle.tar")
    with pytest.raises(StoreError):
        inbox.read(tmp_path / "missing", "bundle.tar")


def test_what_is_no_plain_file_is_refused_unread(tmp_path: Path) -> None:
    """A link to a secret, a pipe without a writer, a socket, a directory."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "in" / "socket"))
        for name in ("link", "pipe", "directory", "socket"):
            error = refused(tmp_path / "in", name)
            assert (error.code, error.passing) == ("not-a-file", False)


@pytest.mark.root
def test_a_device_is_refused_unread(tmp_path: Path) -> None:
    """One that never ends, and one that is not to be touched."""
    os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 1_000_000))

    assert refused(tmp_path, "zero").code == refused(tmp_path, "disk").code == "not-a-file"


def test_a_drop_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    """A hole of a terabyte costs nothing to make, and nothing to refuse; at the limit it is read."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with (tmp_path / "limit").open("wb") as file:
        file.truncate(MAX_ARCHIVE)
    tracemalloc.start()
    error = refused(tmp_path, "sparse")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (error.code, error.passing) == ("too-large", False)
    assert peak < 100_000
    assert len(inbox.read(tmp_path, "limit")) == MAX_ARCHIVE


@pytest.fixture(name="open_place")
def _open_place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # those above it let everybody through
        yield Path(place)


@pytest.fixture(name="unprivileged")
def _unprivileged() -> Iterator[Callable[[], None]]:
    before = os.geteuid()
    yield lambda: os.seteuid(NOBODY if before == 0 else before)
    os.seteuid(before)


def test_a_drop_that_may_not_be_read_says_what_to_do(open_place: Path, unprivileged: Callable[[], None]) -> None:
    """The pipeline gave it a mode of its own."""
    (open_place / "b").touch(mode=0o000)
    unprivileged()
    error = refused(open_place, "b")

    assert (error.code, error.passing) == ("unreadable", False)
    assert error.hint == "Drop it with a mode that lets the agent's user read it."


@pytest.mark.parametrize("swap", ["written", "replaced", "removed"])
def test_a_drop_that_changes_while_it_is_read_is_left_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swap: str
) -> None:
    """Neither half of the old nor half of the new is looked at."""
    path, real = tmp_path / "b", disk.read
    path.write_bytes(b"old")

    def read_and_swap(fd: int, name: str, limit: int) -> bytes:
        data = real(fd, name, limit)
        if swap == "written":
            path.write_bytes(b"newer")
        elif swap == "replaced":
            (tmp_path / ".new").write_bytes(b"new")
            (tmp_path / ".new").rename(path)
        else:
            path.unlink()
        return data

    monkeypatch.setattr(disk, "read", read_and_swap)
    error = refused(tmp_path, "b")

    assert (error.code, error.passing) == ("changing", True)


def test_a_link_put_in_place_of_a_drop_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the read."""
    path, real = tmp_path / "b", disk.read
    path.write_bytes(b"plain")

    def swap_and_read(fd: int, name: str, limit: int) -> bytes:
        path.unlink()
        path.symlink_to("/etc/passwd")
        return real(fd, name, limit)

    monkeypatch.setattr(disk, "read", swap_and_read)

    assert refused(tmp_path, "b").code == "not-a-file"


# -- what became of it -------------------------------------------------------------------------------------------------


def test_an_outcome_stands_beside_its_drop(tmp_path: Path) -> None:
    """As JSON that the pipeline may read, in place of what was said before."""
    inbox.write_outcome(tmp_path, "b.tar", BundleOutcome(outcome="in-progress", change="c-1"))
    inbox.write_outcome(tmp_path, "b.tar", BundleOutcome(outcome="installed", message="Zürich."))
    path = tmp_path / "b.tar.outcome.json"

    assert json.loads(path.read_bytes()) == {"outcome": "installed", "message": "Zürich."}
    assert path.read_bytes().endswith(b"}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert inbox.read_outcome(tmp_path, "b.tar") == BundleOutcome(outcome="installed", message="Zürich.")
    assert [item.name for item in tmp_path.iterdir()] == ["b.tar.outcome.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"7", b"{" + b" " * 70_000 + b"}"])
def test_an_outcome_that_others_wrote_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    """It is in a directory under other hands."""
    (tmp_path / "b.outcome.json").write_bytes(content)

    assert inbox.read_outcome(tmp_path, "b") == BundleOutcome()
    assert inbox.read_outcome(tmp_path, "missing") == BundleOutcome()


def test_an_outcome_is_written_through_no_link(tmp_path: Path) -> None:
    """Neither the name nor the name it is written under first leads elsewhere."""
    (tmp_path / "in").mkdir()
    for name in ("b.outcome.json", ".new-b.outcome.json"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "precious")
    inbox.write_outcome(tmp_path / "in", "b", BundleOutcome(outcome="refused"))

    assert not (tmp_path / "precious").exists()
    assert inbox.read_outcome(tmp_path / "in", "b") == BundleOutcome(outcome="refused")
    assert json.loads((tmp_path / "in" / "b.outcome.json").read_bytes()) == {"outcome": "refused"}


def test_a_drop_is_removed_and_a_directory_is_not(tmp_path: Path) -> None:
    """A link is, and what it points at is not; what is gone already is no error."""
    (tmp_path / "precious").touch()
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    for name in ("link", "file", "directory"):
        inbox.remove(tmp_path, name)

    assert sorted(item.name for item in tmp_path.iterdir()) == ["directory", "precious"]


def test_removing_what_was_taken_away_meanwhile_is_no_error(tmp_path: Path) -> None:
    """The pipeline may take its drop back at any time; another drop stays."""
    (tmp_path / "kept").touch()
    inbox.remove(tmp_path, "gone")
    assert [item.name for item in tmp_path.iterdir()] == ["kept"]


def test_another_drop_in_place_of_the_one_that_was_read_is_left(tmp_path: Path) -> None:
    """A pipeline that uses one name for all of its bundles loses none."""
    (tmp_path / "b.tar").write_bytes(b"1")
    (seen,) = drops(tmp_path)
    (tmp_path / ".next").write_bytes(b"2")
    (tmp_path / ".next").rename(tmp_path / "b.tar")
    inbox.remove(tmp_path, "b.tar", seen)
    assert (tmp_path / "b.tar").read_bytes() == b"2"
    inbox.remove(tmp_path, "b.tar", *drops(tmp_path))

    assert list(tmp_path.iterdir()) == []
