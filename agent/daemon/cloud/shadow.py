"""The named shadow: kept up to date, and listened to for a wish.

Nothing is reported before the cloud has said what it has, so that a reboot of a whole fleet is not a write of a whole
fleet, and then at most once a minute; only the answer to another wish comes within seconds.
What cannot be parsed is told to the log, once an hour, and forgotten.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.aws import topics
from agent.core.jsonio import PlainError
from agent.core.report import shadow
from agent.core.report.journal_events import Event
from agent.core.when import schedule
from agent.daemon.cloud.requests import again_after, is_missing
from agent.daemon.loop import Alarm
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.core.failure.failure import Failure
    from agent.core.when.schedule import Suggestion
    from agent.daemon.cloud.requests import CloudRequests, FleetCalls
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop

REPORT_EVERY = 60.0  # seconds between two reports, at least
ANSWER_EVERY = 2.0  # seconds, at least, before another wish is answered: a flood of wishes is no flood of reports


class Shadow:
    """The shadow of one thing."""

    def __init__(
        self,
        loop: Loop,
        requests: CloudRequests,
        facts: GatewayFacts,
        calls: FleetCalls,
        wished: Callable[[], None],
        chance: Callable[[], float],
    ) -> None:
        """Know nothing of it yet.

        Args:
            loop: Where to wait.
            requests: How the cloud is asked.
            facts: What is known of the gateway and its changes.
            calls: Whom it asks how the gateway stands.
            wished: Called when the shadow wishes for something else than before; `window` says what.
            chance: Draws a number in [0, 1).
        """
        self._requests = requests
        self._facts = facts
        self._calls = calls
        self._wished = wished
        self._chance = chance
        self._wish = shadow.Wish()
        self._reported: shadow.Digest | None = None
        self._reported_at = -REPORT_EVERY
        self._unanswered = False
        self._next_report, self._again = Alarm(loop, self.report), Alarm(loop, self._ask)

    @property
    def window(self) -> Suggestion | None:
        """The renewal window that the shadow wishes for."""
        return self._wish.window

    @property
    def unreported(self) -> bool:
        """Whether a report is put off that the link is up for."""
        return self._requests.up and self._next_report.pending

    def digest(self) -> shadow.Digest:
        """Return the state that is reported, as of now."""
        return shadow.report(self._calls.status(), replace(self._wish, done=self._is_done()))

    def _is_done(self) -> bool:
        """Whether the certificate in use was got after the wished window opened."""
        subject, window = self._facts.subject(), self._wish.window
        if subject is None or window is None:
            return False
        return not schedule.applies(window, subject, schedule.past_of(self._facts.history), self._facts.clock.now())

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
            self._unanswered = False
            return
        wait = self._reported_at + (ANSWER_EVERY if self._unanswered else REPORT_EVERY) - monotonic()
        if wait > 0:
            self._next_report.bring_forward(wait)
            return
        if self._unanswered and self._wish.refused:
            self._calls.log(Event.WISH_REFUSED, f"The wish in the shadow is not followed: {self._wish.refused}.")
        self._reported_at, self._unanswered = monotonic(), False

        def accepted(_payload: bytes) -> None:
            self._reported = {**(self._reported or {}), **told}

        body = {"state": {"reported": told}}
        # One that is lost is made again at the next report: nothing is to be done about it here.
        self._requests.ask("UpdateShadow", topics.shadow_update(self._requests.thing), body, accepted, lambda _: None)

    def _wish_for(self, wish: shadow.Wish) -> None:
        """Take a wish; another than before is answered soon."""
        wish = shadow.in_time(wish, self._calls.status().now, self._reported or {})
        if wish != self._wish:
            self._wish, self._unanswered = wish, True

    def _ask(self) -> None:
        topic = topics.shadow_get(self._requests.thing)
        self._requests.ask_once("GetShadow", topic, {}, self._on_shadow, self._on_no_shadow)

    def _on_shadow(self, payload: bytes) -> None:
        wish, self._reported = shadow.read_shadow(payload)
        self._wish_for(wish)
        self._wished()
        self.report()

    def _on_no_shadow(self, failure: Failure) -> None:
        if is_missing(failure):
            self._reported = {}
            self.report()
        else:
            self._again.set_if_unset(again_after(self._chance()))

    def _on_documents(self, payload: bytes) -> None:
        try:
            wish = shadow.read_documents(payload)
        except PlainError as error:
            self._requests.complain("documents", f"What the cloud told of the shadow was not used: {error}.")
            return
        before = self._wish
        self._wish_for(wish)
        if self._wish != before:
            self._wished()
            self.report()
