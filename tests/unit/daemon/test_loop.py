"""The loop: it calls those who wait, in order and once, and sleeps in between."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent.daemon.loop import Alarm, Loop
from support.suite.surroundings import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 60 * 86_400.0


@pytest.fixture(name="loop")
def _loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def nothing() -> None:
    """Be a call that does nothing."""


# -- descriptors ---------------------------------------------------------------------------------------------------


def test_a_watcher_is_called_when_there_is_something_to_read(loop: Loop, pipe: tuple[int, int]) -> None:
    """The call itself reads."""
    got: list[bytes] = []
    loop.watch(pipe[0], lambda: got.append(os.read(pipe[0], 10)))
    os.write(pipe[1], b"x")
    loop.turn()
    assert got == [b"x"]


def test_what_was_not_read_is_told_again(loop: Loop, pipe: tuple[int, int]) -> None:
    """A watcher need not read everything at once."""
    got: list[bytes] = []
    loop.watch(pipe[0], lambda: got.append(os.read(pipe[0], 1)))
    os.write(pipe[1], b"ab")
    loop.turn()
    loop.turn()
    assert got == [b"a", b"b"]


def test_a_later_watch_replaces_the_earlier_one(loop: Loop, pipe: tuple[int, int]) -> None:
    """One descriptor has one call."""
    called: list[str] = []
    os.write(pipe[1], b"x")
    loop.watch(pipe[0], lambda: called.append("first"))
    loop.watch(pipe[0], lambda: called.append("second"))
    loop.turn()
    assert called == ["second"]


def test_a_watch_for_writing_is_called_when_there_is_room(loop: Loop, pipe: tuple[int, int]) -> None:
    """An empty pipe has room."""
    called: list[str] = []
    loop.watch(pipe[1], lambda: called.append("room"), write=True)
    loop.turn()
    assert called == ["room"]


def test_after_unwatch_no_watcher_is_called(loop: Loop, pipe: tuple[int, int]) -> None:
    """And doing it twice is harmless."""
    called: list[str] = []
    os.write(pipe[1], b"x")
    loop.watch(pipe[0], lambda: called.append("read"))
    loop.unwatch(pipe[0])
    loop.unwatch(pipe[0])
    loop.post(nothing)
    loop.turn()
    assert called == []


def test_a_call_that_ends_another_watch_of_the_same_turn_is_believed(loop: Loop) -> None:
    """Both are ready at once; whichever is called first takes the other away."""
    called: list[int] = []
    ends = [os.pipe() for _ in range(2)]

    def met(mine: int, other: int) -> None:
        called.append(mine)
        loop.unwatch(other)

    for (reader, writer), (other, _) in zip(ends, reversed(ends), strict=True):
        loop.watch(reader, partial(met, reader, other))
        os.write(writer, b"x")
    loop.turn()
    assert len(called) == 1
    for end in (end for pair in ends for end in pair):
        os.close(end)


def test_news_of_a_closed_descriptor_do_not_reach_who_got_its_number(loop: Loop) -> None:
    """One call closes the other's descriptor, and the next one opened, with the same number, is watched at once."""
    called: list[str] = []
    ends = [os.pipe() for _ in range(2)]

    def met(other: int) -> None:
        called.append("old")
        loop.unwatch(other)
        os.close(other)
        os.dup2(quiet[0], other)
        loop.watch(other, lambda: called.append("new"))

    quiet = os.pipe()
    for (reader, writer), (other, _) in zip(ends, reversed(ends), strict=True):
        loop.watch(reader, partial(met, other))
        os.write(writer, b"x")
    loop.turn()
    assert called == ["old"]
    for end in (*quiet, *(end for pair in ends for end in pair)):
        os.close(end)


# -- delays --------------------------------------------------------------------------------------------------------


def test_delays_end_in_the_order_of_their_ends(loop: Loop) -> None:
    """Not in the order in which they were asked for; equal ones are."""
    called: list[str] = []
    for seconds, name in ((0.02, "c"), (0.0, "a"), (0.01, "b")):
        loop.later(seconds, partial(called.append, name))
    while len(called) < 3:
        loop.turn()
    assert called == ["a", "b", "c"]


def test_no_delay_ends_early(loop: Loop) -> None:
    """The kernel counts milliseconds, the clock nanoseconds."""
    start = time.monotonic()
    loop.later(0.0105, loop.stop)
    loop.run()
    assert time.monotonic() - start >= 0.0105


