"""Copies: as wanted from the first byte, replaced whole, left alone when right, and never a way to elsewhere."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Content, Copy, Format
from agent.dependants.copies import MAX_COPY, write
from agent.errors import StoreError, StoreInDoubtError
from agent.store import durable
from support import campaigns
from support.crashkit import stepper
from support.systemd import ME, NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable

from support.copies import NEW, OLD, OTHER_GROUP, OTHER_USER, a_copy, dress, names, problem, put


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
    for at in {*campaigns.places(total, 3), total - 1}:
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
    for at in {*campaigns.places(total, 3), total - 1}:
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


def _cut(path: Path) -> None:
    path.write_bytes(NEW[:-1])


def _add(path: Path) -> None:
    path.write_bytes(NEW + b"\n")


def _turn_a_bit(path: Path) -> None:
    path.write_bytes(bytes([NEW[0] ^ 1]) + NEW[1:])


def _open_up(path: Path) -> None:
    path.chmod(0o644)


def _close(path: Path) -> None:
    path.chmod(0o600)


def _link_to_the_same(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def _put_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o640)


def _take_away(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    "harm", [_cut, _add, _turn_a_bit, _open_up, _close, _link_to_the_same, _put_a_pipe, _take_away]
)
def test_a_copy_that_was_changed_is_put_right(place: Path, harm: Callable[[Path], None]) -> None:
    """Whether its content, its mode, its kind or its being there."""
    put(a_copy(place / "x"))
    harm(place / "x")
    done = put(a_copy(place / "x"))

    assert (done.changed, dict(done.problems)) == (True, {})
    assert stat.S_ISREG((place / "x").lstat().st_mode)
    assert ((place / "x").read_bytes(), dress(place / "x")[2]) == (NEW, 0o640)
    assert not put(a_copy(place / "x")).changed


@pytest.mark.root
@pytest.mark.parametrize("ids", [(NOBODY, 0), (0, NOBODY)])
def test_a_copy_that_was_given_away_is_put_right(place: Path, ids: tuple[int, int]) -> None:
    """Its owner, and its group."""
    put(a_copy(place / "x"))
    os.chown(place / "x", *ids)

    assert put(a_copy(place / "x")).changed
    assert dress(place / "x")[:2] == (0, 0)


def test_what_a_link_leads_to_is_not_written(place: Path) -> None:
    """The link is what is replaced, wherever it leads."""
    (place / "victim").write_bytes(OLD)
    (place / "x").symlink_to("victim")
    done = put(a_copy(place / "x"))

    assert (done.changed, dict(done.problems)) == (True, {})
    assert (place / "victim").read_bytes() == OLD
    assert not (place / "x").is_symlink()


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


def test_a_copy_that_could_not_be_moved_in_is_overwritten(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the one that it was to replace stays as it is."""
    (place / "x").write_bytes(OLD)
    with ExitStack() as stack:
        held: list[bytes] = []

        def fail(directory: int, name: str) -> None:
            copy = os.open(durable.TEMPORARY + name, os.O_RDONLY, dir_fd=directory)
            stack.callback(os.close, copy)
            stack.callback(lambda: held.append(os.pread(copy, 1000, 0)))
            raise StoreError("Cannot rename .new-x to x: Input/output error.", hint="The disk reports an error.")

        monkeypatch.setattr(durable, "move_in", fail)
        write([own(place)], [NEW], {})
    assert held == [bytes(len(NEW))]
    assert (names(place), (place / "x").read_bytes()) == (["x"], OLD)


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


# -- PKCS #12 ----------------------------------------------------------------------------------------------------------


def boxed(place: Path) -> Copy:
    """Return a copy that is different each time it is made."""
    return a_copy(place / "x.p12", form=Format.PKCS12)


def test_a_box_is_known_by_its_digest(place: Path) -> None:
    """What is made anew differs, so what was written last is what is looked for, and it is left alone."""
    copy = boxed(place)
    first = write([copy], [OLD], {})
    assert list(first.digests) == [str(copy.to)]

    second = write([copy], [NEW], first.digests)
    assert (second.changed, second.digests) == (False, first.digests)
    assert copy.to.read_bytes() == OLD


@pytest.mark.parametrize("harm", [_cut, _open_up, _take_away])
def test_a_box_that_was_changed_is_made_anew(place: Path, harm: Callable[[Path], None]) -> None:
    """And its new digest is what is known of it."""
    copy = boxed(place)
    known = write([copy], [OLD], {}).digests
    harm(copy.to)
    done = write([copy], [NEW], known)

    assert (done.changed, list(done.digests)) == (True, [str(copy.to)])
    assert done.digests != known
    assert not write([copy], [OLD], done.digests).changed
    assert copy.to.read_bytes() == NEW


