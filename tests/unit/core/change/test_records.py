"""Records of changes on disk: what comes back, what is refused by name, and what people are shown."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.lifecycle import ChangeRecord, Issued, Phase
from agent.core.change.records import (
    FORMAT,
    decode_manifest,
    decode_record,
    encode_manifest,
    encode_outcome,
    encode_record,
    public,
)
from agent.core.failure.failure import Failure, FailureClass
from agent.core.jsonio import PlainError, to_plain
from agent.core.values import Kind, Origin
from support import make
from support.unit.core.changes import COUNTS, FULL, GOES_BACK, TIMES

# A failure makes whatever it is told fit a record, lone surrogates included.
SAID = st.text(st.characters(), max_size=80)
FAILURES = st.builds(
    Failure,
    kind=st.sampled_from(FailureClass),
    code=SAID,
    message=SAID | st.just("😀" * 3000),
    remedy=SAID,
    promise=SAID,
    decisive=st.booleans(),
)
ISSUED = st.builds(
    Issued,
    certificate_pem=st.text(min_size=1, max_size=300),
    certificate_id=st.text(max_size=64),
    token=st.text(min_size=1, max_size=100),
    at=TIMES,
)
THINGS = st.text(min_size=1, max_size=128)
# In these phases a record without a certificate contradicts itself.
WITHOUT_CERTIFICATE = [Phase.PLANNED, Phase.KEY_READY, Phase.REQUESTED, Phase.REJECTED]


def records(phase: Phase) -> st.SearchStrategy[ChangeRecord]:
    """Return any record in the phase that has what the phase rests on."""
    whole = _records(phase, COUNTS | st.none(), FAILURES | st.none() if phase.ended else st.none())
    return whole | _records(phase, COUNTS, FAILURES) if phase in GOES_BACK else whole


def _records(
    phase: Phase, base: st.SearchStrategy[int | None], condemned: st.SearchStrategy[Failure | None]
) -> st.SearchStrategy[ChangeRecord]:
    issued = ISSUED | st.none() if phase in WITHOUT_CERTIFICATE else ISSUED
    return st.builds(
        ChangeRecord,
        id=st.text(max_size=64),
        kind=st.sampled_from(Kind),
        origin=st.sampled_from(Origin),
        reason=st.text(max_size=200),
        generation=COUNTS,
        base=base,
        phase=st.just(phase),
        planned_at=TIMES,
        entered_at=TIMES,
        passed=st.lists(st.tuples(st.sampled_from(Phase), TIMES), max_size=5).map(tuple),
        requests=st.lists(TIMES, max_size=5).map(tuple),
        issued=issued,
        unanswered=COUNTS,
        thing_name=THINGS if phase is Phase.REGISTERED else THINGS | st.none(),
        attempts=COUNTS,
        resumes=COUNTS,
        resumed_at=TIMES | st.none(),
        retry_at=TIMES | st.none(),
        failure=FAILURES | st.none(),
        refused_since=TIMES | st.none(),
        condemned=condemned,
        probation_until=TIMES | st.none(),
        checked_at=TIMES | st.none(),
        prove_at=TIMES | st.none(),
        doubts=COUNTS,
        refusals=COUNTS,
        confirm_until=TIMES | st.none(),
        confirmed_at=TIMES | st.none(),
        good_time=TIMES | st.none(),
        order=st.text(max_size=128),
        replaces=st.text(max_size=64) | st.none(),
        retired_at=TIMES | st.none(),
        anchor=st.text(max_size=64),
        dropped_at=TIMES | st.none(),
    )


RECORDS = st.sampled_from(Phase).flatmap(records)
FINISHED = st.sampled_from([phase for phase in Phase if phase.ended]).flatmap(records)


def changed(**changes: Any) -> bytes:
    """Return FULL as on disk, with names changed."""
    return json.dumps({**json.loads(encode_record(FULL)), **changes}).encode()


def without(name: str) -> bytes:
    """Return FULL as on disk, without a name."""
    plain = json.loads(encode_record(FULL))
    del plain[name]
    return json.dumps(plain).encode()


@make.FEW
@given(record=RECORDS)
def test_any_record_survives_the_disk(record: ChangeRecord) -> None:
    """What is read back is equal to what was written, in every field."""
    data = encode_record(record)

    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1
    assert decode_record(data, "change.json") == record


@make.FEW
@given(record=FINISHED)
def test_an_outcome_survives_the_disk_without_its_secrets(record: ChangeRecord) -> None:
    """A line of the history is the record, with the certificate reduced to its id."""
    read = decode_record(encode_outcome(record), "history.jsonl")

    for item in fields(ChangeRecord):
        if item.name != "issued":
            assert getattr(read, item.name) == getattr(record, item.name)
    if record.issued is not None:
        assert read.issued is not None
        assert (read.issued.certificate_id, read.issued.at) == (record.issued.certificate_id, record.issued.at)
        assert (read.issued.token, read.issued.certificate_pem) == ("", "")


def test_an_outcome_holds_neither_token_nor_certificate() -> None:
    """The token is written to change.json alone, and so is the certificate's text."""
    outcome, record = encode_outcome(FULL), encode_record(FULL)

    for secret in (make.TOKEN, "BEGIN CERTIFICATE", make.PEM.splitlines()[1]):
        assert secret.encode() in record
        assert secret.encode() not in outcome
    assert make.issued().certificate_id.encode() in outcome


