"""The verb `report`: one page of HTML about this gateway, with nothing in it that must stay here.

What is told is what the verbs that look tell. Each text is searched for every secret that this gateway has before it
becomes part of the page, as for the support bundle. What could not be had is said on the page.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from agent.cli.looking import status, support
from agent.cli.writing import output_file
from agent.core.exit_codes import Exit
from agent.core.jsonio import decode
from agent.core.report.checks import Line
from agent.core.report.page import Found, page
from agent.core.values import MAX_TEXT

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.core.change.lifecycle import ChangeRecord


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Write the page and say where it is.

    Raises:
        AgentError: It could not be written, or not even the status could be had.
    """
    target: Path = arguments.html
    output_file.require_usable(target)
    found = _found(config)
    support.deliver("report", target, page(found).encode(), "one page", dict(found.missing), output)
    return Exit.DONE


def _found(config: Config) -> Found:
    told, missing = status.look(config), dict[str, str]()
    lines: tuple[Line, ...] = ()
    history: tuple[ChangeRecord, ...] = ()
    with support.noting(missing, "the doctor's visit"):
        lines = tuple(map(_line, support.check_apart(config).splitlines()))
    with support.noting(missing, "history"):
        history = status.records(config)
    secrets = list(support.secrets_of(config))
    return Found(
        document=_scrubbed(told.document, secrets),
        screen=_scrubbed(told.screen, secrets),
        lines=_scrubbed(lines, secrets),
        history=_scrubbed(history, secrets),
        missing=_scrubbed(tuple(missing.items()), secrets),
    )


def _line(line: bytes) -> Line:
    return decode(line, "the doctor's line", limit=MAX_TEXT).record(Line)


def _scrubbed(value: Any, secrets: list[bytes]) -> Any:
    """Return a value without any secret in its texts."""
    match value:
        case StrEnum():
            return value
        case str():
            return support.scrubbed(value.encode(), secrets).decode(errors="replace")
        case dict():
            return {key: _scrubbed(item, secrets) for key, item in value.items()}
        case list() | tuple():
            return [_scrubbed(item, secrets) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            texts = {item.name: _scrubbed(getattr(value, item.name), secrets) for item in fields(value)}
            return replace(value, **texts)
        case _:
            return value