@pytest.mark.parametrize("heal", [True, False])
@pytest.mark.parametrize("change", ["content", "format", "password"])
def test_a_copy_that_is_wanted_otherwise_is_made_anew(place: Path, change: str, *, heal: bool) -> None:
    """Within the same set, too: a store of anchors must not go on holding the key."""
    password = place / "password"
    password.write_text("first")
    box = replace(boxed(place), password_file=password, heal=heal)
    known = write([box], [OLD], {}).digests
    assert not write([box], [NEW], known).changed
    if change == "password":
        password.write_text("second")
        os.utime(password, ns=(1, 1))
    wanted = {"content": replace(box, content=Content.ANCHORS), "format": replace(box, format=Format.PEM)}.get(
        change, box
    )

    assert write([wanted], [NEW], known).changed
    assert box.to.read_bytes() == NEW


def test_a_box_of_unknown_content_is_made_anew(place: Path) -> None:
    """With another set nothing is known; nor is a digest noted of what is the same each time."""
    copy = boxed(place)
    write([copy], [OLD], {})

    assert write([copy], [OLD], {}).changed
    assert write([a_copy(place / "y")], [NEW], {}).digests == {}


# -- copies that their programs write to -------------------------------------------------------------------------------


def own(place: Path) -> Copy:
    """Return a copy that its program writes to as well."""
    return replace(a_copy(place / "x"), heal=False)


@pytest.mark.parametrize("harm", [_cut, _add, _open_up])
def test_what_its_program_made_of_a_copy_stays(place: Path, harm: Callable[[Path], None]) -> None:
    """Once it was written for a set; with another set, of which nothing is known, it is written again."""
    first = write([own(place)], [NEW], {})
    assert (first.changed, list(first.digests)) == (True, [str(place / "x")])
    harm(place / "x")
    before = (place / "x").read_bytes()

    second = write([own(place)], [NEW], first.digests)
    assert (second.changed, second.digests, (place / "x").read_bytes()) == (False, first.digests, before)
    assert write([own(place)], [NEW], {}).changed
    assert (place / "x").read_bytes() == NEW


def test_a_copy_that_its_program_let_grow_stays(place: Path) -> None:
    """Beyond what any copy of ours may have; one that is to be healed is put right."""
    first = write([own(place)], [NEW], {})
    put(a_copy(place / "y"))
    for path in (place / "x", place / "y"):
        os.truncate(path, MAX_COPY + 1)

    second = write([own(place)], [NEW], first.digests)
    assert (second.tried, second.changed, second.digests, dict(second.problems)) == (False, False, first.digests, {})
    assert (place / "x").stat().st_size == MAX_COPY + 1
    assert put(a_copy(place / "y")).changed
    assert (place / "y").read_bytes() == NEW


@pytest.mark.parametrize("harm", [_take_away, _put_a_pipe, _link_to_the_same])
def test_a_copy_that_is_gone_is_written_again(place: Path, harm: Callable[[Path], None]) -> None:
    """That is not what its program makes of it."""
    first = write([own(place)], [NEW], {})
    harm(place / "x")

    assert write([own(place)], [NEW], first.digests).changed
    assert (place / "x").read_bytes() == NEW


def test_a_copy_that_could_not_be_put_in_place_is_not_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the old one would count as right from then on."""
    (place / "x").write_bytes(OLD)

    def fail(*_: object) -> None:
        raise StoreError("Cannot rename .new-x to x: Input/output error.", hint="The disk reports an error.")

    with monkeypatch.context() as patched:
        patched.setattr(durable, "move_in", fail)
        done = write([own(place)], [NEW], {})
    assert (done.changed, done.digests, list(done.problems)) == (False, {}, [place / "x"])
    assert (names(place), (place / "x").read_bytes()) == (["x"], OLD)

    assert write([own(place)], [NEW], done.digests).changed
    assert (place / "x").read_bytes() == NEW


def test_a_copy_in_doubt_has_changed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in place, and a power cut may undo that: its reader has to, and it is told."""
    move = durable.move_in

    def doubt(directory: int, name: str) -> None:
        move(directory, name)
        raise StoreInDoubtError("In doubt: x was put in place, but the disk did not confirm it.")

    monkeypatch.setattr(durable, "move_in", doubt)
    done = write([own(place)], [NEW], {})
    assert (done.changed, done.digests, list(done.problems)) == (True, {}, [place / "x"])
    assert (place / "x").read_bytes() == NEW
