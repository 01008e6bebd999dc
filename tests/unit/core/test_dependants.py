"""How dependants stand: a report that survives its way through a file and a socket, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.dependants import (
    FORMATS,
    MAX_HOOKS,
    MAX_REPORT,
    Content,
    Copy,
    Dependants,
    Format,
    Hooks,
    Occasion,
    Report,
    Step,
    Unit,
    UnitAction,
    decode_report,
    encode_report,
    failure_of,
    names_of,
    trouble,
    with_names,
)
from agent.core.failure.failure import FailureClass
from agent.core.jsonio import PlainError
from support.make import FEW, NOW

SET = "ab" * 32
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
STEPS = st.lists(st.builds(Step, name=TEXT, problem=TEXT, goes_back=st.booleans()), max_size=20).map(tuple)
WRITTEN = st.dictionaries(TEXT, TEXT.map(lambda text: text[:64]), max_size=5)


def report(*steps: Step, **changes: Any) -> Report:
    """Return a report about generation 7."""
    return replace(Report(at=NOW, generation=7, set=SET, steps=steps), **changes)


def failed(number: int, *, goes_back: bool = False) -> Step:
    """Return a dependant with a problem."""
    return Step(name=f"unit-{number}.service", problem=f"Unit {number} does not.", goes_back=goes_back)


def plain(**changes: Any) -> dict[str, Any]:
    """Return a sound report as JSON has it, with changes."""
    sound: dict[str, Any] = json.loads(encode_report(report(Step(name="a.service"))))
    return sound | changes


# -- a report and its line ---------------------------------------------------------------------------------------------


@FEW
@given(st.integers(0, 10**9), STEPS, WRITTEN)
def test_a_report_survives_its_line(generation: int, steps: tuple[Step, ...], written: dict[str, str]) -> None:
    """Whatever dependants are called and whatever their problems say, in order, on one line."""
    before = Report(at=NOW, generation=generation, set=SET, steps=steps, written=written)
    line = encode_report(before)

    assert b"\n" not in line
    assert decode_report(line, "a report") == before


def test_an_empty_report_survives_its_line() -> None:
    """It is the one that is written before a dependant is served."""
    assert decode_report(encode_report(report()), "a report") == report()


def test_everything_that_can_be_configured_fits_into_a_report() -> None:
    """All hooks, dozens of copies and units, each with as much to say as is let through."""
    steps = [Step(name=f"hook {'h' * 250}{number}", problem="x" * 500) for number in range(MAX_HOOKS)]
    steps += [Step(name=f"copy /etc/program/{number}.pem", problem="x" * 500) for number in range(40)]
    steps += [failed(number) for number in range(40)]

    assert decode_report(encode_report(report(*steps)), "a report").problems == tuple(steps)


def test_a_report_that_is_too_large_is_refused() -> None:
    """By its size, before it is looked into."""
    line = encode_report(report(Step(name="x" * 1000)))
    assert decode_report(line + b" " * (MAX_REPORT - len(line)), "a report") == report(Step(name="x" * 1000))
    with pytest.raises(PlainError, match=f"it has {MAX_REPORT + 1} bytes"):
        decode_report(line + b" " * (MAX_REPORT + 1 - len(line)), "a report")


@pytest.mark.parametrize(
    "document",
    [
        {}, plain(at=None), plain(at="yesterday"), plain(at="2027-03-01T12:00:00"), plain(generation=-1),
        plain(generation="7"), plain(generation=True), plain(generation=10**10), plain(set=None), plain(set="a" * 65),
        plain(set=7), plain(steps={}), plain(steps=["a.service"]), plain(steps=[{}]), plain(steps=[{"name": 7}]),
        plain(steps=[{"name": "x" * 1025}]), plain(steps=[{"name": "x", "problem": "x" * 1025}]),
        plain(steps=[{"name": "x", "problem": ["x"]}]), plain(steps=[{"name": "x", "goes_back": "yes"}]),
        plain(steps=[{"name": "x", "goes_back": 1}]), plain(steps=[{"name": "\ud800"}]), plain(written=[]),
        plain(written="x"), plain(written={"/x": 7}), plain(written={"/x": "a" * 65}), plain(written={"\ud800": "a"}),
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused(document: dict[str, Any]) -> None:
    """Of the wrong kind, too long, without a zone, no text: each is a complaint that names the place."""
    with pytest.raises(PlainError, match=r"^a report: ."):
        decode_report(json.dumps(document).encode(), "a report")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"null", b"[]", b"7", b"{", b"\xff{}", b'{"at":1,"at":2}', b'{"at":NaN}', b"[" * 60_000,
        b'{"steps":' * 6_000, b"{}{}", b'{"generation":' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """However it is broken, and however deep it is nested."""
    with pytest.raises(PlainError, match=r"^a report: ."):
        decode_report(data, "a report")


def test_what_a_later_version_adds_is_passed_over() -> None:
    """The helper may be newer than the daemon for as long as an upgrade takes."""
    line = json.dumps(plain(more={"x": 1}, steps=[{"name": "a", "also": 1}])).encode()
    assert decode_report(line, "a report").steps == (Step(name="a"),)


def test_those_who_use_the_set_are_told_from_those_who_do_not() -> None:
    """By their problem alone."""
    found = report(Step(name="a"), failed(1), Step(name="b"), failed(2, goes_back=True))

    assert found.done == {"a", "b"}
    assert found.problems == (failed(1), failed(2, goes_back=True))


# -- what it means for a change ----------------------------------------------------------------------------------------


def test_when_all_use_the_set_nothing_failed() -> None:
    """Nor when there is none."""
    assert failure_of(report()) is None
    assert failure_of(report(Step(name="a"), Step(name="b", goes_back=True))) is None


def test_a_problem_is_a_failure_that_decides_nothing() -> None:
    """The change goes on, and says so."""
    found = failure_of(report(Step(name="a"), failed(1)))

    assert found is not None
    assert (found.kind, found.code, found.message) == (FailureClass.DEPENDANT, "dependant", "Unit 1 does not.")
    assert not found.decisive
    assert found.promise == "It is tried again."


@pytest.mark.parametrize("place", [0, 1, 4])
def test_one_that_goes_back_decides(place: int) -> None:
    """Wherever it stands, and even where its problem is not told."""
    steps = [failed(number, goes_back=number == place) for number in range(5)]
    found = failure_of(report(*steps))

    assert found is not None
    assert found.decisive


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_three_problems_are_told_and_the_others_named(count: int) -> None:
    """A sentence each; and none is lost, however many there are."""
    found = failure_of(report(*(failed(number) for number in range(count))))

    assert found is not None
    told = [f"Unit {number} does not." for number in range(min(count, 3))]
    others = ", ".join(f"unit-{number}.service" for number in range(3, count))
    assert found.message == " ".join([*told, *([f"And {count - 3} more: {others}."] if others else [])])


def test_all_are_named_where_none_was_come_to() -> None:
    """An operator learns which programs have to be looked after."""
    failure = trouble("The helper does not answer.", "Enable it.")

    told = with_names(failure, ("copy /etc/app.pem", "nginx.service"))
    assert told == replace(failure, message="The helper does not answer. Not served: copy /etc/app.pem, nginx.service.")
    assert with_names(failure, ()) == failure


def test_names_are_those_of_a_report_in_its_order() -> None:
    """A hook's name may be any bytes, and a report is one line."""
    dependants = Dependants(
        copies=(Copy(to=Path("/etc/app.pem"), content=Content.CHAIN),),
        hooks=Hooks(directory=Path("/etc/hooks.d")),
        units=(Unit(name="nginx.service"), Unit(name="bridge.service")),
    )

    assert names_of(dependants, ["10-app", "20\n" + "x" * 600]) == (
        "copy /etc/app.pem",
        "hook 10-app",
        f"hook 20 {'x' * 492}",
        "nginx.service",
        "bridge.service",
    )


def test_trouble_has_the_remedy_that_it_is_given() -> None:
    """And decides nothing unless it is said."""
    assert trouble("It failed.", "Mend it.").remedy == "Mend it."
    assert not trouble("It failed.", "Mend it.").decisive
    assert trouble("It failed.", decisive=True).decisive


# -- what there is -----------------------------------------------------------------------------------------------------


def test_the_words_are_those_that_others_know() -> None:
    """The helper's, which an upgrade may leave older than the agent, and systemctl's."""
    assert list(Occasion) == ["activated", "rolled-back", "again"]
    assert list(UnitAction) == ["reload", "restart", "reload-or-restart"]


def test_every_content_can_be_held_by_some_format_and_pem_holds_all() -> None:
    """DER never holds more than one object, and PKCS #12 no key without its certificate."""
    assert set(FORMATS) == set(Format)
    assert FORMATS[Format.PEM] == set(Content)
    assert FORMATS[Format.DER] == {Content.KEY, Content.CERTIFICATE}
    assert FORMATS[Format.PKCS12] == {Content.PAIR, Content.ANCHORS}
