"""Of which findings the operator's command was told: a small file beside the history.

It is a courtesy and no record: it is not synced, and when it is lost the command is told once more of what still is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from agent.core.jsonio import PlainError, decode, encode
from agent.core.report.notices import Noticed
from agent.errors import StoreError
from agent.store.files import disk, durable

if TYPE_CHECKING:
    from pathlib import Path

NOTICED = "noticed.json"

_MAX = 4_194_304  # bytes; as many findings as a status can have


def read(state_dir: Path) -> Noticed:
    """Return them; none where that cannot be read."""
    try:
        with disk.directory(str(state_dir)) as root:
            return decode(disk.read(root, NOTICED, _MAX), NOTICED, limit=_MAX).record(Noticed)
    except (FileNotFoundError, StoreError, PlainError):
        return Noticed()


def write(state_dir: Path, told: Noticed) -> None:
    """Note them; where that cannot be done nothing but the note is lost."""
    with suppress(StoreError), disk.directory(str(state_dir)) as root:
        durable.scribble(root, NOTICED, encode(told) + b"\n", durable.Modes())
