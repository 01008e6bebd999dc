"""A secret's file and its end."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.errors import StoreError
from agent.store.files import secret_files

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b"5ec2e7\n"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_bytes(SECRET)
    return file


def test_a_file_is_overwritten_and_removed(file: Path) -> None:
    """What is in it is gone for a process that has it open, too."""
    with file.open("rb") as opened:
        assert secret_files.remove(file)
        assert opened.read() == bytes(len(SECRET))
    assert not file.exists()


def test_what_is_not_there_needs_no_removal(tmp_path: Path) -> None:
    """Neither the file nor its directory."""
    assert not secret_files.remove(tmp_path / "token")
    assert not secret_files.remove(tmp_path / "nowhere" / "token")


def test_a_link_leads_to_the_file(file: Path) -> None:
    """It is the secret that has to go."""
    link = file.with_name("link")
    link.symlink_to(file)
    assert secret_files.remove(link)
    assert not file.exists()


def test_what_cannot_be_removed_is_said(tmp_path: Path) -> None:
    """A directory stands in its place."""
    (tmp_path / "token").mkdir()
    with pytest.raises(StoreError, match="Cannot remove token"):
        secret_files.remove(tmp_path / "token")


def test_when_a_file_was_touched_is_when_it_was_put_there(file: Path) -> None:
    """Also when it was moved there with the date of an older one."""
    before = datetime.now(UTC) - timedelta(seconds=1)  # the file system's clock is a little behind
    old = (before - timedelta(days=3)).timestamp()
    os.utime(file, (old, old))
    touched = secret_files.touched(file)
    assert touched is not None
    assert before <= touched <= datetime.now(UTC)
    assert secret_files.touched(file.with_name("nothing")) is None