def test_a_cancelled_delay_never_calls(loop: Loop) -> None:
    """Nor does it wake the loop."""
    called: list[str] = []
    timer = loop.later(0.0, lambda: called.append("cancelled"))
    timer.cancel()
    assert not timer.pending
    loop.later(0.001, lambda: called.append("kept"))
    loop.turn()
    assert called == ["kept"]


def test_a_delay_calls_once(loop: Loop) -> None:
    """It is over once it has called."""
    called: list[str] = []
    timer = loop.later(0.0, lambda: called.append("x"))
    loop.turn()
    assert not timer.pending
    loop.post(nothing)
    loop.turn()
    assert called == ["x"]


def test_a_delay_may_be_longer_than_the_kernel_can_wait_at_once(loop: Loop) -> None:
    """A certificate is renewed in months; the kernel's longest wait is 24 days."""
    timer = loop.later(DAYS, nothing)
    loop.post(nothing)
    loop.turn()
    assert timer.pending


def test_an_alarm_has_one_call_ahead_at_the_most(loop: Loop) -> None:
    """Setting it moves the call, whatever stood; the other two leave a call that comes first where it is."""
    called: list[str] = []
    alarm = Alarm(loop, lambda: called.append("alarm"))
    assert not alarm.pending

    alarm.set_if_unset(3600.0)
    alarm.set_if_unset(0.0)
    loop.later(0.0, loop.stop)
    loop.run()
    assert (called, alarm.pending) == ([], True)

    alarm.bring_forward(0.0)
    alarm.bring_forward(3600.0)
    loop.later(0.01, loop.stop)
    loop.run()
    assert (called, alarm.pending) == (["alarm"], False)

    alarm.set(0.0)
    alarm.cancel()
    loop.later(0.01, loop.stop)
    loop.run()
    assert called == ["alarm"]


def test_cancelled_delays_do_not_pile_up(loop: Loop) -> None:
    """Most are deadlines of something that went well, far away when they are cancelled."""
    kept = loop.later(DAYS, nothing)
    for _ in range(10_000):
        loop.later(DAYS, nothing).cancel()
    assert len(loop._timers) < 200
    assert kept.pending
    assert any(item[2] is kept for item in loop._timers)


def test_delays_that_are_kept_survive_the_clearing_in_order(loop: Loop) -> None:
    """Whatever is cancelled around them."""
    called: list[int] = []
    due = {}
    for number in reversed(range(500)):
        due[number] = loop.later(number / 1e6, partial(called.append, number)).due
        loop.later(DAYS, nothing).cancel()
    while len(called) < 500:
        loop.turn()
    assert called == sorted(due, key=due.__getitem__)


# -- posting -------------------------------------------------------------------------------------------------------


def test_another_thread_wakes_the_loop(loop: Loop) -> None:
    """The call is made in the loop's thread."""
    called: list[int] = []

    def tell() -> None:
        called.append(threading.get_ident())
        loop.stop()

    thread = threading.Thread(target=loop.post, args=(tell,))
    loop.later(20, loop.stop)
    loop.later(0.0, thread.start)
    loop.run()
    thread.join()
    assert called == [threading.get_ident()]


def test_what_a_posted_call_posts_comes_in_the_next_turn(loop: Loop) -> None:
    """A call that posts itself again and again leaves time for everything else."""
    called: list[str] = []

    def again() -> None:
        called.append("again")
        loop.post(again)

    loop.post(again)
    loop.turn()
    assert called == ["again"]
    loop.turn()
    assert called == ["again", "again"]


def test_nothing_posted_is_lost(loop: Loop) -> None:
    """However many threads post at once."""
    called: list[int] = []

    def post_many() -> None:
        for number in range(1000):
            loop.post(partial(called.append, number))

    threads = [threading.Thread(target=post_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(called) < 4000:
        loop.turn()
    for thread in threads:
        thread.join()
    assert sorted(called) == sorted(list(range(1000)) * 4)


def test_an_error_in_a_call_comes_out(loop: Loop) -> None:
    """A defect is not hidden."""

    def burst() -> None:
        raise ZeroDivisionError

    loop.post(burst)
    with pytest.raises(ZeroDivisionError):
        loop.turn()


def test_an_idle_loop_sleeps(loop: Loop) -> None:
    """Between now and the next delay there is one turn."""
    turns = 0
    done: list[str] = []
    loop.later(0.05, lambda: done.append("x"))
    while not done:
        loop.turn()
        turns += 1
    assert turns <= 2


def test_closing_gives_back_every_descriptor() -> None:
    """The selector's and the one that wakes it."""
    before = descriptors()
    loop = Loop()
    assert len(descriptors() - before) == 2
    loop.close()
    assert descriptors() - before == set()
