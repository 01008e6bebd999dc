"""What a change does next. Pure decisions; the sentences for people live here too.

`next_action` looks at the record and the facts and names one action; what a failure of that action means is in
`agent.core.change.giving_up`. Between them they hold every rule about patience, budgets and giving up. Here:

* A change that crash-loops stops itself: before activation it is rejected and its generation set aside. After
  activation it slows down, since a crash of the agent says nothing against the credential, but only to a try every few
  minutes: the set in use may be one that does not work, and no guard keeps such a set.
* A rotation ends when the set that it starts from is not whole any more: from there it can never ask.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.core.change import probation
from agent.core.change.lifecycle import ChangeRecord, Phase, WaitCode, waits_for_word
from agent.core.failure.codes import Code
from agent.core.failure.failure import POLICY_PATIENCE, Failure, FailureClass
from agent.core.failure.retry import LONGEST_DELAY
from agent.core.frozen import frozen
from agent.core.text import clock_time, counted
from agent.core.values import VENDED, Id, Kind, LongText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent.core.timekeeping import Reading

# AWS deletes a certificate that was not registered within an hour (developer guide, "Device provisioning MQTT
# API"). Five minutes are left for the registration itself and for two clocks that differ.
TOKEN_LIFETIME = timedelta(minutes=55)

DAY = timedelta(days=1)

# After the first, the second and each further certificate that may have been registered unheard for a thing that is not
# known: each stays active in the account. One bad minute delays a first enrolment little; a lasting fault costs one a
# day.
UNHEARD = (timedelta(minutes=1), timedelta(hours=6), DAY)

_SMALL_STEP = timedelta(minutes=1)

# How long a change whose set is in use rests after a start without progress, once there were too many of them: longer
# each time, and never so long that a set which is refused keeps the gateway cut off.
CRASH_PAUSE = timedelta(seconds=30)
LONGEST_CRASH_PAUSE = timedelta(minutes=3)


@frozen
class Limits:
    """The patience and the budgets of a change.

    Attributes:
        daily_limit: Certificates asked for in 24 hours, over all changes.
        requests_per_change: Certificates asked for by one change before it is given up.
        resumes: Starts without progress before a change counts as crash-looping.
        policy_patience: How long "not authorised" may be the spreading of policies.
        refusal_patience: How long a refusal may be the spreading of an activation.
        probation: How long it lasts.
        check_every: The longest time between two proofs in probation.
        dependants_patience: How long a dependant that fails is tried again before that counts.
        confirm: How long the word is waited for that a new set works; None where none is asked for.
        gates_patience: How long the operator's gates may hold a change in one phase.
    """

    daily_limit: int = 4
    requests_per_change: int = 3
    resumes: int = 10
    policy_patience: timedelta = timedelta(seconds=POLICY_PATIENCE)
    refusal_patience: timedelta = timedelta(minutes=1)
    probation: timedelta = timedelta(minutes=10)
    check_every: timedelta = timedelta(minutes=1)
    dependants_patience: timedelta = timedelta(minutes=2)
    confirm: timedelta | None = None
    gates_patience: timedelta = timedelta(days=1)


@frozen
class Facts:
    """What a decision rests on besides the record.

    Attributes:
        clock: The wall clock and whether to believe it.
        linked: The generation `current` points at, whole or not, as far as that is known.
        expected_thing: The thing this gateway is, from the current set or the configuration; None when unknown.
        ends: When the certificate in use ends; None where there is none, or it is not known.
        requests: When certificates were asked for by earlier changes, as far as the history tells.
        base_whole: Whether the generation that the change starts from is whole.
        base_accepted: Whether the base got through where the change's own set has just failed.
    """

    clock: Reading
    linked: int | None = None
    expected_thing: str | None = None
    ends: datetime | None = None
    requests: tuple[datetime, ...] = ()
    base_whole: bool = True
    base_accepted: bool = False


@frozen
class Action:
    """What to do next. `why` is a sentence for people."""

    why: LongText


class GenerateKey(Action):
    """Prove that the store has room, then make key and request durable."""


class BeginRequest(Action):
    """Record that a certificate is about to be asked for."""


class RequestCertificate(Action):
    """Ask for a certificate and accept or refuse what comes back."""


class RegisterThing(Action):
    """Register the certificate in hand."""


@frozen
class AssumeRegistered(Action):
    """Registration was sent, its answer was lost and the token is spent: go on, and let the proof decide."""

    thing_name: str


class DropCertificate(Action):
    """The certificate in hand was not registered in time; begin again with a new key."""


class PrepareGeneration(Action):
    """Write the generation."""


class Prove(Action):
    """Connect with the prepared set and have an authorised request answered."""


class Activate(Action):
    """Point `current` at the generation."""


class Deploy(Action):
    """Make the dependants use the new set."""


class HoldProbation(Action):
    """Prove the active set again; probation goes on."""


class EndProbation(Action):
    """Prove the active set a last time; then it is final."""


@frozen
class Unconfirmed(Action):
    """Give the active set up if the base connects, since no word confirmed it; else prove it a last time."""

    failure: Failure


class RollBack(Action):
    """Point `current` at the base generation again."""


class Finish(Action):
    """Write the outcome to the history and clear the change away."""


@frozen
class Reject(Action):
    """Give the change up before it activates anything."""

    failure: Failure


@frozen
class Wait(Action):
    """Do nothing before `until`.

    Attributes:
        until: When to look again, at the latest.
        failure: The failure that is being waited out, or None in an ordinary wait.
        code: A `WaitCode`; a process of another version may tell of one that is not known here.
        dated: Whether `why` says until when, where a time says anything.
    """

    until: datetime
    code: Id
    failure: Failure | None = None
    dated: bool = False


def next_action(record: ChangeRecord, facts: Facts, limits: Limits) -> Action:
    """Return the one thing to do next for the change."""
    if record.phase.ended:
        return Finish(why=f"the change is {record.phase}")
    if record.condemned is not None and not _still_waiting(record, facts.clock.now):
        return RollBack(why=f"the new set was refused ({record.condemned.message}), the previous one is put back")
    if record.kind is Kind.ROTATE and record.phase in ASKS_WITH_THE_BASE and not facts.base_whole:
        return Reject(why="the set that it starts from is damaged", failure=source_lost(record))
    return _hold_back(record, facts, limits) or _next_step(record, facts, limits)


def source_lost(record: ChangeRecord) -> Failure:
    """Return the failure of a rotation that has no whole set to ask with any more."""
    return Failure(
        kind=FailureClass.CREDENTIAL,
        code=Code.SOURCE_LOST,
        message=f"Generation {record.base}, which this rotation starts from, is damaged, so it cannot ask for more.",
        remedy="Another way to a set that works is looked for.",
        decisive=True,
    )


def _hold_back(record: ChangeRecord, facts: Facts, limits: Limits) -> Action | None:
    now = facts.clock.now
    if not facts.clock.believable:
        return Wait(
            why=f"the clock shows {clock_time(now)}, which cannot be, since it was later than "
            f"{clock_time(facts.clock.floor)} already; nothing is judged before it is set",
            until=now + timedelta(seconds=30),
            code=WaitCode.CLOCK,
            dated=True,
        )
    if _still_waiting(record, now):
        assert record.retry_at is not None  # noqa: S101 - _still_waiting implies it
        why = record.failure.message.rstrip(".") if record.failure else "the last try failed"
        return Wait(why=f"{why}. Next try at {clock_time(record.retry_at)}.", until=record.retry_at,
                    code=WaitCode.RETRY, failure=record.failure, dated=True)  # fmt: skip
    if record.resumes > limits.resumes:
        return _crash_loop(record, facts, limits)
    return None


def _still_waiting(record: ChangeRecord, now: datetime) -> bool:
    if record.retry_at is None:
        return False
    # A clock that was set back must not turn a short delay into years.
    return now < record.retry_at <= now + timedelta(seconds=LONGEST_DELAY)


def _crash_loop(record: ChangeRecord, facts: Facts, limits: Limits) -> Action | None:
    now = facts.clock.now
    stops = f"The agent stopped {record.resumes} times in phase {record.phase} without getting any further."
    if not in_use(record, facts.linked):
        remedy = "The change was given up and its generation set aside; read the journal before the next one."
        failure = Failure(kind=FailureClass.STORE, code=Code.CRASH_LOOP, message=stops, remedy=remedy)
        return Reject(why="the change crash-loops", failure=failure)
    pause = min(CRASH_PAUSE * (record.resumes - limits.resumes), LONGEST_CRASH_PAUSE)
    until = (record.resumed_at or now) + pause
    if now < until <= now + pause:  # a clock that was set back must not turn minutes into years
        return Wait(why=f"{stops} Next try at {clock_time(until)}.", until=until, code=WaitCode.CRASH_LOOP, dated=True)
    return None


def _next_step(record: ChangeRecord, facts: Facts, limits: Limits) -> Action:
    match record.phase:
        case Phase.PLANNED:
            return GenerateKey(why="a new private key is made on this device")
        case Phase.KEY_READY:
            return _ask(record, facts, limits)
        case Phase.REQUESTED:
            return RequestCertificate(why="the cloud is asked for a certificate for the new key")
        case Phase.ISSUED:
            return _register(record, facts)
        case Phase.REGISTERED:
            return PrepareGeneration(why=f"generation {record.generation} is written")
        case Phase.PREPARED:
            return Prove(why=f"generation {record.generation} must connect before it is used")
        case Phase.PROVEN:
            return Activate(why=f"generation {record.generation} is proven and becomes current")
        case Phase.ACTIVE if probation.is_doubted(record, facts.clock.now):
            return HoldProbation(why="the new set is proven again, since it may be refused")
        case Phase.ACTIVE:
            return Deploy(why="dependants take up the new set")
        case _:
            return _probation(record, facts, limits)


def _ask(record: ChangeRecord, facts: Facts, limits: Limits) -> Action:
    wait = _unheard_wait(record, facts.clock.now)
    wait = wait or budget_wait((*facts.requests, *record.requests), facts.clock.now, limits)
    return wait or BeginRequest(why="key and request are durable")


def _unheard_wait(record: ChangeRecord, now: datetime) -> Wait | None:
    """Return the wait after a certificate that may have been registered without this gateway's learning of it."""
    if not record.unanswered or not record.requests:
        return None
    asked, pause = record.requests[-1], UNHEARD[min(len(record.requests), len(UNHEARD)) - 1]
    until = asked + pause
    if not now < until <= now + pause:  # a clock that was set back must not turn hours into years
        return None
    why = (
        f"The certificate asked for at {clock_time(asked)} may have been registered, but no answer came, so it cannot "
        f"be used and may stay active in the account. The next is asked for at {clock_time(until)}, to leave few"
    )
    return Wait(why=why, until=until, code=WaitCode.RETRY, dated=True)


