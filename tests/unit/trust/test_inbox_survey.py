"""An inbox that is looked through a part at a time: what a look goes on from, begins with, and forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.trust import inbox
from support.simulated.ticks import tick

if TYPE_CHECKING:
    from pathlib import Path


def test_parts_of_an_inbox_add_up_to_the_oldest_and_the_newest(tmp_path: Path) -> None:
    """Wherever in the directory they are; a look goes through one part, and keeps what it found before."""
    (tmp_path / "oldest").touch()
    tick(tmp_path)
    for number in range(3_000):
        (tmp_path / f"bad-{number:05}").touch()
    tick(tmp_path)
    (tmp_path / "newest").touch()
    survey, looks = inbox.Survey(part=100), 0
    while looks == 0 or survey.unfinished:
        listed = survey.look(tmp_path)
        looks += 1
        assert len(listed) <= min(inbox.MAX_LISTED, looks * 100)
    assert looks == 31
    assert (listed[0].name, listed[-1].name) == ("oldest", "newest")
    (tmp_path / "oldest").unlink()
    (tmp_path / "newest").write_bytes(b"other")
    listed = survey.look(tmp_path)

    assert listed[0].name.startswith("bad-")
    assert listed[-1].stamp[1] == len(b"other")
    survey.close()


def test_a_name_that_was_heard_of_is_looked_at_wherever_it_is(tmp_path: Path) -> None:
    """In the first look; names that are none of a drop are not, nor those that are gone."""
    for number in range(50):
        (tmp_path / f"bad-{number:05}").touch()
    for name in ("good", "other.part", "../tests", "bad-00007"):
        survey = inbox.Survey(part=1)
        listed = [drop.name for drop in survey.look(tmp_path, [name, "gone"])]
        assert listed.count(name) == (name in {"good", "bad-00007"} and (tmp_path / name).exists())
        survey.close()


def test_a_survey_begins_anew_in_another_directory(tmp_path: Path) -> None:
    """The inbox was replaced: no name of the one before is asked for in it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{name}{number}").touch()
    survey = inbox.Survey(part=2)
    assert len(survey.look(tmp_path / "a")) == 2
    assert {drop.name[0] for drop in (*survey.look(tmp_path / "b"), *survey.look(tmp_path / "b"))} == {"b"}
    assert survey.look(tmp_path / "gone") == []

    assert not survey.unfinished
