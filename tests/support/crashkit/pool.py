"""A map over all cores by plain forks: no threads, so that every worker may fork and trace children of its own."""

from __future__ import annotations

import ctypes
import os
import pickle
import traceback
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

CORES = sorted(os.sched_getaffinity(0))
_LIBC = ctypes.CDLL(None)


def fork_map(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return ``[function(item) for item in items]``, computed in forked workers.

    Raises:
        RuntimeError: A worker failed; the message is its traceback.
    """
    workers = min(len(CORES), len(items))
    here = CORES.index(_LIBC.sched_getcpu())  # the one worker of a single item stays where it is
    cores = (CORES[here:] + CORES[:here])[:workers]
    ends = [_start(function, items[place::workers], core) for place, core in enumerate(cores)]
    parts: list[list[R]] = [_collect(pid, fd) for pid, fd in ends]
    return [parts[place % workers][place // workers] for place in range(len(items))]


def _start(function: Callable[[T], R], items: Sequence[T], core: int) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        os.sched_setaffinity(0, {core})  # a tracer and its child on one core are twice as fast
        _work(function, items, write_end)
    os.close(write_end)
    return pid, read_end


def _work(function: Callable[[T], R], items: Sequence[T], fd: int) -> NoReturn:
    try:
        answer: tuple[bool, object] = (True, [function(item) for item in items])
    except BaseException:  # noqa: BLE001 - whatever it was, the parent raises it again as text
        answer = (False, traceback.format_exc())
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(pickle.dumps(answer))
    os._exit(0)


def _collect(pid: int, fd: int) -> list[R]:
    with os.fdopen(fd, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    if not data:
        raise RuntimeError("a worker died without a word")
    done, answer = pickle.loads(data)  # noqa: S301 - our own fork wrote it
    if not done:
        raise RuntimeError(answer)
    result: list[R] = answer
    return result
