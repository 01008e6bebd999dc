"""One daemon for a gateway: whichever of its directories the second one shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.daemon.single_instance import SingleInstance
from agent.errors import AgentError, RefusedError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_second_on_a_runtime_directory_is_refused(tmp_path: Path) -> None:
    """The directory is made if need be, and the first keeps it."""
    run = tmp_path / "run" / "agent"
    SingleInstance(run, tmp_path / "one").hold_runtime()
    with pytest.raises(RefusedError, match="A daemon runs already with") as caught:
        SingleInstance(run, tmp_path / "two").hold_runtime()
    assert "systemctl status" in caught.value.hint


def test_a_runtime_directory_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match="cannot be used: Not a directory"):
        SingleInstance(tmp_path / "file" / "run", tmp_path).hold_runtime()


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
    (tmp_path / "daemon.lock").symlink_to("elsewhere")
    instance = SingleInstance(tmp_path / "run", tmp_path)
    assert "the state directory is not locked" in instance.hold_state()
    assert instance.hold_state() == ""
    (tmp_path / "daemon.lock").unlink()
    assert instance.hold_state() == ""
    instance.close()
