"""One daemon for a gateway: whichever of its directories the second one shares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.daemon.single_instance import SingleInstance
from agent.errors import AgentError, RefusedError
from agent.system.locks import DAEMON
from support.shorthand import planted
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_second_on_a_runtime_directory_is_refused(tmp_path: Path) -> None:
    """The directory is made if need be, and the first keeps it."""
    run = tmp_path / "run" / "agent"
    SingleInstance(run, tmp_path / "one").hold_runtime()
    with pytest.raises(RefusedError, match="A daemon runs already with") as caught:
        SingleInstance(run, tmp_path / "two").hold_runtime()
    assert "systemctl status" in caught.value.hint


def test_a_lock_that_another_took_is_asked_for_again_at_no_cost(tmp_path: Path) -> None:
    """The daemon asks each minute: a descriptor each time would leave it none to connect with."""
    first, second = SingleInstance(tmp_path, tmp_path / "one"), SingleInstance(tmp_path, tmp_path / "two")
    first.hold_runtime()
    (tmp_path / DAEMON).unlink()
    second.hold_runtime()
    before = descriptors()
    for _ in range(3):
        with pytest.raises(RefusedError):
            first.hold_runtime()
    assert descriptors() - before == set()


def test_a_runtime_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """With the key, the reason and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match=r"^runtime_dir .* cannot be used: Not a directory") as caught:
        SingleInstance(tmp_path / "file" / "run", tmp_path).hold_runtime()
    assert caught.value.hint.endswith("Or name another `runtime_dir`.")


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (lambda path: path.touch(), "a file"),
        (lambda path: path.symlink_to("gone"), "a symbolic link"),
        (lambda path: path.symlink_to(path), "a symbolic link"),
        (os.mkfifo, "a pipe"),
    ],
    ids=["file", "dangling", "loop", "pipe"],
)
def test_what_is_no_runtime_directory_is_told_as_what_it_is(
    tmp_path: Path, place: Callable[[Path], None], what: str
) -> None:
    """The kernel says of each that it exists; a link to a directory is one."""
    place(tmp_path / "run")
    with pytest.raises(AgentError, match=f"run is {what}, where a directory is expected") as caught:
        SingleInstance(tmp_path / "run", tmp_path).hold_runtime()
    assert "out of the way" in caught.value.hint
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    SingleInstance(tmp_path / "link", tmp_path).hold_runtime()


def test_the_second_on_a_state_directory_is_refused_as_soon_as_there_is_one(tmp_path: Path) -> None:
    """Before it exists no daemon can tell; the refusal is kept, since the daemon has to end in order first."""
    state = tmp_path / "state"
    first, second = (SingleInstance(tmp_path / name, state) for name in ("one", "two"))
    assert [first.hold_state(), second.hold_state()] == ["", ""]
    state.mkdir()
    assert first.hold_state() == ""
    with pytest.raises(RefusedError, match="it has another runtime_dir"):
        second.hold_state()
    assert "it has another runtime_dir" in str(second.refusal)
    assert first.refusal is None
    first.close()
    assert second.hold_state() == ""
    second.close()


def test_a_lock_that_cannot_be_had_is_told_once(tmp_path: Path) -> None:
    """A read-only file system must not keep a daemon from starting."""
    state = tmp_path / "state"
    state.write_text("no directory")
    instance = SingleInstance(tmp_path / "run", state)
    assert "the state directory is not locked" in instance.hold_state()
    assert instance.hold_state() == ""
    state.unlink()
    assert instance.hold_state() == ""
    instance.close()


@pytest.mark.root
@pytest.mark.parametrize("kind", sorted(planted.KINDS))
def test_a_lock_that_something_took_the_place_of_is_held_again(tmp_path: Path, kind: str) -> None:
    """While the daemon runs; another daemon is told from it by what it finds there."""
    run = tmp_path / "run"
    first = SingleInstance(run, tmp_path / "one")
    first.hold_runtime()
    (run / "daemon.lock").unlink()
    with planted.at(run / "daemon.lock", kind):
        for _ in range(2):
            first.hold_runtime()
        with pytest.raises(RefusedError):
            SingleInstance(run, tmp_path / "two").hold_runtime()
    first.hold_runtime()
    shutil.rmtree(run)
    first.hold_runtime()
    with pytest.raises(RefusedError):
        SingleInstance(run, tmp_path / "two").hold_runtime()
    first.close()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("elsewhere")])
def test_what_stands_in_place_of_a_lock_keeps_no_daemon_away(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Neither in the runtime directory nor in the state directory; the second daemon is still told from the first."""
    run, state = tmp_path / "run", tmp_path / "state"
    for directory in (run, state):
        directory.mkdir()
        make(directory / "daemon.lock")
    first, second = (SingleInstance(run, state) for _ in range(2))
    first.hold_runtime()
    assert first.hold_state() == ""
    with pytest.raises(RefusedError):
        second.hold_runtime()
    with pytest.raises(RefusedError):
        second.hold_state()
    first.close()