def budget_wait(requests: Iterable[datetime], now: datetime, limits: Limits) -> Wait | None:
    """Return the wait that the daily limit imposes after these requests, or None when one more may be made now."""
    recent = sorted(at for at in requests if abs(now - at) < DAY)
    if len(recent) < limits.daily_limit:
        return None
    until = recent[-limits.daily_limit] + DAY
    why = (
        f"{counted(len(recent), 'certificate was', 'certificates were')} asked for within 24 hours and the limit is "
        f"{limits.daily_limit}; the next may be asked for at {clock_time(until)}"
    )
    return Wait(why=why, until=until, code=WaitCode.BUDGET, dated=True)


def stopped(now: datetime) -> Wait:
    """Return the wait of a change that was told to stop between two steps."""
    why = "the agent was told to stop; the change goes on when it starts again"
    return Wait(why=why, until=now, code=WaitCode.STOPPED)


def _register(record: ChangeRecord, facts: Facts) -> Action:
    assert record.issued is not None  # noqa: S101 - CertificateIssued is the only way here
    lives = abs(facts.clock.now - record.issued.at) < TOKEN_LIFETIME
    if lives or record.issued.token.startswith(VENDED):
        return RegisterThing(why="the certificate is registered while its ownership token lives")
    if record.unanswered and facts.expected_thing is not None:
        # No second certificate is asked for while this one may be good. If it is not, the proof ends the change.
        why = "registration was sent and never answered; the proof will tell"
        return AssumeRegistered(why=why, thing_name=facts.expected_thing)
    return DropCertificate(why="the certificate was not registered within the hour; a new key is made")


