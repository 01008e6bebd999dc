"""Letting go of open files.

What is written durably was synced before, and what was only read is known: so trouble that a file system tells of no
sooner than at the close (NFS, FUSE, a failing disk) is about nothing that could still be done. close(2) has let go of
the descriptor even then, and a second try would close another file's.
"""

from __future__ import annotations

import os
from contextlib import suppress


def release(fd: int) -> None:
    """Close a descriptor; what the file system says to that changes nothing."""
    with suppress(OSError):
        os.close(fd)
