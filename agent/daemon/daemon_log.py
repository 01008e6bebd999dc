"""The daemon's journal: each event with the set in use and the change in flight, so that no caller has to name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.system.journal import EventLog

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
        change = self._facts.change
        if change is not None:
            fields.setdefault("change", change.id)
            fields.setdefault("phase", change.phase.value)
            if change.failure is not None:
                fields.setdefault("failure_class", change.failure.kind.value)
                fields.setdefault("failure_code", change.failure.code)
        self._log.log(event, text, generation=self._facts.generation, **fields)

    def close(self) -> None:
        """Let go of the journal."""
        self._log.close()
