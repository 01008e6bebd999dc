"""Gates: asked in order until one does not let the change go on, as root's helper asks them."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lasting import Lasting
from agent.core.dependants import Dependants, GateCommands, Hooks, Leave, Report, Step
from agent.dependants.deployer import Deployer
from agent.errors import RefusedError
from agent.store.store import Store
from support import make
from support.crashkit.material import NOW
from support.running.systemd import lay, open_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


class GatedHouse:
    """A gateway with gates."""

    def __init__(self, place: Path) -> None:
        self.place, self.state = place, place / "state"
        self.gates = GateCommands(directory=place / "gates.d", timeout=timedelta(seconds=20))
        self.gates.directory.mkdir()

    def gate(self, name: str, script: str) -> None:
        """Have a gate."""
        path = self.gates.directory / name
        path.write_text(f"#!/bin/sh\necho {name} >> {self.place}/log\n{script}\n")
        path.chmod(0o755)

    def ask(self, leave: Leave = Leave.REQUEST, gates: GateCommands | None = None) -> Report:
        """Ask them."""
        dependants = Dependants(hooks=Hooks(directory=self.place / "hooks.d"), gates=gates or self.gates)
        return Deployer(dependants, self.state, self.place / "deploy").ask(leave)

    @property
    def asked(self) -> list[str]:
        """Those that were asked."""
        return (self.place / "log").read_text().split()


@pytest.fixture(name="house")
def _house() -> Iterator[GatedHouse]:
    with open_place() as place:
        house = GatedHouse(place)
        lay(house.state, 1)
        yield house


def test_all_that_let_it_go_on_are_asked_in_order(house: GatedHouse) -> None:
    """And nothing is written down of it."""
    house.gate("20-second", "exit 0")
    house.gate("10-first", "exit 0")
    report = house.ask()
    assert report.steps == (Step(name="gate 10-first"), Step(name="gate 20-second"))
    assert house.asked == ["10-first", "20-second"]
    assert not (house.place / "deploy").exists()


@pytest.mark.parametrize(
    ("script", "problem", "veto"),
    [
        ("exit 75", "it ended with exit code 75", False),
        ("exit 1", "it ended with exit code 1", False),
        ("exit 77", "it ended with exit code 77", True),
        ("kill -KILL $$", "it was ended by signal 9", False),
    ],
)
def test_the_first_that_does_not_ends_the_asking(house: GatedHouse, script: str, problem: str, *, veto: bool) -> None:
    """By its exit code; those behind it are asked the next time."""
    house.gate("10-first", script)
    house.gate("20-second", "exit 0")
    assert house.ask().steps == (Step(name="gate 10-first", problem=problem, goes_back=veto),)
    assert house.asked == ["10-first"]


def test_one_that_takes_too_long_is_ended_and_holds(house: GatedHouse) -> None:
    """It has not said that the change may go on."""
    house.gate("10-first", "sleep 60")
    gates = GateCommands(directory=house.gates.directory, timeout=timedelta(seconds=1))
    (step,) = house.ask(gates=gates).steps
    assert (step.problem, step.goes_back) == ("it took longer than 1 s and was ended", False)


def test_one_that_another_user_may_change_is_not_run(house: GatedHouse) -> None:
    """It would be run as root."""
    house.gate("10-first", "exit 0")
    (house.gates.directory / "10-first").chmod(0o777)
    (step,) = house.ask().steps
    assert "is not run" in step.problem
    assert step.untried
    assert not (house.place / "log").exists()


def test_a_user_that_is_not_there_asks_none(house: GatedHouse) -> None:
    """As any gate that could not be asked."""
    house.gate("10-first", "exit 0")
    (step,) = house.ask(gates=GateCommands(directory=house.gates.directory, user="no-such-body")).steps
    assert step.problem == f"{house.gates.directory}/10-first is not run: there is no user no-such-body."
    assert step.untried


def test_more_than_are_run_are_not_asked(house: GatedHouse) -> None:
    """None is, which is told."""
    for number in range(20):
        house.gate(f"{number}", "exit 0")
    (step,) = house.ask().steps
    assert "has 20 hooks" in step.problem
    assert step.untried


def _replaced_by(path: Path, kind: str) -> None:
    path.unlink()
    path.mkdir() if kind == "directory" else path.symlink_to("/bin/true")


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not executable": (lambda path: path.chmod(0o644), "is not executable: `sudo chmod +x "),
    "a directory": (lambda path: _replaced_by(path, "directory"), "is no regular file, so it is not run."),
    "a link": (lambda path: _replaced_by(path, "link"), "is no regular file, so it is not run."),
    "an interpreter that is not there": (
        lambda path: path.write_text("#!/bin/none\n"),
        "which is not there to run it.",
    ),
    "one by name": (lambda path: path.write_text("#!/usr/bin/env none\n"), "begins with `#!/usr/bin/env none`, which"),
    "line ends of another system": (lambda path: path.write_bytes(b"#!/bin/sh\r\nexit 0\r\n"), "sudo sed -i"),
    "by name": (lambda path: path.write_bytes(b"#!/usr/bin/env sh\r\nexit 0\r\n"), "sudo sed -i"),
    "another machine's program": (
        lambda path: path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57)),
        "Exec format error",
    ),
    "another user's": (lambda path: os.chown(path, 12345, 12345), "and not to root, so 10-first is not run."),
}


@pytest.mark.parametrize("how", sorted(BREAKS))
def test_one_that_cannot_be_run_is_told_as_that_and_those_behind_it_are_asked(house: GatedHouse, how: str) -> None:
    """Whatever keeps it from being run, with what it is; a veto behind it counts."""
    house.gate("10-first", "exit 0")
    house.gate("20-second", "exit 77")
    spoil, words = BREAKS[how]
    spoil(house.gates.directory / "10-first")
    first, second = house.ask().steps
    assert (first.name, first.untried, first.goes_back) == ("gate 10-first", True, False)
    assert words in first.problem
    assert (second.untried, second.goes_back) == (False, True)


def test_a_file_system_from_which_nothing_is_run_is_named(house: GatedHouse) -> None:
    """To make it executable would not help."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", house.gates.directory], check=True)
    try:
        house.gate("10-first", "exit 0")
        (step,) = house.ask().steps
    finally:
        subprocess.run(["umount", house.gates.directory], check=True)
    assert step.untried
    assert step.problem == (
        f"{house.gates.directory}/10-first is on a file system from which nothing is run (mounted `noexec`): move it "
        "to another."
    )


