from __future__ import annotations

import pytest

from agent.daemon import quiet
from agent.daemon.quiet import MOST, Quiet
from support.office import HandClock

HOUR = 3600.0


@pytest.fixture(name="passed")
def _passed(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    clock = HandClock()
    monkeypatch.setattr(quiet, "monotonic", clock)
    return clock


def test_what_goes_on_is_news_once_in_a_span(passed: HandClock) -> None:
    """The span begins when it is told: what is met each minute is told each hour, and not never again."""
    told = Quiet(HOUR)
    heard = []
    for _ in range(180):
        heard.append(told.is_news("a"))
        passed.now += 60.0
    assert [place for place, news in enumerate(heard) if news] == [0, 60, 120]


def test_each_subject_has_its_own_and_many_are_no_news(passed: HandClock) -> None:
    """What sends another subject each time fills neither the journal nor the memory."""
    told = Quiet(HOUR)
    assert sum(told.is_news(number) for number in range(10_000)) == MOST
    passed.now += HOUR
    assert told.is_news(9_999)
