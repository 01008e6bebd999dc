"""The change state machine: phases, events, one literal table, and nothing that happens outside it.

Rule 1: everything that moves a change from phase to phase stands in `TRANSITIONS`. A pair that is not in the
table raises `IllegalTransitionError` and nothing moves.

Rule 2: a record is persisted *before* the step it announces is taken. So after a kill or a power cut at any
instant the record says which step may have been taken, and the step is either repeatable (making a key, writing
a generation, moving a link, registering with the same token, proving) or guarded by a phase of its own: REQUESTED
is on disk before the request for a certificate leaves, so that a lost reply is known and counted.

Rule 3: nothing here performs a step, reads a clock or draws a number. `agent.core.change.decide` says what to do next
and turns failures into events; the engine does it and feeds the outcome back.

::

    PLANNED → KEY_READY → REQUESTED → ISSUED → REGISTERED → PREPARED → PROVEN → ACTIVE → DEPLOYED → COMMITTED → RETIRED
       └──────────┴───────────┴─────────┴──────────┴───────────┴─────────┴→ REJECTED └──────────┴→ ROLLED_BACK

A set in use that is refused, with nothing whole to go back to, ends as REJECTED too: it stays where it is, and the
ladder goes on from there. `trust`, `import` and `rollback` changes enter at PREPARED, their generation being on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from agent.core.failure.failure import OF_THE_SET, Failure, FailureClass
from agent.core.values import Id, Kind, Name, Origin, leads_back

if TYPE_CHECKING:
    from datetime import datetime


MAX_MATERIAL = 262_144  # characters; the largest certificate AWS returns is a quarter of it


class Phase(StrEnum):
    """How far a change has come. The name says what is already true."""

    PLANNED = "planned"
    KEY_READY = "key-ready"
    REQUESTED = "requested"
    ISSUED = "issued"
    REGISTERED = "registered"
    PREPARED = "prepared"
    PROVEN = "proven"
    ACTIVE = "active"
    DEPLOYED = "deployed"
    COMMITTED = "committed"
    RETIRED = "retired"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled-back"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the change itself."""
        return self in {Phase.COMMITTED, Phase.RETIRED, Phase.REJECTED, Phase.ROLLED_BACK}

    @property
    def succeeded(self) -> bool:
        """Whether the change's generation became final."""
        return self in {Phase.COMMITTED, Phase.RETIRED}

    @property
    def activated(self) -> bool:
        """Whether `current` points at the change's generation."""
        return self in {Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED, Phase.RETIRED}


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate in hand, and the token that registers it within the hour.

    Attributes:
        certificate_pem: As it came, already accepted.
        certificate_id: As the cloud named it.
        token: The certificate ownership token; a secret.
        at: When it arrived.
    """

    certificate_pem: Annotated[str, MAX_MATERIAL] = field(repr=False)
    certificate_id: Id
    token: Annotated[str, MAX_MATERIAL] = field(repr=False)
    at: datetime


@dataclass(frozen=True, kw_only=True)
class ChangeRecord:
    """One change, as persisted in ``change.json`` before each step.

    Attributes:
        id: Unique, for people to quote.
        kind: What it does.
        origin: Who wanted it.
        reason: Why, in the words of whoever wanted it.
        generation: The generation it makes, or goes back to.
        base: The generation that was current when it was planned; None at first enrolment.
        phase: How far it has come.
        planned_at: When it was planned.
        entered_at: When the present phase was entered.
        passed: The phases passed so far, with their times.
        requests: When certificates were asked for that were or may have been issued; all count against the daily limit.
        issued: The certificate in hand; reduced to its id once the generation is prepared.
        unanswered: Registrations with the present token that may have been sent and were never answered.
        thing_name: The thing the cloud registered the certificate for.
        attempts: Failures in the present phase.
        resumes: Starts of the agent in the present phase without progress.
        resumed_at: The last such start.
        retry_at: Not to be tried again before.
        failure: The last failure, until a step succeeds.
        refused_since: When the first refusal of the present phase was met.
        condemned: The decisive failure after activation; the change is being rolled back.
        probation_until: When the trial period after activation ends.
        checked_at: The last proof in probation that was accepted.
        prove_at: From when the set on probation is to be proven, whatever its turn: a doubt, or a proof that failed.
        doubts: How often a doubt brought a proof forward since one was accepted.
        refusals: How often the activated set was refused since it was accepted.
        confirm_until: Until when the word is waited for that the activated set works; None where none is asked for.
        confirmed_at: When that was first said.
        order: What it was ordered by, for whoever must answer: ``job:<id>:<execution>``; empty otherwise.
        replaces: The id of the certificate that was in use when it was planned.
        retired_at: When the cloud accepted the retirement of the certificate that this change left behind.
        dropped_at: When a person decided that this certificate is not asked to be retired any more.
        good_time: The last proof under a synchronised clock: a floor for every later clock. It cannot be far off, since
            the endpoint's own certificate was valid then.
        anchor: SHA-256 of the trust anchor that the endpoint chained to at the last proof; empty when it is not known.
        unproven: Whether a person had its generation activated before it was proven.
        degraded: What a dependant failed with that the change went on without.
        brings: The id of the certificate that an import brings; empty for the other kinds.
    """

    id: Id
    kind: Kind
    origin: Origin
    reason: str
    generation: int
    base: int | None
    phase: Phase
    planned_at: datetime
    entered_at: datetime
    passed: tuple[tuple[Phase, datetime], ...] = ()
    requests: tuple[datetime, ...] = ()
    issued: Issued | None = None
    unanswered: int = 0
    thing_name: Name | None = None
    attempts: int = 0
    resumes: int = 0
    resumed_at: datetime | None = None
    retry_at: datetime | None = None
    failure: Failure | None = None
    refused_since: datetime | None = None
    condemned: Failure | None = None
    probation_until: datetime | None = None
    checked_at: datetime | None = None
    prove_at: datetime | None = None
    doubts: int = 0
    refusals: int = 0
    confirm_until: datetime | None = None
    confirmed_at: datetime | None = None
    good_time: datetime | None = None
    order: Name = ""
    replaces: Id | None = None
    retired_at: datetime | None = None
    anchor: Id = ""
    unproven: bool = False
    degraded: Failure | None = None
    brings: Id = ""
    dropped_at: datetime | None = None

    @property
    def leads_back(self) -> bool:
        """Whether what is written of the change may be what leads back to a set that works.

        From activation on it may, whatever the change is for: a set whose refusals cannot be written down is not
        watched, and so not left. So may the end of a change that was given up: nothing else is begun before.
        """
        given_up = self.phase in {Phase.REJECTED, Phase.ROLLED_BACK}
        return self.phase.activated or given_up or leads_back(self.kind, self.origin)

    @property
    def committed_at(self) -> datetime | None:
        """When its generation became final, or None."""
        return next((at for phase, at in reversed(self.passed) if phase is Phase.COMMITTED), None)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a change, at a time."""

    at: datetime


