"""The records on disk, as the daemon reads them: the change in flight and the history. It never writes there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.adapters import durable
from agent.adapters.journal import Journal
from agent.core.records import public
from agent.errors import DamagedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from agent.core.lifecycle import ChangeRecord

# What a set consists of; a change in any of them is looked into.
_FILES = ("key.pem", "certificate.pem", "credential.pem", "trust.pem", "manifest.json")


class Archive:
    """What the workers left on disk, as of the last `refresh`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir
        self.change: ChangeRecord | None = None
        self.history: tuple[ChangeRecord, ...] = ()

    def refresh(self) -> None:
        """Read again; what cannot be read is not there, and the worker's own look says why."""
        try:
            with durable.directory(os.fspath(self._path)) as root:
                journal = Journal(root, durable.Modes())
                self.history = journal.history()
                self.change = journal.change()
        except DamagedError:
            self.change = None
        except StoreError:
            self.change, self.history = None, ()

    def find(self, change: str) -> ChangeRecord | None:
        """Return a change by its id, in flight or finished."""
        known = (*self.history, *([self.change] if self.change else []))
        return next((record for record in reversed(known) if record.id == change), None)

    @property
    def last(self) -> dict[str, Any] | None:
        """The last finished change, for the status document."""
        return public(self.history[-1]) if self.history else None

    def directory_of(self, generation: int) -> Path:
        """Return where a generation's files are."""
        return self._path / "generations" / f"{generation:06d}"

    def signature(self, generation: int) -> tuple[object, ...]:
        """Return what changes when anybody touches a generation's files or `current`; cheap, and proves nothing."""
        directory = self.directory_of(generation)
        return tuple(touched(path) for path in (self._path / "current", *(directory / name for name in _FILES)))


def touched(path: Path, *, follow: bool = False) -> object:
    """Return what changes when anybody writes to a file or puts another in its place.

    Args:
        path: The file.
        follow: Whether a link stands for what it points at.
    """
    try:
        status = path.stat() if follow else path.lstat()
    except OSError as error:
        return error.errno
    return (status.st_ino, status.st_mtime_ns, status.st_size)
