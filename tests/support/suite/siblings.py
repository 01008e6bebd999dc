"""A fork that is the child of this process's parent, as if that had started it."""

from __future__ import annotations

import ctypes
import platform
import signal

_CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
_CLONE_PARENT = 0x8000  # <linux/sched.h>


def fork_beside() -> int:
    """Fork a process whose parent is that of this one; returns its id, and 0 in it."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = ctypes.PyDLL(None).syscall(_CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return int(pid)
