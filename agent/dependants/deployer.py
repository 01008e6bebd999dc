"""Serves the dependants: copies, hooks, signals and units, each once for each set, and says what came of it.

The set that it is about to serve is on disk before a program is given it: a crash or a rollback in between can leave
no program on a set that the report does not name. Serving again does only what is left, so a flood reloads nothing.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from agent.core.dependants import (
    HOOKS,
    LONGEST,
    MAX_NAME,
    MAX_PROBLEM,
    Format,
    Leave,
    Occasion,
    OnFailure,
    Report,
    Signal,
    Step,
    Unit,
    encode_report,
    failure_of,
    trouble,
    untried,
    with_names,
)
from agent.core.jsonio import PlainError
from agent.core.text import duration, printable
from agent.dependants import anchor_directories, copies, copy_looks, gates, hooks, signals
from agent.dependants.export import ABOUT, extract
from agent.dependants.report_file import REPORT, SECOND, names, read
from agent.dependants.units import Systemd
from agent.errors import AgentError, CloudError, DamagedError, RefusedError, StoreBusyError, StoreError
from agent.store.files import disk, durable, lock_files
from agent.store.names import CERTIFICATE, CURRENT, KEY, TRUST
from agent.system import clock, descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.core.dependants import Copy, Dependants
    from agent.dependants.export import Extract

Program = TypeVar("Program", Signal, Unit)

LOCK = "lock"
TURN = 60.0  # seconds to wait for another process that serves them
SWITCHING = timedelta(minutes=10)
MAX_SWITCHES = 10  # between sets, within that time
SPACING = timedelta(seconds=3)  # between two of them
OVERTIME = timedelta(seconds=20)  # for the one being served when their time is over; the agent waits a little longer
_MODES = durable.Modes(public_mode=0o644, directory_mode=0o755)  # names and outcomes alone, for `iot-cert status`


class Deployer:
    """Serves dependants in this process; see `agent.dependants.helper` for how an unprivileged agent has it done."""

    def __init__(
        self, dependants: Dependants, state_dir: Path, directory: Path, *, systemd: Systemd | None = None
    ) -> None:
        """Prepare.

        Args:
            dependants: Who.
            state_dir: Where the set is.
            directory: Where the report lies, which belongs to the calling user; made when it is missing.
            systemd: The service manager; None for the machine's.
        """
        self._dependants = dependants
        self._state_dir = state_dir
        self._directory = directory
        self._systemd = systemd or Systemd()

    def take_up(self, occasion: Occasion) -> None:
        """See `agent.ports.Deployment`."""
        try:
            report = self.serve(occasion)
        except AgentError as error:
            unserved = trouble(f"The dependants could not be served: {error}", error.hint)
            unserved = untried(unserved, error.hint) if copies.only_a_person_ends(error) else unserved
            raise CloudError(with_names(unserved, names(self._dependants))) from error
        failure = failure_of(report)
        if failure is not None:
            raise CloudError(failure)

    def serve(self, occasion: Occasion, *, afresh: bool = False) -> Report:
        """Serve each that does not use the set yet, and return how all of them stand.

        Args:
            occasion: Why, for hooks.
            afresh: Whether also those are served that use the set already.

        Raises:
            AgentError: There is no whole set to serve, or the report cannot be written.
        """
        with disk.explained(f"create {self._directory}"), suppress(FileExistsError):  # what it is then, is told below
            self._directory.mkdir(mode=_MODES.directory_mode, parents=True, exist_ok=True)
        with disk.directory(str(self._directory)) as fd, _locked(fd):
            durable.set_mode(fd, _MODES.directory_mode, str(self._directory))  # whatever the umask made of it
            wanted = self._dependants.copies
            given = extract(self._state_dir, wanted, copies.passwords(wanted))
            round_ = _Round(self._dependants, given, _Record(fd, self._directory), self._systemd, afresh=afresh)
            return round_.serve(occasion, self._state_dir)

    def ask(self, leave: Leave) -> Report:
        """See `agent.ports.Gates`."""
        given = extract(self._state_dir, (), {})
        return gates.ask(self._dependants.gates, given, _environment(given, leave, self._state_dir))


class _Record:
    """The report on disk.

    Attributes:
        problem: Why what was to be written is not, in a directory in which nothing may be.
    """

    def __init__(self, directory: int, path: Path) -> None:
        self._directory = directory
        self._path = path
        self.problem = ""

    @property
    def _is_closed(self) -> bool:
        """Whether nothing may be written in the directory, as in one that is immutable."""
        return not os.access(".", os.W_OK, dir_fd=self._directory, effective_ids=True)

    def last(self) -> Report | None:
        """Return the last report, if it can be read, and any set that was served since could be noted."""
        if self._is_closed:
            return None
        try:
            return read(self._directory)
        except (FileNotFoundError, DamagedError, PlainError):
            return None  # all of them are served again, which costs a reload

    def write(self, report: Report) -> Report:
        """Put a report in the place of the last one, unless only a person can make room for it, and return it."""
        try:
            return self._replaced(report)
        except StoreError as error:
            if not self._is_closed or not copies.only_a_person_ends(error):
                raise  # what is served without a note must be known as such the next time
            self.problem = f"How the dependants stand is noted nowhere, {self._path} being closed: {error} {error.hint}"
            return report

    def _replaced(self, report: Report) -> Report:
        """Put a report in the place of the last one, and return it; see `agent.dependants.report_file`."""
        data, second = encode_report(report) + b"\n", disk.exists(self._directory, SECOND)
        if second:  # which is believed until it is gone
            durable.replace(self._directory, SECOND, data, _MODES)
        try:
            durable.replace(self._directory, REPORT, data, _MODES)
        except StoreError as error:
            if not copies.only_a_person_ends(error):
                raise
            if not second:
                durable.replace(self._directory, SECOND, data, _MODES)
        else:
            if second:
                durable.remove(self._directory, SECOND)
        return report


class _Round:
    """One time of serving them all."""

    def __init__(
        self, dependants: Dependants, given: Extract, record: _Record, systemd: Systemd, *, afresh: bool
    ) -> None:
        self._dependants = dependants
        self._given = given
        self._record = record
        self._systemd = systemd
        self._deadline = clock.monotonic() + LONGEST.total_seconds()
        self._last = None if afresh else record.last()
        self._switched = self._last.switched if self._last else ()

    def serve(self, occasion: Occasion, state_dir: Path) -> Report:
        before = self._last if self._last and self._last.set == self._given.set else self._begin()
        wanted = self._dependants.copies
        done = before.done

        def beforehand() -> None:  # a program that read a damaged copy has to read it again, even after a crash
            if done:
                self._record.write(self._report(()))

        files = anchor_directories.unfold(wanted, self._given.copies, self._given.problems)
        written = copies.write(files.copies, files.contents, before.written, files.problems, beforehand=beforehand)
        problems, barred, tidied = anchor_directories.tidy(wanted, files, written)
        done = frozenset() if written.changed or tidied else done
        steps = [self._copied(copy, problems.get(copy.to, ""), done, barred=copy.to in barred) for copy in wanted]
        steps += self._hooks(done, _environment(self._given, occasion, state_dir))
        steps += [self._signal(item, done) for item in self._dependants.signals]
        steps += [self._unit(unit, done) for unit in self._dependants.units]
        steps += [_step(REPORT, self._record.problem, OnFailure.DEGRADE, untried=True)] if self._record.problem else []
        report = replace(self._report(tuple(steps), written.digests), traces=copy_looks.traces(wanted))
        if occasion is Occasion.AGAIN and replace(before, at=report.at) == report and not written.tried:
            return report  # nothing is new, and flash wears out
        return self._record.write(report)

    def _copied(self, copy: Copy, problem: str, done: frozenset[str], *, barred: bool) -> Step:
        name = f"copy {copy.to}"
        if copy.format is Format.SYSTEM and not problem and printable(name, MAX_NAME) not in done:
            return self._tried(name, partial(anchor_directories.take_in, copy), copy.on_failure)
        return _step(name, problem, copy.on_failure, untried=barred)

    def _begin(self) -> Report:
        """Note the set before a program is given it, unless sets come and go faster than any change makes them."""
        now = clock.SystemClock().now()
        recent = [at for at in self._switched if timedelta(0) <= now - at < SWITCHING]
        if len(recent) >= MAX_SWITCHES:
            raise RefusedError(
                f"The set in use has changed {len(recent)} times within {duration(SWITCHING)}, which no rotation does; "
                "other programs are left alone meanwhile.",
                hint="See `iot-cert history` for who does that.",
            )
        if recent:  # systemd refuses to start a unit five times within ten seconds
            clock.sleep(max((recent[-1] + SPACING - now).total_seconds(), 0.0))
        self._switched = (*recent, clock.SystemClock().now())
        return self._record.write(self._report(()))

    def _report(self, steps: tuple[Step, ...], written: Mapping[str, str] | None = None) -> Report:
        now = clock.SystemClock().now()
        return Report(
            at=now,
            generation=self._given.generation,
            set=self._given.set,
            steps=steps,
            written=written or {},
            switched=self._switched,
        )

    def _hooks(self, done: frozenset[str], environment: Mapping[str, str]) -> Iterator[Step]:
        wanted = self._dependants.hooks
        found, problem = hooks.find(wanted.directory)
        if problem:
            is_there = os.access(wanted.directory, os.F_OK)  # else it is a link to what may be mounted yet
            yield _step(HOOKS, problem, wanted.on_failure, untried=is_there)
        for hook in found:
            name = printable(f"hook {hook.name}", MAX_NAME)  # a file's name may be no text
            if name in done:
                yield Step(name=name)
            else:
                yield self._hooked(name, hook, environment)

    def _hooked(self, name: str, hook: Path, environment: Mapping[str, str]) -> Step:
        wanted, not_run = self._dependants.hooks, ""

        def run() -> str:
            nonlocal not_run
            timeout = min(wanted.timeout, self._left() + OVERTIME)
            not_run, failed = hooks.run(hook, wanted.user, timeout.total_seconds(), environment)
            return f"The hook {hook.name} failed: {failed}." if failed else not_run

        problem = self._in_time(name, run)
        return _step(name, problem, wanted.on_failure, untried=bool(not_run))

    def _signal(self, wanted: Signal, done: frozenset[str]) -> Step:
        if printable(wanted.name, MAX_NAME) in done:
            return Step(name=printable(wanted.name, MAX_NAME))
        return self._tried(wanted.name, partial(signals.serve, self._bounded(wanted), self._given), wanted.on_failure)

    def _unit(self, unit: Unit, done: frozenset[str]) -> Step:
        if unit.name in done and self._systemd.is_served(unit, self._given):
            return Step(name=unit.name)
        return self._tried(unit.name, partial(self._order, unit), unit.on_failure)

    def _order(self, unit: Unit) -> str:
        return self._systemd.serve(self._bounded(unit), self._given)

    def _tried(self, name: str, serve: Callable[[], str], on_failure: OnFailure) -> Step:
        try:
            return _step(name, self._in_time(name, serve), on_failure)
        except RefusedError as error:  # only a person can change that
            return _step(name, str(error), on_failure, untried=True)

    def _bounded(self, wanted: Program) -> Program:
        most = self._left() + OVERTIME
        return replace(wanted, timeout=min(wanted.timeout, most), healthy=min(wanted.healthy, most))

    def _left(self) -> timedelta:
        """Return how much is left of the time that they have together."""
        return timedelta(seconds=self._deadline - clock.monotonic())

    def _in_time(self, name: str, serve: Callable[[], str]) -> str:
        if self._left() > timedelta(0):
            return serve()
        return f"{name} was not come to: the others took more than {duration(LONGEST)}."


def _step(name: str, problem: str, on_failure: OnFailure, *, untried: bool = False) -> Step:
    return Step(
        name=printable(name, MAX_NAME),
        problem=printable(problem, MAX_PROBLEM),
        goes_back=bool(problem) and on_failure is OnFailure.ROLL_BACK,
        untried=untried,
    )


def _environment(given: Extract, occasion: Occasion | Leave, state_dir: Path) -> dict[str, str]:
    """Return what a hook is told: where things are and why it runs, and nothing secret."""
    current = state_dir / CURRENT
    about = {f"IOT_CERT_{name}": printable(given.about.get(name, ""), MAX_PROBLEM) for name in ABOUT}
    return {
        **about,
        "IOT_CERT_PHASE": occasion.value,
        "IOT_CERT_GENERATION": str(given.generation),
        "IOT_CERT_THING": given.thing_name,
        "IOT_CERT_CERTIFICATE_ID": given.certificate_id,
        "IOT_CERT_KEY": str(current / KEY),
        "IOT_CERT_CERTIFICATE": str(current / CERTIFICATE),
        "IOT_CERT_ANCHORS": str(current / TRUST),
    }


@contextmanager
def _locked(directory: int) -> Iterator[None]:
    """Be the only one who serves; another waits for its turn."""
    with disk.explained(f"lock {LOCK}"):
        fd = lock_files.opened(directory, LOCK)
    try:
        _wait_for(fd)
        yield
    finally:
        descriptors.release(fd)


def _wait_for(fd: int) -> None:
    end = clock.monotonic() + TURN
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > end:
                hint = "`sudo iot-cert deploy` in another terminal, perhaps stopped?"
                raise StoreBusyError("Another process is serving the dependants.", hint=hint) from None
            clock.sleep(0.05)
        else:
            return
