"""The verb `check`: the doctor's visit, shown line by line. Exit code by the first failure, which is the cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli import via_daemon
from agent.core.exit_codes import Exit
from agent.core.jsonio import to_plain
from agent.core.report import broker_checks, checks
from agent.core.report.checks import Line, Verdict
from agent.doctor.examination import Doctor
from agent.errors import AgentError, RefusedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent.cli.output import Output
    from agent.config.values import Config
    from agent.ports import Progress

_SUDO = "it needs the key; run it with sudo"


class _Quiet:
    """An examination has nothing to report on the way."""

    def report(self, progress: Progress) -> None:
        """Forget it."""


def carry_out(arguments: argparse.Namespace, output: Output) -> Exit:
    """Visit the gateway and show what was found."""
    lines = _wanted(Doctor(arguments.config, live).visit(), arguments.names or CHECKED)
    code = checks.exit_of(lines)
    for line in lines:
        _show(line, output)
    failed = [line for line in lines if line.verdict is Verdict.FAILURE]
    if output.as_json:
        output.emit({"event": "check", "cause": failed[0].check if failed else None, "exit": code})
    elif len(failed) > 1:
        output.line(f"Begin with {failed[0].check}: it may be the reason of the others.")
    return code


CHECKED = checks.CHECKS


def _wanted(lines: Sequence[Line], names: Sequence[str]) -> list[Line]:
    """Return the lines asked for, and the first failure when it kept one of them from being looked at."""
    blocked = any(line.check in names and line.verdict is Verdict.SKIPPED for line in lines)
    first = next((line.check for line in lines if line.verdict is Verdict.FAILURE), "") if blocked else ""
    return [line for line in lines if line.check in names or line.check == first]


def _show(line: Line, output: Output) -> None:
    if output.as_json:
        output.emit({"event": "line", **to_plain(line)})
        return
    output.line(f"{line.verdict:<9} {line.check:<14} {line.text}")
    if line.remedy and line.verdict is not Verdict.OK:
        output.line(f"{'':<9} {'':<14} {line.remedy}")


def live(config: Config) -> tuple[list[Line], bool | None]:
    """Look at what needs the key: through the daemon where one runs, since the connection is its own, else here."""
    try:
        told = via_daemon.one(config, {"verb": "examine", "no_wait": False})
    except via_daemon.Told as error:
        return [*_as_the_daemon_says(config, error)], True
    except AgentError as error:
        why = f"{error} {error.hint}".rstrip(".")
        runs = None if isinstance(error, RefusedError) else True
        return [checks.skipped(check, why) for check in ("connect", "permissions")], runs
    if told is None:
        return _here(config), False
    return [_line(item) for item in told["lines"]], True


def _line(item: dict[str, str]) -> Line:
    return Line(
        check=item["check"],
        verdict=Verdict(item["verdict"]),
        code=item["code"],
        text=item["text"],
        remedy=item.get("remedy", ""),
        exit=Exit(int(item["exit"])),
    )


def _as_the_daemon_says(config: Config, error: AgentError) -> list[Line]:
    """Return what a user who may only look learns."""
    try:
        status = via_daemon.one(config, {"verb": "status"}) or {}
    except AgentError:
        status = {}
    link = (status.get("document") or {}).get("connection") or {}
    if link.get("rival"):
        return list(broker_checks.of_rival(link["rival"]))
    why = f"{error} {error.hint}".strip().rstrip(".")
    connect = checks.skipped("connect", why)
    if link.get("state") == "up":
        connect = checks.ok("connect", "The daemon is connected.")
    return [connect, checks.skipped("permissions", why)]


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
