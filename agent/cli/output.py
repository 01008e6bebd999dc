"""What a person or a machine reads: lines, or JSON with the same content.

Text from outside (a service's message, a file name) is made printable before it reaches a terminal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.cli import standard

if TYPE_CHECKING:
    from agent.errors import AgentError
    from agent.ports import Progress

WIDTH = 12


class Output:
    """One command's output: progress and results on standard output, errors on standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def report(self, progress: Progress) -> None:
        """Show one step of a change; see `agent.ports.Reporter`."""
        if self.as_json:
            from agent.core.jsonio import to_plain  # noqa: PLC0415 - `iot-cert status` is quick without it

            self.emit({"event": "progress", **to_plain(progress)})
        else:
            self.line(f"{progress.at:%H:%M:%S}  {progress.code:<{WIDTH}} {progress.text}")

    def emit(self, value: dict[str, Any]) -> None:
        """Print one JSON object on a line of its own."""
        standard.say(json.dumps(value, sort_keys=True))

    def line(self, text: str = "") -> None:
        """Print one line."""
        standard.say(printable(text))

    def field(self, name: str, text: str) -> None:
        """Print a named value; further lines are indented below it."""
        for number, part in enumerate(text.splitlines() or [""]):
            self.line(f"{name if number == 0 else '':<{WIDTH}} {part}")

    def error(self, error: AgentError, code: int) -> None:
        """Show an error and what to do about it."""
        if self.as_json:
            self.emit({"event": "error", "message": str(error), "hint": error.hint, "exit": code})
            return
        for text in str(error).splitlines():
            standard.complain(f"iot-cert: {printable(text)}")
        if error.hint:
            standard.complain(f"          {printable(error.hint)}")


def printable(text: str) -> str:
    """Return `text` without anything that could steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
