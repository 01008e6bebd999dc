from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.report.journal_events import CATALOGUE, Event, Priority, of_progress, one_line

E = Event

# What an alert may match: these numbers are a promise, so they stand here a second time.
PROMISED = {
    E.LOCKED_OUT: "ca0948e162744c0794924c6bdeb295de",
    E.CERTIFICATE_EXPIRED: "8683aff1227a45d8a145249069161ae8",
    E.CHANGE_COMMITTED: "c3cdd5a49df14bf3ada5ef0bed94e1b5",
    E.CHANGE_REJECTED: "661efb87788c4dcbb7a349d347ce1064",
    E.CHANGE_ROLLED_BACK: "ded990e26d1d47819572d16f8a704bcc",
}

PHASES = {
    Phase.PLANNED: E.CHANGE_PLANNED,
    Phase.COMMITTED: E.CHANGE_COMMITTED,
    Phase.REJECTED: E.CHANGE_REJECTED,
    Phase.ROLLED_BACK: E.CHANGE_ROLLED_BACK,
    Phase.RETIRED: E.RETIRED,
}


def test_every_event_has_a_message_of_its_own() -> None:
    """No event is without number and title, and no two share one."""
    assert set(CATALOGUE) == set(Event)
    assert len({event.message.id for event in Event}) == len(Event)
    assert len({event.message.title for event in Event}) == len(Event)


@pytest.mark.parametrize("event", Event)
def test_numbers_are_random_128_bit_ids_as_the_journal_writes_them(event: Event) -> None:
    """32 lower-case digits of a version 4 UUID; the title fits a line of a terminal."""
    assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", event.message.id)
    assert event.message.title[0].isupper()
    assert len(event.message.title) <= 60


@pytest.mark.parametrize(("event", "number"), PROMISED.items())
def test_the_numbers_that_alerts_match_do_not_change(event: Event, number: str) -> None:
    """A fleet's alerts outlive many versions of the agent."""
    assert event.message.id == number


def test_only_what_cuts_a_gateway_off_is_critical() -> None:
    """An alert at night means a truck otherwise."""
    critical = {event for event in Event if event.message.priority is Priority.CRITICAL}
    assert critical == {E.LOCKED_OUT, E.CERTIFICATE_EXPIRED}


def test_what_the_agent_gets_over_by_itself_is_no_error() -> None:
    """A lost network, a throttled account and policies that spread need no person."""
    for event in (E.TROUBLE_NETWORK, E.TROUBLE_THROTTLED, E.TROUBLE_POLICY, E.DISCONNECTED, E.CHANGE_WAITS):
        assert event.message.priority > Priority.ERROR


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", [None, *FailureClass])
def test_the_ends_of_a_change_have_events_and_its_steps_are_progress(phase: Phase, kind: str | None) -> None:
    """A phase tells its event whatever failed before."""
    assert of_progress(phase, kind) is PHASES.get(phase, E.PROGRESS)


@pytest.mark.parametrize("kind", sorted(set(FailureClass) - {FailureClass.OPERATOR}))
def test_each_class_of_trouble_has_an_event_of_its_own(kind: FailureClass) -> None:
    """The class decides what a technician should do, so the journal keeps the classes apart."""
    assert of_progress("trouble", kind) is Event(f"trouble-{kind}")


@pytest.mark.parametrize(
    ("code", "kind", "event"),
    [
        ("trouble", None, E.PROGRESS),
        ("trouble", FailureClass.OPERATOR, E.PROGRESS),
        ("trouble", "of another version", E.PROGRESS),
        ("wait", None, E.CHANGE_WAITS),
        ("wait", FailureClass.NETWORK, E.CHANGE_WAITS),
        ("ladder", None, E.LADDER),
        ("note", None, E.PROGRESS),
        ("outcome", None, E.PROGRESS),
        ("", None, E.PROGRESS),
        ("of another version", None, E.PROGRESS),
    ],
)
def test_everything_else_that_the_engine_reports_has_an_event(code: str, kind: str | None, event: Event) -> None:
    """What has no event of its own is progress: a trouble of unknown class is not blamed on the network or the disk."""
    assert of_progress(code, kind) is event


@given(st.text(st.characters(), max_size=60), st.integers(min_value=0, max_value=40))
def test_one_line_is_bounded_printable_and_encodable(text: str, limit: int) -> None:
    """Whatever a service said, it becomes one line of text."""
    line = one_line(text, limit)
    assert len(line) == min(len(text), limit)
    assert line == "" or line.isprintable()
    assert line.encode().decode() == line


def test_one_line_keeps_what_is_sound() -> None:
    """Only what would break the line or steer a terminal is replaced."""
    assert one_line("Grüße, 世界: 7 °C", 100) == "Grüße, 世界: 7 °C"
    assert one_line("a\nREADY=1\x1b[2J\u2028b", 100) == "a READY=1 [2J b"