@make.FEW
@given(record=RECORDS)
def test_what_people_see_of_a_record_holds_no_secret_and_lacks_nothing_else(record: ChangeRecord) -> None:
    """The certificate in hand goes with its token; all else is there, in plain data that JSON can hold."""
    shown = to_plain(public(record))
    kept = json.loads(encode_record(record))

    assert shown == {name: value for name, value in kept.items() if name not in {"issued", "format"}}


def test_neither_token_nor_certificate_is_shown_to_people() -> None:
    """Wherever a status document goes."""
    shown = json.dumps(to_plain(public(FULL)))

    assert make.TOKEN not in shown
    assert make.PEM.splitlines()[1] not in shown
    assert (public(FULL).order, public(FULL).replaces) == ("job:j-1:1", "cd" * 32)


def test_a_record_of_an_earlier_version_is_understood() -> None:
    """What was added within the format is missing there, and means nothing."""
    plain = json.loads(encode_record(FULL))
    added: dict[str, Any] = {
        "order": "",
        "replaces": None,
        "retired_at": None,
        "dropped_at": None,
        "prove_at": None,
        "doubts": 0,
        "refusals": 0,
        "confirm_until": None,
        "confirmed_at": None,
    }
    old = {name: value for name, value in plain.items() if name not in added}

    read = decode_record(json.dumps(old).encode(), "change.json")
    assert read == replace(FULL, **added)


@pytest.mark.parametrize(
    "name",
    [
        "format", "id", "kind", "origin", "reason", "generation", "phase", "planned_at", "entered_at",
    ],
)  # fmt: skip
def test_a_record_without_a_needed_name_is_refused(name: str) -> None:
    """What every record has is not made up when it is missing."""
    with pytest.raises(PlainError, match=rf"^change\.json: {name}: "):
        decode_record(without(name), "change.json")


@pytest.mark.parametrize("name", ["certificate_pem", "certificate_id", "token", "at"])
def test_a_certificate_in_hand_without_a_needed_name_is_refused(name: str) -> None:
    """The path in the complaint leads into the inner object."""
    issued = json.loads(encode_record(FULL))["issued"]
    del issued[name]

    with pytest.raises(PlainError, match=rf"^change\.json: issued: {name}: "):
        decode_record(changed(issued=issued), "change.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x" * 65),
        ("id", 7),
        ("id", "\ud800"),
        ("kind", "steal"),
        ("origin", None),
        ("reason", ["because"]),
        ("reason", "\udfff"),
        ("generation", -1),
        ("generation", "7"),
        ("generation", True),
        ("base", 1.5),
        ("phase", "PLANNED"),
        ("phase", "done"),
        ("planned_at", "2027-03-01T12:00:00"),
        ("entered_at", 0),
        ("passed", [["planned"]]),
        ("passed", {"planned": "2027-03-01T12:00:00Z"}),
        ("requests", "2027-03-01T12:00:00Z"),
        ("requests", [0]),
        ("issued", "certificate"),
        ("issued", {}),
        ("thing_name", "x" * 129),
        ("unanswered", 0.0),
        ("attempts", 2**32),
        ("resumes", None),
        ("retry_at", "later"),
        ("prove_at", "soon"),
        ("confirm_until", 0),
        ("confirmed_at", True),
        ("doubts", -1),
        ("refusals", "1"),
        ("failure", {"kind": "bad luck", "code": "", "message": "", "remedy": ""}),
        ("failure", {"kind": "network", "code": "", "message": "", "remedy": "", "decisive": 1}),
        ("condemned", True),
        ("good_time", "1970"),
        ("order", 7),
        ("order", "x" * 129),
        ("order", "\ud800"),
        ("replaces", ["ab"]),
        ("replaces", "x" * 65),
        ("retired_at", "2027-03-01"),
        ("retired_at", 1_800_000_000),
        ("dropped_at", True),
    ],
)
def test_a_record_with_a_wrong_value_is_refused(name: str, value: object) -> None:
    """A value of another type, range or vocabulary is named and never converted."""
    with pytest.raises(PlainError, match=rf"^change\.json: {name}: "):
        decode_record(changed(**{name: value}), "change.json")


