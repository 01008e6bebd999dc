from __future__ import annotations

from typing import Any

import pytest

from agent.core.change.decide import Wait
from agent.core.change.reserve import Standing
from agent.core.report.document import ANCHORS, document, trust
from agent.core.report.findings import judge
from support import make
from support.make import NOW

ALWAYS = {
    "version", "config", "endpoint", "port", "thing_name", "clock", "current", "previous", "change", "next", "last",
    "damage", "warnings", "reserve", "warn_anchors", "watched", "dependants", "plan", "retirements", "not_asked_for",
    "health", "findings", "exit", "pause", "inhibited_by", "generations",
}  # fmt: skip
WITH_A_DAEMON = {"connection", "stuck", "unseen", "configuration_refused", "untold", "runtime", "daemon"}


def test_a_document_has_the_same_keys_whatever_is_told() -> None:
    """What only a daemon knows is there while one runs."""
    assert set(document(make.status())) == set(document(make.status(current=None, looked=False))) == ALWAYS
    assert set(document(make.status(live=make.live()))) == ALWAYS | WITH_A_DAEMON


def test_a_wait_is_told_with_its_end_and_a_step_without() -> None:
    """Scripts tell them apart by the code."""
    wait = Wait(why="it waits", code="retry", until=NOW)

    assert document(make.status(following=wait))["next"] == {
        "why": "it waits",
        "code": "retry",
        "until": NOW.isoformat(),
    }


def test_the_documents_health_is_that_of_the_status() -> None:
    """Sentences and exit code."""
    status = make.status(live=make.live(stuck="No set is accepted."))
    told: dict[str, Any] = document(status)

    assert (tuple(told["health"]), told["exit"]) == (judge(status).health, judge(status).exit)
    assert (told["stuck"], told["connection"]["state"], told["daemon"]) == ("No set is accepted.", "up", 17)


@pytest.mark.parametrize("standing", Standing)
def test_what_is_kept_for_falling_back_is_told_alike_on_a_full_disk(standing: Standing) -> None:
    """That it is full is a finding; the words for the reserve are those of 0.1.0."""
    told = "kept" if standing is Standing.LAST else str(standing)
    assert document(make.status(reserve=standing))["reserve"] == told


def test_the_anchors_are_told_apart_from_the_rest() -> None:
    """As `iot-cert trust list --json` tells them; without a set there are none."""
    told: dict[str, Any] = document(make.status())

    assert trust(make.status()) == {key: told["current"][key] for key in ANCHORS}
    assert set(trust(make.status(current=None)).values()) == {None}
