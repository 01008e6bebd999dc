"""Hooks: which are run, in which order, and which must not be, because another user could have written them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.config.values import DEFAULT_DEPENDANTS
from agent.core.dependants import MAX_HOOKS, GateCommands, Hooks
from agent.dependants import hooks
from support.running.systemd import open_place
from support.shorthand import planted
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LEFTOVERS = [
    ".hidden", ".50-mine.swp", "50-mine~", "50-mine.dpkg-old", "50-mine.dpkg-dist", "50-mine.dpkg-new",
    "50-mine.ucf-dist", "50-mine.rpmnew", "50-mine.rpmsave", "50-mine.rpmorig", "50-mine.bak", "50-mine.orig",
    "50-mine.old", "50-mine.swp", "50-mine.disabled",
]  # fmt: skip


@pytest.fixture(name="directory")
def _directory() -> Iterator[Path]:
    """A directory for hooks, below directories of root's."""
    with open_place() as place:
        (place / "hooks.d").mkdir()
        yield place / "hooks.d"


def hook(directory: Path, name: str = "50-mine", mode: int = 0o755) -> Path:
    """Lay a hook down."""
    path = directory / name
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


# -- which -------------------------------------------------------------------------------------------------------------


def test_hooks_come_in_the_order_of_their_names(directory: Path) -> None:
    """By their characters, as everywhere, whatever the language and in whichever order they were made."""
    wanted = ["09-b", "10-a", "10-a.sh", "9-c", "B", "a", "zum-Schluß"]
    for name in reversed(wanted):
        hook(directory, name)
    assert hooks.find(directory) == ([directory / name for name in wanted], "")


@pytest.mark.parametrize("name", LEFTOVERS)
def test_what_package_managers_and_editors_leave_is_passed_over(directory: Path, name: str) -> None:
    """It was a hook once, or is none yet; it was not meant to run beside the other."""
    hook(directory, name)
    hook(directory)

    assert hooks.find(directory) == ([directory / "50-mine"], "")


@pytest.mark.parametrize("name", ["50-old", "50.sh", "swp", "bak", "50-dpkg-old", "50-mine.older", "50-mine.newold"])
def test_a_name_that_only_looks_like_a_leftover_is_a_hook(directory: Path, name: str) -> None:
    """A hook that is silently not run is worse than one too many."""
    assert hooks.find(hook(directory, name).parent) == ([directory / name], "")


def test_a_missing_directory_has_no_hooks(directory: Path) -> None:
    """Most gateways have none."""
    assert hooks.find(directory / "gone") == ([], "")
    assert not hooks.any_in(directory / "gone")


@pytest.mark.parametrize("named", [Hooks, GateCommands])
def test_a_directory_that_the_configuration_names_and_that_is_gone_is_told(
    directory: Path, named: type[Hooks | GateCommands]
) -> None:
    """What was in it does not run, and nothing fails that would say so; the directories of their own may be missing."""
    (told,) = hooks.unfit(named(directory=directory / "gone"))
    assert told.startswith(f"{directory}/gone is not there, so nothing in it is run: make it, or ")
    assert not list(hooks.unfit(named(directory=directory)))
    assert not list(hooks.unfit(DEFAULT_DEPENDANTS.hooks, DEFAULT_DEPENDANTS.gates))


def test_an_empty_directory_has_no_hooks(directory: Path) -> None:
    """Nor has one with leftovers only."""
    (directory / ".keep").touch()
    assert hooks.find(directory) == ([], "")
    assert not hooks.any_in(directory)


def test_a_file_in_place_of_the_directory_is_a_problem(directory: Path) -> None:
    """It is told, and there is something to complain about."""
    told = f"{directory}/50-mine is a file, where a directory is expected: move it out of the way."
    assert hooks.find(hook(directory)) == ([], told)
    assert hooks.any_in(directory / "50-mine")


