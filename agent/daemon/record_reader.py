"""The records on disk, as the daemon reads them: the change in flight and the history. It never writes there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.errors import DamagedError, StoreError
from agent.store.files import disk, durable
from agent.store.names import GENERATIONS, final_name
from agent.store.notes.change_log import ChangeLog, end_in

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

    def refresh(self, *, at_work: bool = False) -> None:
        """Read again; what cannot be read is not there, and the worker's own look says why.

        Args:
            at_work: Whether a change that is found to have ended is to be in flight still, as if not read again.
        """
        mark, change, history = self._read()
        if not at_work or change is not None or self.change is None:
            self._mark, self.change, self.history = mark, change, history

    def _read(self) -> tuple[str, ChangeRecord | None, tuple[ChangeRecord, ...]]:
        mark, history = self._mark, self.history
        try:
            with disk.directory(os.fspath(self._path)) as root:
                log = ChangeLog(root, durable.Modes())
                mark, found = log.history_unless(mark)
                history = history if found is None else found
                record = log.recorded()
                return mark, None if record is None or end_in(history, record) else record, history
        except DamagedError:
            return mark, None, history
        except StoreError:
            return "", None, ()

    def find(self, change: str) -> ChangeRecord | None:
        """Return a change by its id, in flight or finished."""
        known = (*self.history, *([self.change] if self.change else []))
        return next((record for record in reversed(known) if record.id == change), None)

    def directory_of(self, generation: int) -> Path:
        """Return where a generation's files are."""
        return self._path / GENERATIONS / final_name(generation)
