"""Copies: as wanted from the first byte, replaced whole, left alone when right, and never a way to elsewhere."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.dependants.copies import write
from agent.errors import StoreInDoubtError
from agent.store.files import durable
from support.crashkit import stepper
from support.running.systemd import ME
from support.shorthand.copies import NEW, OLD, OTHER_GROUP, OTHER_USER, a_copy, dress, names, problem, put
from support.suite import campaigns
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.dependants import Copy


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o660])
def test_a_copy_has_its_mode_whatever_the_umask(place: Path, umask: int, mode: int) -> None:
    """And its content, to the byte."""
    before = os.umask(umask)
    try:
        done = put(a_copy(place / "x", mode=mode))
    finally:
        os.umask(before)

    assert (done.changed, dict(done.problems)) == (True, {})
    assert dress(place / "x") == (os.geteuid(), os.getegid(), mode)
    assert (place / "x").read_bytes() == NEW
    assert names(place) == ["x"]


@pytest.mark.root
def test_a_copy_belongs_to_its_owner_and_group(place: Path) -> None:
    """Each by itself."""
    put(a_copy(place / "a", owner=OTHER_USER, group="root"), a_copy(place / "b", owner="root", group=OTHER_GROUP))

    assert dress(place / "a") == (NOBODY, 0, 0o640)
    assert dress(place / "b") == (0, NOBODY, 0o640)


@pytest.mark.root
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_no_byte_is_ever_seen_by_another_user(place: Path, mode: int) -> None:
    """Killed at any call, under a loose umask: what has content has its owner, group and mode, and nothing is wider."""
    act = partial(_put_loosely, a_copy(place / "x", OTHER_USER, OTHER_GROUP, mode))
    seen = set()
    total = len(stepper.dry(lambda: act).calls)
    for at in {*campaigns.places(total, 7), total - 1}:
        for path in place.iterdir():
            path.unlink()
        stepper.kill(lambda: act, at)
        for path in place.iterdir():
            uid, gid, found = dress(path)
            assert not found & ~mode, f"{path} has mode {found:o} at call {at}"
            assert gid == NOBODY or not found & 0o070, f"{path} is open to group {gid} at call {at}"
            if path.stat().st_size:
                assert (uid, gid, found) == (NOBODY, NOBODY, mode), f"at call {at}"
            seen.add(path.name)
    assert seen == {".new-x", "x"} or campaigns.chosen().case is not None


def _put_loosely(copy: Copy) -> None:
    os.umask(0)
    put(copy)


# -- replacing ---------------------------------------------------------------------------------------------------------


def test_who_has_the_old_copy_open_keeps_it(place: Path) -> None:
    """It is replaced by another file, so neither an open one nor one of another name changes."""
    put(a_copy(place / "x"), content=OLD)
    os.link(place / "x", place / "linked")
    with (place / "x").open("rb") as file:
        done = put(a_copy(place / "x"))
        assert file.read() == OLD

    assert done.changed
    assert ((place / "x").read_bytes(), (place / "linked").read_bytes()) == (NEW, OLD)


def _old(path: Path, stack: ExitStack) -> Callable[[], bytes]:
    """Return a way to read a file after it was replaced; a descriptor of its path alone counts for no lease."""
    fd = os.open(path, os.O_PATH)
    stack.callback(os.close, fd)
    return Path(f"/proc/self/fd/{fd}").read_bytes


@pytest.mark.root
@pytest.mark.parametrize("owner", [ME, OTHER_USER])
def test_a_copy_that_was_replaced_is_overwritten(place: Path, owner: str) -> None:
    """Whatever user owned it: it may hold a key, and no program has it open."""
    put(a_copy(place / "x", owner=owner), content=OLD)
    with ExitStack() as stack:
        old = _old(place / "x", stack)
        assert put(a_copy(place / "x", owner=owner)).changed
        assert old() == bytes(len(OLD))
    assert ((place / "x").read_bytes(), names(place)) == (NEW, ["x"])


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_a_copy_that_a_program_has_open_is_not_overwritten(place: Path, flags: int) -> None:
    """It may be in the middle of reading its key, or write to its own copy."""
    put(a_copy(place / "x"), content=OLD)
    with ExitStack() as stack:
        old = _old(place / "x", stack)
        fd = os.open(place / "x", flags)
        stack.callback(os.close, fd)
        put(a_copy(place / "x"))
        assert old() == OLD


def test_a_copy_whose_replacement_a_power_cut_may_undo_stays_whole(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come back as zeros."""
    put(a_copy(place / "x"), content=OLD)

    def doubt(_fd: int, done: str) -> None:
        raise StoreInDoubtError(f"In doubt: {done}.")

    with ExitStack() as stack:
        old = _old(place / "x", stack)
        monkeypatch.setattr(durable, "sync", doubt)
        assert list(put(a_copy(place / "x")).problems) == [place / "x"]
        assert old() == OLD


