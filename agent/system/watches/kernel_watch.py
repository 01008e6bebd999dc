"""What the kernel tells of by a descriptor that the C library makes, since Python has no name for the call.

It owns the descriptor, and refuses one that was not made.
"""

from __future__ import annotations

import ctypes
import os


class KernelWatch:
    """Something of the kernel's that a loop waits for: `fileno` can be read when there is news."""

    def __init__(self, made: int) -> None:
        """Own a descriptor.

        Args:
            made: What the C library returned.

        Raises:
            OSError: It has made none.
        """
        if made < 0:
            raise last_error()
        self._fd = made

    def close(self) -> None:
        """Let go of the descriptor, which must not be watched any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return self._fd


def last_error() -> OSError:
    """Return what the C library's last call failed with."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
