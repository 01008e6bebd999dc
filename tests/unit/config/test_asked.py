from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.config.asked import asked_of
from agent.config.reader import load
from agent.core.when.schedule import Pause, Suggestion
from support.make import DAY, NOW

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
endpoint: x.example
port: 443
client_id: "{thing}"
rotation: {grace: 2d, retire: false, before_expiry: 20d}
trust: {warn: [90d, 5d]}
"""


def test_what_a_file_asks_for_is_what_the_status_rests_on(tmp_path: Path) -> None:
    """Each value comes from the file, and what holds a change from the disk and the fleet."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    pause, suggestion = Pause(until=NOW, reason="harvest"), Suggestion(opens_at=NOW, closes_at=NOW + DAY, source="x")
    asked = asked_of(load(path), "gw-1", pause, suggestion)

    assert (asked.config, asked.endpoint, asked.port, asked.thing_name) == (str(path), "x.example", 443, None)
    assert (asked.grace, asked.retires, asked.enrols) == (2 * DAY, False, False)
    assert asked.warn_anchors == (90 * DAY, 5 * DAY)
    assert asked.wishes.policy.before_expiry == timedelta(days=20)
    assert (asked.wishes.holds.pause, asked.wishes.suggestion) == (pause, suggestion)
    assert asked.concerns == tuple(load(path).concerns("gw-1")) != ()
