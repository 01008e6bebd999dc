"""A file that holds a secret for one use, outside of the state directory: when it was put there, and its end.

Its directory is the operator's choice, so it may be one that the agent may not remove a file from: the secret is gone
all the same, since what is in the file is overwritten first.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from agent.store.files import disk, durable
from agent.system.files import is_directory


def touched(path: Path) -> datetime | None:
    """Return when a file was written, replaced, or given another name, mode or owner last; None where there is none."""
    try:
        return datetime.fromtimestamp(path.stat().st_ctime, UTC)
    except OSError:
        return None


def remove(path: Path) -> bool:
    """Overwrite and remove a file, or what a link of its name stands for, and return whether there was one.

    Raises:
        StoreError: It could not be removed, or the disk does not confirm it.
    """
    real = Path(os.path.realpath(path))
    if not is_directory(real.parent):
        return False
    with disk.directory(str(real.parent)) as fd:
        if not disk.exists(fd, real.name):
            return False
        durable.overwrite(fd, real.name)
        durable.remove(fd, real.name)
        durable.sync(fd, f"{path} was removed")
    return True