class Resumed(Event):
    """The agent started and found the change; whatever step was under way is unknown."""


class Hastened(Event):
    """A person wants the step tried now, whatever delay a failure left behind."""


@dataclass(frozen=True, kw_only=True)
class Doubted(Event):
    """The daemon's session with the set on probation was lost or refused; see `agent.core.change.decide.doubted`.

    Attributes:
        prove_at: From when the set is to be proven.
    """

    prove_at: datetime


@dataclass(frozen=True, kw_only=True)
class Confirmed(Event):
    """A person or program says that the activated set works.

    Attributes:
        early: Whether probation ends with it, after one more proof, instead of running its time.
    """

    early: bool = True


class KeyReady(Event):
    """Key and request are durable."""


@dataclass(frozen=True, kw_only=True)
class KeyLost(Event):
    """The staged key is missing or damaged, so a certificate for it is worthless."""

    failure: Failure
    retry_at: datetime


class RequestBegun(Event):
    """A certificate is about to be asked for; this is durable before the request leaves."""


@dataclass(frozen=True, kw_only=True)
class RequestFailed(Event):
    """The request brought no usable certificate: lost, refused, or one that fails acceptance."""

    failure: Failure
    retry_at: datetime


@dataclass(frozen=True, kw_only=True)
class CertificateIssued(Event):
    """An acceptable certificate and its token are in hand.

    Attributes:
        issued: They.
        anchor: SHA-256 of the trust anchor that the endpoint chained to, or empty.
    """

    issued: Issued
    anchor: str = ""


