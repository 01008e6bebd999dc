"""A change does not depend on who listens to the command that makes it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from support.running.daemon import RunningDaemon
from support.running.gateway import COMMAND

if TYPE_CHECKING:
    from support.running.gateway import Gateway

LISTENERS = ["| head -n 1", ">/dev/full", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"]


def rotate(gateway: Gateway, redirections: str) -> tuple[int, str]:
    """Type `iot-cert rotate` into a shell; return its exit code and what was on standard error."""
    line = f"{COMMAND} --config {gateway.config} rotate {redirections}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("redirections", LISTENERS)
def test_a_rotation_is_carried_through_whether_or_not_its_output_is_read(enrolled: Gateway, redirections: str) -> None:
    """The exit code says what became of the rotation; a reader that leaves and a full disk stop nothing."""
    code, said = rotate(enrolled, redirections)
    assert (code, enrolled.generations()) == (0, (2, 1))
    assert "defect" not in said
    assert (said.count("cannot be written: No space left on device") == 1) == (redirections == ">/dev/full")
    assert enrolled.history()[-1].phase is Phase.COMMITTED


@pytest.mark.parametrize("redirections", LISTENERS[:2])
def test_so_it_is_through_the_daemon(enrolled: Gateway, redirections: str) -> None:
    """What the daemon tells is not heard, and its end is the exit code."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert rotate(enrolled, redirections)[0] == 0
    assert enrolled.generations() == (2, 1)


def test_a_failed_one_says_so_although_it_is_not_heard(enrolled: Gateway) -> None:
    """`iot-cert rotate | head` in a script with pipefail."""
    enrolled.order("fault register never-active")
    assert rotate(enrolled, "| true")[0] == 1
    assert enrolled.generations() == (1, None)
