"""The way to a copy: what is missing on it is not made, and no step is taken that another user may turn elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

from support.shorthand.copies import OTHER_GROUP, OTHER_USER, a_copy, dress, names, problem, put
from support.suite.surroundings import NOBODY


def test_a_missing_directory_is_named_and_not_made(place: Path) -> None:
    """Whose it should be is unknown."""
    assert f"go through {place}/certs: No such file or directory." in problem(a_copy(place / "certs" / "x"))
    assert names(place) == []


def test_a_file_on_the_way_is_a_problem(place: Path) -> None:
    """It is no directory."""
    (place / "certs").write_bytes(b"")
    assert "certs is a file, where a directory is expected" in problem(a_copy(place / "certs" / "x"))


@pytest.mark.parametrize("where", ["certs", "certs/below"])
def test_a_link_on_the_way_is_not_followed(place: Path, where: str) -> None:
    """The user who may plant it chooses where it leads; the path is to be written without links."""
    (place / "real" / "below").mkdir(parents=True)
    (place / "certs").mkdir()
    (place / where).rmdir() if (place / where).exists() else None
    (place / where).symlink_to(place / "real")
    to = place / "certs" / "below" / "x"

    assert f"{place}/{where} is a link. Give the path without links under `copies:`." in problem(a_copy(to))
    assert names(place / "real") == ["below"]
    assert names(place / "real" / "below") == []


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("where", ["certs", "certs/below"])
def test_a_step_that_others_may_write_is_refused(place: Path, where: str, mode: int) -> None:
    """By the group or by all: they could put a link in its place."""
    (place / "certs" / "below").mkdir(parents=True)
    (place / where).chmod(mode)
    said = problem(a_copy(place / "certs" / "below" / "x"))

    assert f"{place}/{where} may be written by others. It and all above it must be root's or the copy's" in said
    assert names(place / "certs" / "below") == []


@pytest.mark.root
@pytest.mark.parametrize("where", ["certs", "certs/below"])
def test_a_step_of_a_stranger_is_refused(place: Path, where: str) -> None:
    """Neither root's nor the owner's."""
    (place / "certs" / "below").mkdir(parents=True)
    os.chown(place / where, NOBODY, NOBODY)

    assert f"{place}/{where} belongs to user {NOBODY}." in problem(a_copy(place / "certs" / "below" / "x"))
    assert names(place / "certs" / "below") == []


@pytest.mark.root
def test_a_step_of_the_owner_is_taken(place: Path) -> None:
    """Most programs have a directory of their own; what they plant in it harms them alone."""
    (place / "certs").mkdir()
    os.chown(place / "certs", NOBODY, NOBODY)
    done = put(a_copy(place / "certs" / "x", owner=OTHER_USER, group=OTHER_GROUP))

    assert (done.changed, dict(done.problems)) == (True, {})
    assert dress(place / "certs" / "x") == (NOBODY, NOBODY, 0o640)


def test_a_sticky_directory_that_all_may_write_is_taken(place: Path) -> None:
    """No user may rename another's there: as a step on the way, and as the place."""
    (place / "tmp" / "certs").mkdir(parents=True)
    (place / "tmp").chmod(0o1777)

    assert not put(a_copy(place / "tmp" / "certs" / "x"), a_copy(place / "tmp" / "x")).problems
    assert names(place / "tmp") == ["certs", "x"]


@pytest.mark.parametrize("who", ["owner", "group"])
def test_an_unknown_user_or_group_is_a_problem(place: Path, who: str) -> None:
    """It is named, and nothing is written for another user instead."""
    wanted = a_copy(place / "x", **{who: "no-such-body"})  # type: ignore[arg-type]

    assert "no-such-body" in problem(wanted)
    assert names(place) == []
