"""Acting as the owner of the state directory.

When root runs a command on a store that belongs to the agent's user, everything it makes must be that user's from the
first byte, or the daemon cannot go on with it. Giving files away afterwards leaves a gap in which the command may be
killed; acting as the owner leaves none. It also keeps the whole change, the network above all, away from root.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
from typing import TYPE_CHECKING

from agent.store.files.disk import explained

if TYPE_CHECKING:
    from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_DUMPABLE = 4


def become_owner(path: Path) -> None:
    """Let root give up its privileges for good and become the owner of `path`; others stay who they are.

    Raises:
        StoreError: The owner cannot be told, or cannot be become.
    """
    if os.geteuid() != 0:
        return
    with explained(f"act as the owner of {path}"):
        status = path.stat()
        if status.st_uid == 0:
            return
        try:
            owner = pwd.getpwuid(status.st_uid)
            os.initgroups(owner.pw_name, owner.pw_gid)  # which the service has, whatever the directory's group is
        except KeyError:
            os.setgroups([])  # an owner without a name has no further groups
        os.setresgid(status.st_gid, status.st_gid, status.st_gid)
        os.setresuid(status.st_uid, status.st_uid, status.st_uid)


def keep_memory_private() -> None:
    """Let neither a core dump nor another process of the same user show this one's memory; it may hold a key."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def stop_with_parent() -> None:
    """Be told to stop when the parent dies, so that no worker outlives its daemon for long."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
