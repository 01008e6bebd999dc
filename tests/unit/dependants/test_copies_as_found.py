"""Copies that were changed, by their programs or by others: put right, made anew, or left as they are."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Content, Copy, Format
from agent.dependants.copies import MAX_COPY, write
from agent.errors import StoreError, StoreInDoubtError
from agent.store.files import durable
from support.shorthand.copies import NEW, OLD, a_copy, dress, names, put
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# -- replacing ---------------------------------------------------------------------------------------------------------


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
