"""A change does not depend on who listens to the command that makes it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from support.running.daemon import RunningDaemon
from support.running.gateway import COMMAND

if TYPE_CHECKING:
    from support.running.gateway import Gateway

FULL = Path("/dev/full")


def typed(gateway: Gateway, redirections: str) -> tuple[int, str]:
    """Type `iot-cert rotate` into a shell; return its exit code and what was on standard error."""
    line = f"{COMMAND} --config {gateway.config} rotate {redirections}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stderr


def unread(gateway: Gateway, lines: int) -> int:
    """Run `iot-cert rotate`, of which so many lines are read before the pipe is closed; return its exit code."""
    process = gateway.fork("rotate")
    assert process.stdout is not None
    with process.stdout as said:
        for _ in range(lines):
            assert said.readline()
    return process.wait(120)


def test_a_rotation_is_carried_through_whether_or_not_its_output_is_read(enrolled: Gateway) -> None:
    """The exit code says what became of the rotation; a reader that leaves and a full disk stop nothing."""
    code, said = typed(enrolled, ">/dev/full")
    assert (code, enrolled.generations()) == (0, (2, 1))
    assert "defect" not in said
    assert said.count("cannot be written: No space left on device") == 1
    assert unread(enrolled, 1) == 0
    assert enrolled.fork("rotate", log=FULL).wait(120) == 0  # with its standard error, too
    assert enrolled.generations() == (4, 3)
    assert {record.phase for record in enrolled.history()} == {Phase.COMMITTED}


def test_a_rotation_without_standard_streams_is_carried_through(enrolled: Gateway) -> None:
    """As some launchers of programs leave them; in a shell, since they are missing from the start."""
    assert typed(enrolled, "<&- >&- 2>&-") == (0, "")
    assert enrolled.generations() == (2, 1)
    assert enrolled.history()[-1].phase is Phase.COMMITTED


def test_so_it_is_through_the_daemon(enrolled: Gateway) -> None:
    """What the daemon tells is not heard, and its end is the exit code."""
    with RunningDaemon(enrolled) as daemon:
        daemon.until_up(1)
        assert unread(enrolled, 1) == 0
        assert enrolled.fork("rotate", log=FULL).wait(120) == 0
    assert enrolled.generations() == (3, 2)


def test_a_failed_one_says_so_although_it_is_not_heard(enrolled: Gateway) -> None:
    """`iot-cert rotate | head` in a script with pipefail."""
    enrolled.order("fault register never-active")
    assert unread(enrolled, 0) == 1
    assert enrolled.generations() == (1, None)
