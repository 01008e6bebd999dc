from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.cli.changing import holds
from agent.cli.writing.output import Output
from agent.config.reader import load
from agent.errors import RefusedError
from agent.store.files import lock_files
from agent.system import locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.config.values import Config

VERBS = {
    "pause": lambda config: holds.pause(config, timedelta(hours=1), "a test", Output(as_json=False)),
    "resume": lambda config: holds.resume(config, Output(as_json=False)),
    "retire": lambda config: holds.retire(config, Output(as_json=False), now=False),
    "drop": lambda config: holds.drop(config, "0a1b", Output(as_json=False)),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_nothing_is_done_behind_the_back_of_a_daemon(tmp_path: Path, verb: Callable[[Config], object]) -> None:
    """One that this configuration does not reach works on the state directory, and would not hear of it."""
    path = tmp_path / "config.yaml"
    path.write_text(f"endpoint: x.example\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}/run\n")
    (tmp_path / "state").mkdir()
    lock = locks.LifeLock(tmp_path / "state" / locks.DAEMON, lock_files.opened_at)
    lock.hold()
    with pytest.raises(RefusedError, match="does not listen at"):
        verb(load(path))
    assert [item.name for item in (tmp_path / "state").iterdir()] == [locks.DAEMON]
    lock.close()