@pytest.mark.parametrize("kind", sorted(planted.KINDS))
def test_what_stands_in_place_of_the_directory_is_told_with_what_helps(directory: Path, kind: str) -> None:
    """Whatever it is, and it is left as it is; the same below it."""
    place = directory / "mine"
    with planted.at(place, kind) as plant:
        found, problem = hooks.find(place)
        assert plant.stands
        if kind.startswith("directory"):
            assert (found, problem) == ([place / "below"], "")
        elif kind == "dangling":
            assert problem.startswith(f"{place} is a symbolic link to what is not there: mount its file system")
        elif kind == "loop":
            assert problem.startswith(f"{place} cannot be read: Too many levels of symbolic links. A symbolic link")
        else:
            assert problem.startswith(f"{place} is a ")
            assert problem.endswith(", where a directory is expected: move it out of the way.")
            told = f"{place}/below cannot be read: Not a directory. What stands above it in the path is no directory:"
            assert hooks.find(place / "below")[1].startswith(told)


def test_a_directory_that_a_link_leads_to_and_that_is_not_there_is_a_problem(directory: Path) -> None:
    """Its file system is not mounted yet: what is silently not asked would be a gate that stands open."""
    (directory / "link").symlink_to(directory / "gone")
    told = f"{directory}/link is a symbolic link to what is not there: mount its file system, or take the link away."
    assert hooks.find(directory / "link") == ([], told)
    (directory / "gone").mkdir()
    assert hooks.find(directory / "link") == ([], "")


def test_as_many_as_are_allowed_are_run(directory: Path) -> None:
    """Leftovers do not count."""
    for number in range(MAX_HOOKS):
        hook(directory, f"{number:02d}")
        hook(directory, f"{number:02d}~")

    found, problem = hooks.find(directory)
    assert (len(found), problem) == (MAX_HOOKS, "")
    assert hooks.any_in(directory)


def test_of_too_many_none_is_run(directory: Path) -> None:
    """Which of them are not needed, the agent does not guess."""
    for number in range(MAX_HOOKS + 1):
        hook(directory, f"{number:02d}")

    assert hooks.find(directory) == ([], f"{directory} has 17 hooks, and at most 16 are run: none was.")
    assert hooks.any_in(directory)


# -- what is not run ---------------------------------------------------------------------------------------------------


@pytest.mark.root
def test_what_could_not_be_started_was_not_run(directory: Path) -> None:
    """A program that fails may come up; one that the kernel does not start is for a person."""
    path = hook(directory)
    path.write_text("no program\n")
    not_run, failed = hooks.run(path, "root", 5, {})
    assert not_run == f"{path} is not run: it could not be started: Exec format error."
    assert failed == ""


@pytest.mark.root
def test_what_could_not_be_started_for_now_is_tried_again(directory: Path) -> None:
    """As a hook that a deployment is writing: it comes up by itself, and no change may go back for it at once."""
    path = hook(directory)
    with path.open("a"):
        assert hooks.run(path, "root", 5, {}) == ("", "for now it could not be started: Text file busy")


# -- what is told before they are run ----------------------------------------------------------------------------------


@pytest.mark.root
def test_a_directory_below_one_that_a_user_may_not_enter_is_nothing_to_tell_of(directory: Path) -> None:
    """Root runs what is in it; the daemon, which may not look, goes on with what it knows."""
    hook(directory, mode=0o644)
    named = GateCommands(directory=directory)
    assert [text.partition(":")[0] for text in hooks.unfit(named)] == [f"{directory / '50-mine'} is not executable"]
    directory.parent.chmod(0o700)
    os.seteuid(NOBODY)
    try:
        assert list(hooks.unfit(named)) == []
    finally:
        os.seteuid(0)


def test_what_is_told_of_a_hook_can_be_shown_whatever_its_name_is(directory: Path) -> None:
    """A name may be no text, and may hold what a terminal obeys."""
    hook(directory, os.fsdecode(b"20-\xff\n\x1b[2J"), mode=0o644)
    (told,) = hooks.unfit(GateCommands(directory=directory))
    assert told.isprintable()
    assert told.encode()
