"""A few random stories in each run; `make walks WALKS=500 SEED=0` tells as many as one has time for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from walkkit import chance
from walkkit.telling import tell

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = (1, 4, 7, 12, 20, 22)


@pytest.mark.parametrize("seed", SAMPLE)
def test_whatever_happened_the_gateway_is_connected_within_minutes(tmp_path: Path, seed: int) -> None:
    """After random events, once everything behaves and one rung of the ladder is accepted."""
    report = tell(chance.story(seed), tmp_path)
    assert not report.breaches, str(report)


def test_a_seed_gives_the_same_story_each_time() -> None:
    """Or else no story could be told again."""
    for seed in range(20):
        first, second = chance.story(seed), chance.story(seed)
        assert [str(step) for step in first.steps] == [str(step) for step in second.steps]
        assert (first.start, first.ending.rungs) == (second.start, second.ending.rungs)
