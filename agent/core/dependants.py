"""The gateway's other programs that use the set: what is copied for them, and how they take it up. Values only.

A program that follows the links in the state directory and reads them for each connection needs nothing. One that reads
its files at its start alone is reloaded or restarted; one that wants them elsewhere gets a copy; the rest is hooks'.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.frozen import frozen
from agent.core.jsonio import decode, encode
from agent.core.text import printable
from agent.core.values import Id  # noqa: TC001 - the decoder reads the types of `Report`

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

MAX_HOOKS = 16
LONGEST = timedelta(minutes=10)  # all of them together, so that the change is never out of sight for long
MAX_EACH = 128  # copies, signals, and units
MAX_REPORT = 4 * 1024 * 1024  # bytes; more than all of them can have to say
MAX_NAME = 500  # characters of what a dependant is called
MAX_PROBLEM = 500  # and of what is said about it
HOOKS = "hooks"  # what stands in a report for those that cannot be listed
TOLD = 3  # dependants of which a failure says why; of the others it gives the names


class Occasion(StrEnum):
    """Why dependants are served. These words, and those of `Leave`, are all that the agent says to root's helper."""

    ACTIVATED = "activated"  # a change has put another set in use
    ROLLED_BACK = "rolled-back"  # the set before is in use again
    AGAIN = "again"  # a look whether all is as it should be


class Leave(StrEnum):
    """What gates are asked before. The helper takes these words, too."""

    REQUEST = "before-request"  # a certificate is asked for
    ACTIVATION = "before-activation"  # another set is put in use


class UnitAction(StrEnum):
    """What is done to a unit; the words are systemctl's."""

    RELOAD = "reload"
    RESTART = "restart"
    EITHER = "reload-or-restart"


class OnFailure(StrEnum):
    """What becomes of a change when a dependant does not take the new set up."""

    DEGRADE = "degrade"  # it goes on, says so, and the dependant is tried again
    ROLL_BACK = "rollback"


class Content(StrEnum):
    """What a copy holds."""

    KEY = "key"
    CERTIFICATE = "certificate"  # the gateway's own alone
    CHAIN = "chain"  # with what the authority sent along
    PAIR = "key+certificate"  # the key, then the chain
    ANCHORS = "anchors"