def _probation(record: ChangeRecord, facts: Facts, limits: Limits) -> Action:
    now, asked = facts.clock.now, waits_for_word(record)
    until = record.confirm_until if asked else record.probation_until
    whole = until - record.entered_at if asked and until else limits.probation
    # A clock that was set back by more than a little must not turn minutes into years.
    if until is None or now >= until or until > now + 2 * whole + _SMALL_STEP:
        if asked:
            return Unconfirmed(why="the new set was not confirmed in time", failure=probation.unconfirmed(record))
        return EndProbation(why="probation is over; one more proof makes the new set final")
    why = f"generation {record.generation} is on probation until {clock_time(until)}"
    if asked:
        why = f"generation {record.generation} waits for confirmation until {clock_time(until)}: `iot-cert confirm`"
    due = min(until, probation.next_proof(record, limits.check_every))
    if now >= due or due > now + 2 * limits.check_every + _SMALL_STEP:
        return HoldProbation(why=f"{why}; it is proven again now")
    ready = "; the previous set is kept ready" if record.base is not None else ""  # a first enrolment has none
    return Wait(why=f"{why}{ready}", until=due, code=WaitCode.PROBATION)


def brought_forward_to(record: ChangeRecord, facts: Facts, limits: Limits) -> datetime | None:
    """Return from when a set on probation is proven that was doubted, or None where that brings no proof forward.

    The daemon's session was lost, or refused, in a way that a refused certificate could explain.
    """
    action, now = next_action(record, facts, limits), facts.clock.now
    if not isinstance(action, Wait) or not record.phase.activated or record.condemned is not None:
        return None
    elsewhere = action.failure is not None and action.failure.kind in _NOT_THE_PATH
    if action.code not in {WaitCode.PROBATION, WaitCode.RETRY} or elsewhere:
        return None
    prove_at = probation.proof_on_doubt(record, now)
    return prove_at if prove_at < action.until else None


