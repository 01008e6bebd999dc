"""Copies: as wanted from the first byte, replaced whole, left alone when right, and never a way to elsewhere."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Content, Copy, Format
from agent.dependants.copies import LABEL, MAX_COPY, MAX_PASSWORD, Written, passwords, write
from agent.errors import StoreError, StoreInDoubtError
from agent.store import durable
from support.crashkit import stepper
from support.systemd import ME, NOBODY, open_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MINE = grp.getgrgid(os.getegid()).gr_name
OTHER_USER, OTHER_GROUP = pwd.getpwuid(NOBODY).pw_name, grp.getgrgid(NOBODY).gr_name
OLD, NEW = b"old content\n", b"new content of another length\n"


@pytest.fixture(name="place")
def _place() -> Iterator[Path]:
    """A directory of this process's own user, below directories of root's."""
    with open_place() as place:
        yield place


def a_copy(to: Path, owner: str = ME, group: str = MINE, mode: int = 0o640, form: Format = Format.PEM) -> Copy:
    """Return a copy to a place."""
    return Copy(to=to, content=Content.PAIR, format=form, owner=owner, group=group, mode=mode)


def put(*wanted: Copy, content: bytes = NEW) -> Written:
    """Write copies that hold the same."""
    return write(wanted, [content] * len(wanted), {})


def problem(copy: Copy) -> str:
    """Write one copy in vain, and return why that failed."""
    done = put(copy)
    assert not done.changed
    assert list(done.problems) == [copy.to]
    said = done.problems[copy.to]
    assert said.startswith(f"{copy.to} is not written: ")
    assert said.endswith(".")
    return said


def names(place: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(path.name for path in place.iterdir())


def dress(path: Path) -> tuple[int, int, int]:
    """Return a file's owner, group and mode."""
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


# -- as it is wanted ---------------------------------------------------------------------------------------------------


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
    for at in range(len(stepper.dry(lambda: act).calls)):
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
    assert seen == {".new-x", "x"}


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
    for at in range(total):
        put(a_copy(place / "x"), content=OLD)
        (place / ".new-x").write_bytes(NEW)
        stepper.kill(lambda: act, at)
        seen.add((place / "x").read_bytes())
    assert seen == {OLD, NEW}


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


# -- the way there -----------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_named_and_not_made(place: Path) -> None:
    """Whose it should be is unknown."""
    assert f"go through {place}/certs: No such file or directory." in problem(a_copy(place / "certs" / "x"))
    assert names(place) == []


def test_a_file_on_the_way_is_a_problem(place: Path) -> None:
    """It is no directory."""
    (place / "certs").write_bytes(b"")
    assert "certs is a file, where a directory is expected" in problem(a_copy(place / "certs" / "x"))


@pytest.mark.parametrize("where", ["certs", "certs/below"])
def test_a_link_on_the_way_is_not_followed(place: Path, where: str) -> None:
    """The user who may plant it chooses where it leads; the path is to be written without links."""
    (place / "real" / "below").mkdir(parents=True)
    (place / "certs").mkdir()
    (place / where).rmdir() if (place / where).exists() else None
    (place / where).symlink_to(place / "real")
    to = place / "certs" / "below" / "x"

    assert f"{place}/{where} is a link. Give the path without links under `copies:`." in problem(a_copy(to))
    assert names(place / "real") == ["below"]
    assert names(place / "real" / "below") == []


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("where", ["certs", "certs/below"])
def test_a_step_that_others_may_write_is_refused(place: Path, where: str, mode: int) -> None:
    """By the group or by all: they could put a link in its place."""
    (place / "certs" / "below").mkdir(parents=True)
    (place / where).chmod(mode)
    said = problem(a_copy(place / "certs" / "below" / "x"))

    assert f"{place}/{where} may be written by others. It and all above it must be root's or the copy's" in said
    assert names(place / "certs" / "below") == []


@pytest.mark.root
@pytest.mark.parametrize("where", ["certs", "certs/below"])
def test_a_step_of_a_stranger_is_refused(place: Path, where: str) -> None:
    """Neither root's nor the owner's."""
    (place / "certs" / "below").mkdir(parents=True)
    os.chown(place / where, NOBODY, NOBODY)

    assert f"{place}/{where} belongs to user {NOBODY}." in problem(a_copy(place / "certs" / "below" / "x"))
    assert names(place / "certs" / "below") == []


@pytest.mark.root
def test_a_step_of_the_owner_is_taken(place: Path) -> None:
    """Most programs have a directory of their own; what they plant in it harms them alone."""
    (place / "certs").mkdir()
    os.chown(place / "certs", NOBODY, NOBODY)
    done = put(a_copy(place / "certs" / "x", owner=OTHER_USER, group=OTHER_GROUP))

    assert (done.changed, dict(done.problems)) == (True, {})
    assert dress(place / "certs" / "x") == (NOBODY, NOBODY, 0o640)


def test_a_sticky_directory_that_all_may_write_is_taken(place: Path) -> None:
    """No user may rename another's there: as a step on the way, and as the place."""
    (place / "tmp" / "certs").mkdir(parents=True)
    (place / "tmp").chmod(0o1777)

    assert not put(a_copy(place / "tmp" / "certs" / "x"), a_copy(place / "tmp" / "x")).problems
    assert names(place / "tmp") == ["certs", "x"]


