"""A reporter for changes of which a test looks at what came of them, and not at what was said meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.core.change.progress import Progress


class Unheard:
    """Takes each step of a change, and drops it."""

    def report(self, progress: Progress) -> None:
        """See `agent.ports.Reporter`."""