def in_use(record: ChangeRecord, linked: int | None) -> bool:
    """Whether the change has put its set in use, also when a power cut kept that from the record.

    A recovery may have moved `current` to a set that a rollback is still to prove: that is not the change's doing.
    """
    return record.phase.activated or (record.phase is Phase.PROVEN and linked == record.generation)


# Phases in which nothing was asked for yet, and the next connection is made with the base's own certificate. Later ones
# may have a session open, which the disk does not matter to.
ASKS_WITH_THE_BASE = {Phase.PLANNED, Phase.KEY_READY}

# What a proof waits for that a session which is lost says nothing about.
_NOT_THE_PATH = {FailureClass.THROTTLED, FailureClass.CLOCK, FailureClass.STORE}


def facts_of(
    record: ChangeRecord, gateway: Facts, history: Iterable[ChangeRecord], is_whole: Callable[[int], bool]
) -> Facts:
    """Return the facts of a gateway with what a change rests on besides: earlier requests, and its base if it asks."""
    requests = requests_of(other for other in history if other.id != record.id)
    whole = record.base is None or record.phase not in ASKS_WITH_THE_BASE or is_whole(record.base)
    return replace(gateway, requests=requests, base_whole=whole)


def requests_of(records: Iterable[ChangeRecord]) -> tuple[datetime, ...]:
    """Return when certificates were asked for, over several changes."""
    return tuple(at for record in records for at in record.requests)
