"""Files, links and directories that are durable, private from the first byte, and never a way to somewhere else."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.errors import StoreError, StoreInDoubtError
from agent.store.files import directories, disk, durable
from agent.store.files.durable import Modes
from support.crashkit import stepper
from support.crashkit.stepper import Failing
from support.shorthand import planted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODES = Modes()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# -- writing -------------------------------------------------------------------------------------------------------


def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path, folder: int, umask: int) -> None:
    """Private by default; a public mode is reached as well, also under a tight umask."""
    durable.write_new(folder, "key", b"k", MODES, secret=True)
    durable.write_new(folder, "open", b"o", Modes(public_mode=0o644))
    assert (_mode(tmp_path / "key"), _mode(tmp_path / "open")) == (0o600, 0o644), f"umask {umask:o}"


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_a_secret_is_never_readable_by_others_not_even_for_a_moment(tmp_path: Path, mask: int) -> None:
    """Killed at any call of writing a key, what is there is private."""
    write = partial(_write_key, tmp_path, mask)
    for at in range(len(stepper.dry(lambda: write).calls)):
        (tmp_path / "key").unlink(missing_ok=True)
        stepper.kill(lambda: write, at)
        assert not any(_mode(path) & 0o077 for path in tmp_path.iterdir()), f"killed at call {at}"


def _write_key(path: Path, mask: int) -> None:
    os.umask(mask)
    with disk.directory(str(path)) as fd:
        durable.write_new(fd, "key", b"k" * 300, MODES, secret=True)


def test_an_existing_file_is_not_written_over(tmp_path: Path, folder: int) -> None:
    """A new file is new."""
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(StoreError, match="File exists"):
        durable.write_new(folder, "a", b"new", MODES)
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_file_is_not_written_through_a_link(tmp_path: Path, folder: int) -> None:
    """A link in the way is refused, and its target stays absent."""
    (tmp_path / "a").symlink_to("elsewhere")
    with pytest.raises(StoreError):
        durable.write_new(folder, "a", b"new", MODES)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_file_that_could_not_be_written_is_removed_again(tmp_path: Path, call: str) -> None:
    """Half a file is worse than none."""
    run = _failing(tmp_path, lambda fd: durable.write_new(fd, "a", b"data", MODES), call, errno.ENOSPC)
    assert "StoreError" in run.kinds
    assert list(tmp_path.iterdir()) == []


def _failing(path: Path, act: Callable[[int], None], call: str, number: int, nth: int = 0) -> stepper.Raised:
    """Run `act` in a child whose `nth` call of that name fails, and return what came out of it."""

    def prepare() -> Callable[[], object]:
        return partial(act, os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    calls = _calls_without_trace(path, prepare)
    at = [place for place, name in enumerate(calls) if name == call][nth]
    result = stepper.fail(prepare, Failing(at=at, number=number)).result
    assert isinstance(result, stepper.Raised)
    return result


def _calls_without_trace(path: Path, prepare: Callable[[], Callable[[], object]]) -> list[str]:
    """Return the calls of a first run, whose new files are taken away again."""
    before = {item.name: item.read_bytes() for item in path.iterdir()}
    calls = stepper.dry(prepare).calls
    for item in path.iterdir():
        item.unlink()
    for name, data in before.items():
        (path / name).write_bytes(data)
    return calls


# -- replacing -----------------------------------------------------------------------------------------------------


def test_replacing_is_atomic(tmp_path: Path) -> None:
    """Killed at any call, the file holds the old bytes or the new, all of them."""
    act = partial(_replace, tmp_path)
    seen = set()
    (tmp_path / "a").write_bytes(b"old")
    total = len(stepper.dry(lambda: act).calls)
    for at in range(total):
        (tmp_path / "a").write_bytes(b"old")
        stepper.kill(lambda: act, at)
        seen.add((tmp_path / "a").read_bytes())
    assert seen == {b"old", b"new"}


def _replace(path: Path) -> None:
    with disk.directory(str(path)) as fd:
        durable.replace(fd, "a", b"new", MODES)


def test_replacing_clears_an_earlier_try_away(tmp_path: Path, folder: int) -> None:
    """What a crash left does not stand in the way."""
    (tmp_path / ".new-a").write_bytes(b"junk")
    durable.replace(folder, "a", b"new", MODES)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_sync_a_directory_puts_nothing_in_doubt(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As CIFS before Linux 4.17 and some file systems of FUSE; of a file the same error stays one."""
    lacking = [stat.S_IFDIR]

    def without(fd: int) -> None:
        if stat.S_IFMT(os.fstat(fd).st_mode) in lacking:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", without)
    durable.replace(folder, "f", b"new", durable.Modes())
    assert (tmp_path / "f").read_bytes() == b"new"
    lacking.append(stat.S_IFREG)
    with pytest.raises(StoreError, match="Cannot write f"):
        durable.replace(folder, "f", b"newer", durable.Modes())
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_replacement_is_in_doubt_when_only_its_last_sync_failed(tmp_path: Path) -> None:
    """It is there, and a power cut may undo it: neither success nor failure."""
    (tmp_path / "a").write_bytes(b"old")
    raised = _failing(tmp_path, lambda fd: durable.replace(fd, "a", b"new", MODES), "fsync", errno.EIO, nth=1)
    assert raised.kinds[0] == StoreInDoubtError.__name__
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_replacement_that_failed_leaves_the_old_file(tmp_path: Path) -> None:
    """A sync of the data that fails is an ordinary failure."""
    (tmp_path / "a").write_bytes(b"old")
    raised = _failing(tmp_path, lambda fd: durable.replace(fd, "a", b"new", MODES), "fsync", errno.EIO)
    assert raised.kinds[0] == StoreError.__name__
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.parametrize("write", [durable.replace, durable.replace_unsettled, durable.scribble])
def test_what_cannot_be_put_in_place_is_removed_again(
    tmp_path: Path, write: Callable[[int, str, bytes, Modes], None]
) -> None:
    """Where a file system is mounted on a name, or it is kept from changes, no other file stays beside it."""
    (tmp_path / "a").write_bytes(b"old")
    raised = _failing(tmp_path, lambda fd: write(fd, "a", b"new", MODES), "renameat", errno.EBUSY)
    assert "Device or resource busy" in raised.text
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_a_link_moves_in_one_step(tmp_path: Path) -> None:
    """Killed at any call, the link leads to the old target or the new one."""
    act = partial(_point, tmp_path)
    (tmp_path / "l").symlink_to("old")
    seen = set()
    for at in range(len(stepper.dry(lambda: act).calls)):
        (tmp_path / "l").unlink()
        (tmp_path / "l").symlink_to("old")
        stepper.kill(lambda: act, at)
        seen.add(str((tmp_path / "l").readlink()))
    assert seen == {"old", "new"}


