"""What a `cp -r` of root's leaves in a state directory, and what another user could put there in its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.store.files.given_back import give_back
from support.suite.surroundings import NOBODY, another_user

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    """Return a state directory of another user's, in which root has put a generation."""
    state = tmp_path / "state"
    (state / "generations" / "000001").mkdir(parents=True, mode=0o750)
    (state / "generations" / "000001" / "key.pem").write_text("a key")
    (state / "generations" / "000001" / "key.pem").chmod(0o640)
    (state / "history.jsonl").write_text("")
    os.chown(state, NOBODY, NOBODY)
    return state


def owners(state: Path) -> dict[str, int]:
    """Return whose everything is."""
    return {str(path.relative_to(state)): path.lstat().st_uid for path in sorted(state.rglob("*"))}


def test_what_root_has_left_is_the_owners_again(state: Path) -> None:
    """With its modes; a second time there is nothing to do."""
    paths = ["generations", "generations/000001", "generations/000001/key.pem", "history.jsonl"]
    assert sorted(give_back(state)) == [f"{state}/{path}" for path in paths]
    assert owners(state) == dict.fromkeys(paths, NOBODY)
    assert (state / "generations" / "000001" / "key.pem").stat().st_mode & 0o777 == 0o640
    assert give_back(state) == ()


def test_nothing_is_followed_and_nothing_with_another_name_is_given_away(state: Path, tmp_path: Path) -> None:
    """Else the agent's user could have any file of root's."""
    secret = tmp_path / "shadow"
    secret.write_text("root's")
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "passwd").write_text("root's")
    (state / "generations" / "000001" / "certificate.pem").symlink_to(secret)
    (state / "generations" / "000002").symlink_to(folder)
    (state / "generations" / "000001" / "trust.pem").hardlink_to(secret)
    os.mkfifo(state / "generations" / "000001" / "manifest.json")
    give_back(state)
    assert {path.stat().st_uid for path in (secret, folder, folder / "passwd")} == {0}


def test_what_others_drop_stays_theirs(state: Path) -> None:
    """A bundle in the inbox, and a directory that is none of the agent's."""
    for name in ("inbox", "lost+found"):
        (state / name).mkdir()
        (state / name / "file").write_text("")
    give_back(state)
    assert {uid for path, uid in owners(state).items() if path.startswith(("inbox", "lost"))} == {0}


def test_only_root_gives_and_only_to_another(state: Path, tmp_path: Path) -> None:
    """A gateway whose agent is root, as in a container, keeps what it has; one without one has nothing."""
    with another_user():
        assert give_back(state) == ()
    os.chown(state, 0, 0)
    assert give_back(state) == ()
    assert give_back(tmp_path / "none") == ()
