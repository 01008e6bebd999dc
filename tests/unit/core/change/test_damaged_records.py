"""What a damaged record still says, and the end that its change comes to."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change import damaged_records
from agent.core.change.damaged_records import Legible, Prepared, ended, known, read, told
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.records import decode_record, encode_outcome, encode_record
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind, Origin
from agent.core.when.retirement import outstanding
from support import make
from support.make import DAY, HOUR, MINUTE, NOW

CERTIFICATE, OLD = "ab" * 32, "01" * 32
DIGEST = "5e" * 32
WHOLE = make.record(
    Phase.REGISTERED,
    id="c0ffee00",
    requests=(NOW - HOUR, NOW - MINUTE),
    replaces=OLD,
    failure=make.failure(FailureClass.NETWORK),
    reason='"id":"other","certificate_id":"' + "99" * 32 + '","kind":"trust"',
)
DATA = encode_record(WHOLE)
LEGIBLE = Legible(
    id="c0ffee00", kind=Kind.ROTATE, certificate_id=CERTIFICATE, requests=WHOLE.requests, all_requests=True
)


# -- what is legible ---------------------------------------------------------------------------------------------------


def test_a_whole_record_is_legible() -> None:
    """As one of a newer agent is; texts in it that look like fields are none."""
    assert read(DATA) == LEGIBLE


@pytest.mark.parametrize("data", [b"", b"\x00" * 400, b"\xff" * 400, b"{", b"[]", b'{"id":7,"kind":["rotate"]}'])
def test_what_says_nothing_says_nothing(data: bytes) -> None:
    """Zeros are what a power cut leaves on some file systems."""
    assert read(data) == Legible()


def test_a_field_that_stands_there_twice_says_nothing() -> None:
    """Half of another record may lie behind this one."""
    other = encode_record(replace(WHOLE, id="badc0de0", kind=Kind.ENROLL, issued=None))
    found = read(DATA + other)

    assert (found.id, found.kind, found.certificate_id) == ("", None, CERTIFICATE)
    assert read(DATA + DATA).id == "c0ffee00"


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        (b'"id":"c0ffee00"', b'"id":"c0ff\x00e00"', "id"),
        (b'"id":"c0ffee00"', b'"jd":"c0ffee00"', "id"),
        (b'"kind":"rotate"', b'"kind":"rotatf"', "kind"),
        (CERTIFICATE.encode(), b"AB" * 32, "certificate_id"),
        (CERTIFICATE.encode(), b"ab" * 31, "certificate_id"),
    ],
)
def test_what_has_not_its_form_does_not_count(before: bytes, after: bytes, name: str) -> None:
    """And hides none of the others."""
    assert DATA.count(before) == 1
    assert read(DATA.replace(before, after)) == replace(LEGIBLE, **{name: getattr(Legible(), name)})


@pytest.mark.parametrize(
    ("cut", "number"), [(b'"requests":[', 0), (b'"requests":["2027-03-01T11:00:00+00:00"', 1), (b'"requests"', 0)]
)
def test_a_list_of_requests_that_is_cut_off_is_not_whole(cut: bytes, number: int) -> None:
    """What can be read of it counts."""
    found = read(DATA[: DATA.index(cut[:12]) + len(cut)])

    assert (found.requests, found.all_requests) == (WHOLE.requests[:number], False)


def test_a_request_with_a_damaged_time_makes_the_list_less_than_whole() -> None:
    """So that it is not one too few."""
    found = read(DATA.replace(b"2027-03-01T11:00:00", b"2027-93-01T11:00:00"))

    assert (found.requests, found.all_requests) == (WHOLE.requests[1:], False)


@make.MANY
@given(st.binary(max_size=300), st.integers(0, len(DATA)), st.integers(0, len(DATA)))
def test_nothing_that_is_read_was_not_there(junk: bytes, start: int, stop: int) -> None:
    """Whatever was torn out of a record and whatever stands in its place."""
    found = read(DATA[:start] + junk + DATA[stop:])

    assert found.certificate_id in {"", CERTIFICATE} or found.certificate_id.encode() in junk
    assert all(at.tzinfo is not None for at in found.requests)


# -- the end -----------------------------------------------------------------------------------------------------------


def prepared(**changes: Any) -> Prepared:
    """Return the generation that the change had prepared, which is 7."""
    return Prepared(manifest=make.manifest(change="c0ffee00", **changes))


def end(found: Legible = LEGIBLE, *, own: Prepared | None = None, kept: frozenset[str] = frozenset()) -> ChangeRecord:
    """Return the end of a change."""
    return ended(found, DIGEST, NOW, prepared=own, kept=kept)


def is_listed(record: ChangeRecord, *in_use: str) -> list[str]:
    """Return what is to be retired once the record is in the history."""
    read_back = decode_record(encode_outcome(record), "history.jsonl")
    assert read_back == record
    return [item.certificate_id for item in outstanding([read_back], in_use, DAY)]


def test_the_generation_tells_what_it_was_and_what_it_left_behind() -> None:
    """Its manifest is sealed, so it goes before the text."""
    record = end(replace(LEGIBLE, kind=None, certificate_id="77" * 32), own=prepared(kind=Kind.ENROLL))

    assert (record.id, record.kind, record.origin, record.generation) == ("c0ffee00", Kind.ENROLL, Origin.SCHEDULE, 7)
    assert (record.phase, record.entered_at, record.thing_name) == (Phase.REJECTED, NOW, make.THING)
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (FailureClass.STORE, Code.RECORD_DAMAGED)
    assert is_listed(record) == [CERTIFICATE]
    assert outstanding([record], (), 7 * DAY)[0].due == NOW + 7 * DAY


def test_without_a_generation_the_text_tells() -> None:
    """A certificate that was perhaps never registered is asked for too much rather than forgotten."""
    record = end()

    assert (record.id, record.generation, record.unanswered) == ("c0ffee00", 0, 1)
    assert is_listed(record) == [CERTIFICATE]


def test_where_nothing_can_be_known_the_change_has_an_end_all_the_same() -> None:
    """With a name that the next look gives it, too."""
    record = end(Legible())

    assert record.id == f"damaged-{DIGEST[:16]}"
    assert end(Legible()) == record
    assert (record.kind, record.generation, record.issued) == (Kind.ROTATE, 0, None)
    assert is_listed(record) == []


def test_what_is_in_use_is_not_left_behind() -> None:
    """When the change had put its generation in use, what that replaced is; and only when that is certain."""
    own, kept = replace(prepared(), in_use=True), frozenset({CERTIFICATE, OLD})
    certain = end(own=replace(own, replaced=OLD), kept=kept)

    assert is_listed(end(own=own, kept=kept)) == []
    assert is_listed(certain) == [OLD]
    assert is_listed(certain, OLD) == []  # a rollback brought it back
    assert "Generation 7, which it had put in use, stays in use." in told(certain)
    assert "left behind" not in told(certain)


def test_what_a_link_keeps_is_not_left_behind() -> None:
    """Without a generation of its own as well."""
    assert is_listed(end(kept=frozenset({CERTIFICATE}))) == []


@pytest.mark.parametrize("kind", [Kind.TRUST, Kind.IMPORT, Kind.ROLLBACK])
def test_a_change_that_asks_for_no_certificate_leaves_none_and_has_asked_for_none(kind: Kind) -> None:
    """Anchors have the certificate in use, and what a person brought along is that person's."""
    text = replace(LEGIBLE, kind=kind, certificate_id="", requests=(), all_requests=False)
    for record in (end(text), end(text, own=prepared(kind=kind))):
        assert is_listed(record) == []
        assert record.requests == ()


