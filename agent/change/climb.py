"""The climb down the ladder: from the set in use to what else this gateway has, until the endpoint accepts one.

What the rungs are, and which comes next, is `agent.core.change.ladder`'s to say; this module tries them. Nothing is
changed here: no link, no record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.change.source import by_known_anchors
from agent.core.change import ladder
from agent.core.failure.failure import in_the_light_of
from agent.core.text import common_name, sentence_of
from agent.core.values import Candidate, Salvaged
from agent.errors import CloudError, MaterialError, RefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.change.prover import Prover
    from agent.change.sets import Sets
    from agent.change.source import SourceSession
    from agent.change.world import Settings, World
    from agent.core.values import TrustBundle


class Climber:
    """Finds a set that gets through."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        sets: Sets,
        prover: Prover,
        source: SourceSession,
        tell: Callable[[str, str], None],
    ) -> None:
        self._world = world
        self._settings = settings
        self._sets = sets
        self._prover = prover
        self._source = source
        self._tell = tell
        self._salvaged: tuple[Candidate, str] | None = None
        self._anchors: TrustBundle | None = None

    def find_footing(self) -> ladder.Climb:
        """Climb the ladder: find a set that the endpoint accepts, or else what brings another one."""
        self._source.close()
        attempts: tuple[ladder.Attempt, ...] = ()
        vending = self._settings.vending
        while True:
            move = ladder.climb(attempts, readmit=vending.readmit if vending is not None else None)
            self._tell("ladder", f"{sentence_of(move.why.rstrip('.'))}.")
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

    @property
    def anchors(self) -> TrustBundle:
        """The anchors by which the set that was tried last was accepted.

        Raises:
            RefusedError: None was.
        """
        if self._anchors is None:
            raise RefusedError("No anchors were found.")
        return self._anchors

    def _try_rung(self, rung: ladder.Rung) -> ladder.Attempt:
        if rung is ladder.Rung.SALVAGED:
            return self._try_salvaged()
        if rung is ladder.Rung.VENDING:
            return self._try_vending()
        try:
            candidates = self._candidates(rung)
        except (StoreError, MaterialError, RefusedError) as error:
            return ladder.missing(rung, str(error))
        try:
            candidate, anchor = by_known_anchors(candidates, self._probed)
        except CloudError as error:
            return ladder.Attempt(rung=rung, failure=in_the_light_of(self._world.reading(), error.failure))
        self._anchors = candidate.trust
        return ladder.Attempt(rung=rung, distrusted=self.doubt_of(candidate, anchor))

    def doubt_of(self, candidate: Candidate, anchor: str) -> str:
        """Return that a distrusted root verified the endpoint, as a clause, or nothing.

        Args:
            candidate: What it was verified with.
            anchor: SHA-256 of the anchor that its chain ended in.
        """
        met = next((facts for facts in candidate.trust.anchors if facts.sha256 == anchor), None)
        why = self._settings.distrust(met) if met is not None else ""
        return f"the endpoint chains to {common_name(met.subject)}, which is distrusted: {why}" if met and why else ""

    def _try_salvaged(self) -> ladder.Attempt:
        """Try what can be saved from the disk, one after the other, until one is accepted."""
        self._salvaged = None
        attempt = ladder.missing(ladder.Rung.SALVAGED, "No other key and certificate on the disk belong together.")
        for found in (*self._with_other_anchors(), *self._world.store.others.salvage()):
            where = found.damage or f"Generation {found.number} is kept beside the sets in use."
            try:
                candidates = self._left_over(found)
                self._tell("note", f"{where} Its key and certificate belong together and are tried.")
                candidate, _ = by_known_anchors(candidates, self._probed)
            except CloudError as error:
                failure = in_the_light_of(self._world.reading(), error.failure)
                attempt = ladder.Attempt(rung=ladder.Rung.SALVAGED, failure=failure)
            except (MaterialError, RefusedError):
                continue  # no anchors to prove it with, or no thing to be: nothing to try
            else:
                self._salvaged = candidate, where
                return ladder.Attempt(rung=ladder.Rung.SALVAGED)
        return attempt

    def _try_vending(self) -> ladder.Attempt:
        """Find out whether the vending machine can be asked, and has not just refused what it would be asked with."""
        rung, vending, world = ladder.Rung.VENDING, self._settings.vending, self._world
        if vending is None:
            return ladder.missing(rung, "No vending machine is configured.")
        refusal = ladder.refused_before(world.store.history(), vending.laid(), world.clock.now())
        if refusal is not None:
            return ladder.Attempt(rung=rung, failure=refusal)
        try:
            by_known_anchors(self._sets.trusts(), vending.connect).close()
        except MaterialError as error:
            return ladder.missing(rung, str(error))
        except CloudError as error:
            return ladder.Attempt(rung=rung, failure=in_the_light_of(world.reading(), error.failure))
        return ladder.Attempt(rung=rung)

    def _probed(self, candidate: Candidate) -> tuple[Candidate, str]:
        return candidate, self._prover.probe(candidate)

    def _with_other_anchors(self) -> Iterator[Salvaged]:
        """Yield the previous set, to be tried by others, where its anchors are not those in use."""
        current, previous = self._sets.usable(), self._sets.previous()
        if current and previous and current.trust.fingerprints != previous.trust.fingerprints:
            yield Salvaged(
                number=previous.number,
                credential=previous.credential,
                thing_name=previous.manifest.thing_name,
                trust=None,
                damage="",
            )

    def _left_over(self, found: Salvaged) -> tuple[Candidate, ...]:
        """Return it with its own anchors, where these are not lost, and with each that this gateway has."""
        thing_name = found.thing_name or self._thing_of(found.number)
        if not thing_name:
            raise RefusedError(f"It is not known which thing generation {found.number} was made for.")
        name = f"what is left of generation {found.number}" if found.damage else f"generation {found.number}"
        client_id = self._settings.client_id(thing_name)
        trusts = self._sets.trusts(found.trust)
        return tuple(
            Candidate(name=name, credential=found.credential, trust=trust, client_id=client_id, thing_name=thing_name)
            for trust in trusts
        )

    def _thing_of(self, number: int) -> str:
        """Return the thing that a generation without a legible manifest was made for, or nothing."""
        made = [record.thing_name for record in self._world.store.history() if record.generation == number]
        others = (self._sets.usable(), self._sets.previous())
        known = [generation.manifest.thing_name for generation in others if generation]
        return next((name for name in (*made, *known, self._settings.thing_name) if name), "")

    def _candidates(self, rung: ladder.Rung) -> tuple[Candidate, ...]:
        if rung is ladder.Rung.CLAIM:
            return tuple(self._sets.claims())
        if rung in ladder.OTHER_ANCHORS:
            return self._sets.with_other_anchors(rung)
        store = self._world.store
        number = store.current() if rung is ladder.Rung.CURRENT else store.previous()
        if number is None:
            raise RefusedError(f"There is no {rung} set.")
        return (self._sets.candidate(number),)
