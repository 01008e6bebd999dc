"""Whether the file system of the state directory can take a change, and keeps what is written there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.core.change.reserve import LACKING, REMEDY, RESERVED, Standing, is_full
from agent.core.report.checks import Line, failure, ok, skipped, warning
from agent.core.text import in_shell
from agent.doctor import looks
from agent.system.files import is_there

if TYPE_CHECKING:
    from agent.config.values import Config
    from agent.operations.snapshot import Snapshot

_VOLATILE = frozenset({"tmpfs", "ramfs"})


def examine(config: Config, snapshot: Snapshot | None) -> Line:
    """Return the line about the file system of the state directory.

    Args:
        config: The configuration.
        snapshot: What is in the state directory; None where this user may not know.
    """
    wrong = looks.wrong_type(config.state_dir)
    if wrong is not None:
        return wrong
    path = next(path for path in (config.state_dir, *config.state_dir.parents) if is_there(path))
    place, kind = looks.file_system(path)
    try:
        space = os.statvfs(path)
    except OSError as error:
        return skipped("disk", f"{path}: {error.strerror}")
    if space.f_flag & os.ST_RDONLY:
        text = f"The file system of {config.state_dir} is mounted read-only."
        remedy = f"Remount it: `sudo mount -o remount,rw {in_shell(place or path)}`; read `dmesg` for why."
        return failure("disk", "read-only", text, remedy)
    if kind in _VOLATILE:
        text = f"{config.state_dir} lies on {kind}, so keys and certificates are gone after a reboot."
        return failure("disk", "volatile", text, "Put `state_dir` on a file system that lasts.")
    free = space.f_bavail * space.f_frsize
    if is_full(free, space.f_favail if space.f_files else None):
        text = f"{config.state_dir} has {free >> 10} KiB and {space.f_favail} inodes free, too little for a change."
        text += _fallback(snapshot)
        return failure("disk", "no-space", text, "Free some space or inodes on this file system.")
    if snapshot and snapshot.current and snapshot.reserve is Standing.NO_ROOM:
        return warning("disk", "no-reserve", f"{LACKING}.", REMEDY)
    if kind == "overlay":
        text = f"{config.state_dir} lies on an overlay, which lasts only if its upper layer does."
        return warning("disk", "overlay", text, "Put `state_dir` on a file system of its own.")
    return ok("disk", f"{config.state_dir} has {free >> 20} MiB free on {kind or 'its file system'}.")


def _fallback(snapshot: Snapshot | None) -> str:
    """Return whether this gateway could fall back on a full disk, as a further sentence, where that is known."""
    if snapshot is None or snapshot.current is None:
        return ""
    return f" {RESERVED}" if snapshot.reserve.kept else f" {LACKING}."
