"""Gateways to begin a story with. After every story no secret may stand where people read."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from support.account import World
from support.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it


@pytest.fixture
def state() -> Iterator[Path]:
    """Return where a gateway keeps its state: in memory, since these stories wait for no disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name) / "state"


@pytest.fixture
def rig(state: Path) -> Iterator[Rig]:
    """Return a gateway fresh from the factory: a claim certificate and nothing else."""
    rig = Rig(state)
    yield rig
    rig.close()
    assert not rig.tells_secrets


@pytest.fixture
def gateway(rig: Rig) -> Rig:
    """Return a gateway in its third year: generation 2 in use, 1 behind it, and nothing asked for lately."""
    rig.configure(limits=Limits(probation=timedelta(minutes=1)))  # its past is not what the story is about
    rig.enroll()
    rig.rotate()
    rig.configure(limits=Limits(check_every=timedelta(minutes=2)))
    rig.clock.advance(days=2)
    assert rig.in_use() == (2, 1)
    return rig


@pytest.fixture(name="world")
def _world() -> World:
    return World()
