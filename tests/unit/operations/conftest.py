"""What the tests of operations share."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.simulated.rig import Rig
from support.unit.snapshot import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Return a gateway fresh from the factory."""
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name,
        closing(Rig(Path(name) / "state")) as made,
    ):
        yield made
