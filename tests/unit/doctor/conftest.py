"""What the tests of the doctor share."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.system.clock import SystemClock
from support.simulated.rig import Rig
from support.unit.visits import DAY, MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Give a gateway whose clock moves when told."""
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name,
        closing(Rig(Path(name) / "state", lifetime=100 * DAY)) as made,
    ):
        monkeypatch.setattr(SystemClock, "now", lambda _: made.clock.now())
        monkeypatch.setattr(SystemClock, "synchronised", lambda _: made.clock.synchronised())
        yield made
