"""What a command prints: the same content for a person and for a machine, and nothing that steers a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent.cli.output import Output, printable
from agent.core.change.progress import Progress
from agent.errors import RefusedError
from support.make import NOW

if TYPE_CHECKING:
    import pytest

STEERING = "a\x1b[2Jb\x07"


def test_nothing_from_outside_steers_a_terminal() -> None:
    """Escapes in a file name or a service's message are shown, not obeyed."""
    assert "\x1b" not in printable("a\x1b[2Jb\x07")


def test_a_person_reads_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are on standard error, with what to do; further lines of a value are indented."""
    output = Output(as_json=False)
    output.report(Progress(at=NOW, change="c-1", code="proven", text=STEERING))
    output.field("anchors", "one\ntwo")
    output.field("none", "")
    output.error(RefusedError("It is\nrefused.", hint=f"Wait. {STEERING}"), 4)

    said, told = capsys.readouterr()
    assert said.splitlines() == [
        "12:00:00  proven       a\ufffd[2Jb\ufffd",
        "anchors      one",
        "             two",
        "none         ",
    ]
    assert told.splitlines() == ["iot-cert: It is", "iot-cert: refused.", "          Wait. a\ufffd[2Jb\ufffd"]


def test_a_machine_reads_one_object_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """All of them on standard output, errors too; what would steer a terminal is escaped."""
    output = Output(as_json=True)
    output.report(Progress(at=NOW, change="c-1", code="proven", text=STEERING))
    output.error(RefusedError("It is refused.", hint="Wait."), 4)

    said, told = capsys.readouterr()
    progress, error = map(json.loads, said.splitlines())
    assert (progress["event"], progress["code"], progress["text"]) == ("progress", "proven", STEERING)
    assert error == {"event": "error", "message": "It is refused.", "hint": "Wait.", "exit": 4}
    assert (told, said.isascii(), "\x1b" in said) == ("", True, False)