@dataclass(frozen=True, kw_only=True)
class Registered(Event):
    """The cloud registered the certificate, or may have: the proof decides."""

    thing_name: str


class TokenExpired(Event):
    """The certificate was not registered within the token's life; the cloud has deleted it."""


class GenerationPrepared(Event):
    """The generation is whole and durable on disk."""


@dataclass(frozen=True, kw_only=True)
class Proven(Event):
    """The prepared set connected and had an authorised request answered.

    Attributes:
        synchronised: Whether the clock was, so that `at` may serve as a floor for later clocks.
        anchor: SHA-256 of the trust anchor that the endpoint chained to, or empty.
    """

    synchronised: bool = False
    anchor: str = ""


class Activated(Event):
    """`current` points at the generation, durably."""


@dataclass(frozen=True, kw_only=True)
class Deployed(Event):
    """The dependants use the new set, as far as they can.

    Attributes:
        probation: The trial period that begins.
        confirm: How long the word is waited for that the set works, or None where none is asked for.
        problem: What a dependant failed with that the change goes on without, or None.
    """

    probation: timedelta
    confirm: timedelta | None = None
    problem: Failure | None = None


class ProbationHeld(Proven):
    """The new set was proven again within probation."""


@dataclass(frozen=True, kw_only=True)
class ProbationPassed(Proven):
    """The new set was proven again at the end of probation.

    Attributes:
        problem: What it is final without, such as the word that was asked for, or None.
    """

    problem: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class StepFailed(Event):
    """A step failed in a way that ends nothing; it is tried again."""

    failure: Failure
    retry_at: datetime


@dataclass(frozen=True, kw_only=True)
class Rejected(Event):
    """The change ends without having activated anything."""

    failure: Failure


@dataclass(frozen=True, kw_only=True)
class Condemned(Event):
    """The activated set must be given up; the links have not moved yet."""

    failure: Failure


class RolledBack(Event):
    """`current` points at the base generation again, durably."""


class Retired(Event):
    """The cloud accepted the retirement of the certificate that was replaced, or of the new one that was given up."""


class Dropped(Event):
    """A person does not want the certificate that was left behind to be asked for any more."""


class IllegalTransitionError(RuntimeError):
    """An event that cannot happen in this phase: a defect in the caller."""


