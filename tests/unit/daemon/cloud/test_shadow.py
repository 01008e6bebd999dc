"""The shadow: when it is written, and which wish of it is heard."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.report import shadow
from agent.core.report.journal_events import Event
from agent.daemon.cloud.requests import SAID_AGAIN
from agent.daemon.quiet import CAUSES
from support import make
from support.make import NOW
from support.running.fleet import DELTA, DOCUMENTS
from support.running.office import (
    GET_SHADOW,
    PUT_SHADOW,
    WINDOW,
    Office,
    suggested,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def wish(office: Office, delta: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Have the cloud tell of a new wish in each way that is listened to, and give the whole shadow if it is asked."""
    messages: dict[str, Mapping[str, Any]] = {DELTA: {"state": delta}, DOCUMENTS: {"current": {"state": state}}}
    for topic in set(messages) & set(office.link.heard):
        office.link.say(topic, messages[topic])
    office.wait(61)
    for asked in office.link.open(GET_SHADOW):
        office.link.answer(asked.topic, {"state": state, "version": 9})


def test_the_shadow_is_written_when_it_differs_and_only_then(office: Office) -> None:
    """What the cloud has already is not sent again, not even after another connect."""
    office.gateway.status = make.status(current=make.in_use(generation=3))
    office.link.answer(GET_SHADOW, {"state": {}})
    told = office.link.answer(PUT_SHADOW, {"version": 1})["state"]["reported"]
    assert told["generation"] == 3
    office.connect()
    stored = {name: value for name, value in told.items() if value is not None}
    office.link.answer(GET_SHADOW, {"state": {"reported": {**stored, "another's": "own"}}})
    office.wait(1_000)
    assert not office.link.all(PUT_SHADOW)
    office.gateway.status = make.status(current=make.in_use(generation=4))
    office.fleet.report()
    assert len(office.link.open(PUT_SHADOW)) == 1


def test_a_shadow_that_does_not_exist_is_made(office: Office) -> None:
    """That there is none is an answer, and no trouble to tell of."""
    office.link.refuse(GET_SHADOW, 404, "No shadow exists")
    assert office.link.open(PUT_SHADOW)
    assert not office.gateway.told


def test_nothing_is_reported_before_the_cloud_has_said_what_it_has(office: Office) -> None:
    """A reboot of the whole fleet must not be a write of the whole fleet."""
    office.fleet.report()
    assert not office.link.all(PUT_SHADOW)


def test_the_shadow_is_written_once_a_minute_at_most_and_ends_up_right(office: Office) -> None:
    """Ten changes in ten seconds are one report a minute later, with the last of them."""
    office.link.answer(GET_SHADOW, {"state": {}})
    office.link.answer(PUT_SHADOW, {"version": 1})
    for number in range(10):
        office.gateway.status = make.status(current=make.in_use(generation=number))
        office.fleet.report()
        office.wait(1)
    assert len(office.link.all(PUT_SHADOW)) == 1
    office.wait(49.0)
    assert len(office.link.all(PUT_SHADOW)) == 1
    office.wait(1.5)
    assert office.link.answer(PUT_SHADOW, {"version": 2})["state"]["reported"]["generation"] == 9
    office.wait(3_000)
    office.fleet.report()
    assert len(office.link.all(PUT_SHADOW)) == 2


def test_a_report_that_was_lost_is_made_again_at_the_next_look(office: Office) -> None:
    """A minute later at the earliest."""
    office.link.answer(GET_SHADOW, {"state": {}})
    office.link.lose(PUT_SHADOW)
    office.fleet.report()
    assert not office.link.open(PUT_SHADOW)
    office.wait(61)
    office.fleet.report()
    assert office.link.open(PUT_SHADOW)


def test_a_wish_is_echoed_and_nonsense_is_answered_with_the_reason(office: Office) -> None:
    """The echo ends the delta; the reason stays until the wish makes sense."""
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": WINDOW}}})
    told = office.link.answer(PUT_SHADOW, {"version": 1})["state"]["reported"]
    assert (told["renew"], told["wishRefused"]) == (WINDOW, None)
    found = suggested(office)
    assert found is not None
    assert found.closes_at == datetime(2027, 5, 2, tzinfo=UTC)
    wish(office, {"renew": "tonight"}, {"desired": {"renew": "tonight"}, "reported": {"renew": WINDOW}})
    told = office.link.answer(PUT_SHADOW, {"version": 2})["state"]["reported"]
    assert told["renew"] is None
    assert "object" in told["wishRefused"]
    assert suggested(office) is None


def test_a_wish_is_answered_within_seconds_and_one_that_is_refused_is_in_the_journal_once(office: Office) -> None:
    """An operator waits for the reason; a flood of wishes is a report every two seconds at most."""
    office.link.answer(GET_SHADOW, {"state": {}})
    office.link.answer(PUT_SHADOW, {"version": 1})
    for number in range(10):
        office.link.say(DOCUMENTS, {"current": {"state": {"desired": {"renew": {"opens_at": f"tomorrow {number}"}}}}})
    office.wait(2.5)
    told = office.link.answer(PUT_SHADOW, {"version": 2})["state"]["reported"]
    assert told["wishRefused"].endswith("opens_at: a time is expected")
    assert len(office.link.all(PUT_SHADOW)) == 2
    office.connect()
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": {"opens_at": "tomorrow 9"}}}})
    assert len({text for text in office.gateway.told if "not followed" in str(text)}) == 1


