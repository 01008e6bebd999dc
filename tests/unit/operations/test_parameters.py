"""Parameters from files that root alone may read: what is handed over to the agent's user, and what is not."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.config.reader import load
from agent.errors import MaterialError
from agent.operations.parameters import FILE, Parameters
from support.suite.surroundings import need_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AGENT = 65_534
VALUES = {"Serial": "0042", "Board": "b"}


@pytest.fixture(name="path")
def _path() -> Iterator[Path]:
    """The configuration of a gateway whose state and runtime directories are another user's, as with the package.

    Not below pytest's directory: each run that begins, of this tree or of another, makes that root's alone again.
    """
    need_root()
    with TemporaryDirectory(prefix="iot-cert-") as name:
        place = Path(name)
        place.chmod(0o755)
        for directory in (place / "state", place / "run"):
            directory.mkdir(mode=0o750)
            os.chown(directory, AGENT, AGENT)
        write(place, b"0042\0")
        path = place / "config.yaml"
        path.write_text(
            f"endpoint: x.example\nstate_dir: {place}/state\nruntime_dir: {place}/run\n"
            f"rotation: {{parameters: {{Serial: {{file: {place}/serial}}, Board: b}}}}\n"
        )
        yield path


def write(folder: Path, serial: bytes) -> None:
    """Write the serial number as the kernel shows it: for root alone."""
    (folder / "serial").unlink(missing_ok=True)
    (folder / "serial").write_bytes(serial)
    (folder / "serial").chmod(0o400)


@contextmanager
def agent() -> Iterator[None]:
    """Be the agent's user for the length of a block."""
    os.seteuid(AGENT)
    try:
        yield
    finally:
        os.seteuid(0)


def as_agent(path: Path) -> dict[str, str] | str:
    """Return the parameters as the agent's user has them, or why there are none."""
    with agent():
        try:
            return dict(Parameters(load(path)).rotation())
        except MaterialError as error:
            return f"{error} {error.hint}"


def test_root_hands_over_what_root_alone_may_read(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the agent's user and for no other; without it the agent is told what to do."""
    before = as_agent(path)
    assert "Permission denied" in before
    assert "sudo iot-cert config hand-over" in before
    assert cli.main(["--config", str(path), "config", "hand-over"]) == 0
    assert capsys.readouterr().out == f"{path.parent}/serial: its value is handed over to the agent's user.\n"
    assert as_agent(path) == VALUES
    status = (path.parent / "run" / FILE).lstat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (AGENT, AGENT, 0o600)


@pytest.mark.parametrize("name", [FILE, f".new-{FILE}"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda at: at.symlink_to("/nowhere")], ids=["d", "p", "l"])
def test_what_has_the_name_of_the_file_is_no_hindrance(path: Path, name: str, make: Callable[[Path], None]) -> None:
    """Whatever it is: a directory is kept under another name."""
    make(path.parent / "run" / name)
    assert Parameters(load(path)).hand_over() == (f"{path.parent}/serial",)
    assert as_agent(path) == VALUES


@pytest.mark.parametrize(("name", "hinted"), [("serial", True), ("there-is-none", True), ("directory", False)])
def test_handing_over_is_the_way_to_what_is_hidden_and_to_nothing_else(path: Path, name: str, *, hinted: bool) -> None:
    """As sysfs and /proc hide it from the agent; a directory stays none."""
    (path.parent / "directory").mkdir()
    path.write_text(path.read_text().replace("/serial}", f"/{name}}}"))
    assert ("config hand-over" in str(as_agent(path))) is hinted


def test_the_check_of_the_configuration_does_it_too(path: Path) -> None:
    """Whatever else it finds."""
    cli.main(["--config", str(path), "config", "check"])
    assert as_agent(path) == VALUES


def test_what_is_not_wanted_any_more_is_taken_back(path: Path) -> None:
    """A value is not kept for a configuration that names it no longer."""
    Parameters(load(path)).hand_over()
    path.write_text(path.read_text().partition("rotation:")[0])
    assert Parameters(load(path)).hand_over() == ()
    assert not (path.parent / "run" / FILE).exists()


def test_what_others_may_read_is_not_handed_over(path: Path) -> None:
    """It can be read where it is, as it is at the time."""
    (path.parent / "serial").chmod(0o444)
    assert Parameters(load(path)).hand_over() == ()
    assert as_agent(path) == VALUES


@pytest.mark.parametrize(
    ("content", "given"), [(b"0042\n", True), (b"correct horse battery staple\n", False), (b"x" * 41, False)]
)
def test_a_configuration_of_others_gets_serial_numbers_alone(path: Path, content: bytes, *, given: bool) -> None:
    """The user who may write it must not have root read a password for it."""
    write(path.parent, content)
    os.chown(path, AGENT, AGENT)
    assert bool(Parameters(load(path)).hand_over()) is given
    assert (as_agent(path) == VALUES) is given


def test_another_user_can_hand_over_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is told who can."""
    with agent():
        assert cli.main(["--config", str(path), "config", "hand-over"]) == 4
    assert "Only root" in capsys.readouterr().err


def test_a_command_of_roots_needs_no_handing_over(path: Path) -> None:
    """It reads before it becomes the agent's user, also where there is no runtime directory."""
    (path.parent / "run").rmdir()
    parameters = Parameters(load(path))
    with agent():
        assert parameters.rotation() == VALUES
