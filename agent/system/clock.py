"""The clock: wall and monotonic time, and whether the system vouches for the wall clock.

The kernel keeps a flag (`STA_UNSYNC`) that every NTP daemon clears once it steers the clock; systemd-timesyncd also
leaves a marker file. Either will do. Where a sandbox filters the system call, systemd-timedated is asked instead.
"""

from __future__ import annotations

import ctypes
import os
import time
from datetime import UTC, datetime
from pathlib import Path

from agent.system.timedated import Timedated

TIMESYNCD_MARKER = Path("/run/systemd/timesync/synchronized")

_STA_UNSYNC = 0x0040  # <linux/timex.h>
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """The head of ``struct timex`` as on all 64-bit Linux, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class SystemClock:
    """The machine's clock. `vouched` is for gateways whose time comes from elsewhere and needs no vouching."""

    def __init__(self, *, vouched: bool = False) -> None:
        self._vouched = vouched

    def now(self) -> datetime:
        """Return the wall clock, UTC."""
        return datetime.now(UTC)

    def synchronised(self) -> bool:
        """Whether the kernel, systemd-timesyncd or systemd-timedated says that the clock is synchronised."""
        if self._vouched or TIMESYNCD_MARKER.exists():
            return True
        told = _kernel_synchronised()
        return _timedated.synchronised(monotonic()) if told is None else told


def monotonic() -> float:
    """Return seconds that no clock step changes."""
    return time.monotonic()


def boottime() -> float:
    """Return seconds that no clock step changes, with those in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def stamp() -> int:
    """Return nanoseconds since 1970, as the kernel stamps files with them; for comparing with such stamps alone."""
    return time.time_ns()


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


_timedated = Timedated()  # one for the process: it remembers


def _kernel_synchronised() -> bool | None:
    """Return what the kernel says, or None when it may not be asked."""
    timex = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    if state < 0:  # refused, as by a seccomp filter
        return None
    return state != _TIME_ERROR and not timex.status & _STA_UNSYNC


def chance() -> float:
    """Return a number in [0, 1) from the kernel; `random` would bring the whole cryptographic library."""
    return int.from_bytes(os.urandom(6), "big") / 2**48
