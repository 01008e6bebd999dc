"""The store: generations, `current` and `previous`, the change in flight, the history, recovery and pruning.

::

    <state_dir>/
      generations/000007/     see agent.store.generations
      current  -> generations/000007    the only commit point
      previous -> generations/000006    what a rollback returns to
      change.json             the change in flight, written before each step is taken
      history.jsonl           one line for each finished change
      reserve/                room for falling back, see agent.store.reserve
      lock                    held by the one writer
      daemon.lock             held by the one daemon, for its life; see agent.system.locks

Rules:

* One writer at a time, by a kernel lock that dies with its process. Readers take no lock and may meet any state
  between two system calls, each of which is sound.
* `current` is only ever moved to a generation that was just read from the disk and found whole.
* Generations may be read by the group where the state directory's own mode lets it in; everything else is the owner's.
* `recover` runs before any other write, may run any number of times, and repairs nothing in place: it goes to a
  generation that is whole. When none is left it leaves `current` as it is, unused by the agent: a program that can
  still live with the damage is better off than one whose certificate has vanished.
* What leads back to a set that works finds room on a full disk: a reserve is made when there is plenty, given up for
  such a step alone, and made again once nothing is in flight and there is plenty again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from agent.core.change import damaged_records
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.change.reserve import GENERATION_BYTES, GENERATION_INODES, LACKING, SPENT, Standing
from agent.errors import DamagedError, StoreBusyError, StoreError, StoreInDoubtError
from agent.store import disk, durable, generations, reserve
from agent.store.change_log import DAMAGED_CHANGE, Journal
from agent.system import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from agent.core.values import CredentialSet, Generation, Handmade, Manifest, Salvaged, TrustBundle

P = ParamSpec("P")
T = TypeVar("T")

CURRENT = "current"
PREVIOUS = "previous"
LOCK = "lock"
GENERATIONS = "generations"

# What a rotation needs, with room to spare for a file system's own bookkeeping.
NEEDED_BYTES = 262_144
NEEDED_INODES = 16
MAX_SALVAGED = 5  # generations; each costs a connection
_PROBE = "preflight"

_TARGET = re.compile(rf"{GENERATIONS}/(\d{{6,9}})")


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What `recover` found and did.

    Attributes:
        change: The change in flight, or None.
        notes: What was put right or is wrong, a sentence each; empty after a clean stop.
    """

    change: ChangeRecord | None
    notes: tuple[str, ...]


