"""What the store's unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.store import disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[int]:
    """An open directory."""
    with disk.directory(str(tmp_path)) as fd:
        yield fd