def test_a_wish_is_seen_through_to_its_end(office: Office) -> None:
    """It waits until the certificate in use is one from its window, whatever becomes of the first attempts."""
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": WINDOW}}})
    assert office.link.answer(PUT_SHADOW, {"version": 1})["state"]["reported"]["wishState"] == "waiting"
    office.gateway.not_before = datetime(2027, 5, 1, 12, tzinfo=UTC)
    office.wait(61)
    office.fleet.report()
    told = office.link.answer(PUT_SHADOW, {"version": 2})["state"]["reported"]
    assert (told["renew"], told["wishState"]) == (WINDOW, "done")


def test_a_window_that_closes_too_soon_is_refused_and_one_that_was_accepted_is_kept(office: Office) -> None:
    """A minute is needed to begin in it; a restart in the middle of it takes nothing back."""
    late = {"opens_at": "2027-02-01T00:00:00+00:00", "closes_at": f"{NOW + timedelta(seconds=50):%Y-%m-%dT%H:%M:%SZ}"}
    office.gateway.status = make.status()
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": late}}})
    told = office.link.answer(PUT_SHADOW, {"version": 1})["state"]["reported"]
    assert (told["renew"], told["wishState"]) == (None, None)
    assert told["wishRefused"].startswith("desired: renew: closes_at: it closes too soon, at ")
    assert suggested(office) is None
    office.connect()
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": late}, "reported": {"renew": late}}})
    assert suggested(office) is not None


def test_a_refusal_that_comes_back_with_its_own_report_is_not_answered_again(office: Office) -> None:
    """Each report comes back as a message: an answer to that would be the next one, for ever."""
    late = {"opens_at": "2027-02-01T00:00:00+00:00", "closes_at": "2027-02-02T00:00:00+00:00"}
    office.gateway.status = make.status()
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": late}}})
    refused = office.link.answer(PUT_SHADOW, {"version": 1})["state"]["reported"]["wishRefused"]
    for minute in range(1, 4):
        office.gateway.status = make.status(now=NOW + timedelta(minutes=minute))
        office.clock.now += 60.0
        wish(office, {"renew": late}, {"desired": {"renew": late}, "reported": {"wishRefused": refused}})
        assert office.link.open(PUT_SHADOW) == []


def test_a_flood_of_what_cannot_be_used_is_a_few_lines_an_hour(office: Office) -> None:
    """Whatever is wrong with each: the journal may be on flash, and what sends them may go on all day."""
    office.link.answer(GET_SHADOW, {"state": {}})
    before = len(office.gateway.told)
    for number in range(1000):
        for payload in (b"[" * number, b'{"current": %d}' % number, b'{"current": {"state": NaN}}', b"\xff"):
            office.link.say(DOCUMENTS, payload)
    assert [event for event, _ in office.gateway.told[before:]] == [Event.PROGRESS] * CAUSES
    assert office.gateway.told[-1][1].endswith("What else is met like it is kept back for 60 min.")
    office.wait(SAID_AGAIN)
    office.link.say(DOCUMENTS, b"null")
    assert len(office.gateway.told) == before + CAUSES + 1
    assert office.gateway.told[-1][1].endswith(" more were kept back before it.")


def test_a_delta_about_something_else_is_ignored(office: Office) -> None:
    """The wish that is in force stays in force."""
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": WINDOW}}})
    wish(office, {"colour": "red"}, {"desired": {"renew": WINDOW, "colour": "red"}, "reported": {"renew": WINDOW}})
    assert suggested(office) is not None


def test_a_delta_holds_only_what_differs_and_is_read_so(office: Office) -> None:
    """When only the end of a reported window is moved, the delta names the end alone."""
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": WINDOW}, "reported": {"renew": WINDOW}}})
    moved = {**WINDOW, "closes_at": "2027-05-03T00:00:00+00:00"}
    state = {"desired": {"renew": moved}, "reported": {"renew": WINDOW}}
    wish(office, {"renew": {"closes_at": moved["closes_at"]}}, state)
    found = suggested(office)
    assert found is not None
    assert found.opens_at == datetime(2027, 5, 1, tzinfo=UTC)
    assert found.closes_at == datetime(2027, 5, 3, tzinfo=UTC)


@pytest.mark.parametrize("size", [100, 1_000, 3_000, 3_900, 8_000])
def test_the_report_stays_small_whatever_is_wished_for(office: Office, size: int) -> None:
    """A shadow has 8 KiB for desired and reported together: an echo without bound would end all reports."""
    long = "ä" * 3_000
    office.gateway.status = make.status(
        concerns=(long,) * 5, last=make.finished(Phase.REJECTED, failure=make.failure(message=long))
    )
    office.link.answer(GET_SHADOW, {"state": {"desired": {"renew": {**WINDOW, "note": "x" * size}}}})
    told = office.link.answer(PUT_SHADOW, {"version": 1})["state"]["reported"]
    assert len(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()) <= shadow.MAX_REPORT
