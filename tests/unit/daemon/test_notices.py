"""When the operator's command is told: what lasts, seldom, again after a failure, and not again after a restart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent.config.values import NoticesConfig
from agent.core.exit_codes import Exit
from agent.core.report.findings import judge
from agent.core.report.seen import Damage
from agent.daemon import notices as module
from agent.daemon.notices import EVERY, GONE, SETTLE
from support import make
from support.make import DAY, NOW
from support.running.daemon_rig import DaemonRig, seen_set
from support.running.office import HandClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.daemon.loop import Loop

KEY, COPY = "key.pem may be read by others.", "the copy may be read by others."


class NoticeDesk:
    """A daemon, what its command was told, and what that answers."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.clock = HandClock()
        self.told: list[dict[str, Any]] = []
        self.ends: list[Callable[[str], None]] = []
        self.waits: list[float] = []
        patch.setattr(module, "monotonic", self.clock)
        patch.setattr(module, "NoticeCommand", self._start)
        self.rig = self._boot()

    def _boot(self) -> DaemonRig:
        rig = DaemonRig(self.path, notices=NoticesConfig(command=("/bin/tell",)))
        rig.daemon.report._news._notices._alarm.set = self.waits.append  # type: ignore[method-assign, assignment]
        return rig

    def _start(self, _loop: Loop, _command: tuple[str, ...], told: bytes, on_end: Callable[[str], None]) -> None:
        self.told.append(json.loads(told))
        self.ends.append(on_end)

    def find(self, *texts: str, seconds: float = 0) -> int:
        """Let time pass, and then the daemon find this; return how often the command was told so far."""
        self.clock.now += seconds
        found = seen_set(NOW - 10 * DAY, 8000 * DAY)
        self.rig.daemon.facts.take(replace(found, exposed=texts))
        self.rig.daemon.report.publish()
        return len(self.told)

    def end(self, problem: str = "") -> None:
        """Let the command end."""
        self.ends[-1](problem)

    @property
    def last(self) -> tuple[list[str], list[str]]:
        """The texts that were told last, as having come and gone."""
        told = self.told[-1]
        return [item["text"] for item in told["appeared"]], [item["text"] for item in told["gone"]]


@pytest.fixture(name="desk")
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NoticeDesk]:
    desk = NoticeDesk(tmp_path, monkeypatch)
    yield desk
    desk.rig.close()


def test_a_finding_that_lasts_is_told_with_the_gateway(desk: NoticeDesk) -> None:
    """Who it is, how it stands, and what is wrong, for people and machines."""
    assert desk.find(KEY) == 0
    assert desk.waits[-1] == SETTLE
    assert desk.find(KEY, seconds=SETTLE) == 1
    assert desk.last == ([KEY], [])
    told = desk.told[-1]
    assert (told["thing_name"], told["exit"], told["at"]) == (make.THING, 1, NOW.isoformat())
    assert told["findings"] == told["appeared"] == [{"check": "files", "code": "exposed", "severity": 1, "text": KEY}]


def test_what_lasts_for_a_moment_is_not_told(desk: NoticeDesk) -> None:
    """Neither as come nor as gone."""
    desk.find(KEY)
    desk.find(seconds=SETTLE - 1)
    assert desk.find(seconds=GONE * 2) == 0


def test_a_finding_that_goes_is_told_once_it_stays_away(desk: NoticeDesk) -> None:
    """And not where it comes back: a daemon that has just started does not know everything yet."""
    desk.find(KEY)
    desk.find(KEY, seconds=SETTLE)
    desk.end()
    assert desk.find(seconds=EVERY) == 1
    assert desk.find(KEY, seconds=GONE - 1) == 1
    assert desk.find(seconds=1) == 1
    assert desk.find(seconds=GONE) == 2
    assert desk.last == ([], [KEY])
    assert desk.told[-1]["exit"] == 0


