"""What a verb works with: the command line, the account, the clock, chance, and the operator at the terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from agent.core.frozen import frozen
from agent.fleet.errors import DeniedError
from agent.fleet.tables import table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from dataclasses import Field
    from datetime import datetime

    from agent.cli.writing.output import Output
    from agent.fleet.aws import Fleet


class Row(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@frozen
class OperatorTerminal:
    """The operator's machine.

    Attributes:
        now: The present time.
        chance: Returns a number of random bytes.
        answer: Asks the operator a question and returns what was typed; None where there is no terminal.
        pause: Waits for some seconds.
        progress: Shows how far long work has come, in place of what it showed before.
    """

    now: datetime
    chance: Callable[[int], bytes]
    answer: Callable[[str], str] | None
    pause: Callable[[float], None]
    progress: Callable[[str], None]


@frozen
class OperatorTask(OperatorTerminal):
    """One verb that is carried out, at the operator's terminal.

    Attributes:
        arguments: The command line.
        output: Where results go.
        fleet: The account.
    """

    arguments: argparse.Namespace
    output: Output
    fleet: Fleet

    def show(self, lines: Iterable[str]) -> None:
        """Print lines, where no JSON is wanted."""
        if not self.output.as_json:
            for line in lines:
                self.output.line(line)

    def tell(self, head: Sequence[str], rows: Sequence[Row], whole: Sequence[str] = ()) -> None:
        """Print rows: as a table of the fields that `head` names, or as JSON with a key for each of their fields."""
        if self.output.as_json:
            for row in rows:
                self.output.emit(asdict(row))
        elif rows:
            self.show(table(head, [[_cell(row, name) for name in head] for row in rows], whole))

    def watched(self, items: Iterable[Any], what: str, total: int = 0) -> Iterator[Any]:
        """Yield items while it is shown how many there have been."""
        for number, item in enumerate(items, start=1):
            self.progress(f"{what}: {number}" + (f" of {total}" if total else ""))
            yield item
        self.progress("")

    def confirm(self, question: str, expected: str) -> None:
        """Have the operator type a word before something that cannot be taken back by itself.

        Raises:
            DeniedError: Something else was typed, or there is no terminal and no `--yes`.
        """
        if self.arguments.yes:
            return
        if self.answer is None or self.output.as_json:
            raise DeniedError(f"{question} Nothing was done.", hint="Without a terminal, say so with --yes.")
        if self.answer(f"{question} Type {expected} to go on: ").strip() != expected:
            raise DeniedError("Something else was typed. Nothing was done.")


def _cell(row: Row, name: str) -> str:
    value = getattr(row, name.lower().replace(" ", "_"))
    return "" if value is None else str(value)
