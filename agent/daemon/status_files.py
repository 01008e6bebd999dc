"""What others may read without asking: ``status.json`` and ``metrics.prom`` in the runtime directory.

The runtime directory is in memory on every gateway that runs systemd, so an idle day writes nothing to flash; and what
has not changed is not written again. A reader meets each whole at any moment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.core.jsonio import encode
from agent.core.report import metrics
from agent.core.report.document import document
from agent.errors import StoreError
from agent.store.files import directories, disk, durable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.status import Status

STATUS = "status.json"
METRICS = "metrics.prom"

_MODES = durable.Modes(public_mode=0o644, directory_mode=0o755)


class StatusFiles:
    """Writes both, when there is news, and when they are not as they were written last.

    Attributes:
        is_anothers: Whether the directory is another daemon's, to which they are left: two that write the same names
            whenever the other did so would never end.
        problem: Why that could not be done the last time and what helps, or an empty text.
    """

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir
        self._last: Mapping[str, object] = {}
        self._written: tuple[disk.FileState, ...] = ()
        self.is_anothers = False
        self.problem = ""

    @property
    def kept(self) -> bool:
        """Whether both are as they were written last."""
        try:
            with disk.directory(os.fspath(self._path)) as fd:
                return bool(self._written) and self._written == _states(fd)
        except StoreError:
            return False

    def publish(self, status: Status, history: Iterable[ChangeRecord]) -> bool:
        """Write both; return whether there is another problem than before, or none any more."""
        before, self.problem = self.problem, self._publish(status, history)
        return self.problem != before

    def _publish(self, status: Status, history: Iterable[ChangeRecord]) -> str:
        if self.is_anothers:
            return ""
        told = document(status)
        compared = {name: value for name, value in told.items() if name != "clock"}
        try:
            with disk.directory(os.fspath(self._path)) as fd:
                if compared == self._last and self._written == _states(fd):
                    return ""
                durable.replace(fd, STATUS, encode(told) + b"\n", _MODES)
                durable.replace(fd, METRICS, metrics.render(status, history).encode(), _MODES)
                self._last, self._written = compared, _states(fd)
        except StoreError as error:
            return f"What is published in {self._path} is out of date: {error.in_full}"
        return ""

    def withdraw(self) -> None:
        """Remove both: they are not kept up to date any more."""
        if self.is_anothers:
            return
        try:
            with disk.directory(os.fspath(self._path)) as fd:
                for name in (STATUS, METRICS):
                    directories.withdraw(fd, name)
        except StoreError:
            pass  # the next start writes them anew


def _states(fd: int) -> tuple[disk.FileState, ...]:
    """Return how both look from outside, or nothing where one is missing."""
    try:
        return tuple(disk.state(fd, name) for name in (STATUS, METRICS))
    except FileNotFoundError:
        return ()
