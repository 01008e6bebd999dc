"""The actions that put a generation in use and try it: the proof, the links, the other programs, the way back.

How each is done. When, is `agent.core.change.decide`'s to say; what a failure means, `agent.core.change.giving_up`'s.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.change import leave
from agent.core import timekeeping
from agent.core.change import decide, events, probation, probation_events
from agent.core.dependants import Leave, Occasion
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.text import clock_time
from agent.core.when.renewal import renewal_window
from agent.errors import CloudError, StoreError

if TYPE_CHECKING:
    from agent.change.in_flight import InFlight
    from agent.change.prover import Prover
    from agent.change.sets import Sets
    from agent.change.world import Settings, World
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import CertificateFacts


class Activating:
    """Performs them, one at a time."""

    def __init__(self, world: World, settings: Settings, sets: Sets, prover: Prover, in_flight: InFlight) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._prover = prover
        self._write, self._tell = in_flight.write, in_flight.tell

    def perform(self, action: decide.Action, record: ChangeRecord, facts: decide.Facts) -> events.ChangeEvent:
        """Perform an action that follows the preparation of a generation, and return what happened.

        Raises:
            AgentError: It failed.
        """
        match action:
            case decide.Prove() | decide.HoldProbation() | decide.EndProbation():
                return self._prove(action, record)
            case decide.Activate():
                return self._activate(record, facts)
            case decide.Deploy():
                return self._deploy(record)
            case decide.Unconfirmed():
                return self._unconfirmed(action, record)
            case decide.RollBack():
                return self._roll_back(record)
            case decide.Reject(failure=failure):
                return events.Rejected(at=facts.clock.now, failure=failure)
            case _:
                raise RuntimeError(f"the engine does not know the action {type(action).__name__}")

    def _activate(self, record: ChangeRecord, facts: decide.Facts) -> events.ChangeEvent:
        without = None
        if facts.linked != record.generation:
            without = leave.have(Leave.ACTIVATION, record, self._world, self._settings, self._sets, self._tell)
        # Once it is in use, what is said is said about it, also when a power cut kept that from the record.
        if facts.linked != record.generation and probation.word_within(record, self._settings.limits) is not None:
            try:
                self._world.confirmations.expect()
            except StoreError as error:  # then nothing that is said there is believed either
                self._tell("trouble", error.in_full)
        self._write(record, self._world.store.activate, record.generation)
        return events.Activated(at=facts.clock.now, problem=without)

    def _prove(self, action: decide.Action, record: ChangeRecord) -> events.ChangeEvent:
        anchor = self._prover.prove(self._sets.candidate(record.generation), record)
        clock = self._world.reading()
        synchronised = clock.state is timekeeping.ClockState.SYNCHRONISED
        match action:
            case decide.HoldProbation():
                return events.ProbationHeld(at=clock.now, synchronised=synchronised, anchor=anchor)
            case decide.EndProbation():
                return events.ProbationPassed(at=clock.now, synchronised=synchronised, anchor=anchor)
            case decide.Unconfirmed(failure=failure):
                return events.ProbationPassed(at=clock.now, synchronised=synchronised, anchor=anchor, problem=failure)
            case _:
                return events.Proven(at=clock.now, synchronised=synchronised, anchor=anchor)

    def _unconfirmed(self, action: decide.Unconfirmed, record: ChangeRecord) -> events.ChangeEvent:
        """Go back to a base that connects; without one the set stays, once it is proven again, and says so."""
        failure = self._affordable(action.failure, record)
        if record.base is None:
            message = f"{failure.message} There is no set to go back to, so this set stays."
            failure = replace(failure, decisive=False, message=message)
        if failure.decisive:
            return events.Condemned(at=self._world.clock.now(), failure=failure)
        return self._prove(replace(action, failure=failure), record)

    def _roll_back(self, record: ChangeRecord) -> events.ChangeEvent:
        """Go back to the base, or to another set that is whole; with none left the ladder must go on from here."""
        store, now = self._world.store, self._world.clock.now()
        homes = store.others.fallbacks(record.generation)
        if not homes:
            return events.Rejected(at=now, failure=record.condemned or _nothing_left())
        home = record.base if record.base in homes else homes[0]
        self._write(record, store.roll_back, home, record.generation)
        try:
            self._world.dependants.take_up(Occasion.ROLLED_BACK)
        except CloudError as error:  # they are tried again by themselves; the set before is in use either way
            self._tell("trouble", error.in_full, error.failure.kind)
        return events.RolledBack(at=now)

    def _deploy(self, record: ChangeRecord) -> events.ChangeEvent:
        try:
            self._world.dependants.take_up(Occasion.ACTIVATED)
        except CloudError as error:
            raise CloudError(self._affordable(error.failure, record)) from error
        return probation_events.deployed(record, self._world.clock.now(), self._settings.limits)

    def _affordable(self, failure: Failure, record: ChangeRecord) -> Failure:
        """Let a dependant turn a change back only to a set that connects and will for long: the gateway is first."""
        if not failure.decisive or record.base is None:
            return failure
        stays = ""
        try:
            base = self._sets.candidate(record.base)
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
        new = self._sets.whole(generation)
        window = renewal_window(leaf.not_before, leaf.not_after, self._settings.renewal)
        longer = new is not None and new.credential.leaf.not_after > leaf.not_after
        return longer and self._world.clock.now() >= window.emergency_at


def _nothing_left() -> Failure:
    message = "There is no other set on this gateway to go back to."
    return Failure(kind=FailureClass.STORE, code=Code.NOTHING_LEFT, message=message, decisive=True)
