from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.jsonio import Node, PlainError, decode, encode, to_plain
from support import make
from support.make import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 8_000_000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class Colour(StrEnum):
    """Something to choose from."""

    RED = "red"
    BLUE = "blue"


def node(**plain: Any) -> Node:
    """Return an object as it comes out of a file."""
    return Node(plain, "f.json")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": 1}}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 1}',
        b'{"b": [{"a": 1, "a": 2}]}',
        b'{"a": "\xff"}',
        b'\xef\xbb\xbf{"a": 1}',
        b"{'a': 1}",
        b"\x00",
        b"[" * 200_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a": ' + b"9" * 5_000_000 + b"}",
        b'{"a": "' + b"x" * 100,
        b'{"a": "\n"}',
    ],
    ids=lambda data: repr(data[:16]),
)
def test_what_is_not_sound_json_is_refused_by_name(data: bytes) -> None:
    """Broken, ambiguous, endless and bottomless input gives one short complaint that names the file."""
    with pytest.raises(PlainError, match=r"^f\.json: it is not sound JSON \(.{1,100}\)$"):
        decode(data, "f.json", limit=LIMIT)


@pytest.mark.parametrize("data", [b"1", b"null", b'"text"', b"[]", b"[{}]", b"true"])
def test_what_is_not_an_object_is_refused(data: bytes) -> None:
    """A file holds one object and nothing else."""
    with pytest.raises(PlainError, match=r"^f\.json: an object is expected$"):
        decode(data, "f.json", limit=LIMIT)


def test_what_is_too_large_is_refused_before_it_is_parsed() -> None:
    """The limit is in bytes and allows exactly as many."""
    data = b'{"a":1}'

    assert decode(data, "f.json", limit=len(data)).number("a") == 1
    with pytest.raises(PlainError, match="it has 7 bytes and 6 are allowed"):
        decode(data, "f.json", limit=len(data) - 1)
    with pytest.raises(PlainError, match="bytes and 6 are allowed"):
        decode(b"not even JSON", "f.json", limit=6)


@make.MANY
@given(data=st.binary(max_size=200) | JSON.map(lambda plain: encode({"value": plain})[1:]))
def test_any_bytes_give_an_object_or_a_complaint(data: bytes) -> None:
    """No input raises anything but the module's own error."""
    try:
        said = decode(data, "f.json", limit=LIMIT).path
    except PlainError as error:
        said = str(error)

    assert said == "f.json" or said.startswith("f.json: ")


READERS: list[tuple[str, Callable[[Node], object], list[object]]] = [
    ("text", lambda found: found.text("a"), [None, 1, True, [], {}, "x" * 1025, "\ud800", "a\udfffb"]),
    ("short text", lambda found: found.text("a", limit=3), ["abcd", b"abc"]),
    ("optional text", lambda found: found.optional_text("a"), [1, False, [], {}, "\udc80"]),
    ("number", lambda found: found.number("a"), [None, "1", 1.0, -1, 10**9 + 1, True, False, 1e999, [], 10**4000]),
    ("number with default", lambda found: found.number("a", 0), [None, "", 0.5, -1]),
    ("optional number", lambda found: found.optional_number("a"), ["1", 2.5, True, -1]),
    ("flag", lambda found: found.flag("a"), [None, 0, 1, "true", []]),
    ("time", lambda found: found.time("a"), [None, 0, "", "yesterday", "2027-03-01", "2027-03-01T12:00:00", [], {}]),
    ("early time", lambda found: found.time("a"), ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]),
    ("odd time", lambda found: found.time("a"), ["2027-13-01T00:00:00+00:00", "2027-02-30T00:00:00Z", "9" * 5000]),
    ("optional time", lambda found: found.optional_time("a"), [0, "", "soon", "2027-03-01T12:00:00"]),
    ("times", lambda found: found.times("a"), [None, "", {}, [None], ["2027-03-01"], [["2027-03-01T12:00:00Z"]]]),
    ("choice", lambda found: found.choice("a", Colour), [None, "", "green", "RED", 1, [], {}, ["red"]]),
    ("steps", lambda found: found.steps("a", Colour), [None, {}, ["red"], [["red"]], [["red", 1, 2]], ["ab"]]),
    ("wrong steps", lambda found: found.steps("a", Colour), [[["green", "2027-03-01T12:00:00Z"]], [["red", "soon"]]]),
    ("node", lambda found: found.node("a"), [None, 1, "", [], [{}]]),
    ("nodes", lambda found: found.nodes("a"), [None, 1, "", {}, "{}", {"b": {}}]),
    ("optional node", lambda found: found.optional_node("a"), [1, "", [], True]),
]


