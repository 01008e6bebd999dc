"""What the store's unit tests share."""

from __future__ import annotations

import os
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


@pytest.fixture(params=[0o000, 0o022, 0o077], name="umask")
def _umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)
