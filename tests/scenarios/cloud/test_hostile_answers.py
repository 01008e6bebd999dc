"""Answers of the cloud that are late, lost, garbled or about another thing: none of them does harm."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.core.change.lifecycle import Phase
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect
from support.simulated.faults import CREATE, PROTOCOL, REGISTER, watch
from support.simulated.rig import Rig, is_told


def test_a_late_reply_is_never_taken_for_the_next_ones(gateway: Rig) -> None:
    """The reply that was held back comes with the next request on the same connection, so there is no such request."""
    gateway.fault(CREATE, Effect.LATE)
    before = len(gateway.endpoint.connections)
    gateway.rotate()

    # A connection for each request, and the certificate of the second is the one in use.
    sources = [item for item in gateway.endpoint.connections[before:] if item.candidate == "generation 2"]
    assert len(sources) == 2
    first, second = [
        entry for entry in gateway.cloud.registry.values() if entry.created_at > gateway.entry(2).created_at
    ]
    assert gateway.certificate(3) == second.certificate_id
    assert second.status is Status.ACTIVE
    # The first was never registered; AWS forgets it within the hour.
    assert first.thing_name is None
    gateway.clock.advance(hours=1)
    gateway.connects()
    assert first.certificate_id not in gateway.cloud.registry


def test_registration_that_got_through_unanswered_is_taken_for_granted(gateway: Rig) -> None:
    """Every answer is lost for an hour and the token dies; the proof shows that the certificate is registered."""
    gateway.fault(REGISTER, Effect.LOSE, times=None)
    outcome = gateway.rotate(patience=timedelta(hours=3))

    assert outcome.record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 1
    assert gateway.in_use() == (3, 2)
    assert gateway.entry(3).status is Status.ACTIVE


def test_a_registration_that_was_throttled_for_an_hour_starts_over_with_a_new_key(gateway: Rig) -> None:
    """A refusal is an answer: the certificate was certainly not registered, so it is dropped with its key."""
    gateway.fault(REGISTER, Effect.THROTTLE, times=None)
    outcome = gateway.rotate(patience=timedelta(minutes=80))
    first = gateway.store.staged_key(3)
    assert outcome.record.phase in {Phase.ISSUED, Phase.KEY_READY}
    assert len(outcome.record.requests) == 2

    gateway.cloud.faults.clear()
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 2
    assert gateway.store.generation(3).credential.key_pem == first
    assert Phase.PLANNED in [phase for phase, _ in gateway.store.history()[-1].passed]


HOSTILE = {
    "empty": b"",
    "null": b"null",
    "a list": b"[1,2,3]",
    "deeply nested": b"[" * 100_000,
    "a number": b"1e400",
    "not UTF-8": b'{"certificatePem":"\xff"}',
    "no certificate": b'{"certificatePem":"","certificateId":"","certificateOwnershipToken":"t"}',
    "no PEM": b'{"certificatePem":"hello","certificateId":"x","certificateOwnershipToken":"t"}',
    "PEM of nothing": (
        b'{"certificatePem":"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n",'
        b'"certificateId":"x","certificateOwnershipToken":"t"}'
    ),
    "a private key": (
        b'{"certificatePem":"-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----\\n",'
        b'"certificateId":"x","certificateOwnershipToken":"t"}'
    ),
    "a huge PEM": b'{"certificatePem":"' + b"A" * 100_000 + b'","certificateId":"x","certificateOwnershipToken":"t"}',
    "a huge token": b'{"certificatePem":"A","certificateId":"x","certificateOwnershipToken":"' + b"t" * 100_000 + b'"}',
    "a terminal's escape": b'{"certificatePem":"\\u001b[2J","certificateId":"\\u0000","certificateOwnershipToken":"t"}',
}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_no_reply_can_do_harm(gateway: Rig, payload: bytes) -> None:
    """Whatever bytes come for a certificate, they are not used, told in one clean sentence, and asked for again."""
    told = watch(gateway)
    gateway.fault(CREATE, Effect.HOSTILE, payload=payload)

    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert [failure.kind for failure in told] == [PROTOCOL]
    assert all(is_told(failure) and failure.message.isprintable() for failure in told)
    assert gateway.asked(CREATE) - 2 == 2
    assert gateway.in_use() == (3, 2)


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"{}", b'{"thingName":null}', b'{"thingName":7}', b'{"thingName":["gw-0042"]}', b"{" * 9999],
)
def test_no_answer_to_a_registration_can_do_harm(gateway: Rig, payload: bytes) -> None:
    """A registration whose answer cannot be read is sent again, with the same token."""
    told = watch(gateway)
    gateway.fault(REGISTER, Effect.HOSTILE, payload=payload)

    assert gateway.rotate().record.phase is Phase.COMMITTED
    assert [(failure.kind, failure.code) for failure in told] == [(PROTOCOL, "garbled")]
    assert (gateway.asked(CREATE) - 2, gateway.asked(REGISTER) - 2) == (1, 2)


@pytest.mark.parametrize("name", ["gw-0043", "../../etc", "gw-0042 "])
def test_another_things_name_in_the_answer_ends_the_change(gateway: Rig, name: str) -> None:
    """A gateway that knows who it is takes no other name, however it is spelt."""
    gateway.fault(REGISTER, Effect.HOSTILE, payload=b'{"thingName":"%s"}' % name.encode())
    record = gateway.rotate().record

    assert record.phase is Phase.REJECTED
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (PROTOCOL, "wrong-thing")
    assert gateway.in_use() == (2, 1)


@pytest.mark.parametrize(
    ("effect", "number", "words"),
    [
        (Effect.WRONG_KEY, 4, "another key"),
        (Effect.EXPIRED, 5, "expires at"),
        (Effect.NOT_YET_VALID, 5, "not valid before"),
    ],
)
def test_a_certificate_that_fails_acceptance_is_told_by_number(
    gateway: Rig, effect: Effect, number: int, words: str
) -> None:
    """The message quotes the check that failed and says why; the certificate never gets near the disk."""
    gateway.fault(CREATE, effect, times=None)
    failure = gateway.rotate().record.failure

    assert failure is not None
    assert f"check {number}," in failure.message
    assert words in failure.message
    assert gateway.generations == ["000001", "000002"]
