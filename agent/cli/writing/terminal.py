"""What a terminal adds: lines that fit it, and colours where they are wanted.

Where no person looks nothing is added: what scripts read is the same lines as ever. It owns what is known of the
terminal, and refuses to decide what is said.
"""

from __future__ import annotations

import io
import os
from typing import TextIO

from agent.core.text import counted, in_shell

GREEN, YELLOW, RED = "32", "33", "31"  # SGR, ECMA-48

_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"  # CUP, EL, ED of ECMA-48

_NARROWEST = 40  # columns; below, a broken line is harder to read than one that the terminal breaks


class Terminal:
    """One stream, as far as a person looks at it.

    Attributes:
        width: Columns, or None where lines are left whole.
        room: Lines, without the one for the cursor.
        steered: Whether it can be drawn on: see terminfo's `dumb`.
        colours: Whether to use any: see https://no-color.org.
    """

    def __init__(self, stream: TextIO | None) -> None:
        size = _size(stream)
        self.width = size and (size.columns or 80)
        self.room = size.lines - 1 if size else 0
        self.steered = self.width is not None and os.environ.get("TERM", "") not in {"", "dumb"}
        self.colours = self.steered and not os.environ.get("NO_COLOR")

    def lines(self, text: str, indent: int) -> list[str]:
        """Return a line as the lines that fit, broken between words; further ones begin below column `indent`."""
        width = self.width
        if width is None or width < max(_NARROWEST, indent + _NARROWEST // 2):
            return [text]
        found = []
        while len(text) > width and (end := text.rfind(" ", indent + 1, width + 1)) > 0:
            found.append(text[:end].rstrip())
            text = " " * indent + text[end:].lstrip()
        return [*found, text]

    def frame(self, lines: list[str]) -> str:
        """Return lines as what draws them over what is shown; the cursor has the last of the terminal's lines.

        What has no room there is left out, and that is said.
        """
        if 1 < self.room < len(lines):
            left = len(lines) - self.room + 1
            lines = [*lines[: self.room - 1], f"... and {counted(left, 'line')} for which the terminal has no room"]
        return _HOME + "\n".join(f"{line}{_REST_OF_LINE}" for line in lines) + _REST_OF_SCREEN

    def painted(self, text: str, colour: str) -> str:
        """Return a text in a colour, or as it is."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and colour and text else text


def _size(stream: TextIO | None) -> os.terminal_size | None:
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, io.UnsupportedOperation):
        return None


def call(name: str, config: str, default: str) -> str:
    """Return how a further command is to be typed, where it was typed as this one was.

    Args:
        name: The name of this program, as it was called.
        config: The configuration in use.
        default: The one that is used without a word.
    """
    folder, _, base = name.rpartition("/")
    if base != "iot-cert":
        return "iot-cert"
    found = base if folder in os.environ.get("PATH", "").split(":") else name
    if config == default:
        return found
    return f"{found} --config {in_shell(config)}"
