"""A process that ends without an answer. Ones that hang, and are killed at work: `integration/test_daemon_faults`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest

from agent.core.worker_protocol import Do, End, Order
from agent.daemon.loop import Loop
from agent.daemon.work.worker_process import WorkerProcess


@pytest.mark.parametrize(
    ("script", "how"),
    [("kill -KILL $$", "by signal 9"), ("exit 3", "with exit code 3"), ("echo '{'", "with exit code 0")],
)
def test_one_that_dies_is_told_with_what_is_safe_and_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, how: str
) -> None:
    """The kernel ends what needs more memory than the unit has, and tells of it in its own log alone."""
    command = tmp_path / "python"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command))
    ends: list[End] = []
    with closing(Loop()) as loop:
        WorkerProcess(loop, Path("config.yaml"), Order(do=Do.LOOK), lambda _: None, ends.append)
        while not ends:
            loop.turn()
    error = ends[0].error
    assert error is not None
    assert error.died
    assert error.message == f"The worker process ended {how} without an answer."
    assert error.hint.startswith("What was begun is kept and goes on by itself.")
    assert "`dmesg`" in error.hint
