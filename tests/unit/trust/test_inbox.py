"""The inbox: a program that may write there can lead nowhere, keep nothing busy, and is told what became of a drop."""

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

from agent.core.trust import updates
from agent.core.trust.updates import MAX_ARCHIVE, BundleOutcome
from agent.errors import BundleError, StoreError
from agent.store import disk
from agent.trust import inbox
from support.ticks import tick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def names(path: Path) -> list[str]:
    """Return the names of what is waiting."""
    return [drop.name for drop in drops(path)]


def drops(path: Path) -> list[inbox.Drop]:
    """Return what is waiting, seen in one look."""
    survey = inbox.Survey()
    found = survey.look(path)
    assert not survey.unfinished
    return found


def refused(path: Path, name: str) -> BundleError:
    """Return how a drop is refused."""
    with pytest.raises(BundleError) as error:
        inbox.read(path, name)
    assert str(error.value).endswith(".")
    return error.value


# -- what is waiting ---------------------------------------------------------------------------------------------------


def test_where_there_is_no_inbox_nothing_waits(tmp_path: Path) -> None:
    """The pipeline makes it, and the agent does not."""
    assert drops(tmp_path / "inbox") == []


def test_an_inbox_that_is_none_is_an_error(tmp_path: Path) -> None:
    """A file, or a link to somewhere else."""
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(StoreError):
            drops(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        ".hidden", ".new-bundle.tar.outcome.json", "bundle.tar.part", "bundle.tmp", "b.partial", "b.filepart",
        "b.crdownload", "bundle.tar.outcome.json", "bundle.tar~", "lost+found", "x" * 101, "a\nb",
        "ä\u200e", "\u4e00" * 82,
    ],
)  # fmt: skip
def test_what_is_unfinished_or_cannot_be_told_of_is_no_drop(tmp_path: Path, name: str) -> None:
    """An upload in progress, an outcome, a name that no line and no outcome's name can hold."""
    (tmp_path / name).touch()
    (tmp_path / os.fsdecode(b"\xff.tar")).touch()

    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        "bundle.tar", "b", "x" * 100, "A_b-1.2.tar.gz", "part", "7", "anchors (1).tar", "ä.tar", "a:b", "-rf", "a\\b",
        "anchors+1.tar", "\u4e00" * 80,
    ],
)  # fmt: skip
def test_a_name_that_can_be_told_of_is_a_drops(tmp_path: Path, name: str) -> None:
    """Of up to a hundred characters: what a browser or a person made of it says nothing of the signature."""
    (tmp_path / name).touch()

    assert names(tmp_path) == [name]
    assert updates.drop_of(updates.inbox_order(name, "0" * 64)) == name
    inbox.write_outcome(tmp_path, name, BundleOutcome(outcome="installed"))
    assert inbox.read_outcome(tmp_path, name).outcome == "installed"


def test_what_is_passed_over_for_its_name_can_be_asked_for(tmp_path: Path) -> None:
    """And not what is to be left alone; where there is no inbox nothing is."""
    for name in (
        b"\xff.tar",
        b"a\nb",
        b"x" * 101,
        b".hidden",
        b"b.part",
        b"b.tar",
        b"lost+found",
        b"b.tar.outcome.json",
    ):
        (tmp_path / os.fsdecode(name)).touch()

    assert inbox.passed_over(tmp_path) == ["a\nb", "x" * 101, "\udcff.tar"]
    assert inbox.passed_over(tmp_path / "inbox") == []


def test_of_a_flood_of_names_a_person_is_told_some(tmp_path: Path) -> None:
    """The answer, and the time it takes, do not grow with what lies there."""
    for number in range(7):
        (tmp_path / f"odd\n{number}").touch()
    assert len(inbox.passed_over(tmp_path, 5)) == 5
    assert len(inbox.passed_over(tmp_path)) == 7


def test_every_kind_of_thing_is_listed_so_that_it_is_answered(tmp_path: Path) -> None:
    """A link to nowhere and a directory as well, the latter until it was answered."""
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert sorted(names(tmp_path)) == ["directory", "link", "pipe"]
    inbox.write_outcome(tmp_path, "directory", BundleOutcome(outcome="refused"))

    assert sorted(names(tmp_path)) == ["link", "pipe"]


def test_a_drop_that_was_answered_before_is_listed_again(tmp_path: Path) -> None:
    """The next one of the same name."""
    inbox.write_outcome(tmp_path, "bundle.tar", BundleOutcome(outcome="installed"))
    (tmp_path / "bundle.tar").touch()

    assert names(tmp_path) == ["bundle.tar"]


def test_the_stamp_tells_a_drop_from_the_next_of_its_name(tmp_path: Path) -> None:
    """Written to, renamed over, or only touched; looking changes nothing."""
    path = tmp_path / "b"
    path.write_bytes(b"1")
    seen = drops(tmp_path)
    assert drops(tmp_path) == seen
    for change in (
        lambda: path.write_bytes(b"22"),
        lambda: (tmp_path / ".next").write_bytes(b"22") and (tmp_path / ".next").rename(path),
        lambda: os.utime(path, (1, 1)),
        lambda: path.chmod(0o600),
    ):
        change()
        assert drops(tmp_path) != seen
        seen = drops(tmp_path)


def test_a_flooded_inbox_does_not_keep_the_agent_busy(tmp_path: Path) -> None:
    """As many as are looked at, and no more."""
    for number in range(inbox.MAX_LISTED + 50):
        (tmp_path / f"f{number}").touch()

    assert len(names(tmp_path)) == inbox.MAX_LISTED


def test_a_flood_hides_neither_the_oldest_nor_the_newest(tmp_path: Path) -> None:
    """Whatever their names are: a good one that comes last is seen at once."""
    (tmp_path / "bad-00000").touch()
    tick(tmp_path)
    for number in range(1, inbox.MAX_LISTED + 50):
        (tmp_path / f"bad-{number:05}").touch()
        os.utime(tmp_path / f"bad-{number:05}", (4_000_000_000,) * 2)  # what a program may say of its file
    tick(tmp_path)
    (tmp_path / "z-good").touch()

    listed = names(tmp_path)
    assert (listed[0], listed[-1]) == ("bad-00000", "z-good")


def test_years_of_outcomes_hide_no_drop(tmp_path: Path) -> None:
    """A pipeline that never clears up is answered still, whatever its names."""
    for number in range(inbox.MAX_LISTED + 50):
        (tmp_path / f"a{number}.outcome.json").touch()
        (tmp_path / f".a{number}").touch()
    (tmp_path / "zz.tar").touch()

    assert names(tmp_path) == ["zz.tar"]


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
    yield lambda: os.seteuid(65534 if before == 0 else before)
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
