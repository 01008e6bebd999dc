"""Disks that are full or take no mode, owner or label, and what a crash or a person left in the way."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from agent.dependants.copies import LABEL, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

from support.shorthand import planted
from support.shorthand.copies import NEW, OLD, OTHER_GROUP, OTHER_USER, a_copy, dress, names, problem, put


@contextmanager
def tiny_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of 16 KiB."""
    disk = place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "none", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.root
def test_a_full_disk_keeps_the_old_copy(place: Path) -> None:
    """It is told, nothing is left beside it, and a copy elsewhere is written all the same."""
    with tiny_disk(place) as disk:
        put(a_copy(disk / "x"), content=OLD)
        done = put(a_copy(disk / "x"), a_copy(place / "y"), content=b"x" * 40_000)

        assert "No space left on device. Free some space" in done.problems[disk / "x"]
        assert list(done.problems) == [disk / "x"]
        assert ((disk / "x").read_bytes(), names(disk)) == (OLD, ["x"])
        assert (place / "y").read_bytes() == b"x" * 40_000


@pytest.mark.parametrize("there", [True, False])
def test_where_modes_are_ignored_nothing_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """As on vfat, which takes any and says nothing: a key there would be for everybody to read."""
    change = os.fchmod
    if there:
        put(a_copy(place / "x"), content=OLD)
    monkeypatch.setattr(os, "fchmod", lambda fd, _: change(fd, 0o755))
    for _ in range(2):
        assert "The file system keeps no owner or mode. Any user may read a key there" in problem(a_copy(place / "x"))

    assert names(place) == (["x"] if there else [])
    assert not there or ((place / "x").read_bytes(), dress(place / "x")[2]) == (OLD, 0o640)


@pytest.mark.root
def test_where_owners_are_ignored_nothing_is_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems; a copy that may be there as it is, is written all the same."""
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    wanted = a_copy(place / "x", OTHER_USER, OTHER_GROUP)
    done = put(wanted, a_copy(place / "y", "root", "root"))

    assert list(done.problems) == [wanted.to]
    assert names(place) == ["y"]


def _leave_file(path: Path, _: Path) -> None:
    path.write_bytes(b"junk")
    path.chmod(0o666)


def _leave_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _leave_hard_link(path: Path, victim: Path) -> None:
    os.link(victim, path)


@pytest.mark.parametrize("leave", [_leave_file, _leave_link, _leave_hard_link])
def test_what_lies_in_the_way_of_writing_is_taken_away(place: Path, leave: Callable[[Path, Path], None]) -> None:
    """A crash may have left it, or an attacker planted it: it is not written to, wherever it leads."""
    (place / "victim").write_bytes(OLD)
    leave(place / ".new-x", place / "victim")
    done = put(a_copy(place / "x"))

    assert (done.changed, dict(done.problems)) == (True, {})
    assert ((place / "x").read_bytes(), dress(place / "x")[2]) == (NEW, 0o640)
    assert ((place / "victim").read_bytes(), names(place)) == (OLD, ["victim", "x"])


def test_what_a_crash_left_of_a_copy_is_overwritten(place: Path) -> None:
    """It may hold a key; it never was in its place, so no program reads it."""
    (place / ".new-x").write_bytes(OLD)
    with (place / ".new-x").open("rb") as left:
        put(a_copy(place / "x"))
        assert left.read() == bytes(len(OLD))


@pytest.mark.root
def test_what_is_another_programs_in_the_way_of_writing_is_kept(place: Path) -> None:
    """Under another name, so that it keeps no copy from being written for good."""
    for kind in planted.FOREIGN:
        with planted.at(place / ".new-x", kind) as plant:
            put(a_copy(place / "x"))
            plant.require_kept(place / "x.damaged")
            assert (place / "x").read_bytes() == NEW
            (place / "x").unlink()


@pytest.mark.parametrize("place_of_it", [0, 1])
def test_a_copy_that_could_not_be_made_says_why(place: Path, place_of_it: int) -> None:
    """What is there stays, and the other is written."""
    wanted = [a_copy(place / "a"), a_copy(place / "b")]
    bad, good = wanted[place_of_it], wanted[1 - place_of_it]
    bad.to.write_bytes(OLD)
    done = write(wanted, [NEW, NEW], {}, {place_of_it: "There is no password."})

    assert dict(done.problems) == {bad.to: f"{bad.to} is not written: There is no password."}
    assert (bad.to.read_bytes(), good.to.read_bytes(), names(place)) == (OLD, NEW, ["a", "b"])


def label(path: Path, value: bytes) -> None:
    """Label a file as SELinux does, where the kernel lets us."""
    try:
        os.setxattr(path, LABEL, value)
    except OSError as error:
        pytest.skip(f"the kernel refuses {LABEL} here: {error}")


@pytest.mark.root
def test_the_label_of_the_old_copy_is_kept(place: Path) -> None:
    """The program's own policy lets it read that one."""
    put(a_copy(place / "x"), content=OLD)
    label(place / "x", b"system_u:object_r:cert_t:s0\0")
    done = put(a_copy(place / "x"))

    assert (done.changed, dict(done.problems)) == (True, {})
    assert (place / "x").read_bytes() == NEW
    assert os.getxattr(place / "x", LABEL) == b"system_u:object_r:cert_t:s0\0"


@pytest.mark.root
@pytest.mark.parametrize("at_work", [True, False])
def test_a_label_that_cannot_be_set_matters_where_it_is_heeded(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, at_work: bool
) -> None:
    """The helper may set labels only while SELinux is at work; one that is left from before keeps no copy away."""
    put(a_copy(place / "x"), content=OLD)
    label(place / "x", b"system_u:object_r:cert_t:s0\0")
    monkeypatch.setattr("agent.dependants.copies.SELINUX", place / ("x" if at_work else "gone"))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setxattr", refuse)
    done = put(a_copy(place / "x"))

    assert done.changed is not at_work
    assert (place / "x").read_bytes() == (OLD if at_work else NEW)
    assert names(place) == ["x"]


@pytest.mark.root
@pytest.mark.parametrize("kind", ["directory", "device"])
def test_no_change_waits_for_what_only_a_person_moves(place: Path, kind: str) -> None:
    """What stands at its name, a link or a file on the way to it, or an owner that is not there; a disk may come."""
    (place / "link").symlink_to(place)
    (place / "file").touch()
    orphan = a_copy(place / "z", "no-such-user")
    with planted.at(place / "x", kind):
        done = put(a_copy(place / "x"), a_copy(place / "link" / "y"), a_copy(place / "file" / "y"), orphan,
                   a_copy(place / "gone" / "y"), a_copy(place / "right"))  # fmt: skip
    assert done.barred == {place / "x", place / "link" / "y", place / "file" / "y", orphan.to}
    assert set(done.problems) == {*done.barred, place / "gone" / "y"}
