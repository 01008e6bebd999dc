from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.aws.topics import SHADOW
from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.jsonio import PlainError, encode, to_plain
from agent.core.report.jobs import MAX_PAYLOAD, details
from agent.core.report.seen import Damage
from agent.core.report.shadow import (
    MAX_REPORT,
    MAX_TEXT,
    WISH,
    Wish,
    differs,
    read_documents,
    read_shadow,
    report,
)
from agent.core.report.status import Retiring
from agent.core.values import Provenance, TrustSource
from agent.core.when.schedule import Plan, Suggestion
from support import make
from support.make import DAY, NOW
from support.unit.core.hostile import read_hostile

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from agent.core.report.status import Status

WINDOW = {"opens_at": "2027-03-02T12:00:00+00:00", "closes_at": "2027-03-04T12:00:00+00:00"}
SUGGESTION = Suggestion(opens_at=NOW + DAY, closes_at=NOW + 3 * DAY, source="the shadow")
NOTHING_PLANNED = Plan(due=False, why="there is nothing", code="not-configured", at=None)
UNDERSTOOD = Wish(raw=WINDOW, window=SUGGESTION)

# What the service's own quota allows for the reported and the desired state together.
AWS_LIMIT = 8_192


def data(plain: object) -> bytes:
    """Return a message of the cloud."""
    return json.dumps(plain).encode()


def shadow(desired: object = None, reported: object = None) -> bytes:
    """Return the reply to GetShadow."""
    state = {"desired": desired, "reported": reported}
    return data({"state": {name: value for name, value in state.items() if value is not None}, "version": 3})


def documents(desired: object = None) -> bytes:
    """Return what ``update/documents`` tells of an update."""
    state = {"reported": {"health": 0}, **({"desired": desired} if desired is not None else {})}
    now = {"state": state, "metadata": {}, "version": 4}
    before = {"state": {"desired": {WISH: {"opens_at": "1999-01-01T00:00:00Z"}}}, "version": 3}
    return data({"previous": before, "current": now, "timestamp": 1_800_000_000})


def size(told: Mapping[str, object]) -> int:
    """Return how large a report is on the wire."""
    return len(json.dumps(told))


# -- what the cloud says -----------------------------------------------------------------------------------------------


def test_a_wish_comes_out_as_a_suggestion_and_as_it_was() -> None:
    """What is understood moves the schedule; what came is echoed, so that the delta ends."""
    wish, reported = read_shadow(shadow({WISH: WINDOW, "colour": "red"}, {"health": 0, "colour": "red"}))

    assert wish == UNDERSTOOD
    assert reported == {"health": 0, "colour": "red"}


def test_an_update_comes_out_like_the_shadow() -> None:
    """The message is another, the meaning is the same: the whole wish, whatever part of it was changed."""
    assert read_documents(documents({WISH: WINDOW, "colour": "red"})) == UNDERSTOOD


@pytest.mark.parametrize("desired", [None, {}, {"colour": "red"}, {WISH: None}], ids=str)
def test_an_update_that_withdraws_the_wish_is_heard(desired: object) -> None:
    """What was wished for before does not stand any more."""
    assert read_documents(documents(desired)) == Wish()


