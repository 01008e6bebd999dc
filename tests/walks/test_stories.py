"""A few random stories in each run; `make walks WALKS=500 SEED=0` tells as many as one has time for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.suite import campaigns
from support.walkkit import chance
from support.walkkit.chance import FILES, LIVES
from support.walkkit.disk import Harm
from support.walkkit.endings import Rung
from support.walkkit.orders import Victim
from support.walkkit.steps import Brought, Whose
from support.walkkit.telling import tell

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = (115, 118, 120, 154, 155, 158)


@pytest.mark.parametrize("seed", campaigns.take(SAMPLE, 3))
def test_whatever_happened_the_gateway_is_connected_within_minutes(tmp_path: Path, seed: int) -> None:
    """After random events, once everything behaves and one rung of the ladder is accepted."""
    report = tell(chance.story(seed), tmp_path)
    assert not report.breaches, str(report)


def test_everything_that_may_happen_is_drawn() -> None:
    """Each kind of event, each blow, each rung and each rescue: what no story tells is not tried."""
    stories = [chance.story(seed) for seed in range(400)]
    told = "\n".join(str(step) for story in stories for step in (*story.steps, *story.ending.rescue))
    words = (
        *("enroll", "rotate --no-wait", "rotate --wait", "rollback", "import --from", "trust install", "trust restore"),
        *("retire", "pause", "resume", "rotate --dry-run", "check", "in 2 terminals", "Ctrl-C", "at record", *Victim),
        *(f"{file} of {link} {how}" for file in FILES for link in ("current", "previous") for how in Harm),
        *(f"{file} {how}" for file in ("change.json", "history.jsonl") for how in Harm),
        *("current is deleted", "previous is deleted", "change places", *Brought, "copied into current by hand"),
        *(f"the certificate of {whose} is {state}" for whose in Whose for state in ("INACTIVE", "ACTIVE")),
        *("refuses connections", "hangs up on all", "says nothing", "fault connect", "fault create", "fault register"),
        *("other-root", "0 KiB left", "room again", "files are removed", "files are put back", "daemon is stopped"),
        *("starts of the daemon", "new claim", "activates the certificate again"),
    )
    assert [word for word in words if word not in told] == []
    assert {story.ending.rungs[0] for story in stories} == set(Rung)
    assert {story.start.lived for story in stories} == {lived for _, lived in LIVES}


def test_a_seed_gives_the_same_story_each_time() -> None:
    """Or else no story could be told again."""
    for seed in range(20):
        first, second = chance.story(seed), chance.story(seed)
        assert [str(step) for step in first.steps] == [str(step) for step in second.steps]
        assert (first.start, first.ending.rungs) == (second.start, second.ending.rungs)