class Store:
    """One state directory. Use it as a context manager; `lock` before anything is written."""

    def __init__(self, state_dir: Path, modes: durable.Modes | None = None) -> None:
        """Open an existing state directory for reading.

        Raises:
            StoreError: It is missing or not permitted.
        """
        self.path = state_dir
        self._root = disk.open_directory(str(state_dir))
        self._lock: int | None = None
        self._generations = -1
        self._readings = generations.Readings()
        try:
            self.modes = modes or durable.Modes()
            self._shared = modes or _shared_with_group(self._root) or self.modes
            self._journal = Journal(self._root, self.modes)
            if disk.exists(self._root, GENERATIONS):
                self._generations = disk.open_directory(GENERATIONS, self._root)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock and the directories."""
        for fd in (self._generations, self._root, self._lock):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._generations = self._root = -1
        self._lock = None

    def lock(self) -> None:
        """Become the one writer.

        Raises:
            StoreBusyError: Another process is.
            StoreError: The directory cannot be written.
        """
        with disk.explained(f"lock {self.path}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(LOCK, flags, self.modes.public_mode, dir_fd=self._root)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = locks.holder(fd)
                os.close(fd)
                raise StoreBusyError(
                    f"{f'Process {pid}' if pid else 'Another process'} is working on {self.path}.",
                    hint="Wait until it is done; `iot-cert status` shows how far it is.",
                ) from None
            except BaseException:
                os.close(fd)
                raise
        self._lock = fd
        if self._generations < 0:
            if not disk.exists(self._root, GENERATIONS):
                durable.make_directory(self._root, GENERATIONS, self._shared)
            self._generations = disk.open_directory(GENERATIONS, self._root)
        durable.set_mode(self._generations, self._shared.directory_mode, GENERATIONS)

    # -- reading ---------------------------------------------------------------------------------------------------

    def current(self) -> int | None:
        """Return the number `current` points at, or None.

        Raises:
            DamagedError: It is no link to a generation.
        """
        return self._pointed_at(CURRENT)

    def previous(self) -> int | None:
        """Return the number `previous` points at, or None.

        Raises:
            DamagedError: It is no link to a generation.
        """
        return self._pointed_at(PREVIOUS)

    def _pointed_at(self, link: str) -> int | None:
        target = disk.link_target(self._root, link)
        if target is None:
            return None
        match = _TARGET.fullmatch(target)
        if match is None:
            raise DamagedError(f"{link} points at {target[:80]!r}, which is no generation.")
        return int(match[1])

    def generation(self, number: int) -> Generation:
        """Return a whole generation; it is not read again while its files look untouched, see `generations.Readings`.

        Raises:
            DamagedError: It is missing or damaged.
            StoreError: It cannot be read.
        """
        return self._readings.get(self._existing(number), number)

    def _read(self, number: int) -> Generation:
        """Return a whole generation as it is on the disk now: for what decides where `current` and `previous` point.

        Raises:
            DamagedError: It is missing or damaged.
            StoreError: It cannot be read.
        """
        self._readings.forget(number)
        return generations.read(self._existing(number), number)

    def _existing(self, number: int) -> int:
        """Return the directory of generations, where one is looked for."""
        if self._generations < 0:
            raise DamagedError(f"Generation {number} is missing.")
        return self._generations

    def numbers(self) -> generations.Listing:
        """Return the numbers of all generations, whole or not."""
        if self._generations < 0:
            return generations.Listing(final=(), staged=(), rejected=(), strange=())
        return generations.listing(self._generations)

    def change(self) -> ChangeRecord | None:
        """Return the change in flight, or None.

        Raises:
            DamagedError: There is one and it cannot be read as such.
        """
        return self._journal.change()

    def history(self) -> tuple[ChangeRecord, ...]:
        """Return the finished changes, oldest first; lines that cannot be read are passed over."""
        return self._journal.history()

    def reserve(self) -> Standing:
        """Return how the room stands that is set aside for falling back.

        Raises:
            StoreError: It cannot be told.
        """
        return reserve.standing(self._root)

    # -- recovery --------------------------------------------------------------------------------------------------

    def recover(self, now: datetime) -> Recovery:
        """Bring the store into a sound state after whatever happened; needs the lock.

        Args:
            now: The wall clock, which dates the end of a change whose record is damaged.

        Raises:
            StoreError: The disk does not let it.
        """
        notes = [note for note in (self._journal.clear_way(), self._clear_links()) if note]
        self._clear_litter(notes)
        change, settled = self._recover_change(now, notes)
        if settled:
            self._clear_stages(change, notes)
        self._recover_current(change, notes)
        self._recover_previous(change, notes)
        self._recover_reserve(change, notes)
        return Recovery(change=change, notes=tuple(notes))

    def _recover_change(self, now: datetime, notes: list[str]) -> tuple[ChangeRecord | None, bool]:
        """Return the change in flight, and whether everything is known of it that can be."""
        try:
            return self.change(), True
        except DamagedError as error:
            return None, self._give_up_damaged(str(error), now, notes)

    def _give_up_damaged(self, why: str, now: datetime, notes: list[str]) -> bool:
        """Write down what a damaged record and its generation tell, set both aside, and return whether that was done.

        A disk that is full must not keep the agent from starting: then it is tried again by the next recovery.
        """
        try:
            data, digest = self._journal.damaged_change()
            found = damaged_records.read(data)
            record = damaged_records.known(self.history(), digest, found.id) or self._salvaged(found, digest, now)
            self._journal.write_down(record)
            self._leave(record)
        except StoreError as error:
            notes.append(f"{why} What it leaves behind cannot be written down, so it is left lying there. {error}")
            return False
        self._journal.set_change_aside()
        notes.append(f"{why} It was set aside as {DAMAGED_CHANGE}. {damaged_records.told(record)}")
        return True

    def _salvaged(self, found: damaged_records.Legible, digest: str, now: datetime) -> ChangeRecord:
        manifest = next(self._own_manifests(found), None)
        current, previous = self._whole_at(self.current), self._whole_at(self.previous)
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
        listing, recorded = self.numbers(), {record.generation for record in self.history()}
        kept = self._unless_damaged(self.previous)
        for number in sorted({*listing.final, *listing.staged}, reverse=True):
            name = generations.final_name(number) if number in listing.final else generations.stage_name(number)
            manifest = generations.manifest_of(self._generations, name)
            if manifest is None or manifest.number != number:
                continue
            if found.made(manifest) if found.names_itself else number not in {*recorded, kept}:
                yield manifest

    def _whole_at(self, link: Callable[[], int | None]) -> Generation | None:
        try:
            number = link()
            return None if number is None else self._read(number)
        except DamagedError:
            return None

    def _clear_links(self) -> str:
        """Move out of the way what is no link in a link's place, as a restored backup leaves it; return a note.

        What is in it is a copy of a generation at best, which is still there under its own name. It is kept.
        """
        moved = []
        for link in (CURRENT, PREVIOUS):
            try:
                disk.link_target(self._root, link)
            except DamagedError:
                moved.append(durable.put_away(self._root, link, f"{link}.damaged"))
        return f"What stood in place of a link was set aside as {' and '.join(moved)}." if moved else ""

    def _leave(self, record: ChangeRecord) -> None:
        """Set the generation of a change with a damaged record aside, unless a link points at it."""
        number, linked = record.generation, {self._unless_damaged(self.current), self._unless_damaged(self.previous)}
        if damaged_records.is_salvaged(record) and number in self.numbers().final and number not in linked:
            durable.rename(self._generations, generations.final_name(number), generations.rejected_name(number))

    def _clear_litter(self, notes: list[str]) -> None:
        for name in disk.names(self._root):
            if name.startswith(durable.TEMPORARY):
                self._clear(self._root, name, notes)
        for name in disk.names(self._generations):
            if name.startswith(durable.TEMPORARY):
                self._clear(self._generations, name, notes)

    def _clear_stages(self, change: ChangeRecord | None, notes: list[str]) -> None:
        for number in self.numbers().staged:
            if change is None or change.generation != number:
                notes.append(f"The unfinished generation {number} belongs to no change and was erased.")
                self._erase(self._generations, generations.stage_name(number), notes)

    @staticmethod
    def _erase(dir_fd: int, name: str, notes: list[str]) -> None:
        """Erase litter; what cannot be erased must not keep the agent from starting."""
        try:
            durable.erase_directory(dir_fd, name)
        except StoreError as error:
            notes.append(f"{error} It is left lying there.")

    def _clear(self, dir_fd: int, name: str, notes: list[str]) -> None:
        try:
            durable.remove(dir_fd, name)
        except StoreError:
            self._erase(dir_fd, name, notes)

    def _recover_current(self, change: ChangeRecord | None, notes: list[str]) -> None:
        damage = self._damage_of_current()
        if not damage:
            return
        for candidate in self._fallbacks(change):
            if self._is_whole(candidate):
                self.on_reserve(notes.append, durable.point, self._root, CURRENT, self._target(candidate))
                notes.append(f"{damage} Generation {candidate} is whole and is current now.")
                return
        notes.append(f"{damage} No other generation is whole; it is not used and stays as it is.")

    def _damage_of_current(self) -> str:
        try:
            number = self.current()
            if number is not None:
                self._read(number)
            elif self._committed():
                return "There is no current generation, though there has been one."
        except DamagedError as error:
            return str(error)
        return ""

    def _recover_previous(self, change: ChangeRecord | None, notes: list[str]) -> None:
        current = self._unless_damaged(self.current)
        try:
            number = self.previous()
            if number is None or (number == current and change is not None):
                return
            if number != current:
                self._read(number)
                return
            damage = "There is no previous generation apart from the current one."
        except DamagedError as error:
            damage = str(error)
        excluded = {current} if current is not None else set[int]()
        candidate = self.on_reserve(notes.append, self._choose_previous, excluded)
        notes.append(
            f"{damage} " + (f"Generation {candidate} is previous now." if candidate else "There is none left.")
        )

    def _recover_reserve(self, change: ChangeRecord | None, notes: list[str]) -> None:
        """Set room aside; a change in flight may be waiting for just that room, and nothing fails for want of it."""
        try:
            if change is None:
                self.keep_reserve()
        except StoreError as error:
            notes.append(f"{LACKING}. {error}")

    def _fallbacks(self, change: ChangeRecord | None) -> list[int]:
        """Return what may become current, best first: only what was proven once."""
        proven = {Phase.PROVEN, Phase.ACTIVE, Phase.DEPLOYED, Phase.COMMITTED}
        in_flight = [change.generation] if change and change.phase in proven and not change.condemned else []
        base = [change.base] if change and change.base is not None else []
        previous = self._unless_damaged(self.previous)
        first = [*in_flight, *base, *([previous] if previous is not None else [])]
        present = set(self.numbers().final)
        ordered = [*first, *sorted(self._committed(), reverse=True)]
        return [number for number in dict.fromkeys(ordered) if number in present]

    def fallbacks(self, excluded: int) -> tuple[int, ...]:
        """Return the whole generations that were proven once, best first, without one.

        Raises:
            StoreError: They cannot be read.
        """
        return tuple(item for item in self._fallbacks(None) if item != excluded and self._is_whole(item))

    def _committed(self) -> set[int]:
        return {record.generation for record in self.history() if record.phase.succeeded}

    def _is_whole(self, number: int) -> bool:
        try:
            self._read(number)
        except DamagedError:
            return False  # any other error says nothing about the generation and must not make it look damaged
        return True

    @staticmethod
    def _unless_damaged(read: Callable[[], int | None]) -> int | None:
        try:
            return read()
        except DamagedError:
            return None

    def handmade(self) -> Handmade | None:
        """Return key and certificate that were put into the set in use by hand, if they fit each other.

        The set in use is what `current` points at. When a recovery has moved `current` away from such a generation and
        nothing came of it, it is still the last one that became final.

        Raises:
            StoreError: The generation cannot be read.
        """
        present = self.numbers().final
        final = next((record.generation for record in reversed(self.history()) if record.phase.succeeded), None)
        for number in dict.fromkeys((self._unless_damaged(self.current), final)):
            if number is None or number not in present or self._is_whole(number):
                continue
            found = generations.handmade(self._generations, number)
            if found is not None and not self._was_refused(found.credential.leaf.sha256):
                return found
        return None

    def _was_refused(self, certificate_id: str) -> bool:
        """Whether this certificate was brought once and turned down, so that only another one is taken up."""
        return any(
            record.brings == certificate_id and record.phase in {Phase.REJECTED, Phase.ROLLED_BACK}
            for record in self.history()
        )

    def salvage(self) -> tuple[Salvaged, ...]:
        """Return what can be saved from generations that no other rung of the ladder tries, the best first.

        Raises:
            StoreError: They cannot be read.
        """
        linked = (self._unless_damaged(self.current), self._unless_damaged(self.previous))
        whole = {number for number in linked if number is not None and self._is_whole(number)}
        newest_first = sorted(self._committed(), reverse=True)  # what was never final is a change's own business
        numbers = [number for number in dict.fromkeys((*linked, *newest_first)) if number is not None]
        present = set(self.numbers().final) - whole
        found = [generations.salvage(self._generations, number) for number in numbers if number in present]
        return tuple(item for item in found if item is not None)[:MAX_SALVAGED]

    def half_replaced(self) -> bool:
        """Whether either key or certificate of the current generation is another one, so that they do not fit.

        Raises:
            StoreError: The generation cannot be read.
        """
        number = self._damaged_current()
        return number is not None and generations.half_replaced(self._generations, number)

    def _damaged_current(self) -> int | None:
        number = self._unless_damaged(self.current)
        if number is None or self._is_whole(number) or number not in self.numbers().final:
            return None
        return number

    # -- writing ---------------------------------------------------------------------------------------------------

    def on_reserve(self, tell: Callable[[str], object], step: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Take a step that leads back to a set that works; for want of room give the reserve up, and try once more.

        Args:
            tell: Takes a sentence about that.
            step: The step, which may be taken again.
            args: For the step.
            named: For the step.

        Raises:
            StoreError: The step failed.
        """
        try:
            return step(*args, **named)
        except StoreError as error:
            if not (error.no_room and reserve.give_up(self._root)):
                raise
        tell(SPENT)
        return step(*args, **named)

    def keep_reserve(self) -> None:
        """Set room aside for steps that lead back, unless that is done or there is too little; only with no change.

        Raises:
            StoreError: It could not be set aside though there is room.
        """
        if self.reserve() is Standing.MISSING:
            reserve.make(self._root, self.modes)

    def preflight(self, *, back: bool = False) -> None:
        """Prove that there is room, and that files can be written, renamed and linked here.

        Args:
            back: Whether the change leads back to a set that works: it then needs no more than it uses.

        Raises:
            StoreError: Something is missing; the message says what.
        """
        with disk.explained(f"look at the file system of {self.path}"):
            space = os.fstatvfs(self._root)
        needed_bytes, needed_inodes = (GENERATION_BYTES, GENERATION_INODES) if back else (NEEDED_BYTES, NEEDED_INODES)
        used_up = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if space.f_bavail * space.f_frsize < needed_bytes:
            raise StoreError(
                f"{self.path} has {space.f_bavail * space.f_frsize // 1024} KiB free and a change needs "
                f"{needed_bytes // 1024} KiB. No certificate was asked for.",
                hint="Free some space on this file system and try again.",
            ) from used_up
        if space.f_files and space.f_favail < needed_inodes:
            raise StoreError(
                f"{self.path} has {space.f_favail} inodes free and a change needs {needed_inodes}. "
                "No certificate was asked for.",
                hint="Remove some files from this file system and try again.",
            ) from used_up
        self._try_writing()

    def _try_writing(self) -> None:
        probe, moved = durable.TEMPORARY + _PROBE, durable.TEMPORARY + _PROBE + ".moved"
        for name in (probe, moved):
            if disk.exists(self._generations, name):
                durable.erase_directory(self._generations, name)
        durable.make_directory(self._generations, probe, self.modes)
        try:
            with disk.directory(probe, self._generations) as fd:
                durable.replace(fd, "file", bytes(65_536), self.modes)
                durable.point(fd, "link", "file")
            durable.rename(self._generations, probe, moved)
        finally:
            for name in (probe, moved):
                if disk.exists(self._generations, name):
                    self._discard(name)

    def _discard(self, name: str) -> None:
        with disk.directory(name, self._generations) as fd:
            for file in disk.names(fd):
                durable.remove(fd, file)
        with disk.explained(f"remove {name}"):
            os.rmdir(name, dir_fd=self._generations)

    def next_number(self) -> int:
        """Return the number of the next generation: higher than any before, even one that is gone."""
        recorded = max((record.generation for record in self.history()), default=0)
        return max(recorded, self.numbers().highest) + 1

    def save_change(self, record: ChangeRecord) -> None:
        """Make the record of the change in flight durable."""
        self._journal.save(record)

    def stage_key(self, number: int, key_pem: bytes, request_pem: bytes) -> None:
        """Make a new key and its request durable."""
        generations.stage_key(self._generations, number, key_pem, request_pem, self._shared)

    def staged_key(self, number: int) -> tuple[bytes, bytes]:
        """Return the staged key and its request.

        Raises:
            DamagedError: One of them is missing or cannot be used.
        """
        return generations.staged_key(self._generations, number)

    def prepare(self, manifest: Manifest, content: CredentialSet, trust: TrustBundle) -> None:
        """Write a generation whole."""
        generations.prepare(self._generations, manifest, content, trust, self._shared)

    def activate(self, number: int) -> None:
        """Point `current` at a whole generation and `previous` at the one before it.

        Raises:
            DamagedError: The generation is not whole; nothing moved.
            StoreInDoubtError: `current` moved, but a power cut may bring the old one back.
            StoreError: Nothing moved that anyone reads.
        """
        self._read(number)
        before = self._unless_damaged(self.current)
        if before is not None and before != number and self._is_whole(before):  # a damaged one is nothing to go back to
            with durable.part_of(f"activate generation {number}"):
                durable.point(self._root, PREVIOUS, self._target(before))
        # Also when it points there already: nobody knows whether the sync of an earlier try got through.
        durable.point(self._root, CURRENT, self._target(number))

    def roll_back(self, number: int, condemned: int) -> None:
        """Point `current` back at a whole generation; `previous` goes to the next best, if any.

        Args:
            number: Where to go back to.
            condemned: The generation to leave, which must not become `previous`.

        Raises:
            DamagedError: The generation is not whole; nothing moved.
            StoreInDoubtError: `current` moved, but a power cut may bring the other one back, or `previous` is not set
                yet; calling again goes on.
            StoreError: Nothing moved that anyone reads.
        """
        self._read(number)
        durable.point(self._root, CURRENT, self._target(number))
        try:
            if self._unless_damaged(self.previous) in {number, condemned, None}:
                self._choose_previous({number, condemned})
        except StoreError as error:
            message = f"Generation {number} is current again, but `previous` could not be set: {error}"
            raise StoreInDoubtError(message, hint=error.hint) from error

    def _choose_previous(self, excluded: set[int]) -> int | None:
        """Point `previous` at the best generation that is not excluded, or remove it."""
        for candidate in self._fallbacks(None):
            if candidate not in excluded and self._is_whole(candidate):
                durable.point(self._root, PREVIOUS, self._target(candidate))
                return candidate
        durable.remove(self._root, PREVIOUS)
        durable.sync(self._root, f"{PREVIOUS} was removed")
        return None

    def _target(self, number: int) -> str:
        return f"{GENERATIONS}/{generations.final_name(number)}"

    def finish(self, record: ChangeRecord) -> None:
        """Write a finished change to the history and clear it away; doing it again after a crash is safe.

        A generation that the change made and that did not become final is set aside.
        """
        if record.phase in {Phase.REJECTED, Phase.ROLLED_BACK}:
            with durable.part_of("set the generation aside"):
                self._set_aside(record)
        self._journal.finish(record)

    def amend(self, record: ChangeRecord) -> None:
        """Add what became known of a finished change, such as that its certificate was retired."""
        self._journal.amend(record)

    def _set_aside(self, record: ChangeRecord) -> None:
        listing, number = self.numbers(), record.generation
        if number in listing.staged:
            durable.erase_directory(self._generations, generations.stage_name(number))
        if record.kind.makes_a_generation and number in listing.final and self.current() != number:
            durable.rename(self._generations, generations.final_name(number), generations.rejected_name(number))

    def prune(self, keep: int, held: frozenset[int] = frozenset()) -> tuple[int, ...]:
        """Erase generations beyond current, previous and the `keep` newest others; return their numbers.

        Args:
            keep: How many others are kept.
            held: Which are kept besides, since some program may read them still.

        Raises:
            StoreError: Something could not be erased; calling again goes on.
        """
        kept = {self.current(), self.previous(), *held}
        listing = self.numbers()
        others = [number for number in reversed(listing.final) if number not in kept]
        for number in others[keep:]:
            # A generation that is half erased must not bear the name of a whole one.
            durable.rename(self._generations, generations.final_name(number), generations.stage_name(number))
            durable.erase_directory(self._generations, generations.stage_name(number))
        for number in listing.staged:  # left by an earlier try; there is no change in flight now
            durable.erase_directory(self._generations, generations.stage_name(number))
        for number in listing.rejected[:-1]:
            durable.erase_directory(self._generations, generations.rejected_name(number))
        self._journal.shorten()
        return (*others[keep:], *listing.rejected[:-1])

    def floors(self) -> tuple[datetime, ...]:
        """Return instants that certainly lie in the past: proofs under a good clock, and the current certificate.

        Of the current generation the manifest alone is read: its seal vouches for it, and every look at the clock
        comes here.
        """
        proofs = [record.good_time for record in self.history()[-20:] if record.good_time is not None]
        try:
            number = self.current()
            if number is not None:
                proofs.append(self._readings.manifest(self._existing(number), number).not_before)
        except DamagedError:
            pass  # what is damaged vouches for nothing
        return tuple(proofs)


def _shared_with_group(root: int) -> durable.Modes | None:
    """Return the modes of generations that the group may read, where the state directory's own mode lets it in.

    The package has it so, for the applications that use the certificate. What is not theirs, the record with its token
    above all, stays the owner's alone.
    """
    with disk.explained("look at the state directory"):
        lets_in = os.fstat(root).st_mode & _GROUP_IN == _GROUP_IN
    return durable.Modes(secret_mode=0o640, public_mode=0o640, directory_mode=0o750) if lets_in else None


_GROUP_IN = stat.S_IRGRP | stat.S_IXGRP
