"""The named shadow: kept up to date, and listened to for a wish.

Nothing is reported before the cloud has said what it has, so that a reboot of a whole fleet is not a write of a whole
fleet, and then at most once a minute. What cannot be parsed is told to the log and forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.core.aws import topics
from agent.core.jsonio import PlainError
from agent.core.report import shadow
from agent.core.report.journal_events import Event
from agent.daemon.cloud.requests import again_after, is_missing
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.failure.failure import Failure
    from agent.core.when.schedule import Suggestion
    from agent.daemon.cloud.requests import CloudRequests, FleetCalls
    from agent.daemon.loop import Loop, Timer

REPORT_EVERY = 60.0  # seconds between two reports, at least


class Shadow:
    """The shadow of one thing."""

    def __init__(
        self,
        loop: Loop,
        requests: CloudRequests,
        calls: FleetCalls,
        wished: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        """Know nothing of it yet.

        Args:
            loop: Where to wait.
            requests: How the cloud is asked.
            calls: Whom it asks how the gateway stands.
            wished: Called when the shadow wishes for something else than before; `window` says what.
            chance: Draws a number in [0, 1).
        """
        self._loop = loop
        self._requests = requests
        self._calls = calls
        self._wished = wished
        self._chance = chance
        self._wish = shadow.Wish()
        self._reported: dict[str, Any] | None = None
        self._reported_at = -REPORT_EVERY
        self._next_report: Timer | None = None
        self._again: Timer | None = None

    @property
    def window(self) -> Suggestion | None:
        """The renewal window that the shadow wishes for."""
        return self._wish.window

    def digest(self) -> dict[str, Any]:
        """Return the state that is reported, as of now."""
        return shadow.report(self._calls.status(), self._wish)

    def connected(self) -> None:
        """Ask for the shadow anew."""
        self._requests.listen(topics.shadow_documents(self._requests.thing), self._on_documents)
        self._ask()

    def report(self) -> None:
        """Bring the shadow up to date, at most once a minute."""
        if not self._requests.up or self._reported is None:
            return
        told = self.digest()
        if not shadow.differs(self._reported, told):
            return
        wait = self._reported_at + REPORT_EVERY - monotonic()
        if wait > 0:
            if self._next_report is None or not self._next_report.pending:
                self._next_report = self._loop.later(wait, self.report)
            return
        self._reported_at = monotonic()

        def accepted(_payload: bytes) -> None:
            self._reported = {**(self._reported or {}), **told}

        body = {"state": {"reported": told}}
        # One that is lost is made again at the next report: nothing is to be done about it here.
        self._requests.ask("UpdateShadow", topics.shadow_update(self._requests.thing), body, accepted, lambda _: None)

    def _ask(self) -> None:
        topic = topics.shadow_get(self._requests.thing)
        self._requests.ask_once("GetShadow", topic, {}, self._on_shadow, self._on_no_shadow)

    def _on_shadow(self, payload: bytes) -> None:
        self._wish, self._reported = shadow.read_shadow(payload)
        self._wished()
        self.report()

    def _on_no_shadow(self, failure: Failure) -> None:
        if is_missing(failure):
            self._reported = {}
            self.report()
        elif self._again is None or not self._again.pending:
            self._again = self._loop.later(again_after(self._chance()), self._ask)

    def _on_documents(self, payload: bytes) -> None:
        try:
            wish = shadow.read_documents(payload)
        except PlainError as error:
            self._calls.log(Event.PROGRESS, f"What the cloud told of the shadow was not used: {error}.")
            return
        if wish != self._wish:
            self._wish = wish
            self._wished()
            self.report()
