"""What `session` may be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from agent.config.reader import parse
from agent.core.when.looks import Looks
from agent.errors import ConfigError

PATH = Path("/etc/iot-cert-agent/config.yaml")
ENDPOINT = "endpoint: abc-ats.iot.eu-west-1.amazonaws.com\n"
HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("session: always", None),
        ("session:", None),
        ("session: {every: 12h, for: 2m}", Looks(every=12 * HOURS, lasts=timedelta(minutes=2))),
        ("session: {every: 12h}", Looks(every=12 * HOURS)),
        ("session: {}", Looks()),
    ],
)
def test_a_session_always_or_now_and_then(text: str, expected: Looks | None) -> None:
    """Always, unless a mapping says otherwise."""
    assert parse(ENDPOINT + text, PATH).session == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("session: never", "session: `always` or a mapping with every, for is expected, not 'never'"),
        ("session: 6h", "session: `always` or a mapping with every, for is expected, not '6h'"),
        ("session: [always]", "session: a mapping (`key: value` lines) is expected"),
        ("session: {every: 1m}", "session.every: a duration from 10m to 7d is expected, not '1m'"),
        ("session: {for: 1s}", "session.for: a duration from 1m to 10m is expected, not '1s'"),
        ("session: {until: 1m}", "session.until: there is no such key"),
    ],
)
def test_what_else_stands_there_is_told(text: str, complaint: str) -> None:
    """With the line, and with what may stand there."""
    with pytest.raises(ConfigError) as caught:
        parse(ENDPOINT + text, PATH)
    assert f"{PATH}:2: {complaint}" in str(caught.value)
