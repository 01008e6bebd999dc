"""The sets on this gateway, as something to connect with. Nothing is connected or changed here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from agent.core.change import ladder
from agent.core.values import Candidate
from agent.errors import DamagedError, MaterialError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.change.world import Settings
    from agent.core.values import Generation, TrustBundle
    from agent.ports import Store

T = TypeVar("T")


class Sets:
    """Reads the sets of one store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def whole(self, number: int | None) -> Generation | None:
        """Return a generation if it is whole.

        Raises:
            StoreError: It cannot be read.
        """
        return None if number is None else _unless_damaged(lambda: self._store.generation(number))

    def usable(self) -> Generation | None:
        """Return the current generation if it is whole.

        Raises:
            StoreError: It cannot be read.
        """
        return self.whole(self.current())

    def previous(self) -> Generation | None:
        """Return the previous generation if it is whole.

        Raises:
            StoreError: It cannot be read.
        """
        return self.whole(_unless_damaged(self._store.previous))

    def current(self) -> int | None:
        """Return what `current` points at, or None; something else in its place points at nothing.

        Raises:
            StoreError: It cannot be told.
        """
        return _unless_damaged(self._store.current)

    def has_ever_enrolled(self) -> bool:
        """Whether this gateway has, or had, a certificate of its own."""
        if any(record.phase.succeeded for record in self._store.history()):
            return True
        try:
            return self._store.current() is not None
        except DamagedError:
            return True

    def candidate(self, number: int) -> Candidate:
        """Return a generation as something to connect with.

        Raises:
            StoreError: It is damaged, or cannot be read.
        """
        return self.candidate_of(self._store.generation(number))

    def candidate_of(self, generation: Generation) -> Candidate:
        """Return a generation that was read as something to connect with."""
        thing_name = generation.manifest.thing_name
        return Candidate(
            name=named(generation.number),
            credential=generation.credential,
            trust=generation.trust,
            client_id=self._settings.client_id(thing_name),
            thing_name=thing_name,
        )

    def claims(self) -> Iterator[Candidate]:
        """Yield the claim certificate with each anchors that this gateway has; see `trusts`.

        Raises:
            MaterialError: It cannot be used, or there are no anchors.
            RefusedError: There is none.
            StoreError: A generation cannot be read.
        """
        trusts = self.trusts()
        claim = self._settings.claim(trusts[0])
        for trust in trusts:
            yield replace(claim, trust=trust)

    def trusts(self, own: TrustBundle | None = None) -> tuple[TrustBundle, ...]:
        """Return the anchors that may know the endpoint, each once: the baked copy's, then those of sets.

        The endpoint may have moved since the package was made, and newer anchors, which were proven, have come since.

        Args:
            own: The anchors that go first, if a certificate has any of its own.

        Raises:
            MaterialError: The baked copy cannot be used, and there are no others.
            StoreError: A generation cannot be read.
        """
        first = [own] if own else []
        kept = [generation.trust for generation in (self.usable(), self.previous()) if generation]
        kept += self._of_damaged_sets()
        try:
            first.append(self._settings.anchors())
        except MaterialError:
            if not (first or kept):
                raise
        return _each_once([*first, *kept])

    def _of_damaged_sets(self) -> tuple[TrustBundle, ...]:
        """Return the anchors, which were proven, of the sets that came after the one in use and are damaged."""
        current = self.usable()
        return self._store.others.damaged_trusts(current.number if current else 0)

    def with_other_anchors(self, rung: ladder.Rung) -> tuple[Candidate, ...]:
        """Return the current certificate with each anchors of a rung that are not the current ones, at least one.

        Raises:
            StoreError: A generation is damaged or cannot be read.
            MaterialError: The baked copy cannot be used.
            RefusedError: There are none.
        """
        current = self._store.current()
        if current is None:
            raise RefusedError("There is no current set.")
        candidate, found = self.candidate(current), self._anchors_of(rung)
        others = [trust for trust in found if trust.fingerprints != candidate.trust.fingerprints]
        if not others:
            raise RefusedError(f"The {rung} are those of the current set." if found else "There is no previous set.")
        name = f"generation {current} with the {rung}"
        return tuple(replace(candidate, name=name, trust=trust) for trust in others)

    def _anchors_of(self, rung: ladder.Rung) -> tuple[TrustBundle, ...]:
        if rung is ladder.Rung.BAKED_ANCHORS:
            return (self._settings.anchors(),)
        previous = self.previous()
        return _each_once([*self._of_damaged_sets(), *([previous.trust] if previous else [])])


def _each_once(trusts: Iterable[TrustBundle]) -> tuple[TrustBundle, ...]:
    found: dict[frozenset[str], TrustBundle] = {}
    for trust in trusts:
        found.setdefault(trust.fingerprints, trust)
    return tuple(found.values())


def _unless_damaged(read: Callable[[], T | None]) -> T | None:
    try:
        return read()
    except DamagedError:
        return None


def named(number: int | None) -> str:
    """Return how a generation is called as a candidate."""
    return f"generation {number}"