def test_one_runs_at_a_time_and_one_in_ten_minutes(desk: NoticeDesk) -> None:
    """What came up meanwhile is told together."""
    desk.find(KEY)
    desk.find(KEY, seconds=SETTLE)
    assert desk.find(KEY, COPY, seconds=EVERY) == 1, "one still runs"
    desk.end()
    assert desk.find(KEY, COPY, seconds=SETTLE) == 2
    desk.end()
    assert desk.find(KEY, COPY, "a third", seconds=SETTLE) == 2
    assert desk.find(KEY, COPY, "a third", "a fourth", seconds=EVERY - SETTLE - 1) == 2
    assert desk.find(KEY, COPY, "a third", "a fourth", seconds=1) == 3
    assert desk.last == (["a third", "a fourth"], [])


def test_a_failure_is_told_in_the_status_and_tried_again(desk: NoticeDesk, capfd: pytest.CaptureFixture[str]) -> None:
    """Ever less often, and the finding goes with the first success."""
    desk.find(KEY)
    desk.find(KEY, seconds=SETTLE)
    for more in (60, 120, 240):
        desk.end("/bin/tell failed: it ended with exit code 1.")
        assert more / 2 <= desk.waits[-1] <= more
        (found,) = [item for item in judge(desk.rig.status()).findings if item.code == "notices-failing"]
        assert "/bin/tell failed: it ended with exit code 1." in found.text
        assert found.severity is Exit.DEGRADED
        before = len(desk.told)
        assert desk.find(KEY, seconds=desk.waits[-1]) == before + 1
        assert desk.last == ([KEY], []), "not the trouble with the command itself"
        assert desk.told[-1]["findings"] == desk.told[0]["findings"]
    desk.end()
    assert "notices-failing" not in {item.code for item in judge(desk.rig.status()).findings}
    assert capfd.readouterr().err.count("could not be told") == 1


def test_a_restart_repeats_nothing_and_misses_nothing(desk: NoticeDesk, tmp_path: Path) -> None:
    """What was told is noted beside the history; what went while no daemon ran is told of."""
    desk.find(KEY, COPY)
    desk.find(KEY, COPY, seconds=SETTLE)
    desk.end()
    desk.rig.close()
    (tmp_path / "state").rename(tmp_path / "kept")
    (tmp_path / "run").rename(tmp_path / "old")
    desk.rig = desk._boot()
    (tmp_path / "kept" / "noticed.json").rename(tmp_path / "state" / "noticed.json")
    assert desk.find(KEY) == 1
    assert desk.find(KEY, seconds=SETTLE) == 1
    assert desk.find(KEY, seconds=GONE) == 2
    assert desk.last == ([], [COPY])


def test_what_went_just_now_is_told_of_later_though_something_else_is_told(desk: NoticeDesk) -> None:
    """It must not be forgotten by the notice in between."""
    desk.find(KEY)
    desk.find(KEY, seconds=SETTLE)
    desk.end()
    desk.find(COPY, seconds=EVERY)
    damage = Damage(critical=False, text="Generation 6 is damaged.")
    desk.rig.daemon.facts.take(seen_set(NOW - 10 * DAY, 8000 * DAY, damage=(damage,)))
    desk.rig.daemon.report.publish()
    desk.clock.now += SETTLE
    desk.rig.daemon.report.publish()
    assert len(desk.told) == 2
    assert desk.last == ([damage.text], [])
    desk.end()
    desk.clock.now += EVERY
    desk.rig.daemon.report.publish()
    assert desk.last == ([], [KEY])


def test_without_a_command_none_is_told(desk: NoticeDesk) -> None:
    """And one that is configured later is told of what is wrong then."""
    facts = desk.rig.daemon.facts
    configured = facts.config
    facts.configure(replace(configured, notices=None))
    desk.find(KEY)
    assert desk.find(KEY, seconds=SETTLE) == 0
    facts.configure(configured)
    desk.find(KEY)
    assert desk.find(KEY, seconds=SETTLE) == 1
