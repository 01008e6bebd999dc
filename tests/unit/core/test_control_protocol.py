"""The lines of the control socket: as they have been since 0.1.0, whole in both directions, and without a secret."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import control_protocol
from agent.core.change.decide import Wait
from agent.core.change.ladder import Climb
from agent.core.change.lifecycle import Phase
from agent.core.change.progress import Progress
from agent.core.change.records import public
from agent.core.control_protocol import (
    AcceptedMessage,
    BegunMessage,
    ControlMessage,
    ControlRequest,
    DroppedMessage,
    ErrorMessage,
    ExaminationMessage,
    HistoryMessage,
    LockedOutMessage,
    NothingMessage,
    OutcomeMessage,
    PausedMessage,
    RehearsalMessage,
    ResumedMessage,
    RetiredMessage,
    StatusMessage,
    WaitMessage,
    decode_message,
    decode_request,
    encode_message,
    encode_request,
)
from agent.core.jsonio import Node, PlainError, to_plain
from agent.core.report import checks
from support import make
from support.make import NOW

LIMIT = 16_384
REQUESTS = st.builds(
    ControlRequest,
    verb=st.sampled_from(["status", "rotate", "drop", "pause"]),
    reason=st.text(max_size=control_protocol.MAX_REASON),
    no_wait=st.booleans(),
    give_up=st.booleans(),
    now=st.booleans(),
    certificate=st.text(max_size=64),
    until=st.none() | st.just(NOW),
    login_uid=st.integers(0, 2**32 - 1),
)

CHANGE = make.finished(Phase.ROLLED_BACK, failure=make.failure(), issued=None)
TOLD = to_plain(public(CHANGE))
AT = NOW.isoformat()
WAIT = Wait(why="It is on probation", until=NOW, code="probation", failure=make.failure())
LINE = checks.ok("connect", "Connected.")
SAID = {"check": "connect", "verdict": "ok", "code": "ok", "text": "Connected.", "remedy": "", "exit": 0}
UNTIL = {"why": "It is on probation", "until": AT, "code": "probation", "dated": False}

# What each message is on the wire. A client reads names that it knows, so names may be added.
MESSAGES: list[tuple[ControlMessage, dict[str, Any]]] = [
    (AcceptedMessage(), {"event": "accepted"}),
    (
        Progress(at=NOW, code="issued", text="A step.", change="c-1"),
        {"event": "progress", "at": AT, "code": "issued", "text": "A step.", "change": "c-1", "failure": None},
    ),
    (
        WaitMessage(change=CHANGE, wait=replace(WAIT, failure=None), current=7, would_exit=1),
        {"event": "waiting", "change": TOLD, "wait": UNTIL, "postponed": False, "locked_out": None, "current": 7}
        | {"would_exit": 1},
    ),
    (
        WaitMessage(change=CHANGE, wait=WAIT, locked_out=Climb(why="No set", remedy="Go."), would_exit=3),
        {"event": "waiting", "change": TOLD, "postponed": False, "current": None, "would_exit": 3}
        | {"wait": {**UNTIL, "failure": TOLD["failure"]}, "locked_out": {"why": "No set", "remedy": "Go."}},
    ),
    (BegunMessage(change="c-1"), {"event": "begun", "change": "c-1", "exit": 0}),
    (
        OutcomeMessage(change=CHANGE, current=None, exit=3, repeated=True),
        {"event": "outcome", "change": TOLD, "current": None, "exit": 3, "repeated": True},
    ),
    (
        LockedOutMessage(why="No set", remedy="Go."),
        {"event": "locked-out", "why": "No set", "remedy": "Go.", "exit": 3},
    ),
    (NothingMessage(text="No.", exit=5), {"event": "nothing", "text": "No.", "exit": 5}),
    (ErrorMessage(message="No.", exit=4), {"event": "error", "message": "No.", "hint": "", "exit": 4}),
    (RehearsalMessage(text="It would."), {"event": "rehearsal", "text": "It would.", "exit": 0}),
    (ExaminationMessage(), {"event": "examination", "lines": [], "exit": 0}),
    (
        ExaminationMessage(lines=(LINE,)),
        {"event": "examination", "lines": [SAID], "exit": 0},
    ),
    (DroppedMessage(text="ab."), {"event": "dropped", "text": "ab.", "exit": 0}),
    (RetiredMessage(), {"event": "retired", "left": 0, "exit": 0}),
    (PausedMessage(until=NOW), {"event": "paused", "until": AT, "exit": 0}),
    (ResumedMessage(), {"event": "resumed", "exit": 0}),
    (
        StatusMessage(
            document={"current": None, "exit": 1}, trust={}, screen=(("health", "x" * 5000),), why=("Y.",), exit=1,
            configuration="ab",
        ),
        {"event": "status", "document": {"current": None, "exit": 1}, "trust": {}, "screen": [["health", "x" * 5000]]}
        | {"why": ["Y."], "configuration": "ab", "exit": 1},
    ),
    (HistoryMessage(), {"event": "history", "records": [], "lines": [], "exit": 0}),
    (
        HistoryMessage(records=(CHANGE,), lines=("It ended.",)),
        {"event": "history", "records": [TOLD], "lines": ["It ended."], "exit": 0},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "plain"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_is_one_line_and_comes_back_as_it_was(message: ControlMessage, plain: dict[str, Any]) -> None:
    """In every field, those without a value too."""
    line = encode_message(message)
    assert line.count(b"\n") == 1
    assert json.loads(line) == plain
    assert decode_message(Node(json.loads(line), "its word")) == message


def test_each_message_has_its_example() -> None:
    """So that none is added without its form being written down."""
    assert {type(message) for message, _ in MESSAGES} == set(control_protocol._NAMES)


IN_HAND = make.record(Phase.ISSUED)


@pytest.mark.parametrize(
    "message",
    [
        WaitMessage(change=IN_HAND, wait=WAIT, would_exit=1),
        OutcomeMessage(change=IN_HAND, exit=1),
        HistoryMessage(records=(IN_HAND,)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_no_message_holds_a_certificate_in_hand(message: ControlMessage) -> None:
    """Nor its ownership token, which would register it for any client that may look."""
    assert IN_HAND.issued is not None
    line = encode_message(message).decode()
    assert IN_HAND.issued.token not in line
    assert "certificate_pem" not in line


def test_what_a_newer_daemon_tells_besides_is_passed_over() -> None:
    """An event that is not known is no message, and a name that is not known is not read."""
    assert decode_message(Node({"event": "weather", "exit": 0}, "its word")) is None
    assert decode_message(Node({"event": "resumed", "exit": 0, "by": "rain"}, "its word")) == ResumedMessage()


@pytest.mark.parametrize(
    "plain", [{}, {"event": 5}, {"event": "begun"}, {"event": "begun", "change": "c", "exit": "0"}]
)
def test_what_is_no_message_is_complained_of(plain: dict[str, Any]) -> None:
    """With the place."""
    with pytest.raises(PlainError, match="its word: "):
        decode_message(Node(plain, "its word"))


@make.MANY
@given(request=REQUESTS)
def test_any_request_reaches_the_daemon_as_it_was_given(request: ControlRequest) -> None:
    """On one line."""
    line = encode_request(request)
    assert line.count(b"\n") == 1
    assert decode_request(line, LIMIT) == request


def test_a_request_of_0_1_0_is_understood() -> None:
    """It left out what it did not mean, and the word of who was logged in where it knew none."""
    told = b'{"verb":"rotate","reason":"","no_wait":false,"give_up":false}\n'
    assert decode_request(told, LIMIT) == ControlRequest(verb="rotate")
    assert decode_request(b'{"verb":"status"}', LIMIT) == ControlRequest(verb="status")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ('"reason":null', "reason: text of at most 500 characters is expected"),
        ('"no_wait":1', "no_wait: true or false is expected"),
        ('"until":"tomorrow"', "until: a time is expected"),
        ('"login_uid":-1', "login_uid: a whole number is expected"),
    ],
)
def test_an_argument_of_another_kind_is_complained_of(more: str, why: str) -> None:
    """Whatever the verb is, for it is no request of ours."""
    with pytest.raises(PlainError, match=f"^The request: {why}$"):
        decode_request(f'{{"verb":"status",{more}}}'.encode(), LIMIT)


def test_a_certificate_to_be_dropped_must_be_named() -> None:
    """The beginning of an id that is empty would be that of each."""
    with pytest.raises(PlainError, match="certificate: text of at most 64 characters is expected"):
        decode_request(b'{"verb":"drop"}', LIMIT)


def test_every_field_of_a_request_may_be_left_out_but_the_verb() -> None:
    """A technician may talk to the socket by hand."""
    given = json.loads(encode_request(ControlRequest(verb="rotate", until=NOW)))
    for item in fields(ControlRequest):
        left = {name: value for name, value in given.items() if name != item.name}
        if item.name == "verb":
            with pytest.raises(PlainError):
                decode_request(json.dumps(left).encode(), LIMIT)
        else:
            decode_request(json.dumps(left).encode(), LIMIT)