@pytest.mark.parametrize(
    ("read", "value"), [pytest.param(read, value, id=name) for name, read, values in READERS for value in values]
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_place(read: Callable[[Node], object], value: object) -> None:
    """Nothing is converted or guessed: the complaint says where the value is and what was expected."""
    with pytest.raises(PlainError, match=r"^f\.json: a: .+ is expected$"):
        read(node(a=value))


def test_a_missing_name_is_refused_where_it_is_needed() -> None:
    """What must be there is asked for by name; what may be missing is None, nothing or false."""
    empty = node()
    needed: list[Callable[[], object]] = [
        lambda: empty.text("a"),
        lambda: empty.number("a"),
        lambda: empty.time("a"),
        lambda: empty.choice("a", Colour),
        lambda: empty.node("a"),
    ]
    for read in needed:
        with pytest.raises(PlainError, match=r"^f\.json: a: "):
            read()

    optional = [
        empty.optional_text("a"),
        empty.optional_number("a"),
        empty.optional_time("a"),
        empty.optional_node("a"),
    ]
    assert optional == [None] * 4
    assert (empty.times("a"), empty.steps("a", Colour)) == ((), ())
    assert empty.flag("a") is False
    assert empty.number("a", 7) == 7


@pytest.mark.parametrize("value", [[1], [None], [[]], [{}, "x"], ["{}"]], ids=repr)
def test_a_list_of_objects_holds_nothing_else(value: object) -> None:
    """One wrong item is told by the list's name, and none of the others is taken."""
    with pytest.raises(PlainError, match=r"^f\.json: a: an object is expected$"):
        node(a=value).nodes("a")


def test_a_list_of_objects_is_read_in_order() -> None:
    """Each can be asked on its own, and complains with the path that leads to it."""
    first, second = node(a=[{"b": 1}, {"c": 2}]).nodes("a")

    assert (first.number("b"), second.number("c")) == (1, 2)
    assert node().nodes("a") == node(a=[]).nodes("a") == ()
    with pytest.raises(PlainError, match=r"^f\.json: a: b: a whole number is expected$"):
        second.number("b")


def test_an_object_can_be_had_as_it_is() -> None:
    """Unchecked, and a copy: whoever changes it changes nothing here."""
    found = node(a=[1], b=None)
    plain = found.plain()
    assert plain == {"a": [1], "b": None}
    plain["a"] = plain["c"] = 7

    assert found.plain() == {"a": [1], "b": None}


def test_a_time_without_its_zone_is_told_from_what_is_no_time() -> None:
    """The complaint says that the zone is what is missing."""
    with pytest.raises(PlainError, match=r"^f\.json: a: a time with its zone is expected$"):
        node(a="2027-03-01T12:00:00").time("a")
    with pytest.raises(PlainError, match=r"^f\.json: a: a time is expected$"):
        node(a="noon").time("a")


@pytest.mark.parametrize("data", [b'{"\\ud800": 1}', b'{"a": {"x\\udfff": 1}}', b'{"a": [{"\\udc80": []}]}'])
def test_a_name_that_no_file_can_hold_is_refused(data: bytes) -> None:
    """A lone surrogate in a name, at any depth, is refused when it is read and not when it is used."""
    with pytest.raises(PlainError, match=r"^f\.json: it is not sound JSON \(a name is no Unicode text\)$"):
        decode(data, "f.json", limit=LIMIT)


def test_a_complaint_names_the_whole_path() -> None:
    """In nested objects every name on the way is told."""
    inner = node(a={"b": {"c": 1}}).node("a").node("b")

    with pytest.raises(PlainError, match=r"^f\.json: a: b: c: text of at most 5 characters is expected$"):
        inner.text("c", limit=5)


def test_sound_values_are_read() -> None:
    """What is as it should be comes out typed, and times come out as UTC."""
    found = node(
        text="äöü 😀", number=10**9, zero=0, flag=True, time="2027-03-01T14:00:00+02:00", colour="red",
        times=["2027-03-01T12:00:00Z"], steps=[["blue", "2027-03-01T12:00:00+00:00"]], null=None,
    )  # fmt: skip

    assert found.text("text", limit=5) == "äöü 😀"
    assert (found.number("number"), found.optional_number("zero"), found.flag("flag")) == (10**9, 0, True)
    assert found.time("time") == NOW
    assert found.time("time").tzinfo is UTC
    assert found.choice("colour", Colour) is Colour.RED
    assert found.times("times") == (NOW,)
    assert found.steps("steps", Colour) == ((Colour.BLUE, NOW),)
    assert not found.has("null")
    assert found.has("zero")


@make.MANY
@given(plain=st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_plain_data_survives_writing_and_reading(plain: dict[str, Any]) -> None:
    """What is written is one line of ASCII with sorted names, and reads back as it was."""
    data = encode(plain)

    assert b"\n" not in data
    assert data.isascii()
    assert decode(data, "f.json", limit=LIMIT)._plain == plain
    assert encode(dict(reversed(plain.items()))) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_not_written(value: float) -> None:
    """A number that no reader accepts is a defect when writing, not when reading."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"a": value})


def test_times_and_spans_become_text_and_seconds() -> None:
    """A time is written in UTC whatever its zone was, a span in seconds, and what is empty is left out."""
    zone = timezone(timedelta(hours=2))

    assert to_plain(datetime(2027, 3, 1, 14, tzinfo=zone)) == "2027-03-01T12:00:00+00:00"
    assert to_plain({"a": (timedelta(minutes=1), Colour.RED)}) == {"a": [60.0, "red"]}
    plain = to_plain(make.issued())
    assert plain["at"] == "2027-03-01T12:00:00+00:00"
    assert "failure" not in to_plain(make.record())
    assert to_plain(make.record())["attempts"] == 0
