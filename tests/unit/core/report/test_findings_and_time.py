"""What the clock alone changes of a judgement: alarms at distances, and retirements that come due."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from agent.core.exit_codes import Exit
from agent.core.report.findings import events, judge, turns
from agent.core.report.journal_events import Event
from agent.core.report.status import Retiring
from support import make
from support.make import DAY, HOUR, NOW, SECOND
from support.unit.core.judged import IMPLAUSIBLE, ending, judged, watched, with_anchors

# -- retirement --------------------------------------------------------------------------------------------------------


WAITS = Retiring(change="c-2", certificate_id="02" * 32, due=NOW, waits_for=("nginx.service", "copy /etc/app.pem"))
UNANSWERED = Retiring(change="c-3", certificate_id="03" * 32, due=NOW, unanswered="retire was not answered in time.")
REFUSED = Retiring(change="c-4", certificate_id="04" * 32, due=NOW, refused="Not yours.")


def test_only_a_refused_retirement_is_a_fault() -> None:
    """That a program does not use the set is one already; that no answer came is a note."""
    assert judged(make.status(retiring=(WAITS,))) == ([], Exit.DONE)
    assert judged(make.status(retiring=(UNANSWERED,))) == ([], Exit.DONE)
    assert judge(make.status(retiring=(WAITS, UNANSWERED, REFUSED))).exit is Exit.DEGRADED


def test_the_journal_hears_what_a_retirement_waits_for_once_it_is_due() -> None:
    """And that no answer came; with the names, and with an event for each."""
    early = events(make.status(NOW - HOUR, retiring=(WAITS, UNANSWERED)))
    due = events(make.status(retiring=(WAITS, UNANSWERED)))

    assert list(early.values()) == [Event.RETIRE_UNANSWERED]
    assert list(due.values()) == [Event.RETIRE_WAITS, Event.RETIRE_UNANSWERED]
    waits, unanswered = due
    assert "020202020202" in waits
    assert "nginx.service, copy /etc/app.pem" in waits
    assert unanswered.startswith("The request to retire 030303030303 has no answer: retire was not answered in time.")
    assert "rotation: {retire: false}" in unanswered
    assert events(make.status(retiring=(replace(WAITS, waits_for=()),))) == {}


# -- alarms at distances -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "within"),
    [
        (180 * DAY, ""), (180 * DAY - SECOND, "180 d"), (30 * DAY, "180 d"), (30 * DAY - SECOND, "30 d"),
        (7 * DAY, "30 d"), (7 * DAY - SECOND, "7 d"), (SECOND, "7 d"),
    ],
)  # fmt: skip
def test_an_anchor_raises_an_alarm_at_each_distance(left: timedelta, within: str) -> None:
    """The journal tells a sentence once, so it is another at each distance, and the same in between."""
    told = [text.rpartition("in less than ")[2] for text in events(make.status(current=with_anchors(NOW + left)))]

    assert told == ([f"{within}."] if within else [])


def test_the_judgement_changes_by_the_clock_at_the_turns_alone() -> None:
    """So the daemon need not look in between, and is never late."""
    current = with_anchors(NOW + 200 * DAY, NOW + 20 * DAY)
    changes = {**ending(NOW + 50 * DAY, emergency_at=NOW + 40 * DAY), "watched": (watched(NOW + 90 * DAY),)}
    changes["current"] = replace(current, certificate=changes["current"].certificate)
    at = sorted({instant for instant in turns(make.status(**changes)) if instant > NOW})
    tick = timedelta(microseconds=1)

    def told(now: datetime) -> tuple[list[str], Exit]:
        return judged(make.status(now, **changes))

    for before, after in itertools.pairwise([NOW, *at, NOW + 300 * DAY]):
        assert told(before + tick) == told(after - tick)
    differ = [instant for instant in at if told(instant - tick) != told(instant + tick)]
    assert differ == at
    assert list(turns(make.status(current=None))) == []


def test_an_alarm_is_told_once_at_each_distance() -> None:
    """Looked at every hour of the last half year, one anchor makes four sentences."""
    current = with_anchors(NOW)
    looks = (make.status(NOW + hour * HOUR, current=current) for hour in range(-200 * 24, 24))
    anchors = {text for status in looks for text in events(status) if "anchor" in text}

    assert len(anchors) == 4
    assert {text.split(", ")[-1] for text in anchors if "less" in text} == {
        "in less than 180 d.", "in less than 30 d.", "in less than 7 d.",
    }  # fmt: skip


def test_without_distances_only_the_end_is_told() -> None:
    """An operator who wants no warnings gets none."""
    near, ended = (make.status(current=with_anchors(at), warn_anchors=()) for at in (NOW + SECOND, NOW))

    assert judged(near) == ([], Exit.DONE)
    assert judge(ended).exit is Exit.DEGRADED


def test_each_anchor_has_an_alarm_of_its_own() -> None:
    """And only the one that the endpoint chains to is critical once it has ended."""
    ends = (NOW - DAY, NOW + DAY, NOW + 900 * DAY)
    anchors = tuple(make.anchor(not_after=end, sha256=f"{place:02x}" * 32) for place, end in enumerate(ends))
    current = make.in_use(anchors=anchors)

    found = judge(make.status(current=current, anchor_in_use="01" * 32))
    assert (len(found.health), found.exit) == (2, Exit.DEGRADED)
    found = judge(make.status(current=current, anchor_in_use="00" * 32))
    assert (len(found.health), found.exit) == (2, Exit.CRITICAL)


def test_watched_files_are_judged_without_a_set_and_not_without_a_clock() -> None:
    """They are another program's, which may need them before this gateway has a certificate."""
    soon = (watched(NOW + DAY),)

    assert len(judge(make.status(current=None, watched=soon)).health) == 2
    assert len(judge(make.status(clock=IMPLAUSIBLE, watched=soon)).health) == 1
