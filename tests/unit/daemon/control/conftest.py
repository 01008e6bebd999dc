"""A control socket in a directory of the test's own."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.unit.daemon.server import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    """Be where every user may look."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(name="idle")
def _idle(folder: Path) -> Iterator[Daemon]:
    """Return a daemon that the test starts."""
    with closing(Daemon(folder)) as daemon:
        yield daemon


@pytest.fixture(name="daemon")
def _daemon(idle: Daemon) -> Daemon:
    idle.start()
    return idle
