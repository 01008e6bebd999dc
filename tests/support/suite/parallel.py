"""A run of the suite in several processes: one reads all tests, and is forked for those that run them.

``--processes N`` asks for it. Reading 16,000 tests takes six seconds of a processor and 270 MB, which processes that
are started one by one (pytest-xdist's) spend each for itself; here they share what the first one has read. That one
runs no test: it hands out units of work, see `support.suite.order`, and tells pytest of each report that it is sent. A
process that ends in the middle of a test fails that test, and another one takes its place.
"""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Pipe, wait
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from support.suite import order, readers, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection
    from pathlib import Path

    Wire = Connection[Any, Any]


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder for temporary files that all processes of a run share."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith(_PREFIX) else base


_PREFIX = "process-"


@dataclass(frozen=True)
class Processes:
    """A plugin of pytest that runs the tests in forked processes.

    Attributes:
        number: How many.
        shared: Returns what a test shares with others, so that one process should run them all, or None.
        counts: Returns what a process has counted, once it has run its last test.
        gather: Takes that, in the first process.
    """

    number: int
    shared: Callable[[pytest.Item], str | None]
    counts: Callable[[], object]
    gather: Callable[[Any], None]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run what has been collected, unless nothing is to be run, which pytest tells by itself."""
        if session.testsfailed or session.config.option.collectonly or not session.items:
            return None
        _factory(session.config).getbasetemp()  # that of all processes
        with readers.shared():
            _Run(session, self).go()
        return True


@dataclass(eq=False)
class _Process:
    """One that runs tests, as the first process knows it.

    Attributes:
        pid: Its process id.
        wire: What it is asked and answers through.
        unit: What it does now, or None.
        done: How many tests of that it has reported.
    """

    pid: int
    wire: Wire
    unit: order.Unit[int] | None = None
    done: int = 0


@dataclass(frozen=True)
class _Fault:
    """What a process says that cannot go on: a fault of the suite's own."""

    text: str


class _Run:
    """The first process's part: it hands out work and hears what comes of it."""

    def __init__(self, session: pytest.Session, plugin: Processes) -> None:
        items = session.items
        found = order.units(
            range(len(items)), lambda place: items[place].nodeid, lambda place: plugin.shared(items[place])
        )
        self._session = session
        self._plugin = plugin
        self._work = order.Work(found, plugin.number)
        self._running: list[_Process] = []
        self._numbers = count()

    def go(self) -> None:
        """Have all tests run."""
        try:
            for _ in range(self._plugin.number):
                self._start()
            while self._running:
                self._hear_all()
        finally:
            self._end()

    def _start(self) -> None:
        number, (ours, theirs) = next(self._numbers), Pipe()
        pid = os.fork()
        if pid == 0:
            for wire in [ours, *(process.wire for process in self._running)]:
                wire.close()  # or this process would outlive the one that reads from it
            _serve(self._session, number, theirs, self._plugin.counts)
        theirs.close()
        process = _Process(pid, ours)
        self._running.append(process)
        self._hand_out(process)

    def _hand_out(self, process: _Process) -> None:
        process.unit, process.done = self._work.take(process.unit), 0
        with suppress(BrokenPipeError):  # it has ended, as the next look finds
            process.wire.send(process.unit and process.unit.items)

    def _hear_all(self) -> None:
        spoken = wait([process.wire for process in self._running])
        for process in [process for process in self._running if process.wire in spoken]:
            try:
                self._take(process, process.wire.recv())
            except (EOFError, ConnectionResetError):
                self._bury(process)
            if self._session.shouldfail:
                raise self._session.Failed(self._session.shouldfail)

    def _take(self, process: _Process, heard: object) -> None:
        if isinstance(heard, _Fault):
            self._session.shouldfail = heard.text
        elif process.unit is None:
            self._plugin.gather(heard)
        else:
            assert isinstance(heard, list)
            _tell(self._session, process.unit.items[process.done], heard)
            process.done += 1
            if process.done == len(process.unit.items):
                self._work.end(process.unit)
                self._hand_out(process)

    def _bury(self, process: _Process) -> None:
        self._running.remove(process)
        process.wire.close()
        _, status = os.waitpid(process.pid, 0)
        how = _how(os.waitstatus_to_exitcode(status))
        if process.unit is not None:
            place, *left = process.unit.items[process.done :]
            self._work.end(process.unit, left)
            _tell_of_end(self._session, place, how)
            self._start()
        elif how:
            self._session.shouldfail = f"A process that ran tests {how}."

    def _end(self) -> None:
        """Have those that still run end after the test that they are at: the run was stopped."""
        for process in self._running:
            with suppress(OSError):
                process.wire.send(None)
        for process in self._running:
            with suppress(EOFError, OSError):
                while True:
                    process.wire.recv()
            os.waitpid(process.pid, 0)
        self._running.clear()


