"""What a run of the tests costs: seconds of a processor by file, told with ``--cpu`` (`make cpu`).

A processor's seconds are what a change to the tests is measured in: how long a run takes depends on what else runs.
A process that a test has started counts where it has ended, one that is forked for a command where it was run.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from support.suite import warm

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

ELSEWHERE = "beside the tests"  # collection, imports, what is made once and ends with its process
_FOLDERS = 2  # of a file's name that are a room


def used() -> float:
    """Return the seconds that this process has used, with those that it has started and that have ended."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return warm.used() + sum(usage.ru_utime + usage.ru_stime for usage in found)


class Meter:
    """A plugin of pytest: counts what each file's tests use in this process, and in others that have told theirs.

    Attributes:
        files: Seconds by file.
    """

    def __init__(self) -> None:
        self.files: defaultdict[str, float] = defaultdict(float)
        self._elsewhere = 0.0

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Count a test with what it sets up and tears down."""
        before = used()
        outcome = yield
        self.files[item.nodeid.partition("::")[0]] += used() - before
        return outcome

    def gather(self, files: Mapping[str, float], commands: float) -> None:
        """Add what a process that this one has forked used for each file, and for forked commands in all."""
        for file, seconds in files.items():
            self.files[file] += seconds
        self._elsewhere += commands

    def spent(self) -> dict[str, float]:
        """Return the seconds by file, and those that belong to none."""
        return {**self.files, ELSEWHERE: used() + self._elsewhere - sum(self.files.values())}


def table(spent: Mapping[str, float], most: int = 40) -> Iterator[str]:
    """Yield lines: all, then each room and the files that cost most."""
    rooms: defaultdict[str, float] = defaultdict(float)
    for file, seconds in spent.items():
        rooms["/".join(file.split("/")[:-1][: 1 + _FOLDERS])] += seconds
    yield f"{sum(spent.values()):8.1f} s of a processor"
    for part in (rooms, {file: seconds for file, seconds in spent.items() if file != ELSEWHERE}):
        costly = sorted(((seconds, name) for name, seconds in part.items()), reverse=True)
        yield from (f"{seconds:8.1f} {name or ELSEWHERE}" for seconds, name in costly[:most])
