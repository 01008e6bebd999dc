"""Recovery: what a start finds after whatever happened, and how the store is brought into a sound state again.

Rules:

* It runs before any other write, may run any number of times, and repairs nothing in place: it goes to a generation
  that is whole. When none is left it leaves `current` as it is, unused by the agent: a program that can still live with
  the damage is better off than one whose certificate has vanished.
* What cannot be tidied up is left lying there and told; only what the change in flight rests on stops a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.change import damaged_records
from agent.core.change.reserve import LACKING
from agent.errors import DamagedError, StoreError
from agent.ports import Recovery
from agent.store import reserve
from agent.store.files import directories, disk, durable
from agent.store.names import CURRENT, PREVIOUS, final_name
from agent.store.notes.change_log import DAMAGED_CHANGE, is_lost
from agent.store.room import PROBES
from agent.store.sets import generations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import Generation, Manifest
    from agent.store.notes.change_log import ChangeLog
    from agent.store.room import Room
    from agent.store.sets.directory import GenerationDirectory
    from agent.store.sets.links import Links
    from agent.store.sets.other_sets import OtherSets

_UNFINISHED = {reserve.UNFINISHED, *PROBES}


class Recoverer:
    """One recovery of one state directory, by its writer."""

    def __init__(
        self, root: int, log: ChangeLog, directory: GenerationDirectory, links: Links, others: OtherSets, room: Room
    ) -> None:
        self._root = root
        self._log = log
        self._directory = directory
        self._links = links
        self._others = others
        self._room = room
        self._notes: list[str] = []

    def run(self, now: datetime) -> Recovery:
        """Do it.

        Args:
            now: The wall clock, which dates the end of a change whose record is damaged.

        Raises:
            StoreError: The disk does not let it.
        """
        meant = {link: self._links.meant(link) for link in (CURRENT, PREVIOUS)}
        ways = (self._log.clear_way(), self._links.clear_way(self._directory.fd), self._room.clear_way())
        self._notes = [note for note in ways if note]
        self._clear_litter()
        change, settled = self._recover_change(now)
        if settled:
            self._clear_stages(change)
        self._recover_current(change, meant[CURRENT])
        self._recover_previous(change, meant[PREVIOUS])
        self._recover_reserve(change)
        return Recovery(change=change, notes=tuple(self._notes))

    def _recover_change(self, now: datetime) -> tuple[ChangeRecord | None, bool]:
        """Return the change in flight, and whether everything is known of it that can be.

        One whose end is in the history is to be finished: a power cut may have brought its record back.
        """
        try:
            record = self._log.recorded()
            return record and (self._log.known_end(record) or record), True
        except StoreError as error:
            if not is_lost(self._root, error):
                raise
            return None, self._give_up_damaged(str(error), now)

    def _give_up_damaged(self, why: str, now: datetime) -> bool:
        """Write down what a damaged record and its generation tell, move both away, and return whether that was done.

        A disk that is full must not keep the agent from starting: then it is tried again by the next recovery.
        """
        try:
            data, digest = self._log.damaged_change()
            found = damaged_records.read(data)
            record = damaged_records.known(self._log.history(), digest, found.id) or self._ended(found, digest, now)
            self._log.write_down(record)
            self._leave(record)
        except StoreError as error:
            self._notes.append(
                f"{why} What it leaves behind cannot be written down, so it is left lying there. {error}"
            )
            return False
        self._log.move_change_away()
        self._notes.append(f"{why} It was moved to {DAMAGED_CHANGE}. {damaged_records.told(record)}")
        return True

    def _ended(self, found: damaged_records.Legible, digest: str, now: datetime) -> ChangeRecord:
        manifest = next(self._own_manifests(found), None)
        current, previous = self._whole_at(self._links.current), self._whole_at(self._links.previous)
        linked = {item.manifest.certificate_id for item in (current, previous) if item is not None}
        prepared = None
        if manifest is not None:
            in_use = current is not None and current.number == manifest.number
            others = {previous.manifest.certificate_id} - {manifest.certificate_id} if previous else set[str]()
            prepared = damaged_records.Prepared(manifest=manifest, in_use=in_use, replaced=next(iter(others), None))
        return damaged_records.ended(found, digest, now, prepared=prepared, kept=frozenset(linked))

    def _own_manifests(self, found: damaged_records.Legible) -> Iterator[Manifest]:
        """Return the manifests of what a change may have prepared whose record is damaged, the newest first.

        When the record does not say which is its own, it is what no finished change has made and no link keeps for a
        rollback.
        """
        listing, recorded = self._directory.listing(), {record.generation for record in self._log.history()}
        kept = self._links.previous_or_none()
        for number in sorted({*listing.final, *listing.staged}, reverse=True):
            name = final_name(number) if number in listing.final else generations.stage_name(number)
            manifest = generations.manifest_of(self._directory.fd, name)
            if manifest is None or manifest.number != number:
                continue
            if found.made(manifest) if found.names_itself else number not in {*recorded, kept}:
                yield manifest

    def _whole_at(self, link: Callable[[], int | None]) -> Generation | None:
        try:
            number = link()
            return None if number is None else self._directory.read(number)
        except DamagedError:
            return None

    def _leave(self, record: ChangeRecord) -> None:
        """Reject the generation of a change with a damaged record, unless a link points at it."""
        number, linked = record.generation, {self._links.current_or_none(), self._links.previous_or_none()}
        if damaged_records.ended_damaged(record) and number in self._directory.listing().final and number not in linked:
            durable.rename(self._directory.fd, final_name(number), generations.rejected_name(number))

    def _clear_litter(self) -> None:
        for name in disk.names(self._root):
            if name.startswith(durable.TEMPORARY):
                self._clear(self._root, name)
        for name in disk.names(self._directory.fd):
            if name.startswith(durable.TEMPORARY):
                self._clear(self._directory.fd, name)

    def _clear_stages(self, change: ChangeRecord | None) -> None:
        for number in self._directory.listing().staged:
            if change is None or change.generation != number:
                self._notes.append(f"The unfinished generation {number} belongs to no change and was erased.")
                self._erase(self._directory.fd, generations.stage_name(number))

    def _clear(self, dir_fd: int, name: str) -> None:
        try:
            if name in _UNFINISHED:
                directories.discard(dir_fd, name)
            else:
                durable.cleared(dir_fd, name.removeprefix(durable.TEMPORARY))
        except StoreError as error:
            self._notes.append(f"{error} It is left lying there.")

    def _erase(self, dir_fd: int, name: str) -> None:
        """Erase litter; what cannot be erased must not keep the agent from starting."""
        try:
            generations.erase(dir_fd, name)
        except StoreError as error:
            self._notes.append(f"{error} It is left lying there.")

    def _recover_current(self, change: ChangeRecord | None, meant: int | None) -> None:
        damage = self._damage_of_current()
        if not damage:
            return
        first = [] if meant is None else [meant]
        for candidate in (*first, *self._others.proven(change)):
            if self._directory.is_whole(candidate):
                self._room.on_reserve(self._notes.append, self._links.move_current, candidate)
                self._notes.append(f"{damage} Generation {candidate} is whole and is current now.")
                return
        self._notes.append(f"{damage} No other generation is whole; it is not used and stays as it is.")

    def _damage_of_current(self) -> str:
        try:
            number = self._links.current()
            if number is not None:
                self._directory.read(number)
            elif self._others.committed():
                return "There is no current generation, though there has been one."
        except DamagedError as error:
            return str(error)
        return ""

    def _recover_previous(self, change: ChangeRecord | None, meant: int | None) -> None:
        current = self._links.current_or_none()
        try:
            number = self._links.previous()
            if (number is None and meant in {None, current}) or (number == current and change is not None):
                return
            if number not in {None, current}:
                self._directory.read(number)
                return
            damage = "There is no previous generation apart from the current one."
        except DamagedError as error:
            damage = str(error)
        candidate = self._room.on_reserve(self._notes.append, self._choose_previous, current, meant)
        self._notes.append(
            f"{damage} " + (f"Generation {candidate} is previous now." if candidate else "There is none left.")
        )

    def _recover_reserve(self, change: ChangeRecord | None) -> None:
        """Set room aside; a change in flight may be waiting for just that room, and nothing fails for want of it."""
        try:
            if change is None:
                self._room.keep_reserve()
        except StoreError as error:
            self._notes.append(f"{LACKING}. {error}")

    def _choose_previous(self, current: int | None, meant: int | None) -> int | None:
        return self._links.choose_previous(self._others.whole({current}, first=meant))
