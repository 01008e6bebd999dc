"""The only loop: ask the core for the next action, perform it through a port, feed the event back, persist, again.

Rules:

* Nothing is decided here. What to do next, what a failure means and every sentence about it come from
  `agent.core.change.decide`; this module knows how to do each thing and what to hand to whom.
* The record is durable before the step it announces is taken. When it cannot be made durable nothing further is done
  before it is: what has happened is kept in memory and saved again. Only what a restart can do without is left for
  later; see `agent.core.change.probation`.
* A full disk stops no step that leads back to a set that works: it may use the store's reserve. No other step may.
* A session is used for one source and dropped at the first error, so that a late reply can never be taken for the
  answer to another request.
* It refuses to sleep: `run` returns when the next action is to wait. The caller decides how long it has.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from agent.change.prover import AskedError, ComparedError, Prover, ask
from agent.core import timekeeping
from agent.core.aws import topics
from agent.core.change import acceptance, decide, probation
from agent.core.change.lifecycle import (
    Activated,
    CertificateIssued,
    ChangeRecord,
    Condemned,
    Confirmed,
    Deployed,
    Doubted,
    Dropped,
    Event,
    GenerationPrepared,
    Hastened,
    Issued,
    KeyReady,
    Phase,
    ProbationHeld,
    ProbationPassed,
    Proven,
    Registered,
    Rejected,
    RequestBegun,
    Resumed,
    Retired,
    RolledBack,
    TokenExpired,
    advance,
    waits_for_word,
)
from agent.core.change.reserve import LACKING
from agent.core.dependants import Occasion
from agent.core.failure import failures
from agent.core.failure.failure import TURNED_AWAY, Failure, FailureClass
from agent.core.report.checks import Examination
from agent.core.text import clock_time
from agent.core.values import FALLBACK_NAME, Candidate, Kind, Manifest, Origin
from agent.core.when import retirement
from agent.core.when.renewal import renewal_window
from agent.errors import CloudError, DamagedError, MaterialError, RefusedError, StoreError, StoreInDoubtError
from agent.ports import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.change.world import Provisioning, Settings, World
    from agent.core.change import ladder
    from agent.core.values import CertificateFacts, CredentialSet, Generation, Handmade, TrustBundle
    from agent.ports import CreatedCertificate, Session


P = ParamSpec("P")
T = TypeVar("T")

MAX_REASON = 500  # characters

MATERIAL = "material"  # the code of a step that lacks a file, such as the claim's

_ENROL_FIRST = "Run `iot-cert enroll` or `iot-cert rotate` first."


class _Leading(Protocol):
    """A change, or the generation it makes: `ChangeRecord` or `Manifest`."""

    @property
    def leads_back(self) -> bool:
        """Whether it leads back to a set that works."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How far a run came.

    Attributes:
        record: The change as it is now.
        wait: Why it waits and until when; None when the change has ended.
    """

    record: ChangeRecord
    wait: decide.Wait | None = None


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What is known of a change before it is planned; see `ChangeRecord`."""

    change: str
    replaces: str | None
    brings: str = ""


@dataclass(frozen=True)
class _Brought:
    """A set that does not come from the cloud, and the certificate that was there before it."""

    credential: CredentialSet
    thing_name: str
    trust: TrustBundle
    replaces: str | None