@pytest.mark.parametrize("payload", [shadow(), shadow({}, {}), shadow({"colour": "red"}), shadow({WISH: None})])
def test_a_shadow_without_a_wish_wishes_for_nothing(payload: bytes) -> None:
    """An empty shadow is as good as none."""
    assert read_shadow(payload) == (Wish(), {})


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("tonight", "desired: renew: an object is expected"),
        (7, "desired: renew: an object is expected"),
        (False, "desired: renew: an object is expected"),
        ([WINDOW], "desired: renew: an object is expected"),
        ({}, "desired: renew: opens_at: a time is expected"),
        ({**WINDOW, "closes_at": None}, "desired: renew: closes_at: a time is expected"),
        ({**WINDOW, "opens_at": "2027-03-02T12:00:00"}, "opens_at: a time with its zone is expected"),
        ({**WINDOW, "closes_at": "2027-03-01T12:00:00Z"}, "desired: renew: it closes before it opens"),
        ({**WINDOW, "why": "x" * 5000}, "bytes and"),
        ({**WINDOW, "number": 1e999}, "Out of range float values are not JSON compliant"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wish_that_cannot_be_understood_is_refused_with_its_place(raw: object, why: str) -> None:
    """It moves nothing and is not echoed: it stays as the delta, with the reason beside it."""
    payload = json.dumps({"state": {"desired": {WISH: raw}}}).replace("Infinity", "1e999").encode()
    wish, _ = read_shadow(payload)

    assert (wish.raw, wish.window) == (None, None)
    assert why in wish.refused
    assert len(wish.refused) <= MAX_TEXT
    told = report(make.status(), wish)
    assert told[WISH] is None
    assert why in str(told["wishRefused"])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"state": []}',
        b'{"state": null}',
        b'{"state": {"desired": 7}}',
        b'{"state": {"reported": "x"}}',
        b'{"state": {"desired": {"renew": NaN}}}',
        b'{"state": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
        b" " * (MAX_PAYLOAD + 1),
    ],
    ids=lambda payload: repr(payload[:32]),
)
def test_what_is_no_shadow_is_refused(payload: bytes) -> None:
    """With the module's own error, whatever it is."""
    with pytest.raises(PlainError, match=r"^the shadow"):
        read_shadow(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"{}",
        b'{"current": null}',
        b'{"current": {"version": 1}}',
        b'{"current": {"state": 7}}',
        b'{"current": {"state": {"desired": []}}}',
        b'{"state": {"desired": {}}}',
    ],
)
def test_what_tells_of_no_update_is_refused(payload: bytes) -> None:
    """Likewise."""
    with pytest.raises(PlainError, match=r"^the shadow's documents"):
        read_documents(payload)


JUNK: list[object] = [
    None, True, -1, 1.5, 10**30, "", "\ud800", "2027-03-02T12:00:00Z", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", [], [None], {}, {WISH: {}}, "y" * 9000, [[[[]]]], {"a": {"b": {"c": {}}}},
]  # fmt: skip


def mutated(plain: Any, chance: random.Random) -> Any:
    """Return JSON data with something in it replaced or taken away."""
    if isinstance(plain, dict) and plain and chance.random() < 0.85:
        name = chance.choice(list(plain))
        rest = {key: value for key, value in plain.items() if key != name}
        return rest if chance.random() < 0.2 else {**rest, name: mutated(plain[name], chance)}
    return chance.choice(JUNK)


READERS: list[tuple[str, Callable[[bytes], object], object]] = [
    ("shadow", read_shadow, {"state": {"desired": {WISH: WINDOW}, "reported": {"health": 0}}, "version": 1}),
    ("documents", read_documents, json.loads(documents({WISH: WINDOW}))),
]


@pytest.mark.parametrize(("name", "read", "plain"), READERS, ids=[name for name, _, _ in READERS])
def test_no_message_of_the_cloud_raises_anything_but_a_complaint(
    name: str, read: Callable[[bytes], object], plain: object
) -> None:
    """Ten thousand messages with something wrong: a wish, nothing, or a PlainError, and a report that fits."""

    def message(chance: random.Random) -> bytes:
        payload = bytearray(data(mutated(plain, chance)))
        if chance.randrange(2):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        return bytes(payload)

    def look(found: object) -> None:
        wish = found[0] if isinstance(found, tuple) else found
        assert not isinstance(wish, Wish) or size(report(make.status(), wish)) <= MAX_REPORT

    read_hostile(read, message, look, seed=len(name))


# -- what is reported --------------------------------------------------------------------------------------------------