@pytest.mark.parametrize("who", ["owner", "group"])
def test_an_unknown_user_or_group_is_a_problem(place: Path, who: str) -> None:
    """It is named, and nothing is written for another user instead."""
    wanted = a_copy(place / "x", **{who: "no-such-body"})  # type: ignore[arg-type]

    assert "no-such-body" in problem(wanted)
    assert names(place) == []


# -- trouble -----------------------------------------------------------------------------------------------------------


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


def _leave_pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("leave", [_leave_file, _leave_link, _leave_hard_link, _leave_pipe])
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


def test_a_directory_in_the_way_of_writing_is_a_problem(place: Path) -> None:
    """It is left alone, and so is the copy that is there."""
    put(a_copy(place / "x"), content=OLD)
    (place / ".new-x").mkdir()

    assert "Cannot remove .new-x: Is a directory." in problem(a_copy(place / "x"))
    assert (place / "x").read_bytes() == OLD


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


# -- copies that could not be made -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place_of_it", [0, 1])
def test_a_copy_that_could_not_be_made_says_why(place: Path, place_of_it: int) -> None:
    """What is there stays, and the other is written."""
    wanted = [a_copy(place / "a"), a_copy(place / "b")]
    bad, good = wanted[place_of_it], wanted[1 - place_of_it]
    bad.to.write_bytes(OLD)
    done = write(wanted, [NEW, NEW], {}, {place_of_it: "There is no password."})

    assert dict(done.problems) == {bad.to: f"{bad.to} is not written: There is no password."}
    assert (bad.to.read_bytes(), good.to.read_bytes(), names(place)) == (OLD, NEW, ["a", "b"])


# -- SELinux -----------------------------------------------------------------------------------------------------------


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


# -- passwords ---------------------------------------------------------------------------------------------------------


def locked(file: Path | None) -> Copy:
    """Return a copy with a password file."""
    return Copy(to=Path("/x"), content=Content.PAIR, format=Format.PKCS12, password_file=file)


def password_file(path: Path, content: bytes = b"secret\n", mode: int = 0o600) -> Path:
    """Write a password file."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_passwords_are_read_once_for_each_file(tmp_path: Path) -> None:
    """No more of it than a password may have, and of copies without one nothing."""
    first, second = password_file(tmp_path / "a"), password_file(tmp_path / "b", b"x" * (MAX_PASSWORD + 100))

    found = passwords([locked(first), locked(second), locked(first), locked(None)])
    assert found == {first: b"secret\n", second: b"x" * MAX_PASSWORD}


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_a_password_that_its_owner_alone_may_read_is_taken(tmp_path: Path, mode: int) -> None:
    """As a secret should lie."""
    assert passwords([locked(password_file(tmp_path / "a", mode=mode))]) == {tmp_path / "a": b"secret\n"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o666])
def test_a_password_that_others_may_read_is_none(tmp_path: Path, mode: int) -> None:
    """The copy then says how it should be."""
    assert passwords([locked(password_file(tmp_path / "a", mode=mode))]) == {}


@pytest.mark.parametrize("kind", ["missing", "link", "directory", "pipe"])
def test_a_password_file_that_is_none_is_missing(tmp_path: Path, kind: str) -> None:
    """It is not followed, not waited for and not left open."""
    path = tmp_path / "password"
    if kind == "link":
        path.symlink_to(password_file(tmp_path / "real"))
    elif kind == "directory":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)

    before = len(list(Path("/proc/self/fd").iterdir()))
    assert passwords([locked(path)]) == {}
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("where", ["conf", "conf/below"])
def test_a_password_is_not_read_through_a_link(place: Path, where: str) -> None:
    """The owner of the directory that it is in would have root use a password which is another's."""
    (place / "real" / "below").mkdir(parents=True)
    password_file(place / "real" / "below" / "password")
    if where == "conf":
        (place / "conf").symlink_to(place / "real")
    else:
        (place / "conf").mkdir()
        (place / "conf" / "below").symlink_to(place / "real" / "below")

    real, through = (place / top / "below" / "password" for top in ("real", "conf"))
    assert passwords([locked(through), locked(real)]) == {real: b"secret\n"}


@pytest.mark.root
@pytest.mark.parametrize("how", ["a stranger's", "all may write"])
def test_a_password_is_not_read_where_others_may_put_one(place: Path, how: str) -> None:
    """In a directory that is neither root's nor the copy's owner's, or that any user may write."""
    (place / "conf").mkdir()
    file = password_file(place / "conf" / "password")
    os.chown(place / "conf", NOBODY, NOBODY) if how == "a stranger's" else (place / "conf").chmod(0o777)
    wanted = locked(file)
    assert passwords([wanted]) == {}

    theirs = replace(wanted, owner=OTHER_USER)
    assert passwords([theirs]) == ({file: b"secret\n"} if how == "a stranger's" else {})


def test_of_an_unknown_owner_no_password_is_read(tmp_path: Path) -> None:
    """And the others' are."""
    first, second = password_file(tmp_path / "a"), password_file(tmp_path / "b")
    assert passwords([replace(locked(first), owner="no-such-body"), locked(second)]) == {second: b"secret\n"}
