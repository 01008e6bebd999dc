"""Carrying orders out: one piece of code, for the daemon's worker and for the command where no daemon runs.

What an order means is `agent.core.change.verbs`'s to say; how a change goes on is the engine's. Here the two meet.
Here, too, the gateway gets back to the cloud: after a change that ended because its set is refused, and beside one that
waits while nothing works, the ladder is climbed and the one ordinary change is made that its top rung calls for.

Rules:

* A change that waits never keeps a rung away that is accepted: it gives way to it.
* A rescue that a person brings goes before a change that waits; see `agent.core.change.verbs.gives_way`.
* A set that was put in place by hand is such a rescue, and is taken up once.
* Nothing here sleeps. How long to stay with a change is the caller's business, who passes `carry` in.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.change.engine import Outcome
from agent.change.plan import MAX_REASON
from agent.core.change import verbs
from agent.core.change.ladder import OTHER_ANCHORS, Climb, Rung
from agent.core.change.lifecycle import ChangeRecord, Phase, WaitCode
from agent.core.change.verbs import Meaning, OrderStep, Situation, Verb
from agent.core.failure.codes import Code
from agent.core.failure.failure import OF_THE_SET, FailureClass, needs_control
from agent.core.frozen import frozen
from agent.core.text import sentence_of
from agent.core.values import ByHand, Kind, Origin
from agent.errors import MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.change.parts import ChangeParts
    from agent.core.values import CredentialSet, TrustBundle
    from agent.ports import Clock, Store


@frozen
class Done:
    """What became of an order.

    Attributes:
        outcome: How far its change came, or None when no change was called for.
        climb: What the ladder found, when it was climbed.
        repeats: The finished change that had done already what was ordered.
        postponed: Whether the order's own change is begun only once the change in `outcome` has ended.
    """

    outcome: Outcome | None = None
    climb: Climb | None = None
    repeats: ChangeRecord | None = None
    postponed: bool = False

    @property
    def rung(self) -> Rung | None:
        """The rung that the ladder found accepted, or None."""
        return self.climb.use if self.climb else None

    @property
    def locked_out(self) -> Climb | None:
        """The climb that found no set of this gateway accepted, or None."""
        return self.climb if self.rung is Rung.TECHNICIAN else None


def ended_locked_out(record: ChangeRecord) -> bool:
    """Whether the change ended because the set it was to start from is refused, or the only one there is."""
    only_one = any(phase is Phase.ACTIVE for phase, _ in record.passed)
    another = record.issued is not None or record.kind in {Kind.IMPORT, Kind.ROLLBACK}  # than the one it started from
    return (
        record.phase is Phase.REJECTED
        and (not another or only_one)
        and record.failure is not None
        and record.failure.kind is FailureClass.CREDENTIAL
    )


class Operations:
    """The orders of one gateway, on an open store that this process has the lock of."""

    def __init__(
        self,
        change: ChangeParts,
        store: Store,
        clock: Clock,
        carry: Callable[[], Outcome],
        *,
        by_hand: ByHand = ByHand.ADOPT,
        told: Callable[[], str] = str,
    ) -> None:
        """Put them together.

        Args:
            change: What carries changes.
            store: Its store.
            clock: Its clock.
            carry: Carries the change in flight on, for as long as the caller stays with it.
            by_hand: What becomes of a set that was put in place by hand.
            told: Returns the id of the last change whose end was told to the person who ordered it.
        """
        self._engine = change.engine
        self._planner = change.planner
        self._climber = change.climber
        self._sets = change.sets
        self._store = store
        self._clock = clock
        self._carry = carry
        self._by_hand = by_hand
        self._told = told

    def take_up(self, *, orderly: bool = False) -> ChangeRecord | None:
        """Put the store right, and take up the change in flight, or a set that was put in place by hand.

        Args:
            orderly: The run before this one is known to have ended at a wait.

        Raises:
            StoreError: The disk does not let it.
        """
        handmade = self._store.others.handmade() if self._by_hand is ByHand.ADOPT else None
        found = self._engine.recover(orderly=orderly)
        if handmade is None:
            return found
        if found is not None and not self._gave_way(f"Generation {handmade.number} was replaced by hand meanwhile."):
            return found
        try:
            return self._planner.adopt(handmade)
        except MaterialError as error:
            self._engine.note(f"The set that was put in place by hand cannot be proven: {error}")
            return None

    def order(self, verb: Verb, reason: str, *, joins: str = "") -> Done:
        """Carry a person's order out, after `take_up`.

        Args:
            verb: The order.
            reason: Why, for people.
            joins: The change that was in flight when the order was given, or empty.

        Raises:
            AgentError: It is refused, or could not be begun.
        """
        if self._engine.change is not None and self._engine.change.phase.ended:
            self._engine.run()  # only its line in the history is missing
        situation = Situation(
            change=self._engine.change,
            history=self._store.history(),
            current=self._current(),
            now=self._clock.now(),
            told=self._told(),
            joins=joins,
        )
        meaning = verbs.meaning(verb, situation)
        match meaning.step:
            case OrderStep.DONE:
                return Done(repeats=meaning.done)
            case OrderStep.GIVE_UP:
                return self._give_up(reason)
            case OrderStep.CLIMB:
                return self.climb(reason, rotate=True)
            case OrderStep.GO_ON:
                return self._go_on_for(meaning, reason)
            case _:
                return self._begin_for(meaning.kind or Kind.ROTATE, reason)

    def _begin_for(self, kind: Kind, reason: str) -> Done:
        """Begin what a person ordered; where a full disk leaves no room for that, there is room for the way back."""
        try:
            return self.begin(kind, Origin.TECHNICIAN, reason)
        except StoreError as error:
            if not error.no_room or self._engine.change is not None or kind is not Kind.ROTATE:
                raise
            done = self.climb(str(error))
            if done.outcome is None:
                raise
            return done

    def begin(self, kind: Kind, origin: Origin, reason: str, order: str = "") -> Done:
        """Begin a change and carry it on.

        Raises:
            RefusedError: Another is in flight, or this gateway is in no state for it.
            StoreError: It could not be planned.
        """
        self._planner.begin(kind, origin, reason, order)
        return self._help(self._carry())

    def go_on(self, *, hasten: bool = False, doubt: bool = False) -> Done:
        """Carry the change in flight on, and help it where it is stuck; nothing without one.

        Args:
            hasten: Try its next step now, whatever delay a failure left behind.
            doubt: Prove a set on probation soon: the daemon's session with it was lost, or refused.
        """
        if self._engine.change is None:
            return Done()
        if hasten:
            self._engine.hasten()
        if doubt:
            self._engine.doubt()
        return self._help(self._carry())

    def _help(self, outcome: Outcome) -> Done:
        """Help a change that is stuck, or that ended because its set is refused."""
        if ended_locked_out(outcome.record):
            return self.climb(str(outcome.record.failure))
        if outcome.wait is None and self._may_be_cut_off(outcome.record):
            return self._after_refusal(outcome)
        return self._unstick(outcome)

    def confirm(self) -> Done:
        """Take the word that the set on probation works, and carry its change on.

        Raises:
            RefusedError: Nothing is on probation, or what is on probation is being given up.
        """
        record = self._engine.confirm()
        return self.go_on() if self._engine.change is not None else Done(outcome=Outcome(record=record))

    def climb(self, why: str, *, rotate: bool = False) -> Done:
        """Find a set that works and make the change that leads there.

        Args:
            why: What went before, for people.
            rotate: Whether to rotate when the current set turns out to work.

        Raises:
            RefusedError: This gateway never had a certificate.
        """
        if self._engine.change is not None:
            outcome = self._carry()
            if outcome.wait is not None:
                return self._unstick(outcome, doubted=True)
            if outcome.record.phase.succeeded:
                return Done(outcome=outcome)
        if not self._sets.has_ever_enrolled():
            raise RefusedError("This gateway has no certificate to rotate yet.", hint="Run `iot-cert enroll`.")
        return self._use(self._climber.find_footing(), why, rotate=rotate)

    def make_way(self, credential: CredentialSet | None, trust: TrustBundle, thing_name: str | None = None) -> bool:
        """Make way for a certificate or anchors that a person brings; return False when they are under way already.

        Raises:
            RefusedError: Another change is in flight that comes first.
        """
        change = self._engine.change
        if change is None:
            return True
        current = self._sets.usable()
        if credential is None and change.kind.issues and current and current.trust.fingerprints == trust.fingerprints:
            return True  # a new certificate comes with these anchors, so nothing stands in their way
        if self._planner.is_about(credential, trust, thing_name):
            self._engine.hasten()
            return False
        if not self._gave_way("A person brings another set or other anchors, which go before a change that waits."):
            hint = "Try again when it has ended, or end it with `iot-cert rollback --give-up`."
            raise verbs.comes_first(change, hint)
        return True

    # -- how -------------------------------------------------------------------------------------------------------

    def _current(self) -> int | None:
        usable = self._sets.usable()
        return usable.number if usable else None

    def _gave_way(self, why: str) -> bool:
        """Carry the change in flight on as far as it goes now, and end it when it gives way to a rescue."""
        outcome = self._engine.run()
        if outcome.wait is not None and verbs.gives_way(outcome.record, in_use=self._engine.is_in_use()):
            self._engine.end_for_a_rescue(why)
            outcome = self._engine.run()
        return outcome.wait is None

    def _give_up(self, reason: str) -> Done:
        self._engine.give_up(reason)
        return Done(outcome=self._carry())

    def _go_on_for(self, meaning: Meaning, reason: str) -> Done:
        """Carry on what is in flight, and then begin what was ordered besides."""
        done = self.go_on(hasten=True)
        if meaning.kind is None:
            return done
        if done.outcome is None:
            return done
        if done.outcome.wait is not None:
            return replace(done, postponed=True)
        ended = done.outcome.record
        if done.climb is not None or not (ended.phase.succeeded or ended.condemned is not None):
            return done
        return self.begin(meaning.kind, Origin.TECHNICIAN, reason)

    def _may_be_cut_off(self, record: ChangeRecord) -> bool:
        """Whether a change ended because its set is refused, and nothing says that the set in use now is not."""
        failure = record.failure
        refused = failure is not None and failure.kind in OF_THE_SET
        return refused and not record.phase.succeeded and not self._engine.base_accepted

    def _after_refusal(self, outcome: Outcome) -> Done:
        """Climb after a change that ended in a refusal; where the set in use works that end is all there is to tell."""
        climb = self._climber.find_footing()
        if climb.use in {None, Rung.CURRENT}:
            return Done(outcome=outcome)
        done = self._use(climb, str(outcome.record.failure))
        return done if done.outcome is not None else replace(done, outcome=outcome)

    def _unstick(self, outcome: Outcome, *, doubted: bool = False) -> Done:
        """Have a change that waits give way to a rung that is accepted, when nothing in use seems to work.

        Args:
            outcome: How far the change came.
            doubted: Whether the set in use is refused, as the daemon's session sees it.
        """
        if outcome.wait is None or not (doubted or self._is_stuck(outcome)):
            return Done(outcome=outcome)
        climb = self._climber.find_footing()
        if not _leads_elsewhere(outcome.record, climb.use, in_use=self._engine.is_in_use()):
            return Done(outcome=outcome, climb=climb)
        self._engine.end_for_a_rescue(f"{sentence_of(climb.why)}, and the set that this change rests on is not.")
        ended = self._engine.run()
        if ended.wait is not None:  # the disk does not let it end; it is tried again
            return Done(outcome=ended, climb=climb)
        return self._use(climb, str(outcome.record.failure or outcome.wait.why))

    def _is_stuck(self, outcome: Outcome) -> bool:
        """Whether a change waits because of what other sets on this gateway may not meet."""
        wait, record = outcome.wait, outcome.record
        if wait is None or wait.code not in {WaitCode.RETRY, WaitCode.BUDGET}:
            return False
        failure = wait.failure
        if failure is not None and (needs_control(failure) or failure.code in {Code.LOCKED_OUT, Code.MATERIAL}):
            return True
        if failure is not None and failure.kind in _OF_ANY_PATH:
            return False
        return not record.phase.activated and self._sets.usable() is None

    def _use(self, climb: Climb, why: str, *, rotate: bool = False) -> Done:
        reason = f"ladder: {why}"[:MAX_REASON]
        match climb.use:
            case Rung.PREVIOUS:
                outcome = self._carried(Kind.ROLLBACK, reason)
                if outcome.record.phase is Phase.COMMITTED:
                    outcome = self._carried(Kind.ROTATE, reason)
                return Done(climb=climb, outcome=outcome)
            case Rung.PREVIOUS_ANCHORS | Rung.BAKED_ANCHORS:
                self._planner.install(self._climber.anchors, Origin.LADDER, reason)
                return Done(climb=climb, outcome=self._carry())
            case Rung.CLAIM | Rung.VENDING:
                return Done(climb=climb, outcome=self._carried(Kind.ENROLL, reason))
            case Rung.SALVAGED:
                self._planner.adopt_salvaged(*self._climber.salvaged, reason)
                return Done(climb=climb, outcome=self._carry())
            case Rung.CURRENT if rotate:
                return Done(climb=climb, outcome=self._carried(Kind.ROTATE, reason))
            case _:
                return Done(climb=climb)

    def _carried(self, kind: Kind, reason: str) -> Outcome:
        self._planner.begin(kind, Origin.LADDER, reason)
        return self._carry()


# What any other set would meet just the same.
_OF_ANY_PATH = frozenset({FailureClass.NETWORK, FailureClass.CLOCK, FailureClass.THROTTLED})


def _leads_elsewhere(record: ChangeRecord, rung: Rung | None, *, in_use: bool) -> bool:
    """Whether an accepted rung is one that the change in flight does not lead to by itself."""
    match rung:
        case Rung.CURRENT:
            return record.kind is Kind.ENROLL and not in_use
        case Rung.PREVIOUS:  # a set on probation is left for it by its own rules, once its refusal is certain
            return record.kind is not Kind.ROLLBACK and not in_use
        case Rung.CLAIM | Rung.VENDING:
            return record.kind is not Kind.ENROLL and not in_use
        case Rung.SALVAGED:
            return True
        case _:  # the certificate is kept; a change of anchors on probation goes back by its own rules
            return rung in OTHER_ANCHORS and not (in_use and record.kind is Kind.TRUST)
