"""States that a gateway is known to get into, and how it gets out of each by itself or with one act of a technician."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.suite import campaigns
from support.walkkit import known
from support.walkkit.telling import tell

if TYPE_CHECKING:
    from pathlib import Path


# Their ways out are those of the row beside them; only what was damaged, or how, is another.
ALIKE = {
    *(f"{name}-replaced-by-a-directory-and-previous-accepted" for name in ("manifest", "history")),
    *(f"{name}-replaced-by-a-directory-and-claim-accepted" for name in ("key", "manifest")),
    *(f"manifest-of-the-only-set-{how}" for how in ("cut", "delete")),
    *(f"manifest-of-the-last-set-{how}" for how in ("flip", "delete")),
}


def names() -> list[str]:
    """Return the known states, those that are like others for the whole campaign alone."""
    found = [story.name for story in known.KNOWN]
    assert set(found) >= ALIKE
    return [name for name in found if name not in ALIKE or not campaigns.chosen().sampled]


def way_out(name: str) -> str:
    """Return what gets a gateway out of a state."""
    return f"{known.story(name).ending.rungs}"


STATES = campaigns.one_of_each(names(), way_out)


@pytest.mark.parametrize("name", STATES)
def test_the_gateway_gets_out_of_a_known_state(tmp_path: Path, name: str) -> None:
    """It is connected with what is expected, at no higher cost, and says ok at no time without a set that works."""
    report = tell(known.story(name), tmp_path)
    assert not report.breaches, str(report)
