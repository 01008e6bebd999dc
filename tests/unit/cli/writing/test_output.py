"""What a command prints: the same content for a person and for a machine, and nothing that steers a terminal."""

from __future__ import annotations

import json

import pytest

from agent.cli.writing.output import Output, printable
from agent.core.change.progress import Progress
from agent.errors import RefusedError
from support.make import NOW

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


@pytest.mark.parametrize("as_json", [False, True])
def test_the_same_trouble_is_told_a_person_once(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """Waits tell of tries that meet it again; another one, or one after a step, is told. A program gets all."""
    output = Output(as_json=as_json)
    steps = [
        ("trouble", "full"), ("wait", "5 s"), ("trouble", "full"), ("trouble", "broken"), ("trouble", "full"),
        ("active", "2"), ("trouble", "full"),
    ]  # fmt: skip
    for code, text in steps:
        output.report(Progress(at=NOW, change="c-1", code=code, text=text))

    told = [line.split()[-1] for line in capsys.readouterr().out.splitlines()]
    assert len(told) == len(steps) if as_json else told == ["full", "s", "broken", "full", "2", "full"]


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
