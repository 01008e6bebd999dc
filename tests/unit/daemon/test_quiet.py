from __future__ import annotations

import pytest

from agent.daemon import quiet
from agent.daemon.quiet import CAUSES, MOST, Quiet
from support.running.office import HandClock

HOUR = 3600.0
ALWAYS = [f"The answer is garbage {number}." for number in range(10_000)]


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
        heard.append(told.news("a", "It failed."))
        passed.now += 60.0
    assert {place: text for place, text in enumerate(heard) if text} == dict.fromkeys((0, 60, 120), "It failed.")


def test_another_cause_is_told_at_once(passed: HandClock) -> None:
    """Under the same subject, and the first not again."""
    told = Quiet(HOUR)
    heard = []
    for text in ("The policy forbids it.", "The shadow is too large.", "The policy forbids it."):
        passed.now += 1.0
        heard.append(told.news("GetShadow denied", text))
    assert heard == ["The policy forbids it.", "The shadow is too large.", ""]


def test_what_words_anew_each_time_is_held_to_a_few_and_says_so(passed: HandClock) -> None:
    """What is kept back is counted, and told with the next that is told at all."""
    told = Quiet(HOUR)
    heard = [text for text in (told.news("a", text) for text in ALWAYS) if text]
    assert len(heard) == CAUSES
    assert heard[:-1] == ALWAYS[: CAUSES - 1]
    assert heard[-1] == f"{ALWAYS[CAUSES - 1]} What else is met like it is kept back for 60 min."
    passed.now += HOUR
    assert told.news("a", "It failed.") == f"It failed. {len(ALWAYS) - CAUSES} more were kept back before it."
    assert told.news("a", "It failed again.") == "It failed again."


def test_each_subject_has_its_own_and_many_do_not_fill_the_journal(passed: HandClock) -> None:
    """What sends another subject each time fills neither the journal nor the memory; the last that fits says so."""
    told = Quiet(HOUR)
    heard = [text for text in (told.news(number, "It failed.") for number in range(10_000)) if text]
    assert len(heard) == MOST
    assert set(heard[:-1]) == {"It failed."}
    assert heard[-1].endswith("is kept back for 60 min.")
    passed.now += HOUR
    assert told.news(9_999, "It failed.") == f"It failed. {10_000 - MOST} more were kept back before it."
