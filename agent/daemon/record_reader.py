"""The records on disk, as the daemon reads them: the change in flight and the history. It never writes there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.errors import DamagedError, StoreError
from agent.store.files import disk, durable
from agent.store.notes.change_log import Journal, end_in

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord


class RecordReader:
    """What the workers left on disk, as of the last `refresh`."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir
        self.change: ChangeRecord | None = None
        self.history: tuple[ChangeRecord, ...] = ()
        self._mark = ""  # of that history

    def refresh(self) -> None:
        """Read again; what cannot be read is not there, and the worker's own look says why."""
        try:
            with disk.directory(os.fspath(self._path)) as root:
                journal = Journal(root, durable.Modes())
                self._mark, found = journal.history_unless(self._mark)
                self.history = self.history if found is None else found
                record = journal.recorded()
                self.change = None if record is None or end_in(self.history, record) else record
        except DamagedError:
            self.change = None
        except StoreError:
            self.change, self.history, self._mark = None, (), ""

    def find(self, change: str) -> ChangeRecord | None:
        """Return a change by its id, in flight or finished."""
        known = (*self.history, *([self.change] if self.change else []))
        return next((record for record in reversed(known) if record.id == change), None)

    def directory_of(self, generation: int) -> Path:
        """Return where a generation's files are."""
        return self._path / "generations" / f"{generation:06d}"
