"""A daemon, and a fleet's side of one, on clocks that the test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.running.daemon_rig import DaemonRig
from support.running.office import HandClock, Office

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="office")
def _office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    clock = HandClock()
    for module in ("loop", "cloud.retirement", "cloud.shadow", "quiet"):
        monkeypatch.setattr(f"agent.daemon.{module}.monotonic", clock)
    office = Office(clock)
    office.connect()
    yield office
    office.loop.close()


@pytest.fixture
def blind(tmp_path: Path) -> Iterator[DaemonRig]:
    """Give a daemon that has seen nothing yet."""
    made = DaemonRig(tmp_path)
    yield made
    made.close()


@pytest.fixture
def rig(blind: DaemonRig) -> DaemonRig:
    """Give a daemon that has seen a set which is not due."""
    blind.see()
    return blind
