from __future__ import annotations

from dataclasses import replace

import pytest

from agent.backend.decide.retirement import RetirementFacts, RetirementRequest, busy, may_ask, retire
from agent.backend.decide.verdict import DeactivateCertificate, SaveRecord
from agent.backend.names import Metric
from agent.backend.values import Certificate, Record, Status
from support.aws.account import DAY, HOUR, NOW, certificate_id

OLD, NEW = certificate_id("old"), certificate_id("new")
KEEP = 30 * DAY
ASKED = RetirementRequest(thing="gw-0042", caller=NEW, target=OLD, client_token="4711")  # noqa: S106 - no secret


def certificate(name: str, status: Status = Status.ACTIVE) -> Certificate:
    """One that is a day old."""
    return Certificate(certificate_id=name, status=status, created_at=NOW - DAY)


SEEN = RetirementFacts(
    caller=certificate(NEW),
    caller_record=Record(certificate_id=NEW, thing="gw-0042", proven_at=NOW, version=2),
    target=certificate(OLD),
    target_things=("gw-0042",),
    target_record=Record(certificate_id=OLD, thing="gw-0042", expires_at=NOW, version=3),
)


def test_the_note_comes_before_the_deed() -> None:
    """Whatever is INACTIVE by this stack is in its table; a row goes by itself no more."""
    verdict = retire(ASKED, SEEN, NOW, KEEP)
    note, deed = verdict.do
    assert isinstance(note, SaveRecord)
    assert (note.record.retired_at, note.record.retired_by) == (NOW, NEW)
    assert (note.record.delete_after, note.record.expires_at, note.record.version) == (NOW + KEEP, None, 3)
    assert deed == DeactivateCertificate(OLD)
    assert verdict.say == {"certificateId": OLD, "clientToken": "4711"}
    assert verdict.count is Metric.RETIREMENTS


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.PENDING_ACTIVATION, Status.PENDING_TRANSFER])
def test_what_could_become_active_is_deactivated(status: Status) -> None:
    """A registration that was cut off may be repeated later."""
    assert DeactivateCertificate(OLD) in retire(ASKED, replace(SEEN, target=certificate(OLD, status)), NOW, KEEP).do


@pytest.mark.parametrize("status", [Status.INACTIVE, Status.REVOKED])
def test_what_is_over_is_accepted_and_keeps_its_dates(status: Status) -> None:
    """Asked for again, or deactivated by hand, which the thing wants too."""
    target = certificate(OLD, status)
    waiting = replace(SEEN.target_record or Record(certificate_id=OLD, thing=""), retired_at=NOW, delete_after=NOW)
    verdict = retire(ASKED, replace(SEEN, target=target, target_record=waiting), NOW + HOUR, KEEP)
    assert (verdict.allowed, verdict.do) == (True, ())
    by_hand = retire(ASKED, replace(SEEN, target=target), NOW, KEEP)
    assert [type(deed) for deed in by_hand.do] == [SaveRecord]


def test_what_is_gone_is_accepted_by_the_table_alone() -> None:
    """Its row says whose it was; without one it could be anyone's."""
    gone = replace(SEEN, target=None, target_things=())
    assert retire(ASKED, gone, NOW, KEEP).allowed
    assert retire(ASKED, gone, NOW, KEEP).do == ()
    assert retire(ASKED, replace(gone, target_record=None), NOW, KEEP).say["code"] == 403


def test_what_was_never_registered_has_the_answer_of_what_is_not_there_or_anothers() -> None:
    """It tells nothing of foreign ones, and enough to the gateway; where the hook has let it in, it is deactivated."""
    pending = replace(SEEN, target=certificate(OLD, Status.PENDING_ACTIVATION), target_things=(), target_record=None)
    gone, foreign = replace(pending, target=None), replace(pending, target_things=("gw-0666",))
    answers = [retire(ASKED, seen, NOW, KEEP).say for seen in (pending, gone, foreign)]
    told = {"certificateId": OLD, "clientToken": "4711", "code": 403, "message": "gw-0042 has no such certificate."}
    assert answers == [told] * 3
    let_in = replace(pending, target_record=SEEN.target_record)
    assert DeactivateCertificate(OLD) in retire(ASKED, let_in, NOW, KEEP).do


def test_the_registry_goes_before_the_table() -> None:
    """A certificate that the operator has given to another thing is that thing's."""
    assert not retire(ASKED, replace(SEEN, target_things=("gw-0666",)), NOW, KEEP).allowed
    assert not retire(ASKED, replace(SEEN, target_things=("gw-0042", "gw-0666")), NOW, KEEP).allowed
    assert retire(ASKED, replace(SEEN, target_record=None), NOW, KEEP).allowed


@pytest.mark.parametrize(
    "caller", [None, *(certificate(NEW, status) for status in Status if status is not Status.ACTIVE)]
)
def test_who_is_not_active_asks_in_vain(caller: Certificate | None) -> None:
    """A connection outlives its certificate by minutes."""
    verdict = retire(ASKED, replace(SEEN, caller=caller), NOW, KEEP)
    assert (verdict.say["code"], verdict.do) == (403, ())


@pytest.mark.parametrize(
    ("asked", "things", "code"),
    [
        (ASKED, ("gw-0042",), None),
        (replace(ASKED, target="x"), ("gw-0042",), 400),
        (ASKED, (), 403),
        (ASKED, ("gw-0043",), 403),
        (ASKED, ("gw-0042", "gw-0043"), 403),
        (replace(ASKED, caller="AIDA"), ("gw-0042",), 403),
        (replace(ASKED, target=NEW), ("gw-0042",), 409),
    ],
)
def test_what_needs_no_lease_to_be_refused(asked: RetirementRequest, things: tuple[str, ...], code: int | None) -> None:
    """In the order of how much is told."""
    verdict = may_ask(asked, things)
    assert (verdict.say["code"] if verdict else None) == code


def test_the_words_for_one_that_has_to_wait() -> None:
    """The gateway asks again by itself."""
    assert busy(ASKED).say == {
        "certificateId": OLD,
        "clientToken": "4711",
        "code": 429,
        "message": "Another certificate of gw-0042 has just had one retired. Ask again in a minute.",
    }


def test_an_answer_has_no_token_where_there_was_none() -> None:
    """A client that sends none is told none."""
    assert "clientToken" not in retire(replace(ASKED, client_token=None), SEEN, NOW, KEEP).say
