from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.backend.decide.orders import JobOrder
from agent.core.report.shadow import read_shadow
from agent.fleet.decide import rotation

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_a_wish_is_one_that_the_agent_understands() -> None:
    """Both sides of the shadow, in one test."""
    import json  # noqa: PLC0415 - beside its one use

    window = rotation.window_of("2026-12-01T01:00+01:00/2026-12-01T05:00Z", NOW, by_job=False)
    read, _ = read_shadow(json.dumps({"state": {"desired": rotation.wish(window)}}).encode())
    assert read.window is not None
    assert read.window.opens_at == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "/", "x/y", "2026-12-01/", "2026-12-01T00:00Z", "2000-01-01/2001-01-01", "9999-01-01/9999-12-31"]
)
def test_what_is_no_window(text: str) -> None:
    """None of them is guessed at."""
    with pytest.raises(ValueError, match="window"):
        rotation.window_of(text, NOW, by_job=False)


def test_a_schedule_is_spelt_as_jobs_want_it() -> None:
    """In UTC, to the minute."""
    window = rotation.window_of("2026-12-01T01:00Z/2026-12-01T05:00Z", NOW, by_job=True)
    order = JobOrder(job_id="j", things=("gw",), reason="r")
    request = rotation.job(order, lambda kind, name: f"arn/{kind}/{name}", window)
    assert request["schedulingConfig"]["startTime"] == "2026-12-01T01:00"
    assert request["targets"] == ["arn/thing/gw"]
    assert rotation.job(order, lambda kind, name: f"{kind}/{name}", None, "g")["targets"] == ["thinggroup/g"]
