"""A process that ends without an answer. Ones that hang or are killed: `integration/daemon/test_daemon_faults`."""

from __future__ import annotations

import errno
import os
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


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_one_that_cannot_be_started_is_told_and_the_daemon_goes_on(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Another program has used up the processes, the memory or the descriptors that there are, for a moment."""

    def refused(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_spawn", refused)
    ends: list[End] = []
    before = len(list(Path("/proc/self/fd").iterdir()))
    with closing(Loop()) as loop:
        worker = WorkerProcess(loop, Path("config.yaml"), Order(do=Do.LOOK), lambda _: None, ends.append)
        assert ends == []
        worker.stop()
        loop.turn()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    error = ends[0].error
    assert error is not None
    assert error.message == f"No worker process can be started: {os.strerror(number)}."
    assert "It is tried again." in error.hint