def test_a_healthy_gateway_reports_what_it_has() -> None:
    """Certificate, ends, turn, health: a small digest, fit for fleet indexing; what is not so is deleted."""
    told = report(make.status(), Wish())
    present = {name: value for name, value in told.items() if value is not None}

    assert present == {
        "agent": "1.2.3",
        "health": 0,
        "generation": 7,
        "certificateId": "ab" * 32,
        "notAfter": to_plain(make.certificate().not_after),
        "renewAt": to_plain(make.status().plan.at),
        "waitsFor": "scheduled",
        "anchors": 1,
        "anchorsNotAfter": to_plain(make.anchor().not_after),
        "retiring": 0,
    }
    assert told["problem"] is told["changeId"] is told["failure"] is told[WISH] is None


def test_a_gateway_in_trouble_reports_the_trouble() -> None:
    """The change in flight, its phase and its failure; else the last one's."""
    failure = make.failure(message="No route.", code="unreachable")
    flying = make.record(failure=failure)
    last = make.finished(failure=make.failure(message="Old."))
    damage = Damage(critical=False, text="One.")
    told = report(make.status(change=flying, last=last, damage=(damage,)), Wish())

    assert (told["health"], told["problem"]) == (1, "One.; The change in flight has trouble: No route.")
    assert (told["changeId"], told["phase"]) == ("c-1", "planned")
    assert (told["lastChange"], told["lastOutcome"]) == (last.id, "committed")
    assert (told["failureClass"], told["failure"]) == ("network", "No route.")
    assert report(make.status(last=last), Wish())["failure"] == "Old."


def test_a_job_is_told_of_the_last_change_before_the_anchors() -> None:
    """The answer to a `report` has room for ten details, so their order decides what is in it."""
    told = details(**report(make.status(last=make.finished()), Wish()))
    assert list(told) == [
        "agent", "health", "generation", "certificateId", "notAfter", "renewAt", "waitsFor", "lastChange",
        "lastOutcome", "anchors",
    ]  # fmt: skip


def test_a_gateway_without_a_set_reports_nevertheless() -> None:
    """Names without a value are null, which deletes what an earlier report said."""
    told = report(make.status(current=None, plan=NOTHING_PLANNED), Wish())

    assert (told["agent"], told["health"]) == ("1.2.3", 3)
    assert told["certificateId"] is told["notAfter"] is told["anchors"] is told["renewAt"] is None


def test_the_first_anchor_to_end_is_reported() -> None:
    """It is what an operator must act on."""
    anchors = tuple(make.anchor(not_after=NOW + days * DAY) for days in (900, 300, 600))
    told = report(make.status(current=make.in_use(anchors=anchors)), Wish())

    assert (told["anchors"], told["anchorsNotAfter"]) == (3, to_plain(NOW + 300 * DAY))


@pytest.mark.parametrize(
    ("trust", "version"),
    [
        (None, None),
        (Provenance(source=TrustSource.BAKED), 0),
        (Provenance(source=TrustSource.BUNDLE, version=7), 7),
    ],
)
def test_the_version_of_the_signed_bundle_is_reported(trust: Provenance | None, version: int | None) -> None:
    """So that a fleet can be asked who has it; a baked copy is version 0, and who knows of none says nothing."""
    assert report(make.status(current=make.in_use(trust=trust)), Wish())["trustBundle"] == version
    assert report(make.status(current=None), Wish())["trustBundle"] is None


def test_a_wish_is_echoed_once_it_is_understood() -> None:
    """To the byte, or the delta would never end."""
    assert report(make.status(), UNDERSTOOD)[WISH] == WINDOW


def test_a_report_has_the_same_names_whatever_happened() -> None:
    """What vanishes from the gateway vanishes from the shadow only if it is named."""
    names = set(report(make.status(), Wish()))
    bare = make.status(current=None, plan=NOTHING_PLANNED)

    assert names == set(report(bare, Wish())) == set(report(make.status(change=make.record()), UNDERSTOOD))
    assert SHADOW == "certificate"


