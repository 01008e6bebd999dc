from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum, StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

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


def of_type(kind: Any, *, default: Any = MISSING) -> Callable[[Node], Any]:
    """Return what reads a dataclass with one field, `a`, of a type."""
    made = make_dataclass("Probe", [("a", kind, field(default=default))], frozen=True)
    return lambda found: found.record(made).a


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Something that stands within something else."""

    b: int
    c: Annotated[str, 5] = ""


READERS: list[tuple[str, Callable[[Node], object], list[object]]] = [
    ("text", lambda found: found.text("a"), [None, 1, True, [], {}, "x" * 1025, "\ud800", "a\udfffb"]),
    ("short text", lambda found: found.text("a", limit=3), ["abcd", b"abc"]),
    ("optional text", lambda found: found.optional_text("a"), [1, False, [], {}, "\udc80"]),
    ("number", lambda found: found.number("a"), [None, "1", 1.0, -1, 2**32, True, False, 1e999, [], 10**4000]),
    ("number with default", lambda found: found.number("a", 0), [None, "", 0.5, -1]),
    ("flag", lambda found: found.flag("a"), [None, 0, 1, "true", []]),
    ("time", lambda found: found.time("a"), [None, 0, "", "yesterday", "2027-03-01", "2027-03-01T12:00:00", [], {}]),
    ("early time", lambda found: found.time("a"), ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"]),
    ("odd time", lambda found: found.time("a"), ["2027-13-01T00:00:00+00:00", "2027-02-30T00:00:00Z", "9" * 5000]),
    ("optional time", lambda found: found.optional_time("a"), [0, "", "soon", "2027-03-01T12:00:00"]),
    ("node", lambda found: found.node("a"), [None, 1, "", [], [{}]]),
    ("nodes", lambda found: found.nodes("a"), [None, 1, "", {}, "{}", {"b": {}}]),
    ("optional node", lambda found: found.optional_node("a"), [1, "", [], True]),
    ("str", of_type(str), [None, 1, True, [], {}, "x" * 1025, "\ud800", "a\udfffb", b"a"]),
    ("str of a size", of_type(Annotated[str, 3]), ["abcd", "\ud800", None, 3]),
    ("str or None", of_type(str | None, default=None), [1, False, [], {}, "\udc80"]),
    ("int", of_type(int), [None, "1", 1.0, -1, 2**32, True, False, 1e999, [], 10**4000]),
    ("int with default", of_type(int, default=0), [None, "", 0.5, -1]),
    ("int or None", of_type(int | None), ["1", 2.5, True, -1]),
    ("float", of_type(float), [None, "1.5", -0.5, True, 1e12, 1e999, 10**400, [], {}]),
    ("bool", of_type(bool), [None, 0, 1, "true", []]),
    (
        "datetime",
        of_type(datetime),
        [None, 0, "", "yesterday", "2027-03-01", "2027-03-01T12:00:00", [], {}, "9" * 5000],
    ),
    ("timedelta", of_type(timedelta), [None, "1s", -1, True, 1e12, []]),
    ("StrEnum", of_type(Colour), [None, "", "green", "RED", 1, [], {}, ["red"]]),
    (
        "list",
        of_type(tuple[datetime, ...], default=()),
        [None, "", {}, [None], ["2027-03-01"], [["2027-03-01T12:00:00Z"]]],
    ),
    ("pair", of_type(tuple[Colour, int]), [None, {}, [], ["red"], ["red", 1, 2], ["ab", 1], ["red", "1"]]),
    ("pairs", of_type(tuple[tuple[Colour, datetime], ...]), [None, {}, ["red"], [["red"]], [["red", 1, 2]], ["ab"]]),
    ("mapping", of_type(Mapping[str, Annotated[str, 2]]), [None, [], "", {"x": 1}, {"x": "abc"}, {"x": None}]),
    ("dataclass", of_type(Inner), [None, 1, "", [], [{}]]),
    ("dataclasses", of_type(tuple[Inner, ...]), [None, 1, "", {}, [1], [None], ["{}"]]),
    ("dataclass or None", of_type(Inner | None), [1, "", [], True]),
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
        lambda: empty.node("a"),
        *(partial(of_type(kind), empty) for kind in (str, int, float, bool, datetime, Colour, Inner, tuple[int, ...])),
    ]
    for read in needed:
        with pytest.raises(PlainError, match=r"^f\.json: a: "):
            read()

    optional = [empty.optional_text("a"), empty.optional_time("a"), empty.optional_node("a")]
    assert optional == [None] * 3
    assert of_type(int, default=7)(empty) == 7
    assert of_type(str | None)(empty) is None
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
    """Unchecked, and a copy: a caller who changes it changes nothing here."""
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
    found = node(text="äöü 😀", number=2**32 - 1, zero=0, flag=True, time="2027-03-01T14:00:00+02:00", null=None)

    assert found.text("text", limit=5) == "äöü 😀"
    assert (found.number("number"), found.number("zero"), found.flag("flag")) == (2**32 - 1, 0, True)
    assert found.time("time") == NOW
    assert found.time("time").tzinfo is UTC
    assert node(time="2027-03-01t12:00:00z").time("time") == NOW, "RFC 3339, section 5.6"
    assert not found.has("null")
    assert found.has("zero")


@dataclass(frozen=True, kw_only=True)
class Whole:
    """One field of each type that can be read; two names are those of types that no module has at run time."""

    text: str
    short: Annotated[str, 5]
    number: int
    broken: float
    flag: bool
    at: datetime
    span: timedelta
    colour: Colour
    inner: Inner
    numbers: tuple[int, ...] = ()
    steps: tuple[tuple[Colour, datetime], ...] = ()
    inners: tuple[Inner, ...] = ()
    names: Mapping[str, Inner] = field(default_factory=dict)
    nothing: Annotated[str, 5] | None = None
    perhaps: Inner | None = None


WHOLE = Whole(
    text="äöü 😀", short="12345", number=2**32 - 1, broken=0.25, flag=False, at=NOW, span=timedelta(minutes=1),
    colour=Colour.BLUE, inner=Inner(b=1, c="c"), numbers=(1, 2), steps=((Colour.RED, NOW),),
    inners=(Inner(b=2), Inner(b=3)), names={"x": Inner(b=4)}, nothing="n", perhaps=Inner(b=5),
)  # fmt: skip


def test_a_dataclass_is_read_by_the_types_of_its_fields() -> None:
    """What was written comes back, with everything in it and with nothing that need not be."""
    assert decode(encode(WHOLE), "f.json", limit=LIMIT).record(Whole) == WHOLE
    bare = replace(WHOLE, numbers=(), steps=(), inners=(), names={}, nothing=None, perhaps=None)
    assert decode(encode(bare), "f.json", limit=LIMIT).record(Whole) == bare


def test_a_whole_number_is_also_one_that_may_be_broken() -> None:
    """It comes out as what the field says."""
    found = node(**(to_plain(WHOLE) | {"broken": 7, "span": 60})).record(Whole)
    assert (found.broken, type(found.broken), found.span) == (7.0, float, timedelta(minutes=1))


def test_a_name_that_the_dataclass_does_not_know_is_ignored() -> None:
    """At any depth: within a format, names may be added."""
    plain = to_plain(WHOLE)
    plain["inner"]["colour"] = plain["later"] = {"anything": [None]}
    assert node(**plain).record(Whole) == WHOLE


def test_null_stands_for_none_alone() -> None:
    """It is no default: what is there was meant."""
    assert node(**(to_plain(WHOLE) | {"nothing": None, "perhaps": None})).record(Whole).perhaps is None
    for name in ("numbers", "names", "text", "inner"):
        with pytest.raises(PlainError, match=rf"^f\.json: {name}: .+ is expected$"):
            node(**(to_plain(WHOLE) | {name: None})).record(Whole)


def test_a_name_with_a_default_may_be_needed_all_the_same() -> None:
    """By a reader of what another process writes whole."""
    assert node(b=1).record(Inner) == Inner(b=1)
    with pytest.raises(PlainError, match=r"^f\.json: c: text of at most 5 characters is expected$"):
        node(b=1).record(Inner, needed=["c"])


def test_a_complaint_about_a_field_names_the_whole_path() -> None:
    """Through objects, lists and mappings."""
    for name, value, said in (
        ("inner", {"b": "x"}, "inner: b: a whole number"),
        ("inners", [{"b": 1}, {"b": 1, "c": 7}], "inners: c: text of at most 5 characters"),
        ("names", {"x": {}}, "names: x: b: a whole number"),
        ("steps", [["red"]], "steps: a list of 2"),
    ):
        with pytest.raises(PlainError, match=rf"^f\.json: {said} is expected$"):
            node(**(to_plain(WHOLE) | {name: value})).record(Whole)


def test_a_type_that_no_rule_is_for_is_a_mistake_of_ours() -> None:
    """It is found with the first value, not guessed."""
    with pytest.raises(TypeError):
        of_type(bytes)(node(a="x"))


@make.MANY
@given(plain=st.dictionaries(st.sampled_from([item.name for item in fields(Whole)]) | st.text(max_size=3), JSON))
def test_any_object_gives_a_value_or_a_complaint(plain: dict[str, Any]) -> None:
    """No data raises anything but the module's own error."""
    try:
        said = str(node(**(to_plain(WHOLE) | plain)).record(Whole))
    except PlainError as error:
        said = str(error)

    assert said.startswith(("f.json: ", "Whole("))


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


class Size(IntEnum):
    """Something to choose from, by number."""

    SMALL = 0
    LARGE = 1


@dataclass(frozen=True, kw_only=True)
class Shirt:
    """A dataclass with such a field."""

    size: Size


@pytest.mark.parametrize("plain", [2, -1, True, False, "1", 1.0, None, [], {}])
def test_a_number_of_an_enumeration_is_one_of_its_numbers(plain: object) -> None:
    """Not a boolean, not a text, and no broken number, though Python compares them as equal."""
    assert node(size=1).record(Shirt) == Shirt(size=Size.LARGE)
    with pytest.raises(PlainError, match=r"^f\.json: size: one of 0, 1 is expected$"):
        node(size=plain).record(Shirt)
