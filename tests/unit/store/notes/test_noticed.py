"""What the operator's command was told: a courtesy that may be lost, and never stops anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.report.notices import Noticed, Told
from agent.store.notes import noticed

if TYPE_CHECKING:
    from pathlib import Path

FOUND = Noticed(findings=(Told(check="set", code="damaged", severity=3, text="It is damaged: ü."),))


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    """The last one; it is for the owner alone."""
    noticed.write(tmp_path, Noticed())
    noticed.write(tmp_path, FOUND)
    assert noticed.read(tmp_path) == FOUND
    assert [(item.name, item.stat().st_mode & 0o777) for item in tmp_path.iterdir()] == [(noticed.NOTICED, 0o600)]


@pytest.mark.parametrize("content", [b"", b"\n", b"[]", b'{"findings":[{}]}', b'{"findings":1}', b"x" * 300_000])
def test_what_says_nothing_is_nothing_that_was_told(tmp_path: Path, content: bytes) -> None:
    """The command is told once more then."""
    (tmp_path / noticed.NOTICED).write_bytes(content)
    assert noticed.read(tmp_path) == Noticed()


def test_no_directory_and_no_file_are_nothing_to_fail_for(tmp_path: Path) -> None:
    """A gateway that has not enrolled has no state directory."""
    noticed.write(tmp_path / "gone", FOUND)
    assert noticed.read(tmp_path / "gone") == noticed.read(tmp_path) == Noticed()