def test_what_retirements_wait_for_is_reported_by_name() -> None:
    """Each once; and how many were not answered. Nothing of it stands there when there is nothing to say."""
    first = Retiring(change="c-1", certificate_id="01" * 32, due=NOW, waits_for=("nginx.service", "copy /etc/app.pem"))
    second = Retiring(change="c-2", certificate_id="02" * 32, due=NOW, waits_for=("nginx.service",), unanswered="Late.")
    told = report(make.status(retiring=(first, second)), Wish())
    without = report(make.status(retiring=(replace(first, waits_for=()),)), Wish())

    assert (told["retiring"], told["retiringUnanswered"]) == (2, 1)
    assert told["retiringWaitsFor"] == "nginx.service, copy /etc/app.pem"
    assert (without["retiring"], without["retiringWaitsFor"], without["retiringUnanswered"]) == (1, None, None)


def test_long_texts_are_cut() -> None:
    """A report is a digest."""
    told = report(make.status(concerns=("x" * 5000,)), Wish())

    assert told["problem"] == "x" * MAX_TEXT


def worst(text: str) -> Status:
    """Return the status of a gateway on which everything is wrong, at length."""
    failure = make.failure(FailureClass.SERVER_TRUST, text, message=text, remedy=text)
    retiring = Retiring(change="", certificate_id="01" * 32, due=NOW, waits_for=(text,) * 5, unanswered=text)
    return make.status(
        version="v" * 40,
        change=make.record(id="c" * 64, failure=failure),
        last=make.finished(Phase.ROLLED_BACK, id="d" * 64, failure=failure),
        damage=(Damage(critical=True, text=text),) * 20,
        current=make.in_use(anchors=(make.anchor(),) * 200),
        retiring=(retiring,) * 400,
    )


@pytest.mark.parametrize("char", ["x", "ä", "😀", '"', "\\", "\x00"], ids=repr)
def test_the_longest_report_fits(char: str) -> None:
    """Whatever is wrong and in whatever script it is told, the report stays below its limit and the service's."""
    told = report(worst(char * 5000), Wish(refused=char * 5000))

    assert size(told) <= MAX_REPORT
    assert str(told["failure"]).startswith(make.failure(message=char * 20).message)  # a failure is printable
    assert size({"state": {"reported": told}}) < AWS_LIMIT


def test_the_longest_wish_that_is_echoed_fits_too() -> None:
    """Names that are not known are echoed with the rest, but not without bound."""
    for length in range(0, 5000, 100):
        wish, _ = read_shadow(shadow({WISH: {**WINDOW, "comment": "x" * length}}))
        assert wish.raw or wish.refused
        assert size(report(worst("x" * 5000), wish)) <= MAX_REPORT


@make.MANY
@given(health=st.lists(st.text(st.characters(), max_size=600), max_size=5), message=st.text(st.characters()))
def test_any_report_can_be_sent(health: list[str], message: str) -> None:
    """It is JSON whatever stands in it, and reads back as it was."""
    change = make.record(failure=make.failure(message=message))
    told = report(make.status(concerns=tuple(health), change=change), UNDERSTOOD)

    assert json.loads(encode({"state": {"reported": told}}))["state"]["reported"] == told


# -- when it is sent ---------------------------------------------------------------------------------------------------


def test_a_report_is_sent_when_the_cloud_lacks_any_of_it() -> None:
    """What others keep there does not count, and null is as good as missing."""
    told = report(make.status(), Wish())
    kept = {name: value for name, value in told.items() if value is not None}

    assert not differs(kept, told)
    assert not differs({**kept, "colour": "red"}, told)
    assert differs({}, told)
    assert differs({**kept, "health": 1}, told)
    assert differs({**kept, "failure": "It did not work."}, told)
    assert differs({name: value for name, value in kept.items() if name != "generation"}, told)


def test_the_passing_of_time_alone_sends_nothing() -> None:
    """A fleet that reported every minute that nothing had changed would cost its owner a fortune."""
    later = make.status(NOW + DAY)

    assert report(make.status(), Wish()) == report(later, Wish())
