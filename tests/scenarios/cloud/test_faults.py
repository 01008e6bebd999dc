"""What can go wrong at each request: how it ends, what it costs, and which set is in use then.

Every story begins on generation 2 with 1 behind it. Whatever the cloud does, the gateway connects at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.values import Kind
from agent.sandbox.replies.faults import Effect, Operation
from support.simulated.faults import ASK, CONNECT, CREATE, NETWORK, POLICY, PROTOCOL, REGISTER, watch
from support.simulated.rig import Rig, is_told
from support.suite import campaigns

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Passing:
    """A fault that strikes once and is overcome: what overcoming it costs.

    Attributes:
        operation: Where it strikes.
        effect: What happens.
        kind: The class it is told as, or None when it is no failure at all.
        code: Its name.
        creates: Certificates asked for in the whole change.
        registers: Registrations in the whole change.
        counted: Requests that count against the daily limit; as many as were asked for, unless said otherwise.
    """

    operation: Operation
    effect: Effect
    kind: FailureClass | None
    code: str = ""
    creates: int = 1
    registers: int = 1
    counted: int | None = None

    def __str__(self) -> str:
        return f"{self.operation}-{self.effect}"


THROTTLED, CREDENTIAL = FailureClass.THROTTLED, FailureClass.CREDENTIAL
BAD = "certificate-unacceptable"

OVERCOME = [
    Passing(CONNECT, Effect.THROTTLE, THROTTLED, "throttled"),
    Passing(CONNECT, Effect.UNAVAILABLE, NETWORK, "cloud-unavailable"),
    # A request that may have been carried out counts, since that is unknown; one that was refused does not.
    Passing(CREATE, Effect.LOSE, NETWORK, "no-reply", creates=2),
    Passing(CREATE, Effect.IGNORE, NETWORK, "no-reply", creates=2),
    Passing(CREATE, Effect.SILENCE, NETWORK, "no-reply", creates=2),
    Passing(CREATE, Effect.LATE, NETWORK, "no-reply", creates=2),
    Passing(CREATE, Effect.HANG_UP, NETWORK, "session-lost", creates=2),
    Passing(CREATE, Effect.DUPLICATE, None),
    Passing(CREATE, Effect.DENY, POLICY, "denied", creates=2, counted=1),
    Passing(CREATE, Effect.UNAUTHORISED, POLICY, "not-authorised", creates=2, counted=1),
    Passing(CREATE, Effect.THROTTLE, THROTTLED, "throttled", creates=2, counted=1),
    Passing(CREATE, Effect.UNAVAILABLE, NETWORK, "cloud-unavailable", creates=2),
    Passing(CREATE, Effect.GARBLE, PROTOCOL, "garbled", creates=2),
    Passing(CREATE, Effect.OVERSIZE, PROTOCOL, "garbled", creates=2),
    Passing(CREATE, Effect.NO_TOKEN, PROTOCOL, "garbled", creates=2),
    Passing(CREATE, Effect.WRONG_KEY, PROTOCOL, BAD, creates=2),
    Passing(CREATE, Effect.EXPIRED, PROTOCOL, BAD, creates=2),
    Passing(CREATE, Effect.NOT_YET_VALID, PROTOCOL, BAD, creates=2),
    Passing(CREATE, Effect.EXTRA_FIELDS, None),
    # With a certificate in hand none is asked for again: the same token registers it at the next try.
    Passing(REGISTER, Effect.LOSE, NETWORK, "no-reply", registers=2),
    Passing(REGISTER, Effect.IGNORE, NETWORK, "no-reply", registers=2),
    Passing(REGISTER, Effect.SILENCE, NETWORK, "no-reply", registers=2),
    Passing(REGISTER, Effect.LATE, NETWORK, "no-reply", registers=2),
    Passing(REGISTER, Effect.HANG_UP, NETWORK, "session-lost", registers=2),
    Passing(REGISTER, Effect.DUPLICATE, None),
    Passing(REGISTER, Effect.DENY, POLICY, "denied", registers=2),
    Passing(REGISTER, Effect.UNAUTHORISED, POLICY, "not-authorised", registers=2),
    Passing(REGISTER, Effect.THROTTLE, THROTTLED, "throttled", registers=2),
    Passing(REGISTER, Effect.UNAVAILABLE, NETWORK, "cloud-unavailable", registers=2),
    Passing(REGISTER, Effect.GARBLE, PROTOCOL, "garbled", registers=2),
    Passing(REGISTER, Effect.OVERSIZE, PROTOCOL, "garbled", registers=2),
    Passing(REGISTER, Effect.EXTRA_FIELDS, None),
    # The proof is tried again; what was prepared is kept.
    Passing(ASK, Effect.LOSE, NETWORK, "no-reply"),
    Passing(ASK, Effect.IGNORE, NETWORK, "no-reply"),
    Passing(ASK, Effect.SILENCE, NETWORK, "no-reply"),
    Passing(ASK, Effect.LATE, NETWORK, "no-reply"),
    Passing(ASK, Effect.HANG_UP, CREDENTIAL, "session-lost"),
    Passing(ASK, Effect.UNAUTHORISED, POLICY, "not-authorised"),
    Passing(ASK, Effect.DUPLICATE, None),
]


def told_as(case: Passing) -> str:
    """Return where a fault strikes and what it is told as: one of each kind will do for a sample."""
    return f"{case.operation} {case.code}"


TAKEN = campaigns.one_of_each(OVERCOME, told_as)


@pytest.mark.parametrize("case", TAKEN, ids=str)
def test_what_strikes_once_is_overcome(gateway: Rig, case: Passing) -> None:
    """One fault of any kind delays a rotation and costs no more than what cannot be known for sure."""
    told = watch(gateway)
    gateway.fault(case.operation, case.effect)
    record = gateway.rotate().record

    assert record.phase is Phase.COMMITTED
    assert [(failure.kind, failure.code) for failure in told] == ([(case.kind, case.code)] if case.kind else [])
    assert all(is_told(failure) for failure in told)
    assert gateway.asked(CREATE) - 2 == case.creates
    assert gateway.asked(REGISTER) - 2 == case.registers
    assert len(record.requests) == (case.creates if case.counted is None else case.counted)
    assert gateway.in_use() == (3, 2)
    assert gateway.generations == ["000001", "000002", "000003"]
    assert gateway.connects()


@dataclass(frozen=True)
class Lasting:
    """A fault that goes on: how the change ends, and within which time.

    Attributes:
        operation: Where it strikes.
        effect: What happens.
        end: The phase it is in then; one that has not ended is kept and waits.
        kind: The class of the failure.
        code: Its name.
        creates: Certificates asked for at the most.
        least: The patience that must have been shown.
        issued: Whether a generation was made, which is then set aside.
    """

    operation: Operation
    effect: Effect
    end: Phase
    kind: FailureClass
    code: str
    creates: int = 1
    least: timedelta = timedelta()
    issued: bool = False

    def __str__(self) -> str:
        return f"{self.operation}-{self.effect}"


TEN_MINUTES, A_MINUTE, AN_HOUR = timedelta(minutes=10), timedelta(minutes=1), timedelta(minutes=55)
REJECTED, ROLLED_BACK, KEY_READY = Phase.REJECTED, Phase.ROLLED_BACK, Phase.KEY_READY

FINAL = [
    # An answer that says no for good is believed at once.
    Lasting(CREATE, Effect.REJECT, REJECTED, PROTOCOL, "request-refused"),
    Lasting(REGISTER, Effect.REJECT, REJECTED, PROTOCOL, "request-refused"),
    Lasting(REGISTER, Effect.WRONG_THING, REJECTED, PROTOCOL, "wrong-thing"),
    # "Not authorised" may be a policy that spreads: ten minutes.
    Lasting(CONNECT, Effect.UNAUTHORISED, REJECTED, POLICY, "not-authorised", creates=0, least=TEN_MINUTES),
    Lasting(CREATE, Effect.DENY, REJECTED, POLICY, "denied", creates=20, least=TEN_MINUTES),
    Lasting(CREATE, Effect.UNAUTHORISED, REJECTED, POLICY, "not-authorised", creates=20, least=TEN_MINUTES),
    Lasting(REGISTER, Effect.DENY, REJECTED, POLICY, "denied", least=A_MINUTE),
    Lasting(REGISTER, Effect.UNAUTHORISED, REJECTED, POLICY, "not-authorised", least=TEN_MINUTES),
    # A reply that cannot be accepted is asked for three times in all.
    Lasting(CREATE, Effect.GARBLE, REJECTED, PROTOCOL, "garbled", creates=3),
    Lasting(CREATE, Effect.OVERSIZE, REJECTED, PROTOCOL, "garbled", creates=3),
    Lasting(CREATE, Effect.NO_TOKEN, REJECTED, PROTOCOL, "garbled", creates=3),
    Lasting(CREATE, Effect.WRONG_KEY, REJECTED, PROTOCOL, BAD, creates=3),
    Lasting(CREATE, Effect.EXPIRED, REJECTED, PROTOCOL, BAD, creates=3),
    Lasting(CREATE, Effect.NOT_YET_VALID, REJECTED, PROTOCOL, BAD, creates=3),
    # A certificate that the cloud does not let in, while the old one gets through, is refused: a minute.
    Lasting(REGISTER, Effect.NEVER_ACTIVE, REJECTED, CREDENTIAL, "hung-up", least=A_MINUTE, issued=True),
    Lasting(REGISTER, Effect.REVOKE, ROLLED_BACK, CREDENTIAL, "hung-up", least=A_MINUTE, issued=True),
    # Registration never arrives until the token is dead: whether it got through is for the proof to say.
    Lasting(REGISTER, Effect.IGNORE, REJECTED, CREDENTIAL, "hung-up", least=AN_HOUR, issued=True),
    Lasting(REGISTER, Effect.SILENCE, REJECTED, CREDENTIAL, "hung-up", least=AN_HOUR, issued=True),
]


@pytest.mark.parametrize("case", FINAL, ids=str)
def test_what_does_not_end_is_given_up_with_the_old_set_in_use(gateway: Rig, case: Lasting) -> None:
    """The change ends with a reason; the old set is in use, what was refused is set aside, and the next one works."""
    start = gateway.clock.now()
    gateway.fault(case.operation, case.effect, times=None)
    record = gateway.rotate(patience=DAY).record

    assert record.phase is case.end
    assert record.failure is not None
    assert (record.failure.kind, record.failure.code) == (case.kind, case.code)
    assert is_told(record.failure)
    assert gateway.clock.now() - start >= case.least
    assert gateway.asked(CREATE) - 2 <= case.creates
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", *(["000003.rejected"] if case.issued else [])]
    assert gateway.history[-1] == ("rotate", case.end, 3)
    assert gateway.at_rest

    gateway.cloud.faults.clear()
    assert gateway.connects()
    assert gateway.rotate(patience=2 * DAY).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (4, 2)


KEPT = [
    Lasting(CONNECT, Effect.THROTTLE, KEY_READY, THROTTLED, "throttled", creates=0),
    Lasting(CONNECT, Effect.UNAVAILABLE, KEY_READY, NETWORK, "cloud-unavailable", creates=0),
    Lasting(CONNECT, Effect.HANG_UP, KEY_READY, NETWORK, "locked-out", creates=0),
    Lasting(CONNECT, Effect.SILENCE, KEY_READY, NETWORK, "connack-timeout", creates=0),
    Lasting(CREATE, Effect.THROTTLE, KEY_READY, THROTTLED, "throttled", creates=40),
    # What may have been carried out counts, so the daily limit ends the asking, not the change.
    Lasting(CREATE, Effect.UNAVAILABLE, KEY_READY, NETWORK, "cloud-unavailable", creates=4),
    Lasting(CREATE, Effect.LOSE, KEY_READY, NETWORK, "no-reply", creates=4),
    Lasting(CREATE, Effect.IGNORE, KEY_READY, NETWORK, "no-reply", creates=4),
    Lasting(CREATE, Effect.LATE, KEY_READY, NETWORK, "no-reply", creates=4),
    Lasting(CREATE, Effect.SILENCE, KEY_READY, NETWORK, "no-reply", creates=4),
    Lasting(CREATE, Effect.HANG_UP, KEY_READY, NETWORK, "session-lost", creates=4),
    # No answer says nothing against a set.
    Lasting(ASK, Effect.LOSE, Phase.PREPARED, NETWORK, "no-reply", issued=True),
    Lasting(ASK, Effect.SILENCE, Phase.PREPARED, NETWORK, "no-reply", issued=True),
]


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_what_says_nothing_against_the_change_is_waited_out(gateway: Rig, case: Lasting) -> None:
    """After twelve hours of it the change is still there, and it is committed when the fault ends."""
    gateway.fault(case.operation, case.effect, times=None)
    outcome = gateway.rotate(patience=timedelta(hours=12))

    assert outcome.wait is not None
    assert outcome.record.phase is case.end
    assert outcome.record.failure is not None
    assert (outcome.record.failure.kind, outcome.record.failure.code) == (case.kind, case.code)
    assert is_told(outcome.record.failure)
    assert gateway.asked(CREATE) - 2 <= case.creates
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", "000003" if case.issued else ".000003"]

    gateway.cloud.faults.clear()
    assert gateway.connects()
    assert gateway.follow(patience=2 * DAY).record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)


def test_a_set_revoked_in_probation_is_given_up_for_the_one_before(gateway: Rig) -> None:
    """The new set worked once and then no more, the old one still does: back to it, the refused one is set aside."""
    gateway.fault(REGISTER, Effect.REVOKE)
    outcome = gateway.rotate()

    failure = outcome.record.failure
    assert outcome.record.phase is Phase.ROLLED_BACK
    assert failure is not None
    assert "Generation 2 is accepted over the same path." in failure.message
    assert gateway.in_use() == (2, 1)
    assert gateway.generations == ["000001", "000002", "000003.rejected"]
    assert gateway.store.history()[-1].condemned == failure
    # The proof of the old set was made before it was put back, and it is what connects now.
    assert gateway.connections_of("generation 2")[-1].outcome == "accepted"
    assert gateway.connects()


@pytest.mark.parametrize("effect", [Effect.THROTTLE, Effect.UNAVAILABLE, Effect.HANG_UP, Effect.SILENCE])
def test_trouble_at_the_proof_keeps_what_was_prepared(gateway: Rig, effect: Effect) -> None:
    """A certificate in hand is not thrown away for a bad quarter of an hour, whichever step is struck by it."""
    gateway.run_to(Kind.ROTATE, Phase.PREPARED)
    gateway.fault(CONNECT, effect, times=None)
    outcome = gateway.follow(patience=timedelta(minutes=15))
    assert outcome.record.phase is Phase.PREPARED
    assert gateway.in_use() == (2, 1)

    gateway.cloud.faults.clear()
    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.asked(CREATE) - 2 == 1


@pytest.mark.parametrize("effect", [Effect.HANG_UP, Effect.SILENCE, Effect.UNAUTHORISED, Effect.UNAVAILABLE])
def test_one_bad_connection_in_probation_rolls_nothing_back(gateway: Rig, effect: Effect) -> None:
    """Even with the control accepted, a single refusal is not believed: a minute must confirm it."""
    gateway.to_probation()
    gateway.fault(CONNECT, effect)

    assert gateway.follow().record.phase is Phase.COMMITTED
    assert gateway.in_use() == (3, 2)
