"""When the operator's command is told which findings have come and gone.

Rules:

* What lasts for less than `SETTLE` is not told, and what is gone for less than `GONE` is not told of as gone: a daemon
  that has just started does not know everything yet.
* One run at a time, at most one in `EVERY`, and after a failure again with back-off. What came up meanwhile is told
  with it.
* It is noted what was told, so a restart repeats nothing. That is noted after the run, so a crash may repeat one.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.failure.retry import Backoff
from agent.core.jsonio import encode_plain
from agent.core.report import notices
from agent.core.report.findings import judge
from agent.core.report.notices import News, Noticed
from agent.daemon.loop import Alarm
from agent.daemon.work.notice_command import NoticeCommand
from agent.store.notes import noticed
from agent.system.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.core.report.notices import Told
    from agent.core.report.status import Status
    from agent.daemon.facts import GatewayFacts
    from agent.daemon.loop import Loop

SETTLE = 30.0  # seconds; longer than what a change leaves behind for a moment
GONE = 300.0  # seconds; a daemon that starts without a network says so after two minutes
EVERY = 600.0  # seconds
_TROUBLE = Backoff(base=60, cap=600, floor=30)


class Notices:
    """The notices of one gateway.

    Attributes:
        problem: Why the command could not be told, a sentence, or an empty text.
    """

    def __init__(
        self, loop: Loop, facts: GatewayFacts, chance: Callable[[], float], publish: Callable[[], None]
    ) -> None:
        """Tell nothing yet.

        Args:
            loop: Where to wait.
            facts: What is known of the gateway.
            chance: Draws a number in [0, 1).
            publish: Called when it is known whether the command could be told.
        """
        self._loop = loop
        self._facts = facts
        self._chance = chance
        self._publish = publish
        self._alarm = Alarm(loop, self._look)
        self._status: Status | None = None
        self._noticed: Noticed | None = None
        self._since: dict[tuple[bool, Told], float] = {}  # whether it is there, and since when
        self._running = False
        self._not_before = 0.0
        self._failures = 0
        self.problem = ""

    def consider(self, status: Status) -> None:
        """Take a status, and have the command told if it is time."""
        live = status.live and replace(status.live, untold="")  # no trouble any more once it is told
        self._status = replace(status, live=live)
        self._look()

    def _look(self) -> None:
        config, status = self._facts.config.notices, self._status
        if config is None or status is None or self._running:
            return
        judged = judge(status)
        now = notices.of_findings(judged.findings)
        due, news = self._due(notices.news(self._told(), now))
        if due is None:
            return
        if due > monotonic():
            self._alarm.set(due - monotonic())
            return
        self._run(config.command, news, now, _gateway(status, int(judged.exit)))

    def _told(self) -> tuple[Told, ...]:
        if self._noticed is None:
            self._noticed = noticed.read(self._facts.config.state_dir)
        return self._noticed.findings

    def _due(self, news: News) -> tuple[float | None, News]:
        """Return when the command is to be told, None for never, and what it is to be told now."""
        all_of_it = [*((True, item) for item in news.appeared), *((False, item) for item in news.gone)]
        self._since = {item: self._since.get(item, monotonic()) for item in all_of_it}
        ripe = {item: since + (SETTLE if item[0] else GONE) for item, since in self._since.items()}
        gone = tuple(item for item in news.gone if ripe[False, item] <= monotonic())
        due = max(min(ripe.values()), self._not_before) if ripe else None
        return due, News(appeared=news.appeared, gone=gone)

    def _run(self, command: tuple[str, ...], news: News, now: tuple[Told, ...], gateway: Mapping[str, object]) -> None:
        gone = frozenset(news.gone)
        kept = tuple(item for present, item in self._since if not present and item not in gone)
        told = Noticed(findings=(*now, *kept))
        self._running, self._not_before = True, monotonic() + EVERY
        text = encode_plain(notices.document(news, now, gateway)) + b"\n"
        NoticeCommand(self._loop, command, text, lambda problem: self._ended(problem, told))

    def _ended(self, problem: str, told: Noticed) -> None:
        self._running = False
        if problem:
            self._failures += 1
            self._not_before = monotonic() + _TROUBLE.delay(self._failures, 0.5 + 0.5 * self._chance())
        else:
            self._failures, self._noticed = 0, told
            noticed.write(self._facts.config.state_dir, told)
        self.problem = f"What is wrong with this gateway could not be told: {problem}" if problem else ""
        self._publish()
        self._look()


def _gateway(status: Status, exit_code: int) -> Mapping[str, object]:
    return {
        "at": status.now.isoformat(),
        "host": os.uname().nodename,
        "thing_name": status.current.thing_name if status.current else status.asked.thing_name,
        "version": status.version,
        "exit": exit_code,
    }
