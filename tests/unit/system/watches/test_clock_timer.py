from __future__ import annotations

import ctypes
import errno
import os
import select
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.system.watches.clock_timer import ClockWatch, open_clock_watch
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

FAR = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture
def watch() -> Iterator[ClockWatch]:
    """Give a watch on this machine's clock, which is never set here."""
    opened = open_clock_watch()
    assert opened is not None
    yield opened
    opened.close()


def readable(watch: ClockWatch, seconds: float = 0.0) -> bool:
    """Whether the watch has something to read, now or within some seconds."""
    return bool(select.select([watch.fileno()], [], [], seconds)[0])


def soon() -> datetime:
    """Return an instant that is about to come."""
    return datetime.now(UTC) + timedelta(milliseconds=30)


def kernel_says(watch: ClockWatch, name: str) -> str:
    """Return what the kernel knows of the timer."""
    lines = Path(f"/proc/self/fdinfo/{watch.fileno()}").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)[name]


def seconds_left(watch: ClockWatch) -> int:
    """Return how long the timer still runs."""
    return int(kernel_says(watch, "it_value").strip("()").split(",")[0])


class StepsOnce:
    """Reads as the kernel does, and tells once that the clock was set: setting it here would set it for everybody."""

    def __init__(self) -> None:
        self.steps = 1

    def __call__(self, fd: int, size: int) -> bytes:
        """Read, or fail as timerfd_create(2) says."""
        if self.steps:
            self.steps = 0
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        return os.read(fd, size)


class Refusing:
    """A C library in a sandbox that refuses one call, once or for good; all others are the real one's."""

    def __init__(self, name: str, number: int, calls: range) -> None:
        self._real = ctypes.CDLL(None, use_errno=True)
        self._name, self._number, self._calls = name, number, calls
        self._count = 0

    def __getattr__(self, name: str) -> object:
        """Return the call."""
        real = getattr(self._real, name)
        return self._refuse if name == self._name else real

    def _refuse(self, *arguments: object) -> int:
        self._count += 1
        if self._count - 1 in self._calls:
            ctypes.set_errno(self._number)
            return -1
        result: int = getattr(self._real, self._name)(*arguments)
        return result


def test_an_instant_that_comes_wakes_and_is_no_jump(watch: ClockWatch) -> None:
    """The descriptor becomes readable when the wall clock shows the instant, not before, and only once."""
    at = soon()
    watch.arm(at)
    assert readable(watch, 30)
    assert datetime.now(UTC) >= at
    assert watch.read() is False
    assert not readable(watch)


@pytest.mark.parametrize(
    "at", [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2020, 2, 2, tzinfo=UTC)]
)
def test_an_instant_in_the_past_wakes_at_once(watch: ClockWatch, at: datetime) -> None:
    """A deadline that was missed while the gateway was off is not missed again."""
    watch.arm(at)
    assert readable(watch, 30)
    assert watch.read() is False


@pytest.mark.parametrize(
    ("at", "latest"), [(FAR, FAR), (datetime.max.replace(tzinfo=UTC), datetime(2117, 1, 1, tzinfo=UTC))]
)
def test_an_instant_far_ahead_is_waited_for(watch: ClockWatch, at: datetime, latest: datetime) -> None:
    """Certificates are valid until 2049, and some for ever, which is more than the kernel can count."""
    watch.arm(at)
    left = timedelta(seconds=seconds_left(watch))
    assert latest - timedelta(days=400) < datetime.now(UTC) + left <= latest
    assert not readable(watch)


def test_an_instant_is_kept_to_the_microsecond(watch: ClockWatch) -> None:
    """No second is lost by rounding."""
    asked = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=999_999)
    watch.arm(asked)
    before = datetime.now(UTC)
    seconds, nanoseconds = kernel_says(watch, "it_value").strip("()").split(", ")
    left = timedelta(seconds=int(seconds), microseconds=int(nanoseconds) / 1000)
    assert before + left <= asked <= datetime.now(UTC) + left


def test_arming_again_takes_the_place_of_the_instant_before(watch: ClockWatch) -> None:
    """There is one deadline, the last one."""
    watch.arm(datetime(2020, 2, 2, tzinfo=UTC))
    watch.arm(FAR)
    assert not readable(watch)
    watch.arm(soon())
    assert readable(watch, 30)


def test_reading_when_nothing_happened_returns_at_once(watch: ClockWatch) -> None:
    """A spurious wake-up holds nothing up."""
    assert watch.read() is False
    watch.arm(FAR)
    assert watch.read() is False


def test_a_clock_that_was_set_is_told_and_the_instant_still_stands() -> None:
    """What the kernel calls ECANCELED is a jump; the deadline on the new clock is kept."""
    watch = ClockWatch(ctypes.CDLL(None, use_errno=True), StepsOnce())
    watch.arm(soon())
    assert watch.read() is True
    assert readable(watch, 30)
    assert watch.read() is False
    watch.close()


def test_a_clock_that_was_set_just_before_arming_is_told_at_once() -> None:
    """The kernel may say ECANCELED to the arming itself; the loop then wakes for it."""
    libc = Refusing("timerfd_settime", errno.ECANCELED, range(1, 2))
    watch = ClockWatch(libc)  # type: ignore[arg-type] # it has what is called
    watch.arm(FAR)
    assert readable(watch, 30)
    assert watch.read() is True
    assert not readable(watch)
    assert watch.read() is False
    watch.close()


def test_a_timer_that_breaks_is_not_taken_for_a_jump() -> None:
    """Any other error is the caller's to see."""

    def broken(fd: int, size: int) -> bytes:
        del fd, size
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    watch = ClockWatch(ctypes.CDLL(None, use_errno=True), broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        watch.read()
    watch.close()


@pytest.mark.parametrize("name", ["timerfd_create", "timerfd_settime"])
def test_a_refusal_is_told_and_leaves_no_descriptor_open(name: str) -> None:
    """A filter of system calls may refuse either call; what was opened before is closed."""
    before = descriptors()
    with pytest.raises(OSError, match=os.strerror(errno.EPERM)):
        ClockWatch(Refusing(name, errno.EPERM, range(100)))  # type: ignore[arg-type] # it has what is called
    assert descriptors() - before == set()


def test_where_no_timer_is_to_be_had_the_agent_goes_without() -> None:
    """A process that may open nothing more gets None, and no error."""
    script = (
        "import resource\n"
        "from agent.system.watches.clock_timer import open_clock_watch\n"
        "before = open_clock_watch() is None\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "print(before, open_clock_watch())\n"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown == "False None\n"


def test_a_closed_watch_is_closed_once(watch: ClockWatch) -> None:
    """Closing twice must not close another's descriptor."""
    fd = watch.fileno()
    watch.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(fd)
    read, write = os.pipe()
    watch.close()
    os.fstat(read)
    os.fstat(write)
    os.close(read)
    os.close(write)


def test_the_timer_is_on_the_wall_clock_and_told_of_settings(watch: ClockWatch) -> None:
    """The kernel itself says which clock it is, and that a setting cancels: armed or not, from the first moment."""
    for _ in range(2):
        assert kernel_says(watch, "clockid") == "0"
        assert kernel_says(watch, "settime flags") == "03"
        watch.arm(FAR)
    watch.arm(datetime(2020, 2, 2, tzinfo=UTC))
    assert readable(watch, 30)
    watch.read()
    assert seconds_left(watch) > 10**9