P = Phase
TRANSITIONS: dict[tuple[Phase, type[Event]], Phase] = {
    (P.PLANNED, KeyReady): P.KEY_READY,
    (P.PLANNED, StepFailed): P.PLANNED,
    (P.PLANNED, Resumed): P.PLANNED,
    (P.PLANNED, Hastened): P.PLANNED,
    (P.PLANNED, Rejected): P.REJECTED,
    (P.KEY_READY, RequestBegun): P.REQUESTED,
    (P.KEY_READY, KeyLost): P.PLANNED,
    (P.KEY_READY, StepFailed): P.KEY_READY,
    (P.KEY_READY, Resumed): P.KEY_READY,
    (P.KEY_READY, Hastened): P.KEY_READY,
    (P.KEY_READY, Rejected): P.REJECTED,
    (P.REQUESTED, CertificateIssued): P.ISSUED,
    (P.REQUESTED, RequestFailed): P.KEY_READY,
    (P.REQUESTED, KeyLost): P.PLANNED,
    (P.REQUESTED, Resumed): P.KEY_READY,  # the reply, if any, went to a connection that is gone
    (P.REQUESTED, Rejected): P.REJECTED,
    (P.ISSUED, Registered): P.REGISTERED,
    (P.ISSUED, TokenExpired): P.PLANNED,
    (P.ISSUED, KeyLost): P.PLANNED,
    (P.ISSUED, StepFailed): P.ISSUED,
    (P.ISSUED, Resumed): P.ISSUED,
    (P.ISSUED, Hastened): P.ISSUED,
    (P.ISSUED, Rejected): P.REJECTED,
    (P.REGISTERED, GenerationPrepared): P.PREPARED,
    (P.REGISTERED, KeyLost): P.PLANNED,
    (P.REGISTERED, StepFailed): P.REGISTERED,
    (P.REGISTERED, Resumed): P.REGISTERED,
    (P.REGISTERED, Hastened): P.REGISTERED,
    (P.REGISTERED, Rejected): P.REJECTED,
    (P.PREPARED, Proven): P.PROVEN,
    (P.PREPARED, StepFailed): P.PREPARED,
    (P.PREPARED, Resumed): P.PREPARED,
    (P.PREPARED, Hastened): P.PREPARED,
    (P.PREPARED, Rejected): P.REJECTED,
    (P.PROVEN, Activated): P.ACTIVE,
    (P.PROVEN, StepFailed): P.PROVEN,
    (P.PROVEN, Resumed): P.PROVEN,
    (P.PROVEN, Hastened): P.PROVEN,
    (P.PROVEN, Rejected): P.REJECTED,
    (P.ACTIVE, Deployed): P.DEPLOYED,
    (P.ACTIVE, StepFailed): P.ACTIVE,
    (P.ACTIVE, Resumed): P.ACTIVE,
    (P.ACTIVE, Hastened): P.ACTIVE,
    (P.ACTIVE, Doubted): P.ACTIVE,
    (P.ACTIVE, Confirmed): P.ACTIVE,
    (P.ACTIVE, ProbationHeld): P.ACTIVE,  # proven on a doubt while other programs are still being told
    (P.ACTIVE, Condemned): P.ACTIVE,
    (P.ACTIVE, RolledBack): P.ROLLED_BACK,
    (P.ACTIVE, Rejected): P.REJECTED,  # with nothing to go back to: the set stays where it is, and the ladder goes on
    (P.DEPLOYED, ProbationHeld): P.DEPLOYED,
    (P.DEPLOYED, ProbationPassed): P.COMMITTED,
    (P.DEPLOYED, StepFailed): P.DEPLOYED,
    (P.DEPLOYED, Resumed): P.DEPLOYED,
    (P.DEPLOYED, Hastened): P.DEPLOYED,
    (P.DEPLOYED, Doubted): P.DEPLOYED,
    (P.DEPLOYED, Confirmed): P.DEPLOYED,
    (P.DEPLOYED, Condemned): P.DEPLOYED,
    (P.DEPLOYED, RolledBack): P.ROLLED_BACK,
    (P.DEPLOYED, Rejected): P.REJECTED,
    (P.COMMITTED, Retired): P.RETIRED,
    (P.COMMITTED, Dropped): P.COMMITTED,
    (P.COMMITTED, Resumed): P.COMMITTED,
    (P.REJECTED, Resumed): P.REJECTED,
    (P.REJECTED, Retired): P.REJECTED,
    (P.REJECTED, Dropped): P.REJECTED,
    (P.ROLLED_BACK, Resumed): P.ROLLED_BACK,
    (P.ROLLED_BACK, Retired): P.ROLLED_BACK,
    (P.ROLLED_BACK, Dropped): P.ROLLED_BACK,
}


def advance(record: ChangeRecord, event: Event) -> ChangeRecord:
    """Return the record after `event`.

    Raises:
        IllegalTransitionError: The event cannot happen in the record's phase; nothing moves.
    """
    target = TRANSITIONS.get((record.phase, type(event)))
    if target is None:
        raise IllegalTransitionError(f"{type(event).__name__} cannot happen in phase {record.phase}")
    _refuse_contradiction(record, event)
    entered = _enter(record, target, event.at)
    if isinstance(event, Rejected | RequestFailed | KeyLost) and record.phase is Phase.REQUESTED:
        entered = _uncounted(entered, event.failure)
    return _apply(entered, event)


