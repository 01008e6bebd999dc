"""The daemon's journal: each event with the set in use and the change in flight, so that no caller has to name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.report.journal_events import NOTHING, SHOWN
from agent.system.service.journal import EventLog

if TYPE_CHECKING:
    from agent.core.report.journal_events import Event
    from agent.daemon.facts import GatewayFacts


class DaemonLog:
    """The journal of one daemon."""

    def __init__(self, facts: GatewayFacts) -> None:
        """Write nothing yet.

        Args:
            facts: What is known of the gateway.
        """
        self._facts = facts
        self._log = EventLog(facts.clock)

    def tell(self, event: Event, text: str, **fields: Any) -> None:
        """Write an event.

        Args:
            event: What happened.
            text: The sentence for people.
            fields: What machines match, besides the generation, the change in flight, its phase and its failure.
        """
        told = {name: value for name, value in fields.items() if value is not None}
        shown = dict.fromkeys(SHOWN.get(event, ()), NOTHING)
        self._log.log(event, text, **{**shown, **self._at_hand(told.get("change")), **told})

    def _at_hand(self, change_id: str | None) -> dict[str, str | int]:
        """Return what is known without a caller's word; of the change in flight where that is the one told of."""
        found: dict[str, str | int] = {}
        if self._facts.generation is not None:
            found["generation"] = self._facts.generation
        change = self._facts.change
        if change is None or change_id not in {None, "", change.id}:
            return found
        found |= {"change": change.id, "phase": change.phase.value}
        if change.asked_by is not None:
            found |= change.asked_by.fields
        if change.failure is not None:
            found |= {"failure_class": change.failure.kind.value, "failure_code": change.failure.code}
        return found

    def close(self) -> None:
        """Let go of the journal."""
        self._log.close()
