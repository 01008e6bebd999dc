"""The kernel's own word for a file that is complete, and for whatever else is done in a directory."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.system.watches.inotify import ChangeWatch, DirectoryWatch, Place, open_change_watch, open_directory_watch
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    place = tmp_path / "inbox"
    place.mkdir()
    return place


@pytest.fixture(name="watch")
def _watch(place: Path) -> Iterator[DirectoryWatch]:
    watch = open_directory_watch(place)
    assert watch is not None
    yield watch
    watch.close()


def readable(watch: DirectoryWatch | ChangeWatch) -> bool:
    """Whether there is something to read, at once."""
    return bool(select.select([watch], [], [], 0)[0])


def test_a_file_is_complete_once_it_is_closed(place: Path, watch: DirectoryWatch) -> None:
    """Not while it is written."""
    with (place / "a").open("wb") as file:
        file.write(b"x")
        file.flush()
        assert not readable(watch)
        assert watch.read() == set()
    assert readable(watch)

    assert watch.read() == {"a"}
    assert not readable(watch)
    assert watch.read() == set()


def test_a_file_is_complete_once_it_is_renamed_into_place(place: Path, watch: DirectoryWatch) -> None:
    """From within the directory, or from beside it; a name that left is none."""
    (place.parent / "elsewhere").touch()
    (place.parent / "elsewhere").rename(place / "b")
    assert watch.read() == {"b"}
    (place / "b").rename(place / "c")
    assert watch.read() == {"c"}
    (place / "c").rename(place.parent / "elsewhere")
    (place.parent / "elsewhere").unlink()

    assert watch.read() == set()


def test_reading_linking_and_removing_completes_nothing(place: Path, watch: DirectoryWatch) -> None:
    """Nor does a directory that is made, or a change of mode."""
    (place / "a").touch()
    watch.read()
    (place / "a").read_bytes()
    (place / "a").chmod(0o600)
    (place / "b").symlink_to("a")
    (place / "d").mkdir()
    (place / "a").unlink()

    assert watch.read() == set()
    assert not watch.gone


def test_several_names_come_at_once(place: Path, watch: DirectoryWatch) -> None:
    """Short ones, long ones, and ones that are no text."""
    names = {"a", "x" * 255, "ä b", os.fsdecode(b"\xff"), "n" * 15, "n" * 16}
    for name in names:
        (place / name).touch()

    assert watch.read() == names


@pytest.mark.parametrize("way", ["removed", "moved"])
def test_a_directory_that_is_gone_is_told(place: Path, watch: DirectoryWatch, way: str) -> None:
    """Another in its place is another directory."""
    if way == "removed":
        place.rmdir()
    else:
        place.rename(place.parent / "other")
    assert readable(watch)
    watch.read()

    assert watch.gone


def test_where_there_is_nothing_to_watch_there_is_no_watch(tmp_path: Path) -> None:
    """A directory that is missing, is none, or is only a link to one."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    before = descriptors()

    assert open_directory_watch(tmp_path / "missing") is None
    assert open_directory_watch(tmp_path / "file") is None
    assert open_directory_watch(tmp_path / "link") is None
    assert descriptors() - before == set()


def test_without_inotify_there_is_no_watch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library or a kernel without it: the caller looks from time to time."""
    monkeypatch.setattr("agent.system.watches.inotify.ctypes.CDLL", lambda *_, **__: object())

    assert open_directory_watch(place) is None


def test_a_closed_watch_holds_nothing(place: Path) -> None:
    """And closing it twice does no harm."""
    before = descriptors()
    watch = open_directory_watch(place)
    assert watch is not None
    watch.close()
    watch.close()

    assert watch.fileno() == -1
    assert descriptors() - before == set()


def test_more_than_fits_at_once_is_read_in_turns(place: Path, watch: DirectoryWatch) -> None:
    """Each name comes, however many there are."""
    names = {f"{number:04}" + "x" * 240 for number in range(400)}
    for name in names:
        (place / name).touch()
    found = set(watch.read())
    assert found < names
    while readable(watch):
        found |= watch.read()

    assert found == names


# -- any change --------------------------------------------------------------------------------------------------------

NAMED = frozenset({"current"})


@pytest.fixture(name="changes")
def _changes(place: Path) -> Iterator[ChangeWatch]:
    """Watch two directories: of one a single entry, of the other everything."""
    (place / "inner").mkdir()
    (place / "inner" / "key.pem").write_text("key")
    (place / "current").symlink_to("inner")
    watch = open_change_watch([Place(place, NAMED), Place(place / "inner")])
    assert watch is not None
    yield watch
    watch.close()


def _flip(place: Path) -> None:
    (place / "other").symlink_to("elsewhere")
    (place / "other").rename(place / "current")


TOUCHES: dict[str, Callable[[Path], object]] = {
    "a file is written": lambda place: (place / "inner" / "key.pem").write_text("another"),
    "a file is cut": lambda place: os.truncate(place / "inner" / "key.pem", 0),
    "a file is removed": lambda place: (place / "inner" / "key.pem").unlink(),
    "a file is renamed": lambda place: (place / "inner" / "key.pem").rename(place / "inner" / "key.bak"),
    "a file is made": lambda place: (place / "inner" / "new").touch(),
    "a file has another mode": lambda place: (place / "inner" / "key.pem").chmod(0),
    "the directory has another mode": lambda place: (place / "inner").chmod(0o500),
    "the directory is renamed": lambda place: (place / "inner").rename(place / "aside"),
    "the link is removed": lambda place: (place / "current").unlink(),
    "the link is moved by renaming": _flip,
    "the outer directory is renamed": lambda place: place.rename(place.parent / "aside"),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_every_way_to_touch_a_set_is_heard(place: Path, changes: ChangeWatch, touch: Callable[[Path], object]) -> None:
    """Once it has been read, nothing is left to hear."""
    assert not readable(changes)
    touch(place)
    assert readable(changes)

    assert changes.read()
    assert not changes.read()


def test_what_does_not_count_is_not_heard(place: Path, changes: ChangeWatch) -> None:
    """Other entries of a directory of which one counts, and reading, also of what counts."""
    (place / "change.json").write_text("{}")
    (place / "change.json").chmod(0o600)
    (place / "change.json").unlink()
    (place / "inner" / "key.pem").read_bytes()
    list((place / "inner").iterdir())
    (place / "current").readlink()

    assert not changes.read()


def test_a_directory_that_is_missing_hinders_no_other(place: Path) -> None:
    """What is there is watched."""
    watch = open_change_watch([Place(place / "missing"), Place(place)])
    assert watch is not None
    (place / "a").touch()
    assert watch.read()
    watch.close()


def test_more_changes_than_the_kernel_keeps_are_one_all_the_same(place: Path, changes: ChangeWatch) -> None:
    """An overflow tells that something was lost."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit // 2 + 10):
        (place / f"{number}").touch()  # which does not count
        (place / f"{number}").unlink()
    found = [changes.read()]
    while readable(changes):
        found.append(changes.read())
    assert any(found)


def test_without_inotify_no_change_is_heard(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller looks from time to time."""
    monkeypatch.setattr("agent.system.watches.inotify.ctypes.CDLL", lambda *_, **__: object())

    assert open_change_watch([Place(place)]) is None
