from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent import cli
from support.running.gateway import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a sandbox and return once it takes orders; at the end none is left."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen([COMMAND, "sandbox", "--dir", tmp_path], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert "A local AWS IoT Core listens" in process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def order(directory: Path, *words: str) -> int:
    """Give an order to the sandbox of a folder, and return the exit code."""
    return cli.main(["sandbox", "--dir", str(directory), *words])


def test_a_second_sandbox_in_the_same_folder_is_refused(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one keeps its files and goes on."""
    first = start()
    before = (tmp_path / "config.yaml").read_bytes()
    assert order(tmp_path) == 4
    said = capsys.readouterr().err
    assert f"Another sandbox runs in {tmp_path}." in said
    assert f"`iot-cert sandbox --dir {tmp_path} stop`" in said
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert order(tmp_path, "certificates") == 0
    assert "claim" in capsys.readouterr().out
    assert order(tmp_path, "stop") == 0
    assert first.wait() == 0


def test_after_one_that_was_killed_the_next_starts(
    start: Callable[[], subprocess.Popen[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has left behind, its socket and its lock, is in nothing's way."""
    first = start()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert (tmp_path / "control.sock").exists()
    assert order(tmp_path, "live") == 1
    assert f"No sandbox runs in {tmp_path}." in capsys.readouterr().err
    start()
    assert order(tmp_path, "live") == 0


def test_where_it_is_not_installed_it_says_where_it_is_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a gateway, whose package has no sandbox."""
    for name in [name for name in sys.modules if name.startswith("agent.sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "agent.sandbox", None)
    assert order(tmp_path, "live") == 1
    said = capsys.readouterr().err
    assert said == (
        "iot-cert: The sandbox is not part of this package: run it from the project's source, "
        "on a developer's machine.\n"
    )