class Engine:
    """Carries one change at a time from phase to phase. Use `recover` first, `close` last."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._record: ChangeRecord | None = None
        self._saved = True
        self._session: Session | None = None
        self._base_accepted = False
        self._prover = Prover(world, settings, self._tell)

    def close(self) -> None:
        """End the session, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def change(self) -> ChangeRecord | None:
        """The change in flight."""
        return self._record

    def usable(self) -> Generation | None:
        """Return the current generation if it is whole."""
        return self._prover.current_or_none()

    def has_ever_enrolled(self) -> bool:
        """Whether this gateway has, or had, a certificate of its own."""
        if any(record.phase.succeeded for record in self._world.store.history()):
            return True
        try:
            return self._world.store.current() is not None
        except DamagedError:
            return True

    # -- one change ------------------------------------------------------------------------------------------------

    def recover(self, *, orderly: bool = False) -> ChangeRecord | None:
        """Put the store right after whatever happened and take up the change in flight, if any.

        Args:
            orderly: The run before this one is known to have ended at a wait, so that no step was cut off.

        Raises:
            StoreError: The disk does not let it.
        """
        recovery = self._world.store.recover(self._world.clock.now())
        for note in recovery.notes:
            self._tell("note", note)
        self._record, self._saved = recovery.change, True
        if self._record is not None and not orderly and self._was_under_way(self._record):
            self._take(Resumed(at=self._world.clock.now()))
        return self._record

    def hasten(self) -> None:
        """Try the next step now, because a person asks for it, instead of when the last failure's delay is over."""
        record = self._require()
        if record.retry_at is not None and not record.phase.ended:
            self._take(Hastened(at=self._world.clock.now()))

    def doubt(self) -> None:
        """Prove the set on probation soon: the daemon's session with it was lost, or refused."""
        record = self._require()
        event = decide.doubted(record, self._facts(record), self._settings.limits)
        if event is not None:
            self._take(event)

    def _was_under_way(self, record: ChangeRecord) -> bool:
        """Whether a step may have been cut off: only then does a start count as one without progress."""
        if record.phase is Phase.REQUESTED:
            return True
        action = decide.next_action(record, self._facts(record), self._settings.limits)
        return not isinstance(action, decide.Wait | decide.Finish)

    def begin(self, kind: Kind, origin: Origin, reason: str, order: str = "") -> ChangeRecord:
        """Plan a change and make it durable.

        Args:
            kind: What it is to do.
            origin: Who wants it.
            reason: Why, for people.
            order: What ordered it, for whoever must answer; see `ChangeRecord.order`.

        Raises:
            RefusedError: Another change is in flight, or this gateway is in no state for this kind.
            StoreInDoubtError: It is planned, but a power cut may undo that.
            StoreError: The disk does not let it; nothing was planned.
        """
        if self._record is not None:
            raise RefusedError(
                f"Change {self._record.id} ({self._record.kind}) is in flight, in phase {self._record.phase}.",
                hint="Run the same command again to go on with it, or `iot-cert rollback` to give it up.",
            )
        if kind is Kind.ROLLBACK:
            goal = self._way_back(origin), Phase.PREPARED
        else:
            self._check_start(kind, self._current())
            goal = self._world.store.next_number(), Phase.PLANNED
        return self._plan(kind, origin, reason, goal, order=order)

    def _plan(
        self,
        kind: Kind,
        origin: Origin,
        reason: str,
        goal: tuple[int, Phase],
        *,
        order: str = "",
        made: _Made | None = None,
    ) -> ChangeRecord:
        (generation, phase), now = goal, self._world.clock.now()
        current = self._current()
        made = made or _Made(change=self._world.new_id(), replaces=self._replaced(current))
        record = ChangeRecord(
            id=made.change,
            kind=kind,
            origin=origin,
            reason=reason.encode(errors="replace").decode()[:MAX_REASON],
            generation=generation,
            base=current,
            phase=phase,
            planned_at=now,
            entered_at=now,
            order=order,
            replaces=made.replaces,
            unproven=phase is Phase.PROVEN,  # before it has proven itself
            brings=made.brings,
        )
        try:
            self._write(record, self._world.store.save_change, record)
        except StoreInDoubtError:
            self._record, self._saved = record, False  # it is on disk, so it is known, whatever becomes of it
            raise
        self._record, self._saved = record, True
        does = "makes" if kind.makes_a_generation else "goes back to"
        self._tell(phase, f"{kind} planned: {reason.rstrip('.')}; it {does} generation {generation}.")
        return record

    def _current(self) -> int | None:
        """Return what `current` points at, or None; something else in its place points at nothing."""
        try:
            return self._world.store.current()
        except DamagedError:
            return None

    def _replaced(self, current: int | None) -> str | None:
        generation = self._prover.generation_or_none(current)
        return generation.manifest.certificate_id if generation else None

    def _check_start(self, kind: Kind, current: int | None) -> None:
        if kind is Kind.ROTATE and current is None:
            raise RefusedError("This gateway has no certificate to rotate yet.", hint="Run `iot-cert enroll`.")
        if kind is Kind.ROTATE and self.usable() is None:
            raise RefusedError(
                f"Generation {current} is damaged, so there is no set to rotate from.",
                hint="`iot-cert rotate` looks for another way to a certificate.",
            )
        if kind is Kind.ENROLL and self._settings.enrollment is None:
            raise RefusedError(
                "Enrolment is not configured.", hint="Add `enrollment:` with a template and a claim certificate."
            )

    def _way_back(self, origin: Origin) -> int:
        previous = self._world.store.previous()
        if previous is None or previous == self._current():
            raise RefusedError(
                "There is no previous generation to go back to.", hint="`iot-cert rotate` makes a new one."
            )
        found = self._world.store.generation(previous)
        if origin is not Origin.LADDER:  # which has just seen it accepted
            self._refuse_retired(found.manifest.certificate_id, previous)
        return previous

    def _refuse_retired(self, certificate_id: str, number: int) -> None:
        for record in self._world.store.history():
            if record.retired_at is not None and retirement.left_behind(record) == certificate_id:
                raise RefusedError(
                    f"The certificate of generation {number} was retired at {clock_time(record.retired_at)}, so "
                    "the cloud does not accept it any more.",
                    hint="The current set stays in use; `iot-cert rotate` makes a new one.",
                )

    def run(self, stop: Callable[[], bool] = lambda: False) -> Outcome:
        """Carry the change on until it has ended or has to wait.

        Args:
            stop: Asked before each step; when it says so, the run ends there, with nothing cut off. To write down how a
                change ended is no step: an order that stops a change which has just ended wants what comes after it.

        Raises:
            RuntimeError: There is no change.
            StoreError: Its end could not be made durable; running again goes on.
        """
        while True:
            record = self._require()
            if not self._saved:
                wait = self._save_again(record)
                if wait is not None:
                    return Outcome(record=record, wait=wait)
            record = self._hear(record)
            facts = self._facts(record)
            action = decide.next_action(record, facts, self._settings.limits)
            if isinstance(action, decide.Wait):
                return Outcome(record=record, wait=action)
            if isinstance(action, decide.Finish):
                return self._finish(record)
            if stop():
                return Outcome(record=record, wait=decide.stopped(facts.clock.now))
            self._take(self._attempt(action, record, facts))

    def _hear(self, record: ChangeRecord) -> ChangeRecord:
        """Return the record once the word of the gateway's application is taken, if it is waited for and has come."""
        if not waits_for_word(record):
            return record
        try:
            given = self._world.confirmations.given(record.generation)
        except StoreError as error:
            self._tell("trouble", f"{error} {error.hint}".rstrip())
            return record
        if given:
            self._take(Confirmed(at=self._world.clock.now(), early=False))
        return self._require()

    def _require(self) -> ChangeRecord:
        if self._record is None:
            raise RuntimeError("there is no change to carry on")
        return self._record

    def _facts(self, record: ChangeRecord) -> decide.Facts:
        current = self._prover.current_or_none()
        thing = current.manifest.thing_name if current else self._settings.thing_name
        number = current.number if current else None
        return decide.Facts(
            clock=self._prover.clock(),
            current=number,
            expected_thing=thing,
            requests=decide.requests_of(other for other in self._world.store.history() if other.id != record.id),
            base_whole=record.phase not in decide.ASKS_WITH_THE_BASE or self._is_whole(record.base),
        )

    def _is_whole(self, number: int | None) -> bool:
        return self._prover.generation_or_none(number) is not None

    def _attempt(self, action: decide.Action, record: ChangeRecord, facts: decide.Facts) -> Event:
        try:
            return self._perform(action, record, facts)
        except CloudError as error:
            failure = error.failure
            self._base_accepted = isinstance(error, ComparedError) and error.base_accepted
            facts = replace(facts, base_accepted=self._base_accepted)
        except StoreError as error:
            failure = self._store_failure(error, record)
        except (MaterialError, RefusedError) as error:
            message = f"What this step needs cannot be used: {error}"
            failure = Failure(kind=FailureClass.STORE, code=MATERIAL, message=message, remedy=error.hint)
        self.close()
        later = replace(facts, clock=self._prover.clock())
        return decide.after_failure(record, failure, later, self._world.chance(), self._settings.limits)

    def _store_failure(self, error: StoreError, record: ChangeRecord) -> Failure:
        """Damage to the very generation that the change is about is decisive: it can never work."""
        prepared = record.phase.activated or record.phase in {Phase.PREPARED, Phase.PROVEN}
        damaged = (
            isinstance(error, DamagedError) and prepared and self._prover.generation_or_none(record.generation) is None
        )
        code = "damaged" if damaged else "store"
        return Failure(kind=FailureClass.STORE, code=code, message=str(error), remedy=error.hint, decisive=damaged)

    def _take(self, event: Event) -> None:
        before = self._require()
        record = advance(before, event)
        self._record = record
        if self._saved and probation.is_quiet(before, record):
            return
        self._saved = False
        try:
            self._write(record, self._world.store.save_change, record)
        except StoreError as error:
            self._tell("trouble", f"The change record could not be saved: {error}")
        else:
            self._saved = True
        self._announce(before, record, event)  # not before it is durable: nobody hears of what a power cut may undo

    def _save_again(self, record: ChangeRecord) -> decide.Wait | None:
        """Return None once the record is durable, or the wait before the next try."""
        try:
            self._write(record, self._world.store.save_change, record)
        except StoreError as error:
            now = self._world.clock.now()
            failure = Failure(kind=FailureClass.STORE, code="store", message=str(error), remedy=error.hint)
            until = now + timedelta(seconds=5)
            return decide.Wait(
                why=f"{error} Nothing further is done before.", until=until, code="retry", failure=failure
            )
        self._saved = True
        return None

    def _write(self, what: _Leading, step: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Take a step of the store's; what leads back to a set that works may use the reserve for it."""
        if not what.leads_back:
            return step(*args, **named)
        return self._world.store.on_reserve(partial(self._tell, "note"), step, *args, **named)

    def _finish(self, record: ChangeRecord) -> Outcome:
        store = self._world.store
        self.close()
        self._write(record, store.finish, record)
        self._record = None
        if record.phase is Phase.COMMITTED and self._prover.clock().believable:
            try:
                served = retirement.last_taken_up(store.history())
                store.prune(self._settings.keep, frozenset() if served is None else frozenset({served}))
            except StoreError as error:
                self._tell("trouble", f"Old generations could not be erased: {error}")
        try:
            store.keep_reserve()  # what this change, or one before it, has used
        except StoreError as error:
            self._tell("trouble", f"{LACKING}. {error}")
        return Outcome(record=record)

    # -- the actions -----------------------------------------------------------------------------------------------

    def _perform(self, action: decide.Action, record: ChangeRecord, facts: decide.Facts) -> Event:
        match action:
            case decide.GenerateKey():
                return self._generate_key(record)
            case decide.BeginRequest():
                return self._begin_request(record)
            case decide.RequestCertificate():
                return self._request(record, facts)
            case decide.RegisterThing():
                return self._register(record, facts)
            case decide.PrepareGeneration():
                return self._prepare(record)
            case decide.Activate():
                return self._activate(record, facts)
            case decide.RollBack():
                return self._roll_back(record)
            case _:
                return self._perform_rest(action, record, facts)

    def _perform_rest(self, action: decide.Action, record: ChangeRecord, facts: decide.Facts) -> Event:
        now = facts.clock.now
        match action:
            case decide.AssumeRegistered():
                return Registered(at=now, thing_name=str(facts.expected_thing))
            case decide.DropCertificate():
                return TokenExpired(at=now)
            case decide.Reject(failure=failure):
                return Rejected(at=now, failure=failure)
            case decide.Prove() | decide.HoldProbation() | decide.EndProbation():
                return self._prove(action, record)
            case decide.Unconfirmed():
                return self._unconfirmed(action, record)
            case decide.Deploy():
                return self._deploy(record)
            case _:
                raise RuntimeError(f"the engine does not know the action {type(action).__name__}")

    def _generate_key(self, record: ChangeRecord) -> Event:
        self._write(record, self._world.store.preflight, back=record.leads_back)
        current = self._prover.generation_or_none(record.base)
        key_pem = self._world.materials.new_key()
        thing = current.manifest.thing_name if current else self._settings.thing_name
        current_pem = current.credential.certificate_pem if current else None
        request_pem = self._world.materials.request(key_pem, current_pem, thing or FALLBACK_NAME)
        self._write(record, self._world.store.stage_key, record.generation, key_pem, request_pem)
        return KeyReady(at=self._world.clock.now())

    def _begin_request(self, record: ChangeRecord) -> Event:
        """Connect before the request is counted: a connection that fails has asked for nothing."""
        self._staged_key(record)
        self._source_session(record)
        return RequestBegun(at=self._world.clock.now())

    def _staged_key(self, record: ChangeRecord) -> tuple[bytes, bytes]:
        try:
            return self._world.store.staged_key(record.generation)
        except DamagedError as error:
            remedy = "A certificate for it would be worthless; another key is made."
            failure = Failure(kind=FailureClass.STORE, code="key-lost", message=str(error), remedy=remedy)
            raise CloudError(failure) from error

    def _source_session(self, record: ChangeRecord) -> Session:
        if self._session is None:
            candidate = self._source(record)
            try:
                self._session = self._world.cloud.connect(candidate)
            except CloudError as error:
                raise CloudError(self._prover.judged(error, candidate, record)) from error
        return self._session

    def _source(self, record: ChangeRecord) -> Candidate:
        """Return what a certificate is asked for with: the claim to enrol, the current set to rotate."""
        if record.kind is Kind.ENROLL:
            return self._settings.claim()
        base = self._prover.generation_or_none(record.base)
        if base is None:
            raise CloudError(decide.source_lost(record))
        return self._prover.candidate_of(base)

    def _request(self, record: ChangeRecord, facts: decide.Facts) -> Event:
        key_pem, request_pem = self._staged_key(record)
        session = self._source_session(record)
        created = session.create_certificate(request_pem)
        leaf, canonical = self._accepted(created, key_pem, facts)
        now = self._world.clock.now()
        return CertificateIssued(
            at=now,
            anchor=session.anchor,
            issued=Issued(
                certificate_pem=canonical,
                certificate_id=leaf.sha256,
                token=created.token,
                at=now,
            ),
        )

    def _accepted(
        self, created: CreatedCertificate, key_pem: bytes, facts: decide.Facts
    ) -> tuple[CertificateFacts, str]:
        """Return the leaf that came and its chain in canonical form, once they have passed acceptance."""
        pem = created.certificate_pem
        chain: tuple[CertificateFacts, ...] = ()
        canonical, problem = b"", ""
        try:
            if len(pem) <= acceptance.MAX_CERTIFICATE_PEM:
                chain, canonical = self._world.materials.read_chain(pem.encode())
        except MaterialError as error:
            problem = str(error)
        issuance = acceptance.Issuance(
            size=len(pem),
            chain=chain,
            problem=problem,
            claimed_id=created.certificate_id,
            token_size=len(created.token),
            key_sha256=self._world.materials.public_key_sha256(key_pem),
            known=self._known_certificates(),
        )
        failure, warnings = acceptance.accept(issuance, facts.clock)
        if failure is not None:
            raise CloudError(failure)
        for warning in warnings:
            self._tell("note", warning)
        return chain[0], canonical.decode()

    def _known_certificates(self) -> frozenset[str]:
        found = (self._prover.current_or_none(), self._prover.previous_or_none())
        return frozenset(generation.credential.leaf.sha256 for generation in found if generation)

    def _register(self, record: ChangeRecord, facts: decide.Facts) -> Event:
        issued = record.issued
        if issued is None:
            raise RuntimeError("there is no certificate to register")
        session = self._source_session(record)
        provisioning = self._provisioning(record)
        thing_name = session.register_thing(provisioning.template, issued.token, self._parameters(record, facts))
        if facts.expected_thing is not None and thing_name != facts.expected_thing:
            raise CloudError(_wrong_thing(thing_name, facts.expected_thing))
        return Registered(at=self._world.clock.now(), thing_name=thing_name)

    def _provisioning(self, record: ChangeRecord) -> Provisioning:
        if record.kind is Kind.ENROLL and self._settings.enrollment is not None:
            return self._settings.enrollment
        return self._settings.rotation

    def _parameters(self, record: ChangeRecord, facts: decide.Facts) -> Mapping[str, str]:
        parameters = dict(self._provisioning(record).parameters)
        if record.kind is Kind.ROTATE and facts.expected_thing is not None:
            parameters.setdefault("ThingName", facts.expected_thing)
        return parameters

    def _prepare(self, record: ChangeRecord) -> Event:
        """Write the generation. A staged key that is gone makes the certificate worthless."""
        self.close()
        if record.issued is None or record.thing_name is None:
            raise RuntimeError("there is no registered certificate to prepare")
        now = self._world.clock.now()
        made = self._prover.generation_or_none(record.generation)
        if made is not None:  # before the record could say so; whether its name is durable nobody knows, so once more
            self._write(record, self._world.store.prepare, made.manifest, made.credential, made.trust)
            return GenerationPrepared(at=now)
        key_pem, _ = self._staged_key(record)
        content = self._world.materials.credential_set(key_pem, record.issued.certificate_pem.encode())
        base = self._prover.generation_or_none(record.base)
        manifest = Manifest(
            number=record.generation,
            kind=record.kind,
            change=record.id,
            origin=record.origin,
            thing_name=record.thing_name,
            created_at=now,
            **_dated(content),
        )
        self._write(record, self._world.store.prepare, manifest, content, self._trust_for(record, base))
        return GenerationPrepared(at=self._world.clock.now())

    def _trust_for(self, record: ChangeRecord, base: Generation | None) -> TrustBundle:
        """Return the anchors of a new set: those before, unless the claim's own had to verify the endpoint."""
        if base is None or (record.anchor and record.anchor not in base.trust.fingerprints):
            return self._settings.anchors()
        return base.trust

    def _activate(self, record: ChangeRecord, facts: decide.Facts) -> Event:
        # Once it is in use, what is said is said about it, also when a power cut kept that from the record.
        if facts.current != record.generation and probation.word_within(record, self._settings.limits) is not None:
            try:
                self._world.confirmations.expect()
            except StoreError as error:  # then nothing that is said there is believed either
                self._tell("trouble", f"{error} {error.hint}".rstrip())
        self._write(record, self._world.store.activate, record.generation)
        return Activated(at=facts.clock.now)

    def _prove(self, action: decide.Action, record: ChangeRecord) -> Event:
        self.close()
        anchor = self._prover.prove(self._prover.candidate(record.generation), record)
        clock = self._prover.clock()
        synchronised = clock.state is timekeeping.ClockState.SYNCHRONISED
        match action:
            case decide.HoldProbation():
                return ProbationHeld(at=clock.now, synchronised=synchronised, anchor=anchor)
            case decide.EndProbation():
                return ProbationPassed(at=clock.now, synchronised=synchronised, anchor=anchor)
            case decide.Unconfirmed(failure=failure):
                return ProbationPassed(at=clock.now, synchronised=synchronised, anchor=anchor, problem=failure)
            case _:
                return Proven(at=clock.now, synchronised=synchronised, anchor=anchor)

    def _unconfirmed(self, action: decide.Unconfirmed, record: ChangeRecord) -> Event:
        """Go back to a base that connects; without one the set stays, once it is proven again, and says so."""
        self.close()
        failure = self._affordable(action.failure, record)
        if record.base is None:
            message = f"{failure.message} There is no set to go back to, so this set stays."
            failure = replace(failure, decisive=False, message=message)
        if failure.decisive:
            return Condemned(at=self._world.clock.now(), failure=failure)
        return self._prove(replace(action, failure=failure), record)

    def _roll_back(self, record: ChangeRecord) -> Event:
        """Go back to the base, or to another set that is whole; with none left the ladder must go on from here."""
        store, now = self._world.store, self._world.clock.now()
        homes = store.fallbacks(record.generation)
        if not homes:
            return Rejected(at=now, failure=record.condemned or _nothing_left())
        home = record.base if record.base in homes else homes[0]
        self._write(record, store.roll_back, home, record.generation)
        try:
            self._world.dependants.take_up(Occasion.ROLLED_BACK)
        except CloudError as error:  # they are tried again by themselves; the set before is in use either way
            self._tell("trouble", f"{error} {error.hint}".rstrip(), error.failure.kind)
        return RolledBack(at=now)

    def _deploy(self, record: ChangeRecord) -> Event:
        self.close()
        try:
            self._world.dependants.take_up(Occasion.ACTIVATED)
        except CloudError as error:
            raise CloudError(self._affordable(error.failure, record)) from error
        return decide.deployed(record, self._world.clock.now(), self._settings.limits)

    def _affordable(self, failure: Failure, record: ChangeRecord) -> Failure:
        """Let a dependant turn a change back only to a set that connects and will for long: the gateway is first."""
        if not failure.decisive or record.base is None:
            return failure
        stays = ""
        try:
            base = self._prover.candidate(record.base)
            if self._outlives(record.generation, base.credential.leaf):
                stays = f"Generation {record.base} ends at {clock_time(base.credential.leaf.not_after)}"
            else:
                self._prover.probe(base)
        except (CloudError, StoreError) as error:
            stays = f"Generation {record.base} does not connect now ({error})"
        if not stays:
            return failure
        return replace(failure, decisive=False, message=f"{failure.message} {stays}, so this set stays.")

    def _outlives(self, generation: int, leaf: CertificateFacts) -> bool:
        """Whether going back, each time anew, would in the end leave this gateway without a certificate."""
        new = self._prover.generation_or_none(generation)
        window = renewal_window(leaf.not_before, leaf.not_after, self._settings.renewal)
        longer = new is not None and new.credential.leaf.not_after > leaf.not_after
        return longer and self._world.clock.now() >= window.emergency_at

    # -- what people and the ladder ask for --------------------------------------------------------------------------

    def give_up(self, why: str) -> None:
        """End the change in flight because a person wants it: back to the previous set, once that is proven.

        Raises:
            RefusedError: The previous set does not work, so going back would cut the gateway off.
            CloudError: It could not be told whether the previous set works.
        """
        record = self._require()
        message = f"Given up: {why}."
        failure = Failure(kind=FailureClass.OPERATOR, code="given-up", message=message, decisive=True)
        now = self._world.clock.now()
        if record.phase.ended:
            raise RefusedError(f"Change {record.id} has ended already, as {record.phase}.", hint="`iot-cert status`.")
        if record.phase is Phase.PROVEN and self._current() == record.generation:
            self._take(Activated(at=now))  # it took effect before the record could say so
            record = self._require()
        if not record.phase.activated:
            self._take(Rejected(at=now, failure=failure))
            return
        if record.base is None:
            raise RefusedError(
                "This is the gateway's first certificate: there is nothing to go back to.",
                hint="`iot-cert rotate` replaces it once this change is committed.",
            )
        self.close()
        try:
            self._prover.probe(self._prover.candidate(record.base))
        except CloudError as error:
            raise RefusedError(
                f"Generation {record.base} does not connect now, so the gateway stays on generation "
                f"{record.generation}: {error}",
                hint=error.hint,
            ) from error
        self._take(Condemned(at=now, failure=failure))

    def confirm(self) -> ChangeRecord:
        """Take the word of a person or program that the set on probation works: one more proof makes it final.

        Returns:
            The change in flight, to be carried on; with none in flight the last one, which is final already.

        Raises:
            RefusedError: Nothing is on probation, or what is on probation is being given up.
        """
        record = self._record
        if record is None:
            last = next(reversed(self._world.store.history()), None)
            if last is not None and last.phase.succeeded:
                return last
        refusal = probation.unconfirmable(record)
        if record is None or refusal:
            raise RefusedError(refusal, hint="`iot-cert status` shows how things are.")
        if not record.phase.ended:
            self._take(Confirmed(at=self._world.clock.now()))
        return record

    def set_aside(self, why: str) -> None:
        """End the change in flight, wherever it is, for a rescue that goes before it. The links stay where they are.

        Args:
            why: What goes before it, as a sentence for people.
        """
        record, now = self._require(), self._world.clock.now()
        failure = Failure(kind=FailureClass.OPERATOR, code="set-aside", message=why, decisive=True)
        self.close()
        if not record.phase.ended:
            self._take(Rejected(at=now, failure=failure))

    def is_in_use(self) -> bool:
        """Whether the change in flight has put its set in use, also when a power cut kept that from the record.

        A recovery may have moved `current` to a set that a rollback is still to prove: that is not the change's doing.
        """
        record = self._require()
        return record.phase.activated or (record.phase is Phase.PROVEN and record.generation == self._current())

    @property
    def base_accepted(self) -> bool:
        """Whether the last failure was met where the base of its change got through; then the set in use works."""
        return self._base_accepted

    def is_about(self, credential: CredentialSet | None, trust: TrustBundle) -> bool:
        """Whether the change in flight brings just this certificate, if one is named, and these anchors."""
        record = self._record
        if record is None or record.kind is not (Kind.IMPORT if credential else Kind.TRUST):
            return False
        made = self._prover.generation_or_none(record.generation)
        if made is None or made.trust.fingerprints != trust.fingerprints:
            return False
        return credential is None or made.manifest.certificate_id == credential.leaf.sha256

    def adopt(self, found: Handmade) -> ChangeRecord:
        """Plan a change that proves and uses a key and certificate which were put in place by hand.

        Raises:
            RefusedError: Another change is in flight.
            StoreError: The generation could not be written; nothing was planned.
            MaterialError: There are no trust anchors to prove it with.
        """
        if self._record is not None:
            raise RefusedError(f"Change {self._record.id} is in flight.")
        why = f"the key and certificate of generation {found.number} were replaced by hand"
        self._tell("by-hand", f"{why[:1].upper()}{why[1:]}; they are proven before they are used.")
        trust = found.trust or self._settings.anchors()
        brought = _Brought(found.credential, found.thing_name, trust, found.replaced)
        return self._bring_in(brought, why)

    def adopt_salvaged(self, why: str) -> ChangeRecord:
        """Plan a change that uses the salvaged set which the last climb found accepted.

        Raises:
            RefusedError: It found none, or another change is in flight.
            StoreError: The generation could not be written; nothing was planned.
        """
        self._refuse_a_second()
        candidate, where = self._prover.salvaged
        reason = f"{why}; {where}"[:MAX_REASON]
        replaces = self._replaced(self._current())
        brought = _Brought(candidate.credential, str(candidate.thing_name), candidate.trust, replaces)
        return self._bring_in(brought, reason, origin=Origin.LADDER)

    def _refuse_a_second(self) -> None:
        if self._record is not None:
            raise RefusedError(
                f"Change {self._record.id} ({self._record.kind}) is in flight; it comes first.",
                hint="Try again when it has ended; `iot-cert status` shows how far it is.",
            )

    def bring_in(
        self, credential: CredentialSet, thing_name: str, trust: TrustBundle, reason: str, *, unproven: bool = False
    ) -> ChangeRecord | None:
        """Plan a change that uses a key and certificate which a person brings along.

        Args:
            credential: The key and certificate.
            thing_name: The thing they are for.
            trust: The anchors to go with them.
            reason: Why, for people.
            unproven: Activate them before they have proven themselves; probation proves them after.

        Returns:
            The planned change, or None when they are in use already.

        Raises:
            RefusedError: Another change is in flight.
            StoreError: The generation could not be written; nothing was planned.
        """
        self._refuse_a_second()
        current = self.usable()
        replaces = current.manifest.certificate_id if current else None
        if replaces == credential.leaf.sha256:
            return None
        return self._bring_in(_Brought(credential, thing_name, trust, replaces), reason, unproven=unproven)

    def _bring_in(
        self, brought: _Brought, reason: str, *, unproven: bool = False, origin: Origin = Origin.TECHNICIAN
    ) -> ChangeRecord:
        manifest = Manifest(
            number=self._world.store.next_number(),
            kind=Kind.IMPORT,
            change=self._world.new_id(),
            origin=origin,
            thing_name=brought.thing_name,
            created_at=self._world.clock.now(),
            **_dated(brought.credential),
        )
        self._write(manifest, self._world.store.preflight, back=manifest.leads_back)
        self._write(manifest, self._world.store.prepare, manifest, brought.credential, brought.trust)
        goal = manifest.number, Phase.PROVEN if unproven else Phase.PREPARED
        made = _Made(change=manifest.change, replaces=brought.replaces, brings=brought.credential.leaf.sha256)
        return self._plan(Kind.IMPORT, origin, reason, goal, made=made)

    def install(self, trust: TrustBundle, origin: Origin, reason: str, order: str = "") -> ChangeRecord | None:
        """Plan a change that gives the current certificate other trust anchors.

        They are proven alone against the live endpoint before they are used, so an anchor that is still needed cannot
        get lost: union before difference.

        Args:
            trust: The new anchors, verified and linted by the caller.
            origin: Who wants it.
            reason: Why, for people.
            order: What ordered it; see `ChangeRecord.order`.

        Returns:
            The planned change, or None when these very anchors are in use.

        Raises:
            RefusedError: Another change is in flight, or there is no set to put them into.
            StoreError: The generation could not be written; nothing was planned.
        """
        self._refuse_a_second()
        current = self.usable()
        if current is None:
            raise RefusedError("This gateway has no usable set to give other anchors to.", hint=_ENROL_FIRST)
        if current.trust.fingerprints == trust.fingerprints:
            return None
        store, change = self._world.store, self._world.new_id()
        number, replaces = store.next_number(), current.manifest.certificate_id
        manifest = replace(
            current.manifest,
            number=number,
            kind=Kind.TRUST,
            change=change,
            origin=origin,
            created_at=self._world.clock.now(),
        )
        self._write(manifest, store.preflight, back=manifest.leads_back)
        self._write(manifest, store.prepare, manifest, current.credential, trust)
        made = _Made(change=change, replaces=replaces)
        return self._plan(Kind.TRUST, origin, reason, (number, Phase.PREPARED), order=order, made=made)

    def other_anchors(self, rung: ladder.Rung) -> TrustBundle:
        """Return the anchors of a rung of the ladder that keeps the certificate; see `Prover.other_anchors`."""
        return self._prover.other_anchors(rung)

    def retire(self, due: retirement.Retirement) -> None:
        """Ask the cloud, over the current set's connection, to deactivate a certificate that is not in use any more.

        Raises:
            CloudError: It was not accepted; asking again later is safe.
            RefusedError: It is in use, by this gateway or by a program that it waits for.
            StoreError: It was accepted and that could not be made durable; asking again is safe.
        """
        self.close()
        current = self._world.store.current()
        if current is None:
            raise RefusedError("There is no current set to ask with.", hint="`iot-cert rotate` finds one that works.")
        candidate = self._prover.candidate(current)
        if candidate.credential.leaf.sha256 == due.certificate_id:
            raise RefusedError("The certificate in use is never retired.")
        held = retirement.spared([due])
        if held is not None:
            raise held
        with closing(self._world.cloud.connect(candidate)) as session:
            session.retire(due.certificate_id)
        self.note_retired(due.change)

    def note_retired(self, change: str) -> None:
        """Write into the history that the cloud accepted a retirement.

        Raises:
            StoreError: It could not be made durable.
        """
        for record in self._world.store.history():
            if record.id == change and record.retired_at is None:
                self._world.store.amend(advance(record, Retired(at=self._world.clock.now())))
                certificate_id = retirement.left_behind(record) or ""
                self._tell("retired", f"The certificate {certificate_id[:12]} is retired: the cloud deactivates it.")

    def drop(self, prefix: str) -> str:
        """Write into the history that a certificate is not asked to be retired any more, and say so.

        Args:
            prefix: The beginning of its id.

        Raises:
            RefusedError: Not one certificate that was left behind begins so, or it is in use.
            StoreError: It could not be made durable.
        """
        history, current = self._world.store.history(), self.usable()
        in_use = retirement.resting_on(current.manifest.certificate_id if current else None, self._record)
        record = retirement.find_dropped(history, in_use, prefix)
        certificate_id = retirement.left_behind(record)
        before = retirement.dropped_already(record)
        if before:
            return f"The certificate {certificate_id} {before}."
        self._world.store.amend(advance(record, Dropped(at=self._world.clock.now())))
        return f"The certificate {certificate_id} is not asked to be retired any more; it may be active in the cloud."

    def rehearse(self) -> str:
        """Do all of a rotation that costs nothing, and return what a real one would begin with.

        Raises:
            RefusedError: A real one would be refused.
            StoreError: There is no room, or the current set is damaged.
            CloudError: The current set does not get through.
        """
        current = self._world.store.current()
        if self._record is not None:
            raise RefusedError(
                f"Change {self._record.id} ({self._record.kind}) is in flight.", hint="`iot-cert status`."
            )
        self._check_start(Kind.ROTATE, current)
        assert current is not None  # noqa: S101 - _check_start refuses it
        self._world.store.preflight()
        self._tell("note", "The state directory has room and can be written.")
        self._rehearse_connection(self._prover.candidate(current))
        requests = decide.requests_of(self._world.store.history())
        wait = decide.budget_wait(requests, self._world.clock.now(), self._settings.limits)
        budget = "" if wait is None else f" It would wait first: {wait.why}."
        template = self._settings.rotation.template
        return (
            f"A rotation would make generation {self._world.store.next_number()} with a new key, ask for one "
            f"certificate and register it by the template {template}.{budget}"
        )

    def _rehearse_connection(self, candidate: Candidate) -> None:
        with closing(self._world.cloud.connect(candidate)) as session:
            session.ask()
            self._tell("note", f"{candidate.name.capitalize()} connects and its request is answered.")
            needed = self._needed(str(candidate.thing_name))
            denied = session.denied(needed)
        if denied:
            raise CloudError(failures.not_authorised(f"subscribe to {', '.join(denied)}"))
        self._tell("note", f"All {len(needed)} topics that answers come on may be subscribed to.")

    def _needed(self, thing: str) -> tuple[str, ...]:
        return topics.needed(thing, self._settings.rotation.template, retires=self._settings.retire)

    def examine(self) -> Examination:
        """Connect with the current set, have a request answered, and try every topic: for the doctor.

        Raises:
            RefusedError: There is no usable set.
        """
        current = self.usable()
        if current is None:
            raise RefusedError("There is no usable set to connect with.", hint=_ENROL_FIRST)
        self.close()
        candidate = self._prover.candidate(current.number)
        found = Examination(thing=current.manifest.thing_name, client_id=candidate.client_id)
        try:
            with closing(self._world.cloud.connect(candidate)) as session:
                ask(session)
        except AskedError as error:
            found = replace(found, asked=error.failure)
        except CloudError as error:
            met = error.failure
            refused = met.code in TURNED_AWAY or met.kind is FailureClass.POLICY
            return replace(found, connected=met, climb=self.find_footing() if refused else None)
        return self._examine_topics(candidate, found)

    def _examine_topics(self, candidate: Candidate, found: Examination) -> Examination:
        needed = self._needed(found.thing)
        try:
            with closing(self._world.cloud.connect(candidate)) as session:
                return replace(found, denied=session.denied(needed))
        except CloudError as error:
            return replace(found, asked=found.asked or error.failure)

    def find_footing(self) -> ladder.Climb:
        """Climb the ladder: find a set that the endpoint accepts, from the current one down to the claim."""
        self.close()
        return self._prover.find_footing()

    # -- telling ---------------------------------------------------------------------------------------------------

    def _announce(self, before: ChangeRecord, record: ChangeRecord, event: Event) -> None:
        if isinstance(event, Resumed):
            self._tell("note", f"Change {record.id} was found in phase {before.phase} and goes on from there.")
        elif isinstance(event, Confirmed):
            final = "one more proof makes it final" if event.early else "it is final once probation is over"
            self._tell("note", f"Generation {record.generation} is confirmed; {final}.")
        elif isinstance(event, Doubted):
            self._tell("note", "The session was lost or refused on probation, so the set is proven now.")
        elif record.failure is not None and record.failure is not before.failure:
            self._tell("trouble", f"{record.failure} {record.failure.remedy}".rstrip(), record.failure.kind)
        elif isinstance(event, Deployed) and event.problem is not None:
            self._tell("trouble", f"The change goes on without this: {event.problem.message}", event.problem.kind)
        elif record.phase is not before.phase:
            self._tell(record.phase, _PHASE_TEXTS[record.phase].format(record=record))

    def note(self, text: str) -> None:
        """Tell a sentence that is no step of a change."""
        self._tell("note", text)

    def _tell(self, code: str, text: str, failure: str | None = None) -> None:
        change = self._record.id if self._record else ""
        now = self._world.clock.now()
        self._world.reporter.report(Progress(at=now, code=code, text=text, change=change, failure=failure))


def _dated(content: CredentialSet) -> dict[str, Any]:
    """Return what a manifest says of a certificate; its files are filled in when they are written."""
    leaf = content.leaf
    return {"certificate_id": leaf.sha256, "not_before": leaf.not_before, "not_after": leaf.not_after, "files": {}}


def _nothing_left() -> Failure:
    message = "There is no other set on this gateway to go back to."
    return Failure(kind=FailureClass.STORE, code="nothing-left", message=message, decisive=True)


def _wrong_thing(got: str, expected: str) -> Failure:
    return Failure(
        kind=FailureClass.PROTOCOL,
        code="wrong-thing",
        message=f"The cloud registered the certificate for {got!r}, but this gateway is {expected!r}.",
        remedy="Check `thing_name` and the template's parameters.",
    )


_PHASE_TEXTS = {
    Phase.PLANNED: "Begun again with a new key.",
    Phase.KEY_READY: "A new private key is ready; it never leaves this device.",
    Phase.REQUESTED: "The cloud is asked for a certificate.",
    Phase.ISSUED: "The certificate has come and is acceptable.",
    Phase.REGISTERED: "The certificate is registered for {record.thing_name}.",
    Phase.PREPARED: "Generation {record.generation} is written.",
    Phase.PROVEN: "Generation {record.generation} connects and its request is answered.",
    Phase.ACTIVE: "Generation {record.generation} is current.",
    Phase.DEPLOYED: "On probation until {record.probation_until:%H:%M:%S} UTC; the previous set is kept ready.",
    Phase.COMMITTED: "Generation {record.generation} held through probation and is final.",
    Phase.REJECTED: "Given up before anything was changed.",
    Phase.ROLLED_BACK: "The set before is current again.",
    Phase.RETIRED: "The replaced certificate is retired.",
}
