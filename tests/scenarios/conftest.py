"""Gateways to begin a story with. After every story no secret may stand where people read."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.change.decide import Limits
from support.aws.account import World
from support.simulated.kept import keep_what_is_decoded
from support.simulated.pasts import LivedPast
from support.simulated.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it


@pytest.fixture(autouse=True)
def _the_same_bytes_are_decoded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:  # not the test's own, which is undone before its gateway ends
        keep_what_is_decoded(patch)
        yield


@contextmanager
def _in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture
def state() -> Iterator[Path]:
    """Return where a gateway keeps its state: in memory, since these stories wait for no disk."""
    with _in_memory() as place:
        yield place / "state"


@contextmanager
def _watched(rig: Rig) -> Iterator[Rig]:
    yield rig
    rig.close()
    assert not rig.tells_secrets


@pytest.fixture
def rig(state: Path) -> Iterator[Rig]:
    """Return a gateway fresh from the factory: a claim certificate and nothing else."""
    with _watched(Rig(state)) as rig:
        yield rig


@pytest.fixture(scope="session", name="third_year")
def _third_year() -> Iterator[LivedPast]:
    with _in_memory() as place:
        yield LivedPast(place, _live_two_years)


def _live_two_years(rig: Rig) -> None:
    rig.configure(limits=Limits(probation=timedelta(minutes=1)))  # its past is not what the story is about
    rig.enroll()
    rig.rotate()
    rig.configure(limits=Limits(check_every=timedelta(minutes=2)))
    rig.clock.advance(days=2)
    assert rig.in_use() == (2, 1)


@pytest.fixture
def gateway(third_year: LivedPast, state: Path) -> Iterator[Rig]:
    """Return a gateway in its third year: generation 2 in use, 1 behind it, and nothing asked for lately."""
    with _watched(third_year.begin(state)) as rig:
        yield rig


@pytest.fixture(name="world")
def _world() -> World:
    return World()
