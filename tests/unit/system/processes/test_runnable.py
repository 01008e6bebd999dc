"""Which programs must not be run, because another user could have written them, and which could not be started."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from agent.system.processes.runnable import why_not
from support.running.systemd import open_place
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture(name="directory")
def _directory() -> Iterator[Path]:
    """A directory for programs, below directories of root's."""
    with open_place() as place:
        (place / "hooks.d").mkdir()
        yield place / "hooks.d"


def script(directory: Path, name: str = "50-mine", mode: int = 0o755) -> Path:
    """Lay a script down."""
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def not_run(program: Path, owner: int | None = 0, *, follow: bool = False) -> str:
    """Return why a program is not run that root alone may change, and that may be no link."""
    return why_not(program, owner, follow=follow)


# -- what must not be run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o500, 0o555, 0o100, 0o751])
def test_a_program_of_roots_that_no_other_user_may_write_is_run(directory: Path, mode: int) -> None:
    """Who may read it does not matter."""
    assert not_run(script(directory, mode=mode)) == ""


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o722, 0o702])
def test_a_program_that_others_may_write_is_not_run(directory: Path, mode: int) -> None:
    """The sentence has the command that mends it."""
    path = script(directory, mode=mode)
    assert (
        not_run(path) == f"{path} may be written by others than root (`sudo chmod go-w {path}`), so 50-mine is not run."
    )


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_program_in_a_directory_that_others_may_write_is_not_run(directory: Path, mode: int) -> None:
    """They could put another in its place, or another directory."""
    path = script(directory)
    for step in (directory, directory.parent):
        before = stat.S_IMODE(step.stat().st_mode)
        step.chmod(mode)
        assert not_run(path).startswith(f"{step} may be written by others than root")
        step.chmod(before)
    assert not_run(path) == ""


@pytest.mark.parametrize("what", ["program", "directory", "above"])
def test_a_program_that_is_not_roots_is_not_run(directory: Path, what: str) -> None:
    """Nor one whose way is not."""
    path = script(directory)
    whose = {"program": path, "directory": directory, "above": directory.parent}[what]
    os.chown(whose, NOBODY, NOBODY)

    said = not_run(path)
    assert said.startswith(f"{whose} belongs to ")
    assert said.endswith(" and not to root, so 50-mine is not run.")


def test_a_link_is_not_run(directory: Path) -> None:
    """Not even one to a sound hook: what is run is what lies here."""
    (directory / "10-link").symlink_to(script(directory))
    assert not_run(directory / "10-link") == f"{directory}/10-link is no regular file, so it is not run."


@pytest.mark.parametrize("above", [False, True])
def test_a_program_behind_another_users_link_is_not_run(directory: Path, *, above: bool) -> None:
    """Although it leads to root's: after the look it may lead elsewhere. One of root's own is followed."""
    script(directory)
    link = directory.parent / "link"
    link.symlink_to(directory.parent if above else directory)
    way = link / "hooks.d" / "50-mine" if above else link / "50-mine"
    assert not_run(way) == ""

    os.lchown(link, NOBODY, NOBODY)
    assert not_run(way) == f"{link} belongs to nobody and not to root, so 50-mine is not run."


def test_a_program_behind_a_link_in_another_users_directory_is_not_run(directory: Path) -> None:
    """Its owner may put another link in the place of root's."""
    script(directory)
    home = directory.parent / "home"
    home.mkdir()
    (home / "link").symlink_to(directory)
    os.chown(home, NOBODY, NOBODY)

    said = not_run(home / "link" / "50-mine")
    assert said == f"{home} belongs to nobody and not to root, so 50-mine is not run."


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_what_is_no_file_is_not_run(directory: Path, kind: str) -> None:
    """It is complained about, since a person put it there."""
    path = directory / "50-mine"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    assert not_run(path) == f"{path} is no regular file, so it is not run."


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o000])
def test_a_program_that_cannot_be_run_is_complained_about(directory: Path, mode: int) -> None:
    """Forgetting `sudo chmod +x` is the usual mistake."""
    path = script(directory, mode=mode)
    assert not_run(path) == f"{path} is not executable: `sudo chmod +x {path}`."


def test_a_program_that_has_gone_meanwhile_is_complained_about(directory: Path) -> None:
    """And never raises."""
    assert not_run(directory / "gone") == f"{directory}/gone cannot be looked at: No such file or directory."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/usr/bin/none -x\n", "begins with `#!/usr/bin/none`, which is not there to run it."),
        (b"#! /etc/passwd\n", "begins with `#!/etc/passwd`, which is not there to run it."),
        (b"#!/bin/sh\r\nexit 0\r\n", "has line ends of another system: `sudo sed -i 's/\\r$//' "),
        (b"#!/bin/none\0\n", "begins with `#!/bin/none`, which is not there to run it."),
        (b"#!/bin/sh\nexit 0\n", ""),
        (b"#!/usr/bin/perl -w\r\nexit 0;\r\n", ""),  # which runs
        (b"#! /usr/bin/env -S sh -e\n", ""),
        (b"\x7fELF", ""),
    ],
)
def test_a_script_that_the_kernel_would_not_start_is_told_before(directory: Path, content: bytes, words: str) -> None:
    """By its first line: the kernel's own word for a missing interpreter is that the script is not there."""
    path = script(directory)
    path.write_bytes(content)
    told = not_run(path)
    assert told.startswith(f"{path} {words}") if words else told == ""


def test_a_program_of_a_users_own_is_run_for_that_user_and_by_a_link(directory: Path) -> None:
    """Where it may be a link; and where any user may write it, only what keeps it from being started is told."""
    path = script(directory)
    link = directory / "link"
    link.symlink_to(path)
    os.chown(path, NOBODY, NOBODY)
    assert not_run(link, NOBODY, follow=True) == ""
    path.chmod(0o777)
    assert not_run(link, NOBODY, follow=True).endswith("so link is not run.")
    assert not_run(link, None, follow=True) == ""
    path.chmod(0o666)
    assert not_run(link, None, follow=True) == f"{link} is not executable: `sudo chmod +x {link}`."
