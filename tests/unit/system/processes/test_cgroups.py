"""A control group for one program: only below one that was delegated, and nothing outlives it that has a time."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from agent.system.processes.cgroups import DELEGATED, PLACES, Group, group_of_its_own
from support.running.fleet import until
from support.suite.surroundings import lacks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root

PLACE = next((place for place in PLACES if (place / "cgroup.procs").exists()), None)

# Runs a program in a process of its own, in the group that is named first, and says how it ended.
RUNNER = """
import os, sys
from pathlib import Path
from agent.system.processes import programs
Path(sys.argv[1], "cgroup.procs").write_text("0")
programs.GRACE = 0.1
programs._descendants = lambda of: frozenset()  # as if nothing could be seen of them
account = programs.account("nobody") if sys.argv[2] else None
print(programs.run(["/bin/sh", "-c", sys.argv[3]], float(sys.argv[4]), account=account))
"""


@pytest.fixture(name="unit")
def _unit() -> Iterator[Path]:
    """Have a control group as a unit has one; it is delegated."""
    if PLACE is None:
        lacks("control groups of the second version")
    path = PLACE / f"iot-cert-test-{os.getpid()}"
    path.mkdir()
    os.setxattr(path, DELEGATED, b"1")
    yield path
    until(lambda: not (path / "cgroup.procs").read_text(), "the processes in it to end")
    for below in path.glob("program-*"):
        below.rmdir()
    path.rmdir()


def run(unit: Path, script: str, timeout: float = 60.0, user: str = "") -> str:
    """Run a script of the shell in a process that is in the unit's group; return how it ended."""
    command = [sys.executable, "-c", RUNNER, str(unit), user, script, str(timeout)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


@pytest.mark.parametrize("user", ["", "nobody"])
def test_a_program_has_a_group_of_its_own(unit: Path, user: str) -> None:
    """Whatever user it runs as; it is gone when the program has ended."""
    script = f"grep -q '^0::/{unit.name}/program-[0-9]*-1$' /proc/self/cgroup"
    assert run(unit, script, user=user) == ""
    assert list(unit.glob("program-*")) == []


@pytest.mark.parametrize("user", ["", "nobody"])
def test_what_it_started_ends_with_its_time(unit: Path, user: str) -> None:
    """In a session of its own, with its parent gone, deaf to every signal but one, and out of sight."""
    script = "setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' & sleep 600"
    assert "took longer than" in run(unit, script, 1.0, user)
    until(
        lambda: not list(unit.glob("program-*")) or not next(unit.glob("program-*/cgroup.procs")).read_text(), "its end"
    )


def test_what_a_program_in_time_leaves_running_stays(unit: Path) -> None:
    """A hook may start a daemon; that ends with the unit."""
    assert run(unit, "setsid sleep 600 >/dev/null 2>&1 & exit 0") == ""
    (group,) = unit.glob("program-*")
    (pid,) = (group / "cgroup.procs").read_text().split()
    (group / "cgroup.kill").write_text("1")
    with suppress(ChildProcessError):
        os.waitpid(int(pid), 0)
    until(lambda: not (group / "cgroup.procs").read_text(), "its end")


def test_a_group_that_is_not_delegated_is_not_divided(unit: Path) -> None:
    """It is systemd's."""
    os.setxattr(unit, DELEGATED, b"0")
    assert run(unit, f"grep -q '^0::/{unit.name}$' /proc/self/cgroup") == ""
    os.removexattr(unit, DELEGATED)
    assert run(unit, f"grep -q '^0::/{unit.name}$' /proc/self/cgroup") == ""
    with group_of_its_own() as group:
        assert group is None or group.path.parent != unit


def test_who_is_not_let_in_runs_all_the_same(tmp_path: Path) -> None:
    """As a user who may not is told by a kernel that asks who writes."""
    entrance = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(entrance, b"0")
    Group(path=tmp_path, entrance=entrance).enter()
    os.close(entrance)
