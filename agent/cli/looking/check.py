"""The verb `check`: the doctor's visit, shown line by line. Exit code by the first failure, which is the cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.carrying import via_daemon
from agent.cli.writing.terminal import GREEN, RED, YELLOW
from agent.core.control_protocol import ControlRequest, ExaminationMessage, StatusMessage
from agent.core.jsonio import to_plain
from agent.core.report import broker_checks, checks
from agent.core.report.checks import Line, Verdict
from agent.core.report.document import connection_in, findings_in
from agent.core.report.known import ConnectionState
from agent.doctor.examination import DaemonWord, Doctor
from agent.errors import AgentError, RefusedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.change.progress import Progress
    from agent.core.exit_codes import Exit

_SUDO = "it needs the key; run it with sudo"


_COLOURS = {Verdict.OK: GREEN, Verdict.WARNING: YELLOW, Verdict.FAILURE: RED, Verdict.SKIPPED: ""}


class _Quiet:
    """An examination has nothing to report on the way."""

    def report(self, progress: Progress) -> None:
        """Forget it."""


def carry_out(arguments: argparse.Namespace, output: Output) -> Exit:
    """Visit the gateway and show what is found, as it is found."""
    doctor = Doctor(arguments.config, live)
    if arguments.names:
        lines = _wanted(doctor.visit(arguments.names), arguments.names)
        for line in lines:
            _show(line, output)
    else:
        lines = list(doctor.visit(tell=lambda line: _show(line, output)))
    code = checks.exit_of(lines)
    failed = [line for line in lines if line.verdict is Verdict.FAILURE]
    if output.as_json:
        output.emit({"event": "check", "cause": failed[0].check if failed else None, "exit": code})
    elif len(failed) > 1:
        output.line(f"Begin with {failed[0].check}: it may be the reason of the others.")
    return code


def _wanted(lines: Sequence[Line], names: Sequence[str]) -> list[Line]:
    """Return the lines asked for, and the first failure when it kept one of them from being looked at."""
    blocked = any(line.check in names and line.verdict is Verdict.SKIPPED for line in lines)
    first = next((line.check for line in lines if line.verdict is Verdict.FAILURE), "") if blocked else ""
    return [line for line in lines if line.check in names or line.check == first]


def _show(line: Line, output: Output) -> None:
    if output.as_json:
        output.emit({"event": "line", **to_plain(line)})
        return
    remedy = f"\n{line.remedy}" if line.remedy and line.verdict is not Verdict.OK else ""
    output.field(f"{line.verdict:<9} {line.check}", f"{line.text}{remedy}", width=24, colour=_COLOURS[line.verdict])


def live(config: Config, known: DaemonWord | None) -> DaemonWord:
    """Ask the daemon how it stands; or, once that is known, have what needs the key looked at.

    Args:
        config: The configuration.
        known: How it stands. The daemon looks, whose the connection is; without one this process does.
    """
    try:
        word = _examined(config) if known else _told(config)
    except via_daemon.ToldError as error:
        return _as_the_daemon_says(known, error)
    except RefusedError as error:
        return DaemonWord(lines=_skipped(error), runs=None)
    except AgentError as error:
        text = f"A daemon is to run, and it cannot be asked: {error}"
        return DaemonWord(
            lines=(*_skipped(error), checks.failure("daemon", "daemon-silent", text, error.hint)), runs=True
        )
    return word or DaemonWord(lines=tuple(_here(config)) if known else ())


def _told(config: Config) -> DaemonWord | None:
    answer = via_daemon.one(config, ControlRequest(verb="status"), StatusMessage)
    if answer is None:
        return None
    document = answer.document
    return DaemonWord(runs=True, findings=findings_in(document), connection=connection_in(document))


def _examined(config: Config) -> DaemonWord | None:
    answer = via_daemon.one(config, ControlRequest(verb="examine"), ExaminationMessage)
    return DaemonWord(lines=answer.lines, runs=True) if answer is not None else None


def _skipped(error: AgentError) -> tuple[Line, ...]:
    why = error.in_full.rstrip(".")
    return tuple(checks.skipped(check, why) for check in ("connect", "permissions"))


def _as_the_daemon_says(known: DaemonWord | None, error: AgentError) -> DaemonWord:
    """Return what a user who may only look learns."""
    link = known.connection if known else None
    if link and link.rival:
        return DaemonWord(lines=broker_checks.of_rival(link.rival), runs=True)
    connect, permissions = _skipped(error)
    if link and link.state is ConnectionState.UP:
        connect = checks.ok("connect", "The daemon is connected.")
    return DaemonWord(lines=(connect, permissions), runs=True)


def _here(config: Config) -> list[Line]:
    from agent.operations.wiring import open_parts  # noqa: PLC0415 - it brings the SDK along

    try:
        via_daemon.stay_out(config)
        with open_parts(config, _Quiet()) as parts:
            found = parts.change.examiner.examine()
    except AgentError as error:
        why = str(error).rstrip(".") or _SUDO
        return [checks.skipped(check, why) for check in ("connect", "permissions")]
    if found.connected is not None:
        return [broker_checks.of_connection(found)]
    return [broker_checks.of_connection(found), broker_checks.of_permissions(found)]
