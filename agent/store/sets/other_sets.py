"""The sets besides the one in use: what may be gone back to, what a person put in place, what can be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.errors import StoreError
from agent.store.sets import remains

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Handmade, Salvaged, TrustBundle
    from agent.store.notes.change_log import ChangeLog
    from agent.store.sets.directory import GenerationDirectory
    from agent.store.sets.links import Links

MAX_SALVAGED = 5  # generations; each costs a connection


class OtherSets:
    """Looks for them; it changes nothing."""

    def __init__(self, directory: GenerationDirectory, links: Links, log: ChangeLog) -> None:
        self._directory = directory
        self._links = links
        self._log = log

    def proven(self, change: ChangeRecord | None = None) -> list[int]:
        """Return what may become current, best first: only what was proven once, whole or not.

        Args:
            change: The change in flight, whose own generation and base come first.
        """
        proven = {Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED}
        in_flight = [change.generation] if change and change.phase in proven and not change.condemned else []
        base = [change.base] if change and change.base is not None else []
        previous = self._links.previous_or_none()
        first = [*in_flight, *base, *([previous] if previous is not None else [])]
        present = set(self._directory.listing().final)
        ordered = [*first, *sorted(self.committed(), reverse=True)]
        return [number for number in dict.fromkeys(ordered) if number in present]

    def holds(self, number: int) -> bool:
        """Whether a generation has its final name, be it whole or not.

        Raises:
            StoreError: It cannot be told.
        """
        return number in self._directory.listing().final

    def committed(self) -> set[int]:
        """Return the generations that became final, those among them that a backup brought back without the history."""
        history = self._log.history()
        return {record.generation for record in history if record.phase.succeeded} | self._unrecorded(history)

    def _unrecorded(self, history: tuple[ChangeRecord, ...]) -> set[int]:
        """Return the certificates of its own that no record speaks of.

        A change that asks for one has its record from before its first step until its end is in the history, and what
        does not become final loses its name: so these were final once, on a disk that came back in part. What an import
        or new anchors made has its name before its record, so a power cut may have left it unproven.
        """
        try:
            change = self._log.recorded()
        except StoreError:
            return set()  # it may be of any
        spoken_of = {record.generation for record in history} | ({change.generation} if change else set())
        left = (number for number in self._directory.listing().final if number not in spoken_of)
        return {number for number in left if self._was_asked_for(number)}

    def _was_asked_for(self, number: int) -> bool:
        try:
            return self._directory.manifest(number).kind in {Kind.ENROLL, Kind.ROTATE}
        except StoreError:
            return False  # some other directory, or nothing that could be used

    def fallbacks(self, excluded: int) -> tuple[int, ...]:
        """Return the whole generations that were proven once, best first, without one.

        Raises:
            StoreError: They cannot be read.
        """
        return tuple(self.whole({excluded}))

    def whole(self, excluded: Container[int | None], first: int | None = None) -> Iterator[int]:
        """Return the whole generations that were proven once, best first, each read when it is asked for.

        Args:
            excluded: Which are left out.
            first: The best of them, where that is known.

        Raises:
            StoreError: One cannot be read.
        """
        proven = self.proven()
        for number in sorted(proven, key=lambda number: number != first):
            if number not in excluded and self._directory.is_whole(number):
                yield number

    def handmade(self) -> Handmade | None:
        """Return key and certificate that were put into the set in use by hand, if they fit each other.

        The set in use is what `current` points at. When a recovery has moved `current` away from such a generation and
        nothing came of it, it is still the last one that became final.

        Raises:
            StoreError: The generation cannot be read.
        """
        present, history = self._directory.listing().final, self._log.history()
        final = next((record.generation for record in reversed(history) if record.phase.succeeded), None)
        for number in dict.fromkeys((self._links.current_or_none(), final)):
            if number is None or number not in present or self._directory.is_whole(number):
                continue
            found = remains.handmade(self._directory.fd, number)
            if found is not None and not self._was_refused(found.credential.leaf.sha256):
                return found
        return None

    def _was_refused(self, certificate_id: str) -> bool:
        """Whether this certificate was brought once and turned down, so that only another one is taken up."""
        return any(
            record.brings == certificate_id and record.phase in {Phase.REJECTED, Phase.ROLLED_BACK}
            for record in self._log.history()
        )

    def salvage(self) -> tuple[Salvaged, ...]:
        """Return what can be saved from generations that no other rung of the ladder tries, the best first.

        Raises:
            StoreError: They cannot be read.
        """
        linked = (self._links.current_or_none(), self._links.previous_or_none())
        whole = {number for number in linked if number is not None and self._directory.is_whole(number)}
        newest_first = sorted(self.committed(), reverse=True)  # what was never final is a change's own business
        numbers = [number for number in dict.fromkeys((*linked, *newest_first)) if number is not None]
        present = set(self._directory.listing().final) - whole
        found = [remains.salvage(self._directory.fd, number) for number in numbers if number in present]
        return tuple(item for item in found if item is not None)[:MAX_SALVAGED]

    def damaged_trusts(self, after: int) -> tuple[TrustBundle, ...]:
        """Return the anchors of damaged generations that were final, as they were written, the newest first.

        Args:
            after: The generation that they came after.

        Raises:
            StoreError: It cannot be told which there are.
        """
        present = self.committed() & set(self._directory.listing().final)
        newer = sorted((number for number in present if number > after), reverse=True)
        found = [remains.trust_of(self._directory.fd, number) for number in newer if self._is_damaged(number)]
        return tuple(item for item in found if item is not None)

    def _is_damaged(self, number: int) -> bool:
        try:
            return not self._directory.is_whole(number)
        except StoreError:
            return False  # it cannot be told

    def half_replaced(self) -> bool:
        """Whether either key or certificate of the current generation is another one, so that they do not fit.

        Raises:
            StoreError: The generation cannot be read.
        """
        number = self._damaged_current()
        return number is not None and remains.half_replaced(self._directory.fd, number)

    def _damaged_current(self) -> int | None:
        number = self._links.current_or_none()
        if number is None or self._directory.is_whole(number) or number not in self._directory.listing().final:
            return None
        return number
