"""The only loop: ask the core for the next action, perform it through a port, feed the event back, persist, again.

Rules:

* Nothing is decided here. `agent.core.change.decide` says what is next, `agent.core.change.giving_up` what a failure
  means; how each thing is done is in `agent.change.issuing` and `agent.change.activating`.
* The record is durable before the step it announces is taken; see `agent.change.in_flight`.
* It refuses to sleep: `run` returns when the next action is to wait. The caller decides how long it has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.change import issuing
from agent.change.prover import ComparedError
from agent.change.world import NoDependants
from agent.core.change import decide, giving_up, probation, probation_events
from agent.core.change.events import Activated, ChangeEvent, Condemned, Confirmed, Hastened, Rejected, Resumed
from agent.core.change.lifecycle import ChangeRecord, Phase, waits_for_word
from agent.core.change.reserve import LACKING
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.frozen import frozen
from agent.core.values import Kind
from agent.core.when import retirement
from agent.errors import CloudError, DamagedError, MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.change.activating import Activating
    from agent.change.in_flight import InFlight
    from agent.change.issuing import Issuing
    from agent.change.prover import Prover
    from agent.change.sets import Sets
    from agent.change.source import SourceSession
    from agent.change.world import Settings, World


@frozen
class Outcome:
    """How far a run came.

    Attributes:
        record: The change as it is now.
        wait: Why it waits and until when; None when the change has ended.
        unsaved_certificate: Whether a certificate that came is in memory alone, so that it is lost with the process.
    """

    record: ChangeRecord
    wait: decide.Wait | None = None
    unsaved_certificate: bool = False


def _brings_a_certificate(record: ChangeRecord) -> bool:
    """Whether a certificate has come that no generation holds yet."""
    return record.issued is not None and bool(record.issued.certificate_pem)


@frozen
class Means:
    """What the engine carries a change on with.

    Attributes:
        in_flight: The change.
        sets: The sets on the gateway.
        prover: Tells whether a set gets through.
        source: The session over which a certificate is asked for.
        issuing: Performs what gets a certificate.
        activating: Performs what puts a generation in use.
    """

    in_flight: InFlight
    sets: Sets
    prover: Prover
    source: SourceSession
    issuing: Issuing
    activating: Activating


class Engine:
    """Carries one change at a time from phase to phase. Use `recover` first, `close` last."""

    def __init__(self, world: World, settings: Settings, means: Means) -> None:
        self._world = world
        self._settings = settings
        self._in_flight = means.in_flight
        self._sets = means.sets
        self._prover = means.prover
        self._source = means.source
        self._issuing = means.issuing
        self._activating = means.activating
        self._base_accepted = False

    def close(self) -> None:
        """End the session, if there is one."""
        self._source.close()

    @property
    def change(self) -> ChangeRecord | None:
        """The change in flight."""
        return self._in_flight.record

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
            self._in_flight.tell("note", note)
        found = recovery.change
        self._in_flight.take_over(found)
        if found is not None and not orderly and self._was_under_way(found):
            self._in_flight.take(Resumed(at=self._world.clock.now()))
        return None if self.change is None else self._note_activation(self.change)

    def _note_activation(self, record: ChangeRecord) -> ChangeRecord:
        """Take up that a set is in use of which the record does not say so: what leads away from it leads back."""
        if not record.phase.activated and self.is_in_use():
            self._in_flight.take(Activated(at=max(self._world.clock.now(), record.entered_at)))
        return self._in_flight.require()

    def hasten(self) -> None:
        """Try the next step now, because a person asks for it, instead of when the last failure's delay is over."""
        record = self._in_flight.require()
        unheard = record.phase is Phase.KEY_READY and record.unanswered
        if (record.retry_at is not None or unheard) and not record.phase.ended:
            self._in_flight.take(Hastened(at=self._world.clock.now()))

    def doubt(self) -> None:
        """Prove the set on probation soon: the daemon's session with it was lost, or refused."""
        record = self._in_flight.require()
        event = probation_events.doubted(record, self._facts(record), self._settings.limits)
        if event is not None:
            self._in_flight.take(event)

    def _was_under_way(self, record: ChangeRecord) -> bool:
        """Whether a step may have been cut off: only then does a start count as one without progress."""
        if record.phase is Phase.REQUESTED:
            return True
        action = decide.next_action(record, self._facts(record), self._settings.limits)
        return not isinstance(action, decide.Wait | decide.Finish)

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
            record = self._in_flight.require()
            if not self._in_flight.saved:
                wait = self._in_flight.save_again()
                if wait is not None:
                    return Outcome(record=record, wait=wait, unsaved_certificate=_brings_a_certificate(record))
            record = self._hear(record)
            facts = self._facts(record)
            action = decide.next_action(record, facts, self._settings.limits)
            if isinstance(action, decide.Finish):
                return self._finish(record)
            if not isinstance(action, decide.Wait) and stop():
                action = decide.stopped(facts.clock.now)
            if self._rests_on(action) and not self._in_flight.settle():
                continue
            if isinstance(action, decide.Wait):
                return Outcome(record=record, wait=action)
            self._in_flight.take(self._attempt(action, record, facts))

    def _rests_on(self, action: decide.Action) -> bool:
        """Whether the disk should know how far the change is during an action, since it takes long or others see it."""
        serves = isinstance(action, decide.Deploy) and not isinstance(self._world.dependants, NoDependants)
        return serves or isinstance(action, decide.Wait)

    def _hear(self, record: ChangeRecord) -> ChangeRecord:
        """Return the record once the word of the gateway's application is taken, if it is waited for and has come."""
        if not waits_for_word(record):
            return record
        try:
            given = self._world.confirmations.given(record.generation)
        except StoreError as error:
            self._in_flight.tell("trouble", error.in_full)
            return record
        if given:
            self._in_flight.take(Confirmed(at=self._world.clock.now(), early=False))
        return self._in_flight.require()

    def _facts(self, record: ChangeRecord) -> decide.Facts:
        linked = self._sets.current()
        current = self._sets.whole(linked)
        gateway = decide.Facts(
            clock=self._world.reading(),
            linked=linked,
            expected_thing=current.manifest.thing_name if current else self._settings.thing_name,
            ends=current.manifest.not_after if current else None,
        )
        history = self._world.store.history()
        return decide.facts_of(record, gateway, history, lambda number: self._sets.whole(number) is not None)

    def _attempt(self, action: decide.Action, record: ChangeRecord, facts: decide.Facts) -> ChangeEvent:
        try:
            if isinstance(action, issuing.ACTIONS):
                return self._issuing.perform(action, record, facts)
            self._source.close()  # from here on other sets connect, with the same client id
            return self._activating.perform(action, record, facts)
        except CloudError as error:
            failure = error.failure
            self._base_accepted = isinstance(error, ComparedError) and error.base_accepted
            facts = replace(facts, base_accepted=self._base_accepted)
        except StoreError as error:
            failure = self._store_failure(error, record)
        except (MaterialError, RefusedError) as error:
            message = f"What this step needs cannot be used: {str(error).removesuffix('.')}."
            failure = Failure(kind=FailureClass.STORE, code=Code.MATERIAL, message=message, remedy=error.hint)
        self._source.close()
        if failure.decisive:
            record = self._note_activation(record)
        later = replace(facts, clock=self._world.reading())
        return giving_up.after_failure(record, failure, later, self._world.chance(), self._settings.limits)

    def _store_failure(self, error: StoreError, record: ChangeRecord) -> Failure:
        """Damage to the very generation that the change is about is decisive: it can never work."""
        prepared = record.phase.activated or record.phase in {Phase.REGISTERED, Phase.PREPARED, Phase.PROVEN}
        damaged = isinstance(error, DamagedError) and prepared and self._sets.whole(record.generation) is None
        code = Code.DAMAGED if damaged else Code.STORE
        return Failure(kind=FailureClass.STORE, code=code, message=str(error), remedy=error.hint, decisive=damaged)

    def _finish(self, record: ChangeRecord) -> Outcome:
        store = self._world.store
        self._source.close()
        if record.phase is Phase.COMMITTED and record.kind is Kind.ENROLL:
            self._spend_token()
        self._in_flight.end()
        if record.phase is Phase.COMMITTED and self._world.reading().believable:
            try:
                history, previous = store.history(), store.previous()
                served = retirement.last_taken_up(history)
                store.prune(self._settings.keep, frozenset() if served is None else frozenset({served}))
                store.retired_keys.destroy(retirement.retired(history), {previous} if previous else ())
            except StoreError as error:
                self._in_flight.tell("trouble", f"Old generations could not be erased: {error.in_full}")
        try:
            store.room.keep_reserve()  # what this change, or one before it, has used
        except StoreError as error:
            self._in_flight.tell("trouble", f"{LACKING}. {error.in_full}")
        return Outcome(record=record)

    def _spend_token(self) -> None:
        """Remove what the vending machine was asked with: before the end is written, so that no power cut keeps it."""
        if self._settings.vending is None:
            return
        try:
            path = self._settings.vending.spend()
        except StoreError as error:
            remedy = "It has bought its certificate: remove it."
            self._in_flight.tell("trouble", f"The token's file could not be removed: {error} {remedy}")
        else:
            if path is not None:
                self._in_flight.tell("note", f"{path} was removed: its token has bought the certificate in use.")

    # -- what people and the ladder ask for --------------------------------------------------------------------------

    def give_up(self, why: str) -> None:
        """End the change in flight because a person wants it: back to the previous set, once that is proven.

        Raises:
            RefusedError: The previous set does not work now, so going back would cut the gateway off.
        """
        record = self._in_flight.require()
        by = f", by {self._world.asked_by}" if self._world.asked_by else ""
        message = f"Given up{by}: {why}."
        failure = Failure(kind=FailureClass.OPERATOR, code=Code.GIVEN_UP, message=message, decisive=True)
        now = self._world.clock.now()
        if record.phase.ended:
            raise RefusedError(f"Change {record.id} has ended already, as {record.phase}.", hint="`iot-cert status`.")
        record = self._note_activation(record)
        if not record.phase.activated:
            self._in_flight.take(Rejected(at=now, failure=failure))
            return
        if record.base is None:
            raise RefusedError(
                "This is the gateway's first certificate: there is nothing to go back to.",
                hint="`iot-cert rotate` replaces it once this change is committed.",
            )
        self._source.close()
        try:
            self._prover.probe(self._sets.candidate(record.base))
        except (CloudError, StoreError) as error:
            what = "does not connect" if isinstance(error, CloudError) else "cannot be used"
            message = f"Generation {record.base} {what} now, so the gateway stays on generation {record.generation}: "
            raise RefusedError(message + str(error), hint=error.hint) from error
        self._in_flight.take(Condemned(at=now, failure=failure))

    def confirm(self) -> ChangeRecord:
        """Take the word of a person or program that the set on probation works: one more proof makes it final.

        Returns:
            The change in flight, to be carried on; with none in flight the last one, which is final already.

        Raises:
            RefusedError: Nothing is on probation, or what is on probation is being given up.
        """
        record = self._in_flight.record
        if record is None:
            last = next(reversed(self._world.store.history()), None)
            if last is not None and last.phase.succeeded:
                return last
        refusal = probation.unconfirmable(record)
        if record is None or refusal:
            raise RefusedError(refusal, hint="`iot-cert status` shows how things are.")
        if not record.phase.ended:
            self._in_flight.take(Confirmed(at=self._world.clock.now()))
        return record

    def end_for_a_rescue(self, why: str) -> None:
        """End the change in flight, wherever it is, for a rescue that goes before it. The links stay where they are.

        Args:
            why: What goes before it, as a sentence for people.
        """
        record, now = self._in_flight.require(), self._world.clock.now()
        failure = Failure(kind=FailureClass.OPERATOR, code=Code.SET_ASIDE, message=why, decisive=True)
        self._source.close()
        if not record.phase.ended:
            self._in_flight.take(Rejected(at=now, failure=failure))

    def is_in_use(self) -> bool:
        """Whether the change in flight has put its set in use; see `decide.in_use`."""
        return decide.in_use(self._in_flight.require(), self._sets.current())

    @property
    def base_accepted(self) -> bool:
        """Whether the last failure was met where the base of its change got through; then the set in use works."""
        return self._base_accepted

    def note(self, text: str) -> None:
        """Tell a sentence that is no step of a change."""
        self._in_flight.tell("note", text)
