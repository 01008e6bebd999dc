"""The tools themselves: a harness that breaks nothing is green for ever."""

from __future__ import annotations

import errno
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest

from support.crashkit import alice, marks, points, stepper, syscalls
from support.crashkit.alice import Recorder, crash_states
from support.crashkit.marks import Mark
from support.crashkit.pool import fork_map
from support.crashkit.stepper import Failing, HarnessError, Raised
from support.crashkit.tree import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _write_two(folder: Path) -> None:
    (folder / "one").write_bytes(b"1")
    (folder / "two").write_bytes(b"2")


def _work(folder: Path) -> Callable[[], Callable[[], object]]:
    return lambda: partial(_write_two, folder)


def test_a_kill_at_the_first_call_leaves_nothing(tmp_path: Path) -> None:
    """A stop is at the entry of a call: it has not been made."""
    run = stepper.kill(_work(tmp_path), 0)
    assert run.killed
    assert snapshot(tmp_path) == {}


def test_a_later_kill_leaves_more(tmp_path: Path) -> None:
    """A kill before the second file is opened leaves the first one whole."""
    calls = stepper.dry(_work(tmp_path / "nowhere")).calls
    assert calls == [syscalls.CREATE]
    calls = stepper.dry(_work(tmp_path)).calls
    second = [place for place, name in enumerate(calls) if name == syscalls.CREATE][1]
    for file in tmp_path.iterdir():
        file.unlink()
    assert stepper.kill(_work(tmp_path), second).killed
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_two_dry_runs_make_the_same_calls(tmp_path: Path) -> None:
    """Points are counted in one run and used in others, so the calls must repeat."""
    assert stepper.dry(_work(tmp_path)).calls == stepper.dry(_work(tmp_path)).calls


def test_a_kill_that_does_not_come_is_an_error(tmp_path: Path) -> None:
    """The harness insists that it killed."""
    with pytest.raises(HarnessError, match="ended by itself"):
        stepper.kill(_work(tmp_path), 10_000)


def test_a_failure_that_does_not_come_is_an_error(tmp_path: Path) -> None:
    """The harness insists that a call failed."""
    with pytest.raises(HarnessError, match="never came"):
        stepper.fail(_work(tmp_path), Failing(at=10_000, number=errno.EIO))


def test_a_failing_call_is_not_carried_out(tmp_path: Path) -> None:
    """The first open fails with the errno asked for and makes no file."""
    run = stepper.fail(_work(tmp_path), Failing(at=0, number=errno.EDQUOT))
    assert isinstance(run.result, Raised)
    assert f"Errno {errno.EDQUOT}" in run.result.text
    assert (run.injected, snapshot(tmp_path)) == (1, {})


def test_a_sticky_failure_strikes_again(tmp_path: Path) -> None:
    """Whatever comes after a sticky failure fails too."""

    def try_twice() -> int:
        failures = 0
        for name in ("one", "two"):
            try:
                (tmp_path / name).write_bytes(b"x")
            except OSError:
                failures += 1
        return failures

    assert stepper.fail(lambda: try_twice, Failing(at=0, number=errno.EIO, sticky=True)).result == 2
    assert stepper.fail(lambda: try_twice, Failing(at=0, number=errno.EIO)).result == 1


def test_an_interrupted_call_is_repeated(tmp_path: Path) -> None:
    """Python repeats interrupted calls, so EINTR, even several times over, changes nothing."""
    run = stepper.fail(_work(tmp_path), Failing(at=0, number=errno.EINTR, sticky=True))
    assert run.injected == stepper.MOST_INTERRUPTIONS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_marks_are_seen_up_to_the_kill(tmp_path: Path) -> None:
    """What was acknowledged before a kill is known after it."""

    def tell() -> None:
        marks.make(Mark.CURRENT, 7)
        _write_two(tmp_path)
        marks.make(Mark.CURRENT, 8)

    assert stepper.kill(lambda: tell, 1).marks == {Mark.CURRENT: 7}
    assert stepper.dry(lambda: tell).marks[Mark.CURRENT] == 8


def test_a_recorded_run_without_sync_may_leave_anything(tmp_path: Path) -> None:
    """A file written and renamed without any sync may be lost, empty, torn or junk."""
    states = _recorded(tmp_path, sync_file=False, sync_folder=False)
    assert {tree.get("new", ("", 0, b"-"))[2] for tree in states} >= {b"-", b"", b"da", b"data", bytes(4), b"\xa5" * 4}


def test_a_recorded_run_with_all_syncs_leaves_all_or_nothing(tmp_path: Path) -> None:
    """The final name never leads to anything but the whole data."""
    states = _recorded(tmp_path, sync_file=True, sync_folder=True)
    assert {tree.get("new", ("", 0, b"-"))[2] for tree in states} == {b"-", b"data"}


def _recorded(path: Path, *, sync_file: bool, sync_folder: bool) -> list[dict[str, tuple[str, int, bytes]]]:
    with Recorder(path, {}) as recorder:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fd = os.open(".tmp", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=root)
        os.write(fd, b"data")
        if sync_file:
            os.fsync(fd)
        os.close(fd)
        os.rename(".tmp", "new", src_dir_fd=root, dst_dir_fd=root)
        if sync_folder:
            os.fsync(root)
        os.close(root)
    return [state.tree for state in crash_states(recorder.base, recorder.operations)]


def test_the_recorder_puts_the_functions_of_os_back(tmp_path: Path) -> None:
    """Nothing stays patched."""
    before = [getattr(os, name) for name in alice._PATCHED]
    with Recorder(tmp_path, {}):
        assert os.fsync is not before[0]
    assert [getattr(os, name) for name in alice._PATCHED] == before


def test_the_pool_keeps_the_order_and_passes_errors_on() -> None:
    """Results come in the order of the items; a worker's exception is not swallowed."""
    assert fork_map(lambda number: number * 2, range(7)) == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        fork_map(lambda number: 1 / number, [1, 0])


def test_too_few_points_fail_a_test() -> None:
    """A method that visits nothing proves nothing."""
    with pytest.raises(AssertionError, match="only 0 points"):
        points.visited("of a broken harness", 0, at_least=1)
    del points.COUNTS["of a broken harness"]
