"""The verb `report`: one page of HTML about this gateway, with nothing in it that must stay here.

What is told is what the verbs that look tell. Each text is searched for every secret that this gateway has before it
becomes part of the page, as for the support bundle. What could not be had is said on the page.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from agent.cli import output_file, status, support
from agent.core.exit_codes import Exit
from agent.core.jsonio import decode
from agent.core.report.checks import Line
from agent.core.report.page import Found, page
from agent.core.values import MAX_TEXT
from agent.errors import AgentError
from agent.store import durable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

    from agent.cli.output import Output
    from agent.config.values import Config


def carry_out(config: Config, arguments: argparse.Namespace, output: Output) -> Exit:
    """Write the page and say where it is.

    Raises:
        AgentError: It could not be written, or not even the status could be had.
    """
    target: Path = arguments.html
    output_file.require_usable(target)
    found = _found(config)
    taken = output_file.write(target, page(found).encode(), durable.Modes())
    output, where = output.beside_a_result(taken), output_file.shown(target)
    if output.as_json:
        output.emit({"event": "report", "file": where, "missing": dict(found.missing), "exit": Exit.DONE})
    else:
        output.line(f"{where}: one page, without keys, tokens and passwords.")
        for name, why in found.missing:
            output.field("missing", f"{name}: {why}")
    return Exit.DONE


def _found(config: Config) -> Found:
    told, parts = status.look(config), _Parts()
    lines = parts.had("the doctor's visit", lambda: tuple(map(_line, support.check_apart(config).splitlines())))
    history = parts.had("history", lambda: status.records(config))
    secrets = list(support.secrets_of(config))
    return Found(
        document=_scrubbed(told.document, secrets),
        screen=_scrubbed(told.screen, secrets),
        lines=_scrubbed(lines, secrets),
        history=_scrubbed(history, secrets),
        missing=_scrubbed(parts.missing, secrets),
    )


def _line(line: bytes) -> Line:
    return decode(line, "the doctor's line", limit=MAX_TEXT).record(Line)


T = TypeVar("T")


@dataclass
class _Parts:
    """What the page consists of besides the status.

    Attributes:
        missing: What could not be had, and why.
    """

    missing: list[tuple[str, str]] = field(default_factory=list)

    def had(self, name: str, source: Callable[[], tuple[T, ...]]) -> tuple[T, ...]:
        """Return a part, or nothing where it cannot be had."""
        try:
            return source()
        except (AgentError, OSError, subprocess.SubprocessError) as error:
            self.missing.append((name, str(error).split("\n", maxsplit=1)[0][:200] or type(error).__name__))
            return ()


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