def waits_for_word(record: ChangeRecord) -> bool:
    """Whether the word that the set in use works is asked for and has not come."""
    asked = record.confirm_until is not None and record.confirmed_at is None
    return asked and record.phase is Phase.DEPLOYED and record.condemned is None


def _uncounted(record: ChangeRecord, failure: Failure) -> ChangeRecord:
    """Take back the last request when it is certain that nothing was issued for it."""
    return replace(record, requests=record.requests[:-1]) if failure.code in NOTHING_ISSUED else record


def _refuse_contradiction(record: ChangeRecord, event: Event) -> None:
    if isinstance(event, RolledBack) and record.condemned is None:
        raise IllegalTransitionError("a rollback needs the failure that condemned the new set")
    if record.condemned is not None and isinstance(
        event, Doubted | Confirmed | Deployed | ProbationHeld | ProbationPassed
    ):
        raise IllegalTransitionError("a condemned set is rolled back, whatever else happens")
    if isinstance(event, ProbationPassed) and waits_for_word(record) and event.problem is None:
        raise IllegalTransitionError("a set that is to be confirmed is not final without a word about that")
    if isinstance(event, Condemned):
        if record.base is None:
            raise IllegalTransitionError("there is no base generation to roll back to")
        if not event.failure.decisive:
            raise IllegalTransitionError("only a decisive failure condemns an activated set")
    if isinstance(event, Rejected) and record.phase.activated and not event.failure.decisive:
        raise IllegalTransitionError("only a decisive failure ends a change whose set is in use")


def _enter(record: ChangeRecord, target: Phase, at: datetime) -> ChangeRecord:
    if target is record.phase:
        return record
    entered = replace(
        record, phase=target, entered_at=at, passed=(*record.passed, (target, at))[-MAX_PASSED:], retry_at=None
    )
    return entered if {record.phase, target} == _ASKING else _clear(entered)


# A change that is refused again and again must not grow its record without bound.
MAX_PASSED = 60
MAX_REQUESTS = 1_000  # the highest daily limit that can be configured

# Asking, and asking again after a refusal, is one effort: going to and fro between the two is no progress.
_ASKING = {Phase.KEY_READY, Phase.REQUESTED}

# After these a request may have been carried out though no answer came.
UNANSWERED = frozenset({"no-reply", "session-lost", "taken-over", "cloud-unavailable", "garbled"})

# After these it is certain that no certificate was issued, so the request does not count against the daily limit.
NOTHING_ISSUED = frozenset({
    "throttled", "denied", "request-refused", "not-authorised", "not-sent", "taken-over-unsent", "key-lost",
})  # fmt: skip

# The end of a change whose record could not be read any more; see `agent.core.change.damaged_records`.
RECORD_DAMAGED = "record-damaged"

_REFUSALS = OF_THE_SET | {FailureClass.DEPENDANT}


def _apply(record: ChangeRecord, event: Event) -> ChangeRecord:
    match event:
        case Resumed():
            unanswered = record.unanswered + (record.phase is Phase.ISSUED)
            return replace(record, resumes=record.resumes + 1, resumed_at=event.at, unanswered=unanswered)
        case Hastened():
            return replace(record, retry_at=None)
        case Doubted(prove_at=prove_at):
            sooner = record.retry_at and min(record.retry_at, prove_at)
            return replace(record, prove_at=prove_at, doubts=record.doubts + 1, retry_at=sooner)
        case Confirmed(early=early):
            confirmed = replace(record, confirmed_at=record.confirmed_at or event.at)
            return replace(confirmed, probation_until=event.at, retry_at=None) if early else confirmed
        case StepFailed(failure=failure, retry_at=retry_at) | RequestFailed(failure=failure, retry_at=retry_at):
            return _failed(record, failure, retry_at, event.at)
        case RequestBegun():
            return replace(record, requests=(*record.requests, event.at)[-MAX_REQUESTS:])
        case CertificateIssued(issued=issued, anchor=anchor):
            return replace(record, issued=issued, unanswered=0, anchor=anchor)
        case Rejected(failure=failure):
            return replace(record, failure=failure, issued=_spent(record.issued))
        case Condemned(failure=failure):
            return replace(record, failure=failure, condemned=failure, retry_at=None)
        case _:
            return _apply_progress(record, event)


