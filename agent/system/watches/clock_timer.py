"""The wall clock as an alarm: wakes the loop at an instant, and at once when the clock is set.

A delay by the monotonic clock knows nothing of either, nor of the time a gateway spends suspended. The kernel's timer
on CLOCK_REALTIME with TFD_TIMER_CANCEL_ON_SET knows. Python 3.11 has no `os.timerfd_create`, so the C library is asked.

It refuses to work where `time_t` is not the 64 bits that `_Timespec` says, and it refuses to poll: where the kernel or
a sandbox refuses the timer, `open_clock_watch` returns None and the caller looks at the clock from time to time.
"""

from __future__ import annotations

import ctypes
import errno
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.system.watches.kernel_watch import KernelWatch, last_error

if TYPE_CHECKING:
    from collections.abc import Callable

_CLOCK_REALTIME = 0  # <linux/time.h>
_TFD_TIMER_ABSTIME = 1  # <linux/timerfd.h>
_TFD_TIMER_CANCEL_ON_SET = 2
_NEVER = 2**62 // 10**9  # seconds; the year 2116, within what the kernel's nanoseconds can hold
_AT_ONCE = 1  # one second after the epoch: long past, while 0 would disarm
_TIME_T = 8  # bytes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS = 8  # bytes to read


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


class ClockWatch(KernelWatch):
    """A timer on the wall clock. Use `open_clock_watch`; `fileno` can be read when there is something to `read`.

    From the beginning, and whether or not it is armed, it notices when the clock is set.

    Args:
        libc: The C library.
        read: Reads from a descriptor, as `os.read` does.
    """

    def __init__(self, libc: ctypes.CDLL, read: Callable[[int, int], bytes] = os.read) -> None:
        self._libc = libc
        self._read = read
        self._set_meanwhile = False
        super().__init__(libc.timerfd_create(_CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            self._set(_NEVER)
        except OSError:
            self.close()
            raise

    def arm(self, at: datetime) -> None:
        """Wake when the wall clock shows `at`, in place of any instant before; at once when it already has.

        Raises:
            OSError: The kernel refuses, which it does not once the watch is open.
        """
        since = at - _EPOCH
        seconds = since // timedelta(seconds=1)
        if seconds < _AT_ONCE:
            self._set(_AT_ONCE)
        else:
            self._set(min(seconds, _NEVER), since % timedelta(seconds=1) // timedelta(microseconds=1) * 1000)

    def read(self) -> bool:
        """Take the event. Whatever it was, the caller looks at the clock and arms again.

        Returns:
            True when the clock was set; False when the instant was merely reached, or nothing happened.

        Raises:
            OSError: The timer is broken.
        """
        jumped, self._set_meanwhile = self._set_meanwhile, False
        try:
            self._read(self._fd, _TICKS)
        except BlockingIOError:
            return jumped
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
            return True  # and the instant still stands
        self._set(_NEVER)  # a timer that has run out need not notice settings any more
        return jumped

    def _set(self, seconds: int, nanoseconds: int = 0) -> None:
        if not self._settime(seconds, nanoseconds):  # the clock was set since it was last looked at: say so at once
            self._set_meanwhile = True
            self._settime(_AT_ONCE, 0)

    def _settime(self, seconds: int, nanoseconds: int) -> bool:
        value = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
        if self._libc.timerfd_settime(self._fd, flags, ctypes.byref(value), None) == 0:
            return True
        error = last_error()
        if error.errno != errno.ECANCELED:
            raise error
        return False


def open_clock_watch() -> ClockWatch | None:
    """Return a watch on the wall clock, or None where there is none to be had."""
    if ctypes.sizeof(ctypes.c_long) != _TIME_T:
        return None
    try:
        return ClockWatch(ctypes.CDLL(None, use_errno=True))
    except (OSError, AttributeError):  # refused, or a C library without it
        return None
