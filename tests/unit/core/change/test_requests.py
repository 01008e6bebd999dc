"""Requests of a change, and what came of them: which count, and which leave a certificate or a doubt."""

from __future__ import annotations

import pytest

from agent.core.change.advance import advance
from agent.core.change.events import (
    CertificateIssued,
    ChangeEvent,
    GenerationPrepared,
    KeyLost,
    Rejected,
    RequestBegun,
    RequestFailed,
    Resumed,
    StepFailed,
    TokenExpired,
)
from agent.core.change.lifecycle import MAX_REQUESTS, Phase
from agent.core.failure.failure import FailureClass
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND
from support.unit.core.changes import after, worn


def test_a_lost_request_goes_back_to_the_key_and_stays_counted() -> None:
    """A request whose reply went to a connection that is gone is asked again, but it has been asked."""
    record = after(make.record(Phase.KEY_READY), RequestBegun, Resumed)

    assert record.phase is Phase.KEY_READY
    assert record.requests == (NOW,)
    assert after(record, RequestBegun).requests == (NOW, NOW)


@pytest.mark.parametrize(
    "code", ["throttled", "denied", "request-refused", "not-authorised", "not-sent", "taken-over-unsent", "key-lost"]
)
def test_a_request_that_certainly_brought_nothing_does_not_count(code: str) -> None:
    """A request that was refused or never left issued no certificate, so only the earlier ones stay counted."""
    record = after(make.record(Phase.KEY_READY, requests=(NOW - HOUR,)), RequestBegun)
    record = advance(record, make.event(RequestFailed, failure=make.failure(code=code)))

    assert record.requests == (NOW - HOUR,)
    assert record.attempts == 1


@pytest.mark.parametrize(
    "code",
    ["no-reply", "session-lost", "taken-over", "garbled", "timeout", "certificate-unacceptable", "cloud-unavailable"],
)
def test_a_request_that_may_have_brought_a_certificate_counts(code: str) -> None:
    """A request is counted unless it is certain that nothing was issued."""
    record = after(make.record(Phase.KEY_READY, requests=(NOW - HOUR,)), RequestBegun)
    record = advance(record, make.event(RequestFailed, failure=make.failure(code=code)))

    assert record.requests == (NOW - HOUR, NOW)


NOTHING_CAME = ["throttled", "denied", "request-refused", "not-authorised", "not-sent", "key-lost"]


@pytest.mark.parametrize("kind", [RequestFailed, Rejected, KeyLost])
@pytest.mark.parametrize("code", [*NOTHING_CAME, "no-reply", "garbled", "crash-loop", "given-up", "tls-context"])
def test_however_a_request_ends_it_counts_unless_nothing_was_issued(kind: type[ChangeEvent], code: str) -> None:
    """A refusal that ends the change, or a key that is gone before it was sent, takes the last request back too."""
    record = after(make.record(Phase.KEY_READY, requests=(NOW - HOUR,)), RequestBegun)
    record = advance(record, make.event(kind, failure=make.failure(code=code)))

    assert record.requests == ((NOW - HOUR,) if code in NOTHING_CAME else (NOW - HOUR, NOW))


@pytest.mark.parametrize("kind", [Rejected, KeyLost])
@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.ISSUED, Phase.REGISTERED])
@pytest.mark.parametrize("code", NOTHING_CAME)
def test_only_a_request_under_way_is_taken_back(phase: Phase, kind: type[ChangeEvent], code: str) -> None:
    """Outside of requested the last request has been answered or lost, and stays counted."""
    record = make.record(phase, requests=(NOW - HOUR, NOW - MINUTE))
    record = advance(record, make.event(kind, failure=make.failure(code=code)))

    assert record.requests == (NOW - HOUR, NOW - MINUTE)