def _factory(config: pytest.Config) -> Any:
    return config._tmp_path_factory  # type: ignore[attr-defined]


def _how(code: int) -> str:
    if code == 0:
        return ""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _tell(session: pytest.Session, place: int, data: Iterable[dict[str, Any]]) -> None:
    hook, item = session.config.hook, session.items[place]
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in data:
        hook.pytest_runtest_logreport(report=hook.pytest_report_from_serializable(config=session.config, data=report))
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _tell_of_end(session: pytest.Session, place: int, how: str) -> None:
    item = session.items[place]
    text = f"The process that ran this test {how or 'ended'}."
    report = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "call")
    session.config.hook.pytest_runtest_logreport(report=report)


# -- a process that runs tests -----------------------------------------------------------------------------------------


class _Recorder:
    """A plugin of pytest that keeps the reports of a test until they are sent."""

    def __init__(self) -> None:
        self.reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)


def _serve(session: pytest.Session, number: int, wire: Wire, counts: Callable[[], object]) -> NoReturn:
    """Run the tests that are asked for, and end this process."""
    code = 1
    try:
        _settle(session.config, number)
        _run(session, wire)
        session._setupstate.teardown_exact(None)
        wire.send(counts())
        code = 0
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # the first process ends too, or has ended
    except BaseException:  # noqa: BLE001 - the first process tells it
        wire.send(_Fault(traceback.format_exc()))
    finally:
        os._exit(code)  # what pytest does at its end is for the first process alone


def _settle(config: pytest.Config, number: int) -> None:
    """Give this process what it does not share: output that is kept apart, and a folder for its files."""
    config.pluginmanager.unregister(name="terminalreporter")
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    factory = _factory(config)
    factory._basetemp = factory.getbasetemp() / f"{_PREFIX}{number}"
    factory._basetemp.mkdir(mode=0o700, exist_ok=True)
    surroundings.take_huge_pages(forked=True)


def _tells(report: pytest.TestReport) -> bool:
    """Whether a report says more than that a setup or a teardown went well: two of three do not."""
    return report.when == "call" or not report.passed


def _run(session: pytest.Session, wire: Wire) -> None:
    hook, option, recorder = session.config.hook, session.config.option, _Recorder()
    every = option.durations is not None or option.xmlpath is not None  # they ask for setups and teardowns too
    session.config.pluginmanager.register(recorder)
    following: Any = session  # after a unit: what its file has is torn down, and what the session has is kept
    while (unit := wire.recv()) is not None:
        tests = [session.items[place] for place in unit]
        for test, after in zip(tests, [*tests[1:], following], strict=True):
            recorder.reports.clear()
            hook.pytest_runtest_protocol(item=test, nextitem=after)
            wire.send(
                [
                    hook.pytest_report_to_serializable(config=session.config, report=report)
                    for report in recorder.reports
                    if every or _tells(report)
                ]
            )
            if wire.poll() and after is not following:
                return
