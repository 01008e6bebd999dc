"""Which change's end was told last to the person who ordered it: a small file beside the history.

It is a courtesy and no record: it is not synced, and when it is lost the same order is answered once more with the end
of the change that it had led to. See `agent.core.change.verbs`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from agent.errors import StoreError
from agent.store.files import disk, durable

if TYPE_CHECKING:
    from pathlib import Path

TOLD = "told"

_MAX = 256  # bytes


def read(state_dir: Path) -> str:
    """Return the id of the change, or an empty text."""
    try:
        with disk.directory(str(state_dir)) as root:
            return disk.read(root, TOLD, _MAX).decode("ascii", "replace").strip()[:64]
    except (FileNotFoundError, StoreError):
        return ""


def write(state_dir: Path, change: str) -> None:
    """Note a change; where that cannot be done nothing is lost."""
    with suppress(StoreError), disk.directory(str(state_dir)) as root:
        durable.scribble(root, TOLD, change.encode() + b"\n", durable.Modes())
