from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.config.asked import asked_of
from agent.config.reader import load
from agent.core.when.schedule import Pause, Suggestion
from support.make import DAY, NOW

if TYPE_CHECKING:
    from pathlib import Path

CLAIM = "  template: t\n  claim: {certificate: /c, key: /k}\n"
VENDING = "  method: vending-machine\n  url: https://x/\n  token: {file: /t}\n"

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


@pytest.mark.parametrize(
    ("by", "parameters", "place"),
    [
        (VENDING, "", "/t"),
        (CLAIM, "", ""),
        (CLAIM, ", RegistrationToken: {file: /claim/token}", "/claim/token"),
        (CLAIM, ", RegistrationToken: secret", "`enrollment.parameters.RegistrationToken`"),
    ],
)
def test_where_a_new_token_goes(tmp_path: Path, by: str, parameters: str, place: str) -> None:
    """Into the file that is read for it; one that stands in the configuration is not repeated."""
    path = tmp_path / "config.yaml"
    path.write_text(f"{TEXT}enrollment:\n{by}  parameters: {{SerialNumber: '0042'{parameters}}}\n")
    asked = asked_of(load(path))
    assert (asked.enrols, asked.serial, asked.token_at) == (True, "0042", place)