@pytest.mark.parametrize("kind", [RequestFailed, Resumed])
def test_asking_again_is_no_progress(kind: type[ChangeEvent]) -> None:
    """Going to and fro between key-ready and requested resets no counter."""
    record = after(worn(Phase.KEY_READY), RequestBegun)
    assert (record.attempts, record.resumes, record.refused_since) == (3, 2, NOW - MINUTE)

    record = after(record, kind)
    assert record.attempts == (4 if kind is RequestFailed else 3)
    assert record.refused_since == NOW - MINUTE


def test_a_request_that_has_begun_is_not_held_back_by_an_old_delay() -> None:
    """The delay before a request is spent once the request has begun."""
    assert after(worn(Phase.KEY_READY), RequestBegun).retry_at is None


@pytest.mark.parametrize(("kind", "unanswered"), [(TokenExpired, 2), (KeyLost, 0)])
def test_a_worthless_certificate_is_forgotten(kind: type[ChangeEvent], unanswered: int) -> None:
    """Without its key or its token a certificate is given up and the change begins again, its requests counted."""
    record = after(make.record(Phase.ISSUED, unanswered=2), kind)

    assert record.phase is Phase.PLANNED
    assert (record.issued, record.unanswered, record.thing_name) == (None, unanswered, None)
    assert record.requests == (NOW - MINUTE,)


@pytest.mark.parametrize("phase", [Phase.KEY_READY, Phase.REQUESTED, Phase.ISSUED, Phase.REGISTERED])
def test_a_lost_key_is_told_and_waits(phase: Phase) -> None:
    """A key that is gone begins the change again with the reason and a delay, and counts as one failure."""
    failure = make.failure(FailureClass.STORE, "key-lost")
    record = advance(worn(phase), KeyLost(at=NOW, failure=failure, retry_at=NOW + HOUR))

    assert (record.phase, record.issued, record.thing_name) == (Phase.PLANNED, None, None)
    assert (record.failure, record.retry_at) == (failure, NOW + HOUR)
    assert (record.attempts, record.resumes, record.refused_since) == (1, 0, None)


def test_a_restart_while_registering_leaves_the_registration_in_doubt() -> None:
    """A start in phase issued may have cut off a registration; elsewhere there is none to cut off."""
    assert after(make.record(Phase.ISSUED), Resumed).unanswered == 1
    assert after(make.record(Phase.KEY_READY), Resumed).unanswered == 0


@pytest.mark.parametrize(
    ("code", "doubt"),
    [("no-reply", 1), ("session-lost", 1), ("taken-over", 1), ("taken-over-unsent", 0), ("timeout", 0)],
)
def test_only_an_unanswered_registration_is_in_doubt(code: str, doubt: int) -> None:
    """A failure before anything was sent leaves no doubt, a lost reply does."""
    record = advance(make.record(Phase.ISSUED), make.event(StepFailed, failure=make.failure(code=code)))

    assert record.unanswered == doubt


def test_a_new_certificate_has_no_doubtful_registration() -> None:
    """The doubt belongs to one token and ends with the next."""
    assert after(make.record(Phase.REQUESTED, unanswered=3), CertificateIssued).unanswered == 0


@pytest.mark.parametrize(("phase", "kind"), [(Phase.REGISTERED, GenerationPrepared), (Phase.ISSUED, Rejected)])
def test_token_and_certificate_do_not_outlive_their_use(phase: Phase, kind: type[ChangeEvent]) -> None:
    """Once the generation is written, or the change given up, only the certificate's id is kept."""
    issued = after(make.record(phase), kind).issued

    assert issued is not None
    assert (issued.token, issued.certificate_pem) == ("", "")
    assert issued.certificate_id == make.issued().certificate_id


def test_the_list_of_requests_stays_bounded() -> None:
    """A change that asks for ever keeps the latest requests, as many as any daily limit needs."""
    earlier = tuple(NOW - DAY + number * SECOND for number in range(MAX_REQUESTS))
    record = after(make.record(Phase.KEY_READY, requests=earlier), RequestBegun)

    assert len(record.requests) == MAX_REQUESTS
    assert record.requests == (*earlier[1:], NOW)
