"""What the store's unit tests share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.store.files import disk
from agent.store.store import Store
from support.crashkit.scenarios import rotated
from support.crashkit.tree import materialise

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


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A store with three generations: current 3, previous 2."""
    path = tmp_path / "state"
    materialise(rotated(3), path)
    return path


@pytest.fixture(name="store")
def _store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        store.lock()
        yield store
