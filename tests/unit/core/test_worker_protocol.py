from __future__ import annotations

import json
import random
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.decide import Wait
from agent.core.change.ladder import Climb, Rung
from agent.core.change.progress import Progress
from agent.core.change.verbs import Verb
from agent.core.jsonio import PlainError
from agent.core.report import checks
from agent.core.values import MAX_URL, Kind, Origin, User
from agent.core.worker_protocol import (
    MAX_LINE,
    Do,
    End,
    NoChange,
    Order,
    WorkerError,
    decode_answer,
    decode_order,
    encode_answer,
    encode_order,
)
from support import make

FULL = Order(
    do=Do.BEGIN,
    kind=Kind.ROLLBACK,
    verb=Verb.ROLLBACK,
    joins="c-0",
    told="c-00",
    origin=Origin.JOB,
    reason="job j-1: because",
    order="job:j-1:1",
    change="c-1",
    orderly=True,
    hasten=True,
    doubt=True,
    patient=True,
    connected_at=17.5,
    drop="bundle-7.tar",
    url="https://depot.example/bundle.tar?X-Amz-Signature=secret",
    digest="ab" * 32,
    certificate="cd" * 32,
    asked_by=User(uid=2**32 - 1, name="anna"),
    configuration="endpoint: x.example\n",
)
ORDERS = st.builds(
    Order,
    do=st.sampled_from(Do),
    kind=st.sampled_from(Kind),
    origin=st.sampled_from(Origin),
    reason=st.text(max_size=500),
    order=st.text(max_size=128),
    change=st.text(max_size=64),
    verb=st.sampled_from(Verb),
    joins=st.text(max_size=64),
    told=st.text(max_size=64),
    orderly=st.booleans(),
    hasten=st.booleans(),
    doubt=st.booleans(),
    patient=st.booleans(),
    connected_at=st.none() | st.floats(0, 10**9),
    drop=st.text(max_size=128),
    url=st.text(max_size=MAX_URL),
    digest=st.text(max_size=64),
    certificate=st.text(max_size=64),
    asked_by=st.none() | st.builds(User, uid=st.integers(0, 2**32 - 1), name=st.text(max_size=128)),
)


def changed(**changes: Any) -> bytes:
    """Return a line with names changed; None takes one away."""
    plain = {**json.loads(encode_order(FULL)), **changes}
    return json.dumps({name: value for name, value in plain.items() if value is not None}).encode()


@make.MANY
@given(order=ORDERS)
def test_any_order_reaches_the_worker_as_it_was_given(order: Order) -> None:
    """It is one line, in every field."""
    line = encode_order(order)

    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert decode_order(line) == order


def test_the_whole_example_uses_every_field() -> None:
    """None of them is left at its default, so the tests here speak of all."""
    plain = Order(do=Do.LOOK)

    assert all(getattr(FULL, item.name) != getattr(plain, item.name) for item in fields(Order))
    assert decode_order(encode_order(FULL)) == FULL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do", None),
        ("do", "steal"),
        ("do", 7),
        ("kind", None),
        ("kind", "ROTATE"),
        ("origin", "weather"),
        ("reason", None),
        ("reason", 7),
        ("reason", "\ud800"),
        ("reason", "x" * 1025),
        ("order", "x" * 129),
        ("change", "x" * 65),
        ("drop", "x" * 129),
        ("url", "x" * (MAX_URL + 1)),
        ("url", 7),
        ("digest", "x" * 65),
        ("orderly", 1),
        ("hasten", "yes"),
        ("doubt", 1),
    ],
)
def test_an_order_with_a_wrong_value_is_refused_by_name(name: str, value: object) -> None:
    """Nothing is guessed or converted."""
    with pytest.raises(PlainError, match=rf"^the order: {name}: .+ is expected$"):
        decode_order(changed(**{name: value}))


@pytest.mark.parametrize("value", ["soon", [], {}, "1.5"])
def test_a_time_of_connection_that_is_no_number_is_none(value: object) -> None:
    """It only spaces connections; without it the worker waits for nothing."""
    assert decode_order(changed(connected_at=value)).connected_at is None


def test_a_time_of_connection_beyond_all_numbers_is_none() -> None:
    """A whole number that no float can hold must not end the worker with a traceback."""
    assert decode_order(changed(connected_at=10**400)).connected_at is None


@pytest.mark.parametrize("line", [b"", b"\n", b"null", b"[]", b"{", b"\xff", b"{}", b" " * (MAX_LINE + 1)])
def test_what_is_no_order_is_refused(line: bytes) -> None:
    """With the module's own error and nothing else."""
    with pytest.raises(PlainError, match=r"^the order"):
        decode_order(line)


def test_whatever_stands_on_the_line_only_its_own_error_comes_out() -> None:
    """Five thousand lines with a few bytes wrong are orders or complaints."""
    chance = random.Random(4)  # noqa: S311 - the same mutations in each run
    line, complaints = encode_order(FULL), 0
    for _ in range(5000):
        data = bytearray(line)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert isinstance(decode_order(bytes(data)), Order)
        except PlainError:
            complaints += 1

    assert 1000 < complaints < 5000


def test_the_url_of_a_bundle_is_not_shown() -> None:
    """It may be presigned; nor is the configuration, which may name a proxy's password."""
    assert "secret" not in repr(FULL)
    assert "x.example" not in repr(FULL)


ALL_TOLD = End(
    error=WorkerError(message="Process 7 is working.", hint="Wait for it.", exit=4, busy=True, died=True),
    seen=make.seen(),
    traces="7.1|7.2",
    half=True,
    connected_at=17.5,
    climb=Climb(why="no set is accepted", use=Rung.TECHNICIAN, remedy="Help it."),
    change=make.record(),
    wait=Wait(why="It is full.", until=make.NOW, code="retry", failure=make.failure()),
    exit=5,
    repeats=make.finished(),
    postponed=True,
    bundle=NoChange(code="expired", message="It has expired.", hint="Ship another.", passing=True),
    dropped="It is dropped.",
    rehearsal="A rotation would do this.",
    examination=(checks.failure("connect", "refused", "No.", "Look."),),
)


@pytest.mark.parametrize(
    "answer",
    [
        ALL_TOLD,
        End(),
        Progress(at=make.NOW, code="issued", text="It is issued.", change="c-1", failure="network"),
        Progress(at=make.NOW, code="note", text=""),
    ],
    ids=["everything", "nothing", "step", "note"],
)
def test_what_a_worker_tells_arrives(answer: Progress | End) -> None:
    """Whatever it is; and the end that was tried has every attribute set."""
    assert decode_answer(encode_answer(answer)) == answer
    assert not [item.name for item in fields(End) if getattr(ALL_TOLD, item.name) == item.default]


def test_a_worker_that_saw_what_this_daemon_does_not_know_is_heard_all_the_same() -> None:
    """After an upgrade, before the daemon is restarted: what it did counts, and the daemon looks again."""
    told = json.loads(encode_answer(ALL_TOLD))
    told["seen"] = {"in": "other words"}
    assert decode_answer(json.dumps(told).encode()) == replace(ALL_TOLD, seen=None)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"event":"end","exit":"no"}', b'{"event":"progress"}', b"\xff"])
def test_what_is_no_answer_is_refused(line: bytes) -> None:
    """A worker is another process, and its words are data."""
    with pytest.raises(PlainError):
        decode_answer(line)
