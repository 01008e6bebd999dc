"""A copy of this process that does one piece of work and ends: with bounds, or with the rights of another user.

What it says comes over a pipe. It refuses to wait for it: how long that may take is the caller's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.system import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable


def fork(work: Callable[[int], object]) -> tuple[int, int]:
    """Have a copy of this process do some work, and return its process id and the pipe to read from; both the caller's.

    It ends with 0 when the work is done, and with 1 when that raised something.

    Args:
        work: What it does; takes the descriptor of the pipe that it may write to.

    Raises:
        OSError: There is no further process, or no pipe, to be had.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.fork()
    except OSError:
        descriptors.release(read_end)
        raise
    else:
        if child == 0:
            try:
                os.close(read_end)
                work(write_end)
                os._exit(0)
            finally:
                os._exit(1)  # whatever happened: no frame of the parent's may run twice
    finally:
        descriptors.release(write_end)
    return child, read_end
