"""The store: one state directory, and the one writer of it.

::

    <state_dir>/
      generations/000007/     see agent.store.sets.generations
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
* `recover` runs before any other write; see `agent.store.recovery`.
* What leads back to a set that works finds room on a full disk: a reserve is made when there is plenty, given up for
  such a step alone, and made again once nothing is in flight and there is plenty again.
"""

from __future__ import annotations

import fcntl
import os
import stat
from itertools import count
from typing import TYPE_CHECKING, Self

from agent.core.change.lasting import Lasting
from agent.core.change.lifecycle import Phase
from agent.core.values import Kind
from agent.errors import DamagedError, StoreBusyError, StoreError, StoreInDoubtError
from agent.store.files import disk, durable, lock_files
from agent.store.names import final_name
from agent.store.notes.change_log import ChangeLog
from agent.store.recovery import Recoverer
from agent.store.room import Room
from agent.store.sets import generations
from agent.store.sets.directory import GenerationDirectory
from agent.store.sets.links import Links
from agent.store.sets.other_sets import OtherSets
from agent.store.sets.retired_keys import RetiredKeys
from agent.system import descriptors, locks

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import CredentialSet, Generation, Manifest, TrustBundle
    from agent.ports import Recovery

LOCK = "lock"

_DATED = frozenset({Kind.ENROLL, Kind.ROTATE})  # the cloud made the certificate while the change ran