def _point(path: Path) -> None:
    with disk.directory(str(path)) as fd:
        durable.point(fd, "l", "new")


def test_renaming_needs_a_free_name(tmp_path: Path, folder: int) -> None:
    """A directory never takes another's place."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(StoreError, match="the name is taken"):
        durable.rename(folder, "a", "b")


# -- appending -----------------------------------------------------------------------------------------------------


def test_lines_are_appended_in_order(tmp_path: Path, folder: int) -> None:
    """The file is made with the first line, private."""
    durable.append(folder, "log", b"one\n", MODES)
    durable.append(folder, "log", b"two\n", MODES)
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert _mode(tmp_path / "log") == 0o600


def test_a_torn_line_is_ended_first(tmp_path: Path, folder: int) -> None:
    """The new line never becomes part of what a power cut left."""
    (tmp_path / "log").write_bytes(b"one\ntw")
    durable.append(folder, "log", b"three\n", MODES)
    assert (tmp_path / "log").read_bytes() == b"one\ntw\nthree\n"


def test_a_line_that_could_not_be_written_is_cut_off_again(tmp_path: Path) -> None:
    """A full disk leaves the file as it was."""
    (tmp_path / "log").write_bytes(b"one\n")
    (tmp_path / "log").chmod(0o600)
    raised = _failing(tmp_path, lambda fd: durable.append(fd, "log", b"two\n", MODES), "write", errno.ENOSPC)
    assert "StoreError" in raised.kinds
    assert (tmp_path / "log").read_bytes() == b"one\n"


def test_nothing_is_appended_through_a_link(tmp_path: Path, folder: int) -> None:
    """A link is refused."""
    (tmp_path / "log").symlink_to("elsewhere")
    with pytest.raises(StoreError):
        durable.append(folder, "log", b"x\n", MODES)


def test_nothing_is_appended_to_a_fifo(tmp_path: Path, folder: int) -> None:
    """It is refused at once."""
    os.mkfifo(tmp_path / "log")
    with pytest.raises(StoreError, match="Illegal seek"):
        durable.append(folder, "log", b"x\n", MODES)


@pytest.mark.parametrize("place", ["name", ".new-name"])
def test_a_directory_in_the_way_keeps_nothing_from_being_written(tmp_path: Path, folder: int, place: str) -> None:
    """As a backup that followed links leaves it; what was in it is kept."""
    for write in (
        partial(durable.replace, folder, "name", b"new", MODES),
        partial(durable.scribble, folder, "name", b"new", MODES),
        partial(durable.point, folder, "name", "target"),
        partial(directories.withdraw, folder, place),
    ):
        (tmp_path / "name").unlink(missing_ok=True)
        (tmp_path / place).mkdir()
        (tmp_path / place / "x").write_bytes(b"x")
        write()
        assert not (tmp_path / place).is_dir()
    kept = [path.name for path in tmp_path.iterdir() if path.is_dir()]
    assert len(kept) == 4
    assert all(".damaged" in name for name in kept)


@pytest.mark.root
@pytest.mark.parametrize("kind", planted.MOVABLE)
def test_what_is_of_another_kind_is_kept_and_the_rest_replaced(tmp_path: Path, folder: int, kind: str) -> None:
    """A pipe, a socket or a device is another program's. Of a link only the link goes, of a file with two names one."""
    for write, of_its_kind in (
        (partial(durable.replace, folder, "name", b"new", MODES), kind not in planted.FOREIGN),
        (partial(durable.scribble, folder, "name", b"new", MODES), kind not in planted.FOREIGN),
        (partial(durable.point, folder, "name", "target"), kind in {"dangling", "null", "loop"}),
    ):
        with planted.at(tmp_path / "name", kind) as plant:
            write()
            if of_its_kind:
                assert not os.path.lexists(tmp_path / "name.damaged")
            else:
                plant.require_kept(tmp_path / "name.damaged")
            (tmp_path / "name").unlink()


