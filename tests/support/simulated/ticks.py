"""The kernel's clock of changes, which no program sets: a test that wants an order waits for its next tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def tick(place: Path) -> None:
    """Return once what changes in a file system is stamped later than all that changed before; a few milliseconds.

    Args:
        place: A directory of that file system.
    """
    probe = place / ".tick"
    probe.touch()
    before = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == before:
        probe.touch()
    probe.unlink()
