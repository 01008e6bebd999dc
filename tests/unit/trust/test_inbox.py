"""The inbox: a program that may write there can lead nowhere and keep nothing busy, and no flood hides a drop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.core.trust import updates
from agent.core.trust.updates import BundleOutcome
from agent.errors import StoreError
from agent.trust import inbox
from support.simulated.ticks import tick
from support.unit.trust.inboxes import drops, names

if TYPE_CHECKING:
    from pathlib import Path


def test_where_there_is_no_inbox_nothing_waits(tmp_path: Path) -> None:
    """The pipeline makes it, and the agent does not."""
    assert drops(tmp_path / "inbox") == []


def test_an_inbox_that_is_none_is_an_error(tmp_path: Path) -> None:
    """A file, or a link to somewhere else."""
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with pytest.raises(StoreError):
            drops(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        ".hidden", ".new-bundle.tar.outcome.json", "bundle.tar.part", "bundle.tmp", "b.partial", "b.filepart",
        "b.crdownload", "bundle.tar.outcome.json", "bundle.tar~", "lost+found", "x" * 101, "a\nb",
        "ä\u200e", "\u4e00" * 82,
    ],
)  # fmt: skip
def test_what_is_unfinished_or_cannot_be_told_of_is_no_drop(tmp_path: Path, name: str) -> None:
    """An upload in progress, an outcome, a name that no line and no outcome's name can hold."""
    (tmp_path / name).touch()
    (tmp_path / os.fsdecode(b"\xff.tar")).touch()

    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        "bundle.tar", "b", "x" * 100, "A_b-1.2.tar.gz", "part", "7", "anchors (1).tar", "ä.tar", "a:b", "-rf", "a\\b",
        "anchors+1.tar", "\u4e00" * 80,
    ],
)  # fmt: skip
def test_a_name_that_can_be_told_of_is_a_drops(tmp_path: Path, name: str) -> None:
    """Of up to a hundred characters: what a browser or a person made of it says nothing of the signature."""
    (tmp_path / name).touch()

    assert names(tmp_path) == [name]
    assert updates.drop_of(updates.inbox_order(name, "0" * 64)) == name
    inbox.write_outcome(tmp_path, name, BundleOutcome(outcome="installed"))
    assert inbox.read_outcome(tmp_path, name).outcome == "installed"


def test_what_is_passed_over_for_its_name_can_be_asked_for(tmp_path: Path) -> None:
    """And not what is to be left alone; where there is no inbox nothing is."""
    for name in (
        b"\xff.tar",
        b"a\nb",
        b"x" * 101,
        b".hidden",
        b"b.part",
        b"b.tar",
        b"lost+found",
        b"b.tar.outcome.json",
    ):
        (tmp_path / os.fsdecode(name)).touch()

    assert inbox.passed_over(tmp_path) == ["a\nb", "x" * 101, "\udcff.tar"]
    assert inbox.passed_over(tmp_path / "inbox") == []


def test_of_a_flood_of_names_a_person_is_told_some(tmp_path: Path) -> None:
    """The answer, and the time it takes, do not grow with what lies there."""
    for number in range(7):
        (tmp_path / f"odd\n{number}").touch()
    assert len(inbox.passed_over(tmp_path, 5)) == 5
    assert len(inbox.passed_over(tmp_path)) == 7


def test_every_kind_of_thing_is_listed_so_that_it_is_answered(tmp_path: Path) -> None:
    """A link to nowhere and a directory as well, the latter until it was answered."""
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert sorted(names(tmp_path)) == ["directory", "link", "pipe"]
    inbox.write_outcome(tmp_path, "directory", BundleOutcome(outcome="refused"))

    assert sorted(names(tmp_path)) == ["link", "pipe"]


def test_a_drop_that_was_answered_before_is_listed_again(tmp_path: Path) -> None:
    """The next one of the same name."""
    inbox.write_outcome(tmp_path, "bundle.tar", BundleOutcome(outcome="installed"))
    (tmp_path / "bundle.tar").touch()

    assert names(tmp_path) == ["bundle.tar"]


def test_the_stamp_tells_a_drop_from_the_next_of_its_name(tmp_path: Path) -> None:
    """Written to, renamed over, or only touched; looking changes nothing."""
    path = tmp_path / "b"
    path.write_bytes(b"1")
    seen = drops(tmp_path)
    assert drops(tmp_path) == seen
    for change in (
        lambda: path.write_bytes(b"22"),
        lambda: (tmp_path / ".next").write_bytes(b"22") and (tmp_path / ".next").rename(path),
        lambda: os.utime(path, (1, 1)),
        lambda: path.chmod(0o600),
    ):
        change()
        assert drops(tmp_path) != seen
        seen = drops(tmp_path)


def test_a_flooded_inbox_does_not_keep_the_agent_busy(tmp_path: Path) -> None:
    """As many as are looked at, and no more."""
    for number in range(inbox.MAX_LISTED + 50):
        (tmp_path / f"f{number}").touch()

    assert len(names(tmp_path)) == inbox.MAX_LISTED


def test_a_flood_hides_neither_the_oldest_nor_the_newest(tmp_path: Path) -> None:
    """Whatever their names are: a good one that comes last is seen at once."""
    (tmp_path / "bad-00000").touch()
    tick(tmp_path)
    for number in range(1, inbox.MAX_LISTED + 50):
        (tmp_path / f"bad-{number:05}").touch()
        os.utime(tmp_path / f"bad-{number:05}", (4_000_000_000,) * 2)  # what a program may say of its file
    tick(tmp_path)
    (tmp_path / "z-good").touch()

    listed = names(tmp_path)
    assert (listed[0], listed[-1]) == ("bad-00000", "z-good")


def test_years_of_outcomes_hide_no_drop(tmp_path: Path) -> None:
    """A pipeline that never clears up is answered still, whatever its names."""
    for number in range(inbox.MAX_LISTED + 50):
        (tmp_path / f"a{number}.outcome.json").touch()
        (tmp_path / f".a{number}").touch()
    (tmp_path / "zz.tar").touch()

    assert names(tmp_path) == ["zz.tar"]