@pytest.mark.parametrize("found", [FORMAT + 1, 10**9])
def test_another_format_is_refused(found: int) -> None:
    """An agent that was downgraded does not guess what a newer one meant."""
    with pytest.raises(PlainError, match=rf"^change\.json: format {found} "):
        decode_record(changed(format=found), "change.json")
    manifest = {**json.loads(encode_manifest(make.manifest())), "format": found}
    with pytest.raises(PlainError, match=rf"^manifest\.json: format {found} "):
        decode_manifest(json.dumps(manifest).encode(), "manifest.json")


def test_there_is_no_format_zero() -> None:
    """What no agent ever wrote is not blamed on a newer one."""
    with pytest.raises(PlainError, match=r"^change\.json: there is no format 0$"):
        decode_record(changed(format=0), "change.json")
    manifest = {**json.loads(encode_manifest(make.manifest())), "format": 0}
    with pytest.raises(PlainError, match=r"^manifest\.json: there is no format 0$"):
        decode_manifest(json.dumps(manifest).encode(), "manifest.json")


@pytest.mark.parametrize(
    "issued",
    [None, replace(make.issued(), token=""), replace(make.issued(), certificate_pem="")],
    ids=["no certificate", "no token", "no text"],
)
def test_a_certificate_in_hand_is_there_with_its_token(issued: Issued | None) -> None:
    """A record in phase issued without what is registered could only fail at every start."""
    data = encode_record(make.record(Phase.ISSUED, issued=issued))

    with pytest.raises(PlainError, match=r"^change\.json: phase issued without certificate and token$"):
        decode_record(data, "change.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"issued": None},
        {"issued": replace(make.issued(), certificate_pem="")},
        {"thing_name": None},
        {"thing_name": ""},
    ],
    ids=["no certificate", "no text", "no thing", "no name"],
)
def test_a_registered_certificate_is_there_with_its_thing(changes: dict[str, Any]) -> None:
    """A record in phase registered without what the generation is made of could only fail at every start."""
    data = encode_record(make.record(Phase.REGISTERED, **changes))

    with pytest.raises(PlainError, match=r"^change\.json: phase registered without certificate and thing name$"):
        decode_record(data, "change.json")


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("base", [6, None])
def test_only_what_can_go_back_is_condemned(phase: Phase, base: int | None) -> None:
    """A condemned record that could only fail at every rollback is refused; one that has ended is only told of."""
    record = make.record(phase, base=base, condemned=make.failure(FailureClass.CREDENTIAL, decisive=True))
    data = encode_record(record)

    if phase.ended or (phase in GOES_BACK and base is not None):
        assert decode_record(data, "change.json") == record
        return
    why = rf"^change\.json: condemned in phase {phase}, where there is nothing to go back from$"
    with pytest.raises(PlainError, match=why):
        decode_record(data, "change.json")


def test_a_spent_token_is_no_contradiction_once_it_is_registered() -> None:
    """From registration on only the certificate and the thing's name are needed."""
    record = make.record(Phase.REGISTERED, issued=replace(make.issued(), token=""))

    assert decode_record(encode_record(record), "change.json") == record


def test_a_name_that_this_version_does_not_know_is_ignored() -> None:
    """Within a format names may be added, so an unknown one is no reason to give a change up."""
    assert decode_record(changed(colour="red"), "change.json") == FULL


def test_a_record_from_before_anchors_were_noted_is_read() -> None:
    """It says that none is known."""
    assert decode_record(without("anchor"), "change.json").anchor == ""