def _apply_progress(record: ChangeRecord, event: Event) -> ChangeRecord:
    match event:
        case KeyLost(failure=failure, retry_at=retry_at):
            return _failed(_begun_again(record), failure, retry_at, event.at)
        case TokenExpired():
            return _begun_again(record)
        case Registered(thing_name=thing_name):
            return replace(record, thing_name=thing_name)
        case GenerationPrepared():
            return replace(record, issued=_spent(record.issued))
        case Deployed(probation=probation, confirm=confirm, problem=problem):
            trial = probation if record.probation_until is None else timedelta()  # or it was confirmed meanwhile
            word = None if confirm is None else event.at + confirm
            return replace(record, probation_until=event.at + trial, confirm_until=word, degraded=problem)
        case ProbationPassed(problem=Failure() as problem):
            return _apply_progress(replace(record, degraded=problem), replace(event, problem=None))
        case Proven(synchronised=synchronised, anchor=anchor):  # and the two that are proofs within probation
            good_time = event.at if synchronised else record.good_time
            proven = replace(record, checked_at=event.at, good_time=good_time, anchor=anchor or record.anchor)
            return _accepted(proven)
        case _:
            return _apply_end(record, event)


def _apply_end(record: ChangeRecord, event: Event) -> ChangeRecord:
    match event:
        case RolledBack():
            return replace(record, failure=record.condemned)
        case Retired():
            return replace(record, retired_at=event.at)
        case Dropped():
            return replace(record, dropped_at=event.at)
        case _:
            return record


def _begun_again(record: ChangeRecord) -> ChangeRecord:
    return replace(record, issued=None, unanswered=0, thing_name=None)


def _failed(record: ChangeRecord, failure: Failure, retry_at: datetime, at: datetime) -> ChangeRecord:
    refused_since = record.refused_since
    if failure.kind in _REFUSALS:
        refused_since = min(refused_since or at, at)
    maybe_sent = record.phase is Phase.ISSUED and failure.code in UNANSWERED
    if record.phase.activated:
        record = _after_failed_proof(record, failure, at)
    # A failure that was recorded is no crash: `resumes` counts only starts that ended without a word.
    return replace(
        record,
        failure=failure,
        attempts=record.attempts + 1,
        resumes=0,
        retry_at=retry_at,
        refused_since=refused_since,
        unanswered=record.unanswered + maybe_sent,
    )


def _after_failed_proof(record: ChangeRecord, failure: Failure, at: datetime) -> ChangeRecord:
    """Note what a failure within probation means for the next proof: on probation it is due until one is accepted."""
    refused = failure.kind in OF_THE_SET
    if refused or record.phase is Phase.DEPLOYED:
        return replace(record, prove_at=at, refusals=record.refusals + refused)
    if failure.kind is FailureClass.DEPENDANT:
        return record
    return replace(record, prove_at=None)  # nothing speaks against the set, so the other programs are told meanwhile


def _accepted(record: ChangeRecord) -> ChangeRecord:
    cleared = _clear(replace(record, prove_at=None, doubts=0, refusals=0))
    if record.phase is not Phase.ACTIVE:
        return cleared
    return replace(cleared, refused_since=record.refused_since)  # the patience with other programs goes on


def _clear(record: ChangeRecord) -> ChangeRecord:
    return replace(record, attempts=0, resumes=0, retry_at=None, failure=None, refused_since=None)


def _spent(issued: Issued | None) -> Issued | None:
    return None if issued is None else replace(issued, token="", certificate_pem="")
