"""What of the findings is news: told to the journal once as each appears, and to the operator's command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.report.findings import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.report.journal_events import Event
    from agent.core.report.status import Status
    from agent.daemon.notices import Notices


class FindingNews:
    """The news of one daemon.

    Attributes:
        log: Writes to the journal.
    """

    def __init__(self, notices: Notices, log: Callable[[Event, str], None]) -> None:
        """Tell nothing yet.

        Args:
            notices: What the operator's command is told.
            log: Writes to the journal.
        """
        self._notices = notices
        self.log = log
        self._journalled: set[str] = set()

    @property
    def problem(self) -> str:
        """Why the operator's command could not be told, a sentence, or an empty text."""
        return self._notices.problem

    def tell(self, status: Status) -> None:
        """Tell what is new; the journal has no finding again while it lasts."""
        found = events(status)
        for text, event in found.items():
            if text not in self._journalled:
                self.log(event, text)
        self._journalled = set(found)
        self._notices.consider(status)
