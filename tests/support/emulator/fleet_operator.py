"""The fleet's operator before the emulated account: the real command `iot-cert cloud`, in this thread's network."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import StringIO
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from agent.cli.command_line.parser import parse
from agent.cli.writing.output import Output
from agent.errors import AgentError
from agent.fleet import verbs
from agent.fleet.task import OperatorTerminal
from support.emulator.account import PORT, REGION, STACK

if TYPE_CHECKING:
    from collections.abc import Iterator

_SURROUNDINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{PORT}",
}


@dataclass
class Administrator:
    """An operator with the administrator's credentials.

    Attributes:
        pauses: How long the command has waited, in seconds; nothing waits here.
        ahead: How much later it is for the operator.
    """

    pauses: list[float] = field(default_factory=list)
    ahead: timedelta = timedelta(0)

    def runs(self, *words: str) -> tuple[int, str]:
        """Run `iot-cert cloud` with words; return its exit code, and what was printed."""
        arguments = parse(["cloud", *words, "--stack", STACK])
        said = StringIO()
        with _surroundings(), redirect_stdout(said), redirect_stderr(said):
            output = Output(as_json=arguments.json)
            terminal = OperatorTerminal(
                now=datetime.now(UTC).replace(microsecond=0) + self.ahead,
                chance=token_bytes,
                answer=None,
                pause=self.pauses.append,
                progress=lambda _: None,
            )
            try:
                code = int(verbs.run(arguments, output, terminal))
            except AgentError as error:
                code = int(getattr(error, "exit", 1))
                output.error(error, code)
        return code, said.getvalue()

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """Run it with `--json`; return the objects, none where it says that nothing was found."""
        _, said = self.runs(*words, "--json")
        told = [json.loads(line) for line in said.splitlines()]
        return [row for row in told if row.get("event") != "nothing"]


@contextmanager
def _surroundings() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(_SURROUNDINGS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