def test_a_copy_is_old_or_new_whenever_the_power_fails(place: Path) -> None:
    """Killed at any call, it is whole, also while what an earlier try left is overwritten."""
    act = partial(put, a_copy(place / "x"))
    put(a_copy(place / "x"), content=OLD)
    (place / ".new-x").write_bytes(NEW)
    seen = set()
    total = len(stepper.dry(lambda: act).calls)
    for at in {*campaigns.places(total, 7), total - 1}:
        put(a_copy(place / "x"), content=OLD)
        (place / ".new-x").write_bytes(NEW)
        stepper.kill(lambda: act, at)
        seen.add((place / "x").read_bytes())
    assert seen == {OLD, NEW} or campaigns.chosen().case is not None


def test_a_copy_that_is_right_is_not_touched(place: Path) -> None:
    """The same file with the same times, and nothing has changed."""
    wanted = a_copy(place / "x")
    put(wanted)
    os.utime(place / "x", (1, 1))
    before = (place / "x").stat()
    done = put(wanted)

    assert (done.changed, dict(done.problems)) == (False, {})
    after = (place / "x").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino, before.st_mtime_ns, before.st_ctime_ns,
    )  # fmt: skip


def test_a_directory_in_the_way_is_a_problem_and_loses_nothing(place: Path) -> None:
    """It may be a mistake in the configuration; no copy of a key is left beside it."""
    (place / "x").mkdir()
    (place / "x" / "precious").write_bytes(OLD)

    assert "A directory is there. Name a file under `copies:`." in problem(a_copy(place / "x"))
    assert (place / "x" / "precious").read_bytes() == OLD
    assert names(place) == ["x"]


@pytest.mark.parametrize("device", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_device_is_not_replaced(place: Path, device: int) -> None:
    """A copy to `/dev/null` would break the machine."""
    os.mknod(place / "x", device | 0o600, os.makedev(1, 3))

    assert "is there. Name a file under `copies:`." in problem(a_copy(place / "x"))
    assert stat.S_IFMT((place / "x").lstat().st_mode) == device
    assert names(place) == ["x"]


# -- more than one -----------------------------------------------------------------------------------------------------


def test_all_are_beside_their_places_before_the_first_is_moved(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key and its certificate in two files are apart for a moment only."""
    seen = []
    move = durable.move_in

    def watched(directory: int, name: str) -> None:
        seen.append((name, names(place)))
        move(directory, name)

    monkeypatch.setattr(durable, "move_in", watched)
    put(a_copy(place / "a"), a_copy(place / "b"))

    assert seen == [("a", [".new-a", ".new-b"]), ("b", [".new-b", "a"])]
    assert names(place) == ["a", "b"]


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("how", ["no directory", "a directory", "unknown owner"])
def test_one_that_fails_keeps_no_other_away(place: Path, bad: int, how: str) -> None:
    """Whichever it is, and whether it fails before or after the others were written beside their places."""
    wanted = [a_copy(place / name) for name in "abc"]
    if how == "no directory":
        wanted[bad] = a_copy(place / "gone" / "x")
    elif how == "a directory":
        wanted[bad].to.mkdir()
    else:
        wanted[bad] = a_copy(place / "x", owner="no-such-body")
    done = put(*wanted)

    assert done.changed
    assert list(done.problems) == [wanted[bad].to]
    assert all(copy.to.read_bytes() == NEW for copy in wanted if copy is not wanted[bad])


def test_it_is_told_before_the_first_is_moved(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, when all that can be made lie beside their places; not when none has to be, or none can be."""
    seen: list[list[str]] = []

    def go(*wanted: Copy) -> None:
        write(wanted, [NEW] * len(wanted), {}, beforehand=lambda: seen.append(names(place)))

    monkeypatch.setattr(durable, "move_in", lambda *_: seen.append(["moved"]))
    go(a_copy(place / "a"), a_copy(place / "gone" / "x"), a_copy(place / "b"))
    assert seen == [[".new-a", ".new-b"], ["moved"], ["moved"]]

    monkeypatch.undo()
    seen.clear()
    put(a_copy(place / "a"))
    go(a_copy(place / "a"), a_copy(place / "gone" / "x"))
    assert seen == []
