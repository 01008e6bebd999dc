"""The pause: a small file that says until when scheduled changes are held, across restarts too.

A file that cannot be read as a pause holds nothing: better a rotation too early than one that never comes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.jsonio import PlainError, decode, encode
from agent.core.when.schedule import MAX_REASON, Pause
from agent.store.files import directories, disk, durable

if TYPE_CHECKING:
    from pathlib import Path

PAUSE = "pause.json"

_MAX = 16_384  # bytes


def read(state_dir: Path) -> Pause | None:
    """Return the pause that is on disk, whether it is over or not.

    Raises:
        StoreError: The state directory cannot be read.
    """
    with disk.directory(str(state_dir)) as root:
        try:
            return decode(disk.read(root, PAUSE, _MAX), PAUSE, limit=_MAX).record(Pause)
        except (FileNotFoundError, PlainError):
            return None


def write(state_dir: Path, pause: Pause) -> None:
    """Make a pause durable.

    Raises:
        StoreError: It is not, or in doubt.
    """
    reason = pause.reason.encode(errors="replace").decode()[:MAX_REASON]
    with disk.directory(str(state_dir)) as root:
        durable.replace(root, PAUSE, encode(replace(pause, reason=reason)) + b"\n", durable.Modes())


def clear(state_dir: Path) -> None:
    """End the pause, durably; harmless when there is none.

    Raises:
        StoreError: It could not be removed.
    """
    with disk.directory(str(state_dir)) as root:
        if disk.exists(root, PAUSE):
            directories.withdraw(root, PAUSE)
            durable.sync(root, "the pause was ended")
