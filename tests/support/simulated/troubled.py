"""A store whose disk fails when told: calls that fail, no room left, and power that is cut around a phase."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.core.change.reserve import Standing
from agent.errors import StoreError, StoreInDoubtError
from agent.store.room import Room
from agent.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.core.change.lasting import Lasting
    from agent.core.change.lifecycle import ChangeRecord, Phase

NO_ROOM = StoreError("Cannot write there: No space left on device.", hint="Free some space on this file system.")
FULL = StoreError("Cannot write here: No space left on device.", hint="Free some space on this file system.")
FULL.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
IN_DOUBT = StoreInDoubtError("In doubt: it was done, but the disk did not confirm it.", hint="Read `dmesg`.")


class PowerCut(KeyboardInterrupt):
    """The process ended here, between two system calls, with nothing tidied up."""


@dataclass
class _Trouble:
    """Calls of one method that fail: `after` good ones first, then `times` bad ones."""

    after: int
    times: float
    error: StoreError


class TroubledDisk:
    """What happens to the store: calls that fail, and the power that fails around a phase. It outlives a restart.

    Attributes:
        full: Whether there is no room but what the reserve holds.
    """

    def __init__(self) -> None:
        self.full = False
        self.calls: list[str] = []
        self._troubles: dict[str, _Trouble] = {}
        self._cut: tuple[Phase, bool] | None = None

    def fail(self, method: str, *, after: int = 0, times: float = 1, error: StoreError = NO_ROOM) -> None:
        """Let a method of the store fail; an error in doubt is raised once the real method has done its work."""
        self._troubles[method] = _Trouble(after, times, error)

    def heal(self) -> None:
        """Let everything work again."""
        self.full = False
        self._troubles.clear()
        self._cut = None

    def cut_power(self, phase: Phase, *, saved: bool) -> None:
        """End the process when the record is to say `phase`, after that was saved or just before."""
        self._cut = (phase, saved)

    def strike(self, method: str) -> StoreError | None:
        """Return the error of this call, if it fails, and count it."""
        self.calls.append(method)
        trouble = self._troubles.get(method)
        if trouble is None:
            return None
        trouble.after -= 1
        if trouble.after >= 0 or trouble.times <= 0:
            return None
        trouble.times -= 1
        return trouble.error

    def watch(self, record: ChangeRecord, *, saved: bool) -> None:
        """Be told of each record, before and after it is saved.

        Raises:
            PowerCut: Now is the time.
        """
        if self._cut == (record.phase, saved):
            self._cut = None
            raise PowerCut


class SmallRoom(Room):
    """The real room, on a disk that may be full."""

    def __init__(self, disk: TroubledDisk, *parts: Any) -> None:
        super().__init__(*parts)
        self._disk = disk

    def reserve(self) -> Standing:
        """See `Room.reserve`."""
        found = super().reserve()
        return Standing.NO_ROOM if self._disk.full and found is Standing.MISSING else found


class SmallStore(Store):
    """The real store, on a disk that may be full."""

    def __init__(self, path: Path, disk: TroubledDisk) -> None:
        super().__init__(path)
        self.room = SmallRoom(disk, path, self._root, self._directory, self.modes)


# What needs room.
WRITING = frozenset({"save_change", "stage_key", "prepare", "activate", "roll_back", "finish"})


class _Troubled:
    """A part of the store on a disk that fails when told. What is not named here goes straight through."""

    def __init__(self, store: SmallStore, disk: TroubledDisk, part: object) -> None:
        self._store = store
        self._disk = disk
        self._part = part

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._part, name)
        return lambda *arguments, **named: self._call(name, partial(method, *arguments, **named))

    def _call(self, name: str, method: Callable[[], Any]) -> Any:
        error = self._disk.strike(name)
        if self._disk.full and name in WRITING and self._store.room.reserve() is Standing.KEPT:
            raise FULL
        if error is None:
            return method()
        if isinstance(error, StoreInDoubtError):
            method()
        raise error


class _TroubledRoom(_Troubled):
    def preflight(self, *, back: bool = False) -> None:
        """Find as much room as there is: what the reserve gave up is enough to go back, and not for anything else."""
        if self._disk.full and (not back or self._store.room.reserve() is Standing.KEPT):
            raise FULL
        self._call("preflight", partial(self._store.room.preflight, back=back))


class TroubledStore(_Troubled):
    """The real store on a disk that fails when told."""

    def __init__(self, store: SmallStore, disk: TroubledDisk) -> None:
        super().__init__(store, disk, store)
        self.room = _TroubledRoom(store, disk, store.room)
        self.others = _Troubled(store, disk, store.others)
        self.retired_keys = _Troubled(store, disk, store.retired_keys)

    def save_change(self, record: ChangeRecord, needed: Lasting) -> None:
        """Save it, unless the power fails first."""
        self._disk.watch(record, saved=False)
        self._call("save_change", partial(self._store.save_change, record, needed))
        self._disk.watch(record, saved=True)
