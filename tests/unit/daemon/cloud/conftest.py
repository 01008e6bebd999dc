"""What the tests of the daemon's cloud share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.running.daemon_rig import ConnectedRig
from support.unit.daemon.daemon_retirement import BRIDGE, NGINX, left

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[ConnectedRig]:
    """Give a connected daemon with two dependants and one certificate whose grace is over."""
    made = ConnectedRig(tmp_path, NGINX, BRIDGE)
    made.leave_behind(left())
    yield made
    made.close()
