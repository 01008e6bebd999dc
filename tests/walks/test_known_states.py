"""States that a gateway is known to get into, and how it gets out of each by itself or with one act of a technician."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.walkkit import known
from support.walkkit.telling import tell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", [story.name for story in known.KNOWN])
def test_the_gateway_gets_out_of_a_known_state(tmp_path: Path, name: str) -> None:
    """It is connected with what is expected, at no higher cost, and says ok at no time without a set that works."""
    report = tell(known.story(name), tmp_path)
    assert not report.breaches, str(report)
