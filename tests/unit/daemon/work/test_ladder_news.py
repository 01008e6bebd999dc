"""The ladder's findings: each is told once, until a set is accepted."""

from __future__ import annotations

import pytest

from agent.core.failure.failure import KEEPS_TRYING
from agent.core.report.journal_events import Event
from agent.daemon.work.ladder_news import LadderNews


class News(LadderNews):
    """Findings, and what the journal has of them."""

    def __init__(self) -> None:
        self.journal: list[tuple[Event, str]] = []
        super().__init__(lambda event, text: self.journal.append((event, text)))


@pytest.fixture
def news() -> News:
    """Give a ladder that was not climbed yet."""
    return News()


def test_a_finding_is_new_until_a_set_is_accepted(news: News) -> None:
    """Then it is met anew."""
    assert [news.is_new(text) for text in ("a", "b", "a")] == [True, True, False]
    news.accepted()
    assert news.is_new("a")


def test_a_gateway_without_a_set_is_told_once(news: News) -> None:
    """As a sentence with what helps; again only when the reason is another one, or after a set was found."""
    for _ in range(3):
        news.locked_out("there is no set left", "Help it.")
    assert news.stuck == f"There is no set left. Help it. {KEEPS_TRYING}"
    assert news.journal == [(Event.LOCKED_OUT, news.stuck)]
    news.locked_out("each set is refused", "Help it.")
    assert news.stuck == f"Each set is refused. Help it. {KEEPS_TRYING}"
    news.found_a_set()
    assert news.stuck == ""
    news.locked_out("each set is refused", "Help it.")
    assert len(news.journal) == 3