def _put(folder: int, name: str) -> None:
    durable.put_beside(folder, name, b"new", lambda _: None)
    durable.move_in(folder, name)


@pytest.mark.root
@pytest.mark.parametrize("kind", planted.MOVABLE)
def test_what_stands_at_the_name_for_writing_is_litter_or_kept(tmp_path: Path, folder: int, kind: str) -> None:
    """A file or a link there is ours, from before a crash; anything else is another program's."""
    for write in (
        partial(durable.replace, folder, "name", b"new", MODES),
        partial(durable.scribble, folder, "name", b"new", MODES),
        partial(durable.point, folder, "name", "target"),
        partial(_put, folder, "name"),
    ):
        with planted.at(tmp_path / ".new-name", kind) as plant:
            write()
            if kind in planted.FOREIGN:
                plant.require_kept(tmp_path / "name.damaged")
            assert os.path.lexists(tmp_path / "name")
            assert not plant.stands
            (tmp_path / "name").unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_what_cannot_be_taken_from_the_name_for_writing_is_named(tmp_path: Path, folder: int) -> None:
    """Of the file that is to be written, of what is in its way, and of the remedy."""
    with planted.at(tmp_path / ".new-name", "immutable"):
        with pytest.raises(StoreError) as caught:
            durable.replace(folder, "name", b"new", MODES)
        assert f"write name, since .new-name is in its way in {tmp_path}: Operation" in str(caught.value)
        assert "chattr -ia" in caught.value.hint


@pytest.mark.root
def test_a_read_only_disk_is_blamed_for_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    """It says so of the removal of a name that is not there, too."""
    with planted.read_only(tmp_path) as path, disk.directory(str(path)) as fd:
        for write in (durable.replace, durable.scribble):
            with pytest.raises(StoreError, match=f"^Cannot write name in {path}: Read-only file system[.]$") as caught:
                write(fd, "name", b"new", MODES)
            assert "remount" in caught.value.hint


@pytest.mark.root
def test_what_cannot_be_moved_stays_and_nothing_is_left_beside_it(tmp_path: Path, folder: int) -> None:
    """The sentence says what keeps it."""
    for write in (
        partial(durable.replace, folder, "name", b"new", MODES),
        partial(durable.point, folder, "name", "target"),
    ):
        with planted.at(tmp_path / "name", "immutable") as plant:
            with pytest.raises(StoreError, match="Operation not permitted") as caught:
                write()
            assert "chattr -ia" in caught.value.hint
            plant.require_kept(tmp_path / "name")
            assert [item.name for item in tmp_path.iterdir()] == ["name"]


# -- looking and removing ------------------------------------------------------------------------------------------


def test_removing_what_is_gone_is_no_error(tmp_path: Path, folder: int) -> None:
    """A directory, which is not asked for, is an error."""
    durable.remove(folder, "a")
    (tmp_path / "d").mkdir()
    with pytest.raises(StoreError, match="Cannot remove d"):
        durable.remove(folder, "d")


def test_a_file_with_another_name_is_not_overwritten(tmp_path: Path, folder: int) -> None:
    """Under its other name it may be in use."""
    (tmp_path / "key").write_bytes(b"secret")
    os.link(tmp_path / "key", tmp_path / "witness")
    durable.overwrite(folder, "key")
    assert (tmp_path / "witness").read_bytes() == b"secret"
    (tmp_path / "witness").unlink()
    durable.overwrite(folder, "key")
    assert (tmp_path / "key").read_bytes() == bytes(6)
    durable.overwrite(folder, "missing")
