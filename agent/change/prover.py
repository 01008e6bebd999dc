"""Proving: connecting with a set, comparing with other sets over the same path, and the climb down the ladder.

Rules:

* A proof is a connection and an authorised request that is answered. A claim certificate may ask for nothing, so for it
  the connection is the proof.
* A failure that a bad path could cause as well is only a refusal when another set gets through. `judged` tries the
  others one after the other, never two at once, since they share a client id.
* Nothing is changed here: no link, no record.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from agent.core import timekeeping
from agent.core.change import ladder
from agent.core.failure.failure import Control, Failure, FailureClass, in_the_light_of, judge, needs_control
from agent.core.values import Candidate, Kind
from agent.errors import CloudError, DamagedError, MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.change.world import Settings, World
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Generation, Salvaged, TrustBundle
    from agent.ports import Session


class Prover:
    """Knows every set on the gateway and whether it gets through."""

    def __init__(self, world: World, settings: Settings, tell: Callable[[str, str], None]) -> None:
        self._world = world
        self._settings = settings
        self._tell = tell
        self._salvaged: tuple[Candidate, str] | None = None

    def clock(self) -> timekeeping.Reading:
        """Return a reading of the clock, judged by all that is known to lie in the past."""
        clock = self._world.clock
        return timekeeping.read(clock.now(), synchronised=clock.synchronised(), floors=self._world.store.floors())

    def generation_or_none(self, number: int | None) -> Generation | None:
        """Return a generation if it is whole.

        Raises:
            StoreError: It cannot be read.
        """
        try:
            return None if number is None else self._world.store.generation(number)
        except DamagedError:
            return None

    def current_or_none(self) -> Generation | None:
        """Return the current generation if it is whole.

        Raises:
            StoreError: It cannot be read.
        """
        return self._linked_or_none(self._world.store.current)

    def previous_or_none(self) -> Generation | None:
        """Return the previous generation if it is whole.

        Raises:
            StoreError: It cannot be read.
        """
        return self._linked_or_none(self._world.store.previous)

    def _linked_or_none(self, link: Callable[[], int | None]) -> Generation | None:
        try:
            return self.generation_or_none(link())
        except DamagedError:
            return None  # something else than a link to a generation

    def candidate(self, number: int) -> Candidate:
        """Return a generation as something to connect with.

        Raises:
            StoreError: It is damaged, or cannot be read.
        """
        return self.candidate_of(self._world.store.generation(number))

    def candidate_of(self, generation: Generation) -> Candidate:
        """Return a generation that was read as something to connect with."""
        thing_name = generation.manifest.thing_name
        return Candidate(
            name=_named(generation.number),
            credential=generation.credential,
            trust=generation.trust,
            client_id=self._settings.client_id(thing_name),
            thing_name=thing_name,
        )

    def probe(self, candidate: Candidate) -> str:
        """Connect and have an authorised request answered; a claim may only connect.

        Returns:
            SHA-256 of the anchor that the endpoint's chain ended in, or empty.

        Raises:
            CloudError: It did not get through.
        """
        with closing(self._world.cloud.connect(candidate)) as session:
            if candidate.thing_name is not None:
                ask(session)
            return session.anchor

    def prove(self, candidate: Candidate, record: ChangeRecord) -> str:
        """Probe a set that a change is about, judge what it meets, and return the anchor that was met.

        Raises:
            ComparedError: It did not get through; the failure is decisive only when another set did.
        """
        try:
            return self.probe(candidate)
        except CloudError as error:
            failure, controls = self._compared(error, candidate, record)
            base = any(control.accepted and control.name == _named(record.base) for control in controls)
            raise ComparedError(failure, base_accepted=base) from error

    def judged(self, error: CloudError, candidate: Candidate, record: ChangeRecord) -> Failure:
        """Return the failure with its final class, after comparing with other sets where that can tell anything."""
        return self._compared(error, candidate, record)[0]

    def _compared(
        self, error: CloudError, candidate: Candidate, record: ChangeRecord
    ) -> tuple[Failure, tuple[Control, ...]]:
        failure = in_the_light_of(self.clock(), error.failure)
        if not needs_control(failure):
            return failure, ()
        controls = self._controls(failure, candidate, record, asked=isinstance(error, AskedError))
        return judge(failure, controls), controls

    def _controls(
        self, failure: Failure, candidate: Candidate, record: ChangeRecord, *, asked: bool
    ) -> tuple[Control, ...]:
        """Try other sets over the same path, the base, the previous one and the claim, until one is accepted."""
        verdicts: tuple[Control, ...] = ()
        for name, load in self._witnesses(record, failure):
            try:
                control = load()
            except (StoreError, MaterialError, RefusedError):
                continue
            if not _tells_apart(control, candidate, failure, asked=asked):
                continue
            self._tell("note", f"{failure.message} Now {name} is tried, as a control.")
            verdicts = (*verdicts, self._try_control(name, control))
            if verdicts[-1].accepted:
                break
        return verdicts

    def _try_control(self, name: str, control: Candidate) -> Control:
        try:
            self.probe(control)
        except CloudError as error:
            return Control(name=name, failure=error.failure)
        return Control(name=name)

    def _witnesses(self, record: ChangeRecord, failure: Failure) -> list[tuple[str, Callable[[], Candidate]]]:
        behind = self.previous_or_none()
        base, previous = record.base, behind.number if behind else None
        numbers = [number for number in dict.fromkeys((base, previous)) if number is not None]
        found = [(_named(number), partial(self.candidate, number)) for number in numbers]
        # Other anchors speak against a change of anchors. For any other they say that its certificate is not to blame.
        if failure.kind is FailureClass.SERVER_TRUST and record.kind is Kind.TRUST:
            rung = ladder.Rung.BAKED_ANCHORS
            found.append((f"the current certificate with the {rung}", partial(self._with_other_anchors, rung)))
        return [*found, ("the claim certificate", self._settings.claim)]

    def find_footing(self) -> ladder.Climb:
        """Climb the ladder: find a set that the endpoint accepts, from the current one down to the claim."""
        attempts: tuple[ladder.Attempt, ...] = ()
        while True:
            move = ladder.climb(attempts)
            self._tell("ladder", f"{move.why.rstrip('.')}.")
            if move.try_next is None:
                return move
            attempts = (*attempts, self._try_rung(move.try_next))

    @property
    def salvaged(self) -> tuple[Candidate, str]:
        """The salvaged set that the last climb found accepted, and where it is from.

        Raises:
            RefusedError: It found none.
        """
        if self._salvaged is None:
            raise RefusedError("No salvaged set was found.")
        return self._salvaged

    def _try_rung(self, rung: ladder.Rung) -> ladder.Attempt:
        if rung is ladder.Rung.SALVAGED:
            return self._try_salvaged()
        try:
            candidate = self._rung(rung)
        except (StoreError, MaterialError, RefusedError) as error:
            return ladder.missing(rung, str(error))
        try:
            self.probe(candidate)
        except CloudError as error:
            return ladder.Attempt(rung=rung, failure=in_the_light_of(self.clock(), error.failure))
        return ladder.Attempt(rung=rung)

    def _try_salvaged(self) -> ladder.Attempt:
        """Try what can be saved from the disk, one after the other, until one is accepted."""
        self._salvaged = None
        attempt = ladder.missing(ladder.Rung.SALVAGED, "No other key and certificate on the disk belong together.")
        for found in self._world.store.salvage():
            where = found.damage or f"Generation {found.number} is kept beside the sets in use."
            try:
                candidate = self._left_over(found)
                self._tell("note", f"{where} Its key and certificate belong together and are tried.")
                self.probe(candidate)
            except CloudError as error:
                failure = in_the_light_of(self.clock(), error.failure)
                attempt = ladder.Attempt(rung=ladder.Rung.SALVAGED, failure=failure)
            except (MaterialError, RefusedError):
                continue  # no anchors to prove it with, or no thing to be: nothing to try
            else:
                self._salvaged = candidate, where
                return ladder.Attempt(rung=ladder.Rung.SALVAGED)
        return attempt

    def _left_over(self, found: Salvaged) -> Candidate:
        thing_name = found.thing_name or self._thing_of(found.number)
        if not thing_name:
            raise RefusedError(f"It is not known which thing generation {found.number} was made for.")
        return Candidate(
            name=f"what is left of generation {found.number}" if found.damage else f"generation {found.number}",
            credential=found.credential,
            trust=found.trust or self._settings.anchors(),
            client_id=self._settings.client_id(thing_name),
            thing_name=thing_name,
        )

    def _thing_of(self, number: int) -> str:
        """Return the thing that a generation without a legible manifest was made for, or nothing."""
        made = [record.thing_name for record in self._world.store.history() if record.generation == number]
        others = (self.current_or_none(), self.previous_or_none())
        known = [generation.manifest.thing_name for generation in others if generation]
        return next((name for name in (*made, *known, self._settings.thing_name) if name), "")

    def _rung(self, rung: ladder.Rung) -> Candidate:
        if rung is ladder.Rung.CLAIM:
            return self._settings.claim()
        if rung in ladder.OTHER_ANCHORS:
            return self._with_other_anchors(rung)
        store = self._world.store
        number = store.current() if rung is ladder.Rung.CURRENT else store.previous()
        if number is None:
            raise RefusedError(f"There is no {rung} set.")
        return self.candidate(number)

    def _with_other_anchors(self, rung: ladder.Rung) -> Candidate:
        """Return the current certificate with anchors that this gateway has besides the current ones."""
        current = self._world.store.current()
        if current is None:
            raise RefusedError("There is no current set.")
        candidate, trust = self.candidate(current), self.other_anchors(rung)
        if trust.fingerprints == candidate.trust.fingerprints:
            raise RefusedError(f"The {rung} are those of the current set.")
        return replace(candidate, name=f"generation {current} with the {rung}", trust=trust)

    def other_anchors(self, rung: ladder.Rung) -> TrustBundle:
        """Return the anchors of a rung that keeps the certificate.

        Raises:
            StoreError: The previous generation is damaged or cannot be read.
            MaterialError: The baked copy cannot be used.
            RefusedError: There is no previous generation.
        """
        if rung is ladder.Rung.BAKED_ANCHORS:
            return self._settings.anchors()
        previous = self._world.store.previous()
        if previous is None:
            raise RefusedError("There is no previous set.")
        return self._world.store.generation(previous).trust


class ComparedError(CloudError):
    """A set that a change is about did not get through, and others were tried where that could tell anything.

    Attributes:
        base_accepted: Whether the change's base got through over the same path.
    """

    def __init__(self, failure: Failure, *, base_accepted: bool) -> None:
        super().__init__(failure)
        self.base_accepted = base_accepted


class AskedError(CloudError):
    """The set connected, and what failed was the request."""


def ask(session: Session) -> None:
    """Have an authorised request answered.

    Raises:
        AskedError: It was not.
    """
    try:
        session.ask()
    except CloudError as error:
        raise AskedError(error.failure) from error


def _named(number: int | None) -> str:
    return f"generation {number}"


def _tells_apart(control: Candidate, candidate: Candidate, failure: Failure, *, asked: bool) -> bool:
    """Whether trying `control` can say anything about the candidate's failure."""
    same_anchors = control.trust.fingerprints == candidate.trust.fingerprints
    if control.credential.leaf.sha256 == candidate.credential.leaf.sha256:
        return not same_anchors  # new anchors are compared with the old ones, under the same certificate
    if control.thing_name is None and (asked or failure.kind is FailureClass.POLICY):
        return False  # a claim asks for nothing and has a policy of its own
    # The same anchors meet the same server.
    return failure.kind is not FailureClass.SERVER_TRUST or not same_anchors