class Store:
    """One state directory. Use it as a context manager; `lock` before anything is written.

    Attributes:
        path: The state directory.
        modes: The modes of what is the owner's alone.
        room: The room on its file system.
        others: The sets besides the one in use.
        retired_keys: The keys of certificates that were retired.
    """

    def __init__(self, state_dir: Path) -> None:
        """Open an existing state directory for reading.

        Raises:
            StoreError: It is missing or not permitted.
        """
        self.path = state_dir
        self._root = disk.open_directory(str(state_dir))
        self._lock: int | None = None
        try:
            self._directory = GenerationDirectory(self._root)
            self.modes = durable.Modes()
            self._shared = _shared_with_group(self._root) or self.modes
        except BaseException:
            descriptors.release(self._root)
            raise
        self._log = ChangeLog(self._root, self.modes)
        self._links = Links(self._root)
        self.room = Room(state_dir, self._root, self._directory, self.modes)
        self.others = OtherSets(self._directory, self._links, self._log)
        self.retired_keys = RetiredKeys(self._root, self._directory, self._links, self.others)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the lock and the directories."""
        self._directory.close()
        for fd in (self._root, self._lock):
            if fd is not None and fd >= 0:
                descriptors.release(fd)
        self._root = -1
        self._lock = None

    def lock(self) -> None:
        """Become the one writer.

        Raises:
            StoreBusyError: Another process is.
            StoreError: The directory cannot be written.
        """
        with disk.explained(f"lock {self.path}"):
            fd = lock_files.opened(self._root, LOCK, self.modes.public_mode)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = locks.holder(fd)
                descriptors.release(fd)
                raise StoreBusyError(
                    f"{f'Process {pid}' if pid else 'Another process'} is working on {self.path}.",
                    hint="Wait until it is done; `iot-cert status` shows how far it is.",
                ) from None
            except BaseException:
                descriptors.release(fd)
                raise
        self._lock = fd
        self._directory.make(self._shared)

    # -- reading ---------------------------------------------------------------------------------------------------

    def current(self) -> int | None:
        """Return the number `current` points at, or None.

        Raises:
            DamagedError: It is no link to a generation.
        """
        return self._links.current()

    def previous(self) -> int | None:
        """Return the number `previous` points at, or None.

        Raises:
            DamagedError: It is no link to a generation.
        """
        return self._links.previous()

    def generation(self, number: int) -> Generation:
        """Return a whole generation; it is not read again while its files look untouched (`agent.store.sets.readings`).

        Raises:
            DamagedError: It is missing or damaged.
            StoreError: It cannot be read.
        """
        return self._directory.generation(number)

    def numbers(self) -> generations.Listing:
        """Return the numbers of all generations, whole or not."""
        return self._directory.listing()

    def change(self) -> ChangeRecord | None:
        """Return the change in flight, or None.

        Raises:
            DamagedError: There is one and it cannot be read as such.
        """
        return self._log.change()

    def history(self) -> tuple[ChangeRecord, ...]:
        """Return the finished changes, oldest first; lines that cannot be read are passed over."""
        return self._log.history()

    def floors(self) -> tuple[datetime, ...]:
        """Return instants that certainly lie in the past: the start of the current certificate.

        Of the current generation the manifest alone is read: its seal vouches for it, and every look at the clock
        comes here. A certificate that a person brought may have been dated by any clock: where it was to begin later
        than it was put in use, it tells nothing.
        """
        try:
            number = self.current()
            manifests = () if number is None else (self._directory.manifest(number),)
            return tuple(one.not_before for one in manifests if one.kind in _DATED or one.not_before <= one.created_at)
        except DamagedError:
            return ()  # what is damaged vouches for nothing

    # -- writing ---------------------------------------------------------------------------------------------------

    def recover(self, now: datetime) -> Recovery:
        """Bring the store into a sound state after whatever happened; needs the lock.

        Args:
            now: The wall clock, which dates the end of a change whose record is damaged.

        Raises:
            StoreError: The disk does not let it.
        """
        return Recoverer(self._root, self._log, self._directory, self._links, self.others, self.room).run(now)

    def next_number(self) -> int:
        """Return the number of the next generation: higher than any before, even one that is gone.

        Where a directory of another origin has the last number that there is, the lowest that is free.
        """
        taken = {record.generation for record in self.history()} | self.numbers().taken
        highest = max(taken, default=0)
        return highest + 1 if highest < generations.LAST else next(n for n in count(1) if n not in taken)

    def save_change(self, record: ChangeRecord, needed: Lasting) -> None:
        """Make the record of the change in flight as durable as it needs to be.

        A change that held needs no record besides its line in the history: once that is durable it is over, whatever
        the record of before still says.

        Raises:
            StoreInDoubtError: It is there, but a power cut may bring the one before back.
            StoreError: It is not there.
        """
        if record.phase is Phase.COMMITTED:
            self._log.write_down(record)
        elif needed in {Lasting.NOW, Lasting.SEEN}:
            self._log.save(record, lasting=needed is Lasting.NOW)

    def stage_key(self, number: int, key_pem: bytes) -> None:
        """Make a new key durable."""
        generations.stage_key(self._directory.fd, number, key_pem, self._shared)

    def staged_key(self, number: int) -> bytes:
        """Return the staged key.

        Raises:
            DamagedError: One of them is missing or cannot be used.
        """
        return generations.staged_key(self._directory.fd, number)

    def prepare(self, manifest: Manifest, content: CredentialSet, trust: TrustBundle) -> None:
        """Write a generation whole."""
        generations.prepare(self._directory.fd, manifest, content, trust, self._shared)

    def activate(self, number: int) -> None:
        """Point `current` at a whole generation and `previous` at the one before it.

        The record of the change, which lies beside the links, is durable before `current` moves: what syncs the move of
        `previous` syncs it too.

        Raises:
            DamagedError: The generation is not whole; nothing moved.
            StoreInDoubtError: `current` moved, but a power cut may bring the old one back.
            StoreError: Nothing moved that a program reads.
        """
        self._directory.read(number)
        before = self._links.current_or_none()
        with durable.part_of(f"activate generation {number}"):
            # A damaged one is nothing to go back to.
            if before is not None and before != number and self._directory.is_whole(before):
                self._links.move_previous(before)
            else:
                durable.sync(self._root, "the record of the change was written")
        # Also when it points there already: it is not known whether the sync of an earlier try got through.
        self._links.move_current(number)

    def roll_back(self, number: int, condemned: int) -> None:
        """Point `current` back at a whole generation; `previous` goes to the next best, if any.

        Args:
            number: Where to go back to.
            condemned: The generation to leave, which must not become `previous`.

        Raises:
            DamagedError: The generation is not whole; nothing moved.
            StoreInDoubtError: `current` moved, but a power cut may bring the other one back, or `previous` is not set
                yet; calling again goes on.
            StoreError: Nothing moved that a program reads.
        """
        self._directory.read(number)
        self._links.move_current(number)
        try:
            if self._links.previous_or_none() in {number, condemned, None}:
                self._links.choose_previous(self.others.whole({number, condemned}))
        except StoreError as error:
            message = f"Generation {number} is current again, but `previous` could not be set: {error}"
            raise StoreInDoubtError(message, hint=error.hint) from error

    def finish(self, record: ChangeRecord) -> None:
        """Write a finished change to the history and clear it away; doing it again after a crash is safe.

        A generation that the change made and that did not become final is set aside.
        """
        if record.phase in {Phase.REJECTED, Phase.ROLLED_BACK}:
            with durable.part_of("set the generation aside"):
                self._set_aside(record)
        self._log.finish(record)

    def amend(self, record: ChangeRecord) -> None:
        """Add what became known of a finished change, such as that its certificate was retired."""
        self._log.amend(record)

    def _set_aside(self, record: ChangeRecord) -> None:
        listing, number = self.numbers(), record.generation
        if number in listing.staged:
            generations.erase(self._directory.fd, generations.stage_name(number))
        if record.kind.makes_a_generation and number in listing.final and self.current() != number:
            durable.rename(self._directory.fd, final_name(number), generations.rejected_name(number))

    def prune(self, keep: int, held: frozenset[int]) -> None:
        """Erase generations beyond current, previous and the `keep` newest others.

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
            self._directory.erase(number)
        for number in listing.staged:  # left by an earlier try; there is no change in flight now
            generations.erase(self._directory.fd, generations.stage_name(number))
        for number in listing.rejected[:-1]:
            generations.erase(self._directory.fd, generations.rejected_name(number))
        self._log.shorten()


def _shared_with_group(root: int) -> durable.Modes | None:
    """Return the modes of generations that the group may read, where the state directory's own mode lets it in.

    The package has it so, for the applications that use the certificate. What is not theirs, the record with its token
    above all, stays the owner's alone.
    """
    with disk.explained("look at the state directory"):
        lets_in = os.fstat(root).st_mode & _GROUP_IN == _GROUP_IN
    return durable.Modes(secret_mode=0o640, public_mode=0o640, directory_mode=0o750) if lets_in else None


_GROUP_IN = stat.S_IRGRP | stat.S_IXGRP
