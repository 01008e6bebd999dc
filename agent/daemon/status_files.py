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
from agent.store import directories, disk, durable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.status import Status

STATUS = "status.json"
METRICS = "metrics.prom"

_MODES = durable.Modes(public_mode=0o644, directory_mode=0o755)


class StatusFiles:
    """Writes both, when they differ from what is there."""

    def __init__(self, runtime_dir: Path) -> None:
        self._path = runtime_dir
        self._last: Mapping[str, object] = {}

    def publish(self, status: Status, history: Iterable[ChangeRecord]) -> str:
        """Write both; return why it could not be done, or an empty text."""
        told = document(status)
        compared = {name: value for name, value in told.items() if name != "clock"}
        if compared == self._last:
            return ""
        try:
            with disk.directory(os.fspath(self._path)) as fd:
                durable.replace(fd, STATUS, encode(told) + b"\n", _MODES)
                durable.replace(fd, METRICS, metrics.render(status, history).encode(), _MODES)
        except StoreError as error:
            return str(error)
        self._last = compared
        return ""

    def withdraw(self) -> None:
        """Remove both: they are not kept up to date any more."""
        try:
            with disk.directory(os.fspath(self._path)) as fd:
                for name in (STATUS, METRICS):
                    directories.withdraw(fd, name)
        except StoreError:
            pass  # the next start writes them anew
