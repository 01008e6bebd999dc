"""Who but root could change what is at a path: one who owns or may write anything that leads there, links included."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.system.changeable import changeable_by_others
from support.running.systemd import open_place
from support.suite.surroundings import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 40  # links, as the kernel follows

pytestmark = pytest.mark.root


@pytest.fixture(name="place")
def _place() -> Iterator[Path]:
    """A directory of root's, below directories of root's, with a file of root's in `real`."""
    with open_place() as place:
        (place / "real").mkdir()
        (place / "real" / "file").touch()
        yield place


def link(path: Path, target: Path | str, uid: int = 0) -> Path:
    """Plant a link."""
    path.symlink_to(target)
    os.lchown(path, uid, uid)
    return path


def said(path: Path) -> str:
    """Return the sentence about a path that belongs to another."""
    return f"{path} belongs to nobody and not to root"


# -- without links -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [".", "real", "real/file", "real/../real/./file", "real/.."])
def test_what_is_roots_alone_no_user_changes(place: Path, path: str) -> None:
    """A file, a directory, and any way of writing them."""
    assert changeable_by_others(place / path) == ""
    assert changeable_by_others(Path(f"{place}/{path}")) == ""


@pytest.mark.parametrize("what", ["", "real", "real/file"])
def test_the_owner_of_a_step_is_named(place: Path, what: str) -> None:
    """With the step."""
    os.chown(place / what, NOBODY, NOBODY)
    assert changeable_by_others(place / "real" / "file") == said(place / what)


def test_a_user_without_a_name_is_told_by_number(place: Path) -> None:
    """As one that was removed."""
    os.chown(place / "real", 54321, 0)
    assert changeable_by_others(place / "real") == f"{place}/real belongs to user 54321 and not to root"


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
@pytest.mark.parametrize("what", ["", "real", "real/file"])
def test_a_step_that_others_may_write_is_named(place: Path, what: str, mode: int) -> None:
    """With the command that mends it."""
    step = place / what
    step.chmod(mode)
    wanted = f"{step} may be written by others than root (`sudo chmod go-w {step}`)"
    assert changeable_by_others(place / "real" / "file") == wanted


def test_in_a_sticky_directory_no_user_renames_anothers(place: Path) -> None:
    """So /tmp may be on the way; a sticky file is as open as any."""
    (place / "real").chmod(0o1777)
    assert changeable_by_others(place / "real" / "file") == ""

    (place / "real" / "file").chmod(0o1666)
    assert changeable_by_others(place / "real" / "file").startswith(f"{place}/real/file may be written by others")


@pytest.mark.parametrize("path", ["gone", "real/gone", "real/gone/file", "real/file/below"])
def test_what_cannot_be_looked_at_is_an_error(place: Path, path: str) -> None:
    """And never taken for safe."""
    with pytest.raises(OSError, match=r"No such file|Not a directory"):
        changeable_by_others(place / path)


def test_a_path_from_here_begins_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All above it counts, too."""
    monkeypatch.chdir(place / "real")
    assert changeable_by_others(Path("file")) == ""
    os.chown(place, NOBODY, NOBODY)
    assert changeable_by_others(Path("file")) == said(place)


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["real", "./real", "real/../real", "{place}/real", "../{name}/real"])
def test_links_of_roots_are_followed(place: Path, target: str) -> None:
    """As /var/run is one; their mode says nothing, and what they go through counts."""
    way = link(place / "way", target.format(place=place, name=place.name)) / "file"
    assert changeable_by_others(way) == ""

    os.chown(place / "real", NOBODY, NOBODY)
    assert changeable_by_others(way) == said(place / "real")


@pytest.mark.parametrize("where", ["on the way", "at the end"])
@pytest.mark.parametrize("absolute", [True, False])
def test_another_users_link_is_named(place: Path, where: str, *, absolute: bool) -> None:
    """Although all that it leads to is root's: its owner may have it lead elsewhere after the look."""
    target = Path("real" if where == "on the way" else "real/file")
    way = link(place / "way", place / target if absolute else target, NOBODY)
    assert changeable_by_others(way / "file" if where == "on the way" else way) == said(way)


@pytest.mark.parametrize("whose", ["NOBODY's", "all may write"])
def test_a_link_of_roots_in_another_users_directory_is_no_better(place: Path, whose: str) -> None:
    """A user who may write the directory puts another link in its place."""
    home = place / "home"
    home.mkdir()
    way = link(home / "way", place / "real") / "file"
    assert changeable_by_others(way) == ""
    os.chown(home, NOBODY, NOBODY) if whose == "NOBODY's" else home.chmod(0o777)
    assert changeable_by_others(way).startswith(f"{home} ")


def test_another_users_link_in_a_sticky_directory_is_named(place: Path) -> None:
    """Everybody may plant one there."""
    (place / "tmp").mkdir()
    (place / "tmp").chmod(0o1777)
    assert changeable_by_others(link(place / "tmp" / "good", place / "real") / "file") == ""
    assert changeable_by_others(link(place / "tmp" / "bad", place / "real", NOBODY) / "file") == said(
        place / "tmp" / "bad"
    )


@pytest.mark.parametrize("bad", range(4))
def test_in_a_chain_of_links_each_counts(place: Path, bad: int) -> None:
    """The first, the last, and those that only another link goes through."""
    chain = [place / f"link{number}" for number in range(4)]
    for path, target in zip(chain, [*chain[1:], place / "real"], strict=True):
        link(path, target)
    assert changeable_by_others(chain[0] / "file") == ""
    os.lchown(chain[bad], NOBODY, NOBODY)
    assert changeable_by_others(chain[0] / "file") == said(chain[bad])


def test_above_a_link_is_above_what_it_leads_to(place: Path) -> None:
    """As the kernel goes, and not as the path is written: the other file is looked at."""
    (place / "real" / "below").mkdir()
    (place / "file").touch()
    way = link(place / "way", "real/below") / ".." / "file"
    os.chown(place / "file", NOBODY, NOBODY)
    assert changeable_by_others(way) == ""
    os.chown(place / "real" / "file", NOBODY, NOBODY)
    assert changeable_by_others(way) == said(place / "real" / "file")


def test_above_the_root_is_the_root(place: Path) -> None:
    """However often, in the path and in a link."""
    up = "../" * 30
    assert changeable_by_others(Path(f"/{up}{place}/real/file")) == ""
    assert changeable_by_others(link(place / "way", f"{up}{place}/real/file".replace("//", "/"))) == ""


@pytest.mark.parametrize("target", ["way", "./way", "{place}/way", "back"])
def test_a_link_to_itself_is_an_error(place: Path, target: str) -> None:
    """Whether by itself or through another; the look has an end."""
    link(place / "way", target.format(place=place))
    link(place / "back", "way")
    with pytest.raises(OSError, match="symbolic links") as caught:
        changeable_by_others(place / "way" / "file")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("more", [0, 1])
def test_as_many_links_are_followed_as_by_the_kernel(place: Path, more: int) -> None:
    """What cannot be opened is no error of the configuration's owner alone."""
    target = "real"
    for number in range(MANY + more):
        target = link(place / f"link{number}", target).name
    way = place / target / "file"
    if more:
        for look in (changeable_by_others, Path.stat):
            with pytest.raises(OSError, match="symbolic links"):
                look(way)
    else:
        assert (changeable_by_others(way), way.stat().st_size) == ("", 0)


def test_a_link_to_nowhere_is_an_error(place: Path) -> None:
    """The user who may make what is there decides."""
    with pytest.raises(OSError, match="No such file"):
        changeable_by_others(link(place / "way", "gone"))
