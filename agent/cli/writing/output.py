"""What a person or a machine reads: lines, or JSON with the same content.

Text from outside (a service's message, a file name) is made printable before it reaches a terminal.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from agent.cli.writing import standard
from agent.cli.writing.terminal import GREEN, RED, YELLOW, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from agent.core.change.progress import Progress
    from agent.errors import AgentError

WIDTH = 12

_COLOURS = {"committed": GREEN, "trouble": RED, "rejected": RED, "rolled-back": RED, "ladder": YELLOW, "wait": YELLOW}


class Shown(NamedTuple):
    """How the gateway stands, ready to be shown: told by its daemon, or found here.

    Attributes:
        document: For machines; see `agent.core.report.document`.
        screen: For people: names and texts.
        exit: The exit code.
        trust: The part of the document that is about the anchors in use.
        why: Why nothing happens, or what is being done, a sentence each.
    """

    document: Mapping[str, object]
    screen: Sequence[tuple[str, str]]
    exit: int
    trust: Mapping[str, object] = {}
    why: Sequence[str] = ()


class Output:
    """One command's output: progress and results on standard output, errors on standard error."""

    def __init__(self, *, as_json: bool, call: str = "iot-cert", beside: bool = False) -> None:
        """Write nothing yet.

        Args:
            as_json: Whether a machine reads.
            call: How a person types this command, with the configuration in use; remedies are given so.
            beside: Whether a result has standard output to itself; what is told goes to standard error then.
        """
        self.as_json = as_json
        self.call = call
        self._say: Callable[[str], None] = standard.complain if beside else standard.say
        self._told = ""  # the last step that was no wait
        self._terminal = Terminal(sys.stderr if beside else sys.stdout)

    def beside_a_result(self, taken: bool) -> Output:  # noqa: FBT001 - it reads as a sentence where it is called
        """Return where to tell of a result: on standard error, when it has itself taken standard output."""
        return Output(as_json=self.as_json, call=self.call, beside=True) if taken else self

    def report(self, progress: Progress) -> None:
        """Show one step of a change; see `agent.ports.Reporter`."""
        if self.as_json:
            from agent.core.jsonio import to_plain  # noqa: PLC0415 - `iot-cert status` is quick without it

            self.emit({"event": "progress", **to_plain(progress)})
        else:
            if progress.code == "trouble" and progress.text == self._told:
                return  # met again at the next try, of which the wait has told
            if progress.code != "wait":
                self._told = progress.text
            head = f"{progress.at:%H:%M:%S}  {progress.code:<{WIDTH}} "
            self._lines(head, progress.text, progress.code, _COLOURS.get(progress.code, ""))
            if progress.code == "wait":
                standard.wait()

    def emit(self, value: Mapping[str, object]) -> None:
        """Print one JSON object on a line of its own."""
        self._say(json.dumps(value, sort_keys=True))

    def line(self, text: str = "") -> None:
        """Print one line."""
        self._lines("", text)

    def tell(self, told: Mapping[str, object], *lines: str) -> None:
        """Print the same for either reader: an object for a machine, lines for a person."""
        if self.as_json:
            self.emit(told)
        else:
            for text in lines:
                self.line(text)

    def field(self, name: str, text: str, *, width: int = WIDTH, colour: str = "") -> None:
        """Print a named value; further lines are indented below it.

        Args:
            name: The name.
            text: The value.
            width: Of the column of names.
            colour: Of the name; see `agent.cli.writing.terminal`.
        """
        for number, part in enumerate(text.splitlines() or [""]):
            if number == 0:
                self._lines(f"{name:<{width}} ", part, name, colour)
            else:
                self._lines(f"{'':<{width}} ", part)

    def show(self, told: Shown) -> None:
        """Print how a gateway stands."""
        if self.as_json:
            self.emit(told.document)
        else:
            self.screen(told.screen)

    def screen(self, fields: Iterable[tuple[str, str]]) -> None:
        """Print how a gateway stands: names and texts."""
        for name, text in fields:
            colour = (GREEN if text == "ok" else RED) if name == "health" else ""
            self.field(name, text, colour=colour)

    @property
    def drawn_on(self) -> bool:
        """Whether a person looks at a terminal on which one screen can replace another."""
        return self._terminal.steered and not self.as_json

    def draw(self, fields: Iterable[tuple[str, str]]) -> None:
        """Print how a gateway stands over what the terminal shows, whose size may have changed."""
        self._terminal = Terminal(sys.stdout)
        drawn: list[str] = []
        say, self._say = self._say, drawn.append
        try:
            self.screen(fields)
        finally:
            self._say = say
        self._say(self._terminal.frame(drawn))

    def note(self, text: str) -> None:
        """Show what is no result, and what a person should know of it."""
        if self.as_json:
            self.emit({"event": "note", "message": text})
        else:
            self.field("note", text)

    def nothing(self, text: str, code: int = 0) -> None:
        """Say that there is nothing to be told: in JSON too, which a program must tell from no answer."""
        self.tell({"event": "nothing", "text": text, "exit": code}, text)

    def error(self, error: AgentError, code: int) -> None:
        """Show an error and what to do about it."""
        if self.as_json:
            self.emit({"event": "error", "message": str(error), "hint": error.hint, "exit": code})
            return
        for text in str(error).splitlines():
            standard.complain(f"iot-cert: {printable(self._typed(text))}")
        if error.hint:
            standard.complain(f"          {printable(self._typed(error.hint))}")

    def _lines(self, head: str, text: str, word: str = "", colour: str = "") -> None:
        """Print a text after a head that may have a word in colour; what does not fit goes on below the text."""
        first, *rest = self._terminal.lines(printable(head + self._typed(text)), len(head))
        self._say(first.replace(word, self._terminal.painted(word, colour), 1) if colour else first)
        for line in rest:
            self._say(line)

    def _typed(self, text: str) -> str:
        """Return a text with its commands as this one was typed."""
        return text.replace("`iot-cert ", f"`{self.call} ")


def printable(text: str) -> str:
    """Return `text` without anything that could steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
