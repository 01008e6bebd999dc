from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.system import timedated
from agent.system.timedated import LASTS, Timedated, ask
from support.suite.surroundings import descriptors


def program(path: Path, script: str) -> str:
    """Return a stand-in for timedatectl."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo yes", True),
        ("echo no", False),
        ("exit 1", False),
        ("echo yes and more than that", False),
        ("yes", False),
        ('[ "$*" = "show --property=NTPSynchronized --value" ] && echo yes', True),
        ("env | grep -q NOTIFY_SOCKET || echo yes", True),
    ],
)
def test_only_a_plain_yes_vouches(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch, *, answer: bool
) -> None:
    """Anything else, endless output included, does not; it is asked for one thing, in an environment of its own."""
    monkeypatch.setenv("NOTIFY_SOCKET", "@nothing")
    assert ask(program(tmp_path / "timedatectl", script)) is answer


def test_no_answer_does_not_vouch(tmp_path: Path) -> None:
    """The program is not there, or may not be run."""
    assert not ask(str(tmp_path / "timedatectl"))
    (tmp_path / "timedatectl").write_text("echo yes")
    assert not ask(str(tmp_path / "timedatectl"))


def test_a_bus_that_hangs_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and nothing is left of it: no process and no descriptor."""
    monkeypatch.setattr(timedated, "PATIENCE", 0.05)
    before, children = descriptors(), _children()
    assert not ask(program(tmp_path / "timedatectl", "exec sleep 60"))
    assert descriptors() - before == set()
    assert _children() == children


def _children() -> set[str]:
    """Return the processes that this one has; other tests may have left theirs running."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def test_an_answer_is_good_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that looks more often asks no more often."""
    answers = iter([True, False])
    monkeypatch.setattr(timedated, "ask", lambda: next(answers))
    told, now = Timedated(), time.monotonic()
    assert [told.synchronised(now), told.synchronised(now + LASTS - 1), told.synchronised(now + LASTS)] == [
        True, True, False,
    ]  # fmt: skip