def test_an_import_in_use_leaves_what_it_replaced_and_other_anchors_leave_nothing() -> None:
    """As when they come to their own end."""
    own = replace(prepared(kind=Kind.IMPORT), in_use=True, replaced=OLD)

    assert is_listed(end(own=own), CERTIFICATE) == [OLD]
    assert is_listed(end(own=replace(own, manifest=make.manifest(kind=Kind.TRUST))), CERTIFICATE) == []


REQUESTS: list[tuple[Legible, int]] = [
    (Legible(), 1),
    (LEGIBLE, 2),
    (replace(LEGIBLE, all_requests=False), 3),
    (replace(LEGIBLE, requests=(), all_requests=False), 1),
]


@pytest.mark.parametrize(("found", "number"), REQUESTS)
def test_requests_are_counted_one_too_many_rather_than_one_too_few(found: Legible, number: int) -> None:
    """The daily limit is what keeps a gateway that breaks down again and again from using up an account."""
    record = end(found)

    assert len(record.requests) == number
    assert record.requests[: len(found.requests)] == found.requests
    assert found.all_requests or record.requests[-1] == NOW


def test_no_secret_gets_into_the_history() -> None:
    """Neither token nor certificate, which the damaged text holds."""
    line = encode_outcome(end(read(DATA))).decode()

    assert make.TOKEN not in line
    assert "CERTIFICATE-----" not in line


# -- once --------------------------------------------------------------------------------------------------------------


def test_a_line_that_was_written_before_is_found_by_the_file_or_by_the_change() -> None:
    """A process may have been killed before it cleared the file away."""
    by_file, finished = end(Legible()), make.finished(id="c0ffee00")

    assert known([finished, by_file], DIGEST, "") is by_file
    assert known([finished, by_file], "aa" * 32, "") is None
    assert known([finished], DIGEST, "c0ffee00") is finished
    assert known([make.finished(id="")], DIGEST, "") is None
    assert told(finished) == "Change c0ffee00 had ended already, as committed."


def test_a_flipped_bit_never_makes_two_certificates_of_one() -> None:
    """Or a change that was in flight another one: what is read is what was written, or nothing, or one bit off."""
    chance = random.Random(4711)  # noqa: S311 - the same flips every time
    for _ in range(300):
        data = bytearray(DATA)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        found = read(bytes(data))
        assert found.kind in {None, Kind.ROTATE}
        assert sum(a != b for a, b in zip(found.certificate_id, CERTIFICATE, strict=False)) <= 1
        assert damaged_records.ended_damaged(end(found))