def test_a_directory_that_may_be_mounted_yet_is_waited_for(house: GatedHouse) -> None:
    """As the hooks' is."""
    house.gates.directory.rmdir()
    house.gates.directory.symlink_to(house.place / "gone")
    (step,) = house.ask().steps
    assert ("is a symbolic link to what is not there" in step.problem, step.untried) == (True, False)


def test_without_gates_nothing_holds(house: GatedHouse) -> None:
    """The directory need not be there."""
    house.gates.directory.rmdir()
    assert house.ask().steps == ()


@pytest.mark.parametrize("leave", list(Leave))
def test_a_gate_is_told_what_is_about_to_be_done(house: GatedHouse, leave: Leave) -> None:
    """Of the change that asks, and of the set in use."""
    with Store(house.state) as store:
        store.lock()
        store.recover(NOW)
        store.save_change(make.record(id="change-9", reason="ticket 17"), Lasting.NOW)
    house.gate("10-first", f"env | grep ^IOT_CERT_ > {house.place}/environment")
    house.ask(leave)
    told = dict(line.split("=", 1) for line in (house.place / "environment").read_text().splitlines())
    assert (told["IOT_CERT_PHASE"], told["IOT_CERT_CHANGE"]) == (leave, "change-9")
    asks = (told["IOT_CERT_KIND"], told["IOT_CERT_REASON"], told["IOT_CERT_GENERATION"])
    assert asks == ("rotate", "ticket 17", "1")


def test_without_a_set_in_use_that_is_told(house: GatedHouse) -> None:
    """The agent does not ask then."""
    (house.state / "current").unlink()
    house.gate("10-first", "exit 0")
    with pytest.raises(RefusedError, match="no certificate yet"):
        house.ask()


def test_gates_that_cannot_be_read_are_not_asked(house: GatedHouse) -> None:
    """The directory is named as what it is."""
    house.gates.directory.rmdir()
    house.gates.directory.touch()
    (step,) = house.ask().steps
    told = f"{house.gates.directory} is a file, where a directory is expected: move it out of the way."
    assert (step.name, step.problem, step.untried) == ("gates' directory", told, True)
