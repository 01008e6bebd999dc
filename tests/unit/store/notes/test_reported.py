"""Whose end was told last: a courtesy that may be lost, and never stops anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.store.notes import reported

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    """The last one; it is for the owner alone."""
    reported.write(tmp_path, "change-1")
    reported.write(tmp_path, "change-2")
    assert reported.read(tmp_path) == "change-2"
    assert [(item.name, item.stat().st_mode & 0o777) for item in tmp_path.iterdir()] == [(reported.TOLD, 0o600)]


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 10_000])
def test_what_says_nothing_is_no_change(tmp_path: Path, content: bytes) -> None:
    """Also when it is larger than any change's name."""
    (tmp_path / reported.TOLD).write_bytes(content)
    assert reported.read(tmp_path) == ""


def test_what_is_not_text_is_read_as_something_else(tmp_path: Path) -> None:
    """It is compared with names and printed nowhere."""
    (tmp_path / reported.TOLD).write_bytes(b"\xff" * 100)
    assert reported.read(tmp_path) == "\ufffd" * 64


def test_no_directory_and_no_file_are_nothing_to_fail_for(tmp_path: Path) -> None:
    """Nor is a link, which is not followed."""
    reported.write(tmp_path / "gone", "change-1")
    assert reported.read(tmp_path / "gone") == reported.read(tmp_path) == ""
    (tmp_path / reported.TOLD).symlink_to("elsewhere")
    (tmp_path / "elsewhere").write_text("change-1\n")
    assert reported.read(tmp_path) == ""