class Format(StrEnum):
    """How a copy holds it."""

    PEM = "pem"
    DER = "der"
    PKCS12 = "pkcs12"
    HASHED = "hashed"  # a directory with a file for each anchor, named as OpenSSL looks for them
    SYSTEM = "system"  # the same, named as the system's own store takes them in

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory of files."""
        return self in {Format.HASHED, Format.SYSTEM}


# DER is one object without a frame, and PKCS #12 a box with a key and its certificate, or with anchors.
FORMATS: dict[Format, frozenset[Content]] = {
    Format.PEM: frozenset(Content),
    Format.DER: frozenset({Content.KEY, Content.CERTIFICATE}),
    Format.PKCS12: frozenset({Content.PAIR, Content.ANCHORS}),
    Format.HASHED: frozenset({Content.ANCHORS}),
    Format.SYSTEM: frozenset({Content.ANCHORS}),
}


@frozen
class Verification:
    """How a unit shows that it uses the new set.

    Attributes:
        tls: ``host:port`` at which it must show the new certificate, or empty.
        command: A program that must end with 0, with its arguments; no shell.
        new_process: It must have been started anew, for a program that reads its files at its start alone.
    """

    tls: str = ""
    command: tuple[str, ...] = ()
    new_process: bool = False


@frozen
class Unit:
    """A service of systemd's that uses the set.

    Attributes:
        name: With its suffix, such as ``mosquitto.service``.
        action: What is done to it.
        timeout: How long that and its verification may take.
        healthy: How long it must be up after.
        verify: What it must show.
        on_failure: What becomes of the change when it fails.
    """

    name: str
    action: UnitAction = UnitAction.EITHER
    timeout: timedelta = timedelta(seconds=60)
    healthy: timedelta = timedelta(seconds=3)
    verify: Verification = field(default_factory=Verification)
    on_failure: OnFailure = OnFailure.DEGRADE


class SignalName(StrEnum):
    """A signal that a program may take for news; by the others it would be ended."""

    HUP = "HUP"
    USR1 = "USR1"
    USR2 = "USR2"
    WINCH = "WINCH"


@frozen
class Signal:
    """A program that takes a signal for news of the set, and says in a file which process it is.

    Attributes:
        pid_file: The file.
        process: What the process is called, as ``ps -o comm`` shows; no other is told.
        signal: The signal.
        timeout: How long until it is verified.
        healthy: How long it must be up after.
        verify: What it must show.
        on_failure: What becomes of the change when it fails.
    """

    pid_file: Path
    process: str
    signal: SignalName = SignalName.HUP
    timeout: timedelta = timedelta(seconds=60)
    healthy: timedelta = timedelta(seconds=3)
    verify: Verification = field(default_factory=Verification)
    on_failure: OnFailure = OnFailure.DEGRADE

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return f"signal {self.pid_file}"


@frozen
class Copy:
    """A file that is written for a program which cannot follow the links.

    Attributes:
        to: Where.
        content: What it holds.
        format: How.
        owner: The user it belongs to.
        group: The group.
        mode: Its mode.
        password_file: What a PKCS #12 file is encrypted with: this file's first line.
        heal: Whether it is put back when something else has changed it; not where its program writes to it, too.
        on_failure: What becomes of the change when it cannot be written.
    """

    to: Path
    content: Content
    format: Format = Format.PEM
    owner: str = "root"
    group: str = "root"
    mode: int = 0o600
    password_file: Path | None = None
    heal: bool = True
    on_failure: OnFailure = OnFailure.DEGRADE


@frozen
class Hooks:
    """Executables that are run at each change of the set, in the order of their names.

    Attributes:
        directory: Where they are; they and it belong to root.
        timeout: How long each may take.
        user: Who runs them.
        on_failure: What becomes of the change when one fails.
    """

    directory: Path
    timeout: timedelta = timedelta(seconds=60)
    user: str = "root"
    on_failure: OnFailure = OnFailure.DEGRADE


@frozen
class GateCommands:
    """Executables that are asked before a step of a change; see `agent.core.gates`.

    Attributes:
        directory: Where they are; they and it belong to root.
        timeout: How long each may take.
        user: Who runs them.
        patience: How long they may hold a change.
    """

    directory: Path
    timeout: timedelta = timedelta(seconds=60)
    user: str = "root"
    patience: timedelta = timedelta(days=1)


@frozen
class Dependants:
    """All of them, in the order in which they are served: copies, hooks, signals, units. And what is asked before."""

    copies: tuple[Copy, ...] = ()
    hooks: Hooks
    signals: tuple[Signal, ...] = ()
    units: tuple[Unit, ...] = ()
    gates: GateCommands | None = None


@frozen
class Step:
    """What became of one dependant.

    Attributes:
        name: The dependant: ``copy PATH``, ``hook NAME``, ``signal PATH``, or a unit's name.
        problem: Why it does not use the set, a sentence that names it; empty when it does.
        goes_back: Whether a change is to go back for that.
        untried: Whether nothing was tried, and only a person can change that.
    """

    name: str
    problem: str = ""
    goes_back: bool = False
    untried: bool = field(default=False, metadata={"later": True})


@frozen
class Report:
    """How the dependants stand with a set.

    Attributes:
        at: When they were served.
        generation: The set's generation.
        set: What tells two sets apart, or empty when there is none; see `agent.dependants.export`.
        steps: Each dependant that was come to, in order.
        written: What tells that a copy is right, by its path, where its content alone does not.
        switched: When they were last given another set, oldest first.
        traces: What changes when a copy is written by another program, by its path; see `agent.dependants.copy_looks`.
    """

    at: datetime
    generation: int
    set: Id
    steps: tuple[Step, ...] = ()
    written: Mapping[str, Id] = field(default_factory=dict)
    switched: tuple[datetime, ...] = ()
    traces: Mapping[str, Id] = field(default_factory=dict)

    @property
    def done(self) -> frozenset[str]:
        """The dependants that use the set."""
        return frozenset(step.name for step in self.steps if not step.problem)

    @property
    def problems(self) -> tuple[Step, ...]:
        """Those that do not."""
        return tuple(step for step in self.steps if step.problem)


@frozen
class Served:
    """How the dependants stand, as it is told.

    Attributes:
        generation: The set that they were served last; None when that is not known.
        steps: Each dependant that was come to, in order.
        problem: Why they could not be served, where no step says it, or empty.
    """

    generation: int | None = None
    steps: tuple[Step, ...] = ()
    problem: str = ""


def names_of(dependants: Dependants, hooks: Iterable[str]) -> tuple[str, ...]:
    """Return what each dependant is called in a report, in the order in which they are served.

    Args:
        dependants: What is configured.
        hooks: The names of the hooks that are in its directory.
    """
    copies = (f"copy {copy.to}" for copy in dependants.copies)
    signals = (wanted.name for wanted in dependants.signals)
    named = (*copies, *(f"hook {name}" for name in hooks), *signals, *(unit.name for unit in dependants.units))
    return tuple(printable(name, MAX_NAME) for name in named)  # a file's name may be no text


def encode_report(report: Report) -> bytes:
    """Return the report as one line, without the newline."""
    return encode({
        "at": report.at,
        "generation": report.generation,
        "set": report.set,
        "steps": list(report.steps),
        "written": report.written,
        "switched": list(report.switched),
        **({"traces": report.traces} if report.traces else {}),
    })  # fmt: skip


def decode_report(data: bytes, what: str) -> Report:
    """Return the report of a line.

    Raises:
        PlainError: It is none.
    """
    return decode(data, what, limit=MAX_REPORT).record(Report)


def failure_of(report: Report) -> Failure | None:
    """Return what the report means for the change in flight; None when every dependant uses the set."""
    problems = report.problems
    if not problems:
        return None
    told = [step.problem for step in problems[:TOLD]]
    others = [step.name for step in problems[TOLD:]]
    more = [f"And {len(others)} more: {', '.join(others)}."] if others else []
    failure = trouble(" ".join([*told, *more]), decisive=any(step.goes_back for step in problems))
    if not all(step.untried for step in problems):
        return failure
    return untried(failure)


def untried(failure: Failure, hint: str = "") -> Failure:
    """Return a failure for which nothing was tried, and that only a person can end: no change waits for that.

    Args:
        failure: The failure.
        hint: How it is put right, where its message does not say so.
    """
    remedy = f"{hint} Once that is put right, `sudo iot-cert deploy` serves it.".lstrip()
    return replace(failure, code=Code.UNTRIED, remedy=remedy)


def with_names(failure: Failure, names: Iterable[str]) -> Failure:
    """Return a failure in which no dependant was come to, with the names of all of them."""
    told = ", ".join(names)
    return replace(failure, message=f"{failure.message} Not served: {told}.") if told else failure


def trouble(message: str, remedy: str = "", *, decisive: bool = False) -> Failure:
    """Return the failure of a dependant, or of what serves them."""
    return Failure(
        kind=FailureClass.DEPENDANT,
        code=Code.DEPENDANT,
        message=message,
        remedy=remedy or "`journalctl -u iot-cert-agent-deploy` has what it said.",
        promise="It is tried again.",
        decisive=decisive,
    )
