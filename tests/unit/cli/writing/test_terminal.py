"""What a terminal adds, and how a further command is to be typed."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from agent.cli.writing.terminal import RED, Terminal, call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO


@pytest.fixture(name="screen")
def _screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """Return the stream of a terminal of 80 columns."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        yield stream
    os.close(ours)


def test_a_line_fits_the_terminal(screen: TextIO) -> None:
    """It is broken between words, and goes on below its own column; what has no room is left whole."""
    text = "anchors      " + "word " * 30 + "x" * 100
    lines = Terminal(screen).lines(text, 13)
    assert all(len(line) <= 80 for line in lines[:-1])
    assert all(line.startswith(" " * 13 + "w") for line in lines[1:-1])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert lines[-1] == " " * 13 + "x" * 100
    assert Terminal(screen).lines("", 0) == [""]


def test_where_no_person_looks_nothing_is_added(tmp_path: Path) -> None:
    """What a script reads is the same lines as ever."""
    with (tmp_path / "out").open("w") as file:
        for stream in (file, None):
            assert Terminal(stream).lines("word " * 30, 0) == ["word " * 30]
            assert Terminal(stream).painted("failure", RED) == "failure"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")])
def test_colours_are_for_those_who_want_them(
    screen: TextIO, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """See no-color.org; a terminal that knows none is not given any."""
    assert Terminal(screen).painted("failure", RED) == "\x1b[31mfailure\x1b[0m"
    monkeypatch.setenv(name, value)
    assert Terminal(screen).painted("failure", RED) == "failure"


@pytest.mark.parametrize(
    ("name", "config", "typed"),
    [
        ("/usr/bin/iot-cert", "/etc/c", "iot-cert"),
        ("/usr/bin/iot-cert", "/home/c", "iot-cert --config /home/c"),
        (".venv/bin/iot-cert", "/etc/c", ".venv/bin/iot-cert"),
        (".venv/bin/iot-cert", "/home/a b/it's", ".venv/bin/iot-cert --config '/home/a b/it'\\''s'"),
        ("/opt/x/iot-cert", "/etc/c", "/opt/x/iot-cert"),
        ("/usr/lib/python3/agent/__main__.py", "/etc/c", "iot-cert"),
        ("-c", "/home/c", "iot-cert"),
    ],
)
def test_a_remedy_is_typed_as_this_command_was(
    name: str, config: str, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name where the shell found it by name, and with the configuration in use."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert call(name, config, "/etc/c") == typed


def test_a_screen_is_drawn_over_the_one_before(screen: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line replaces the older one whole; what is below goes, and what has no room is told of by its number."""
    terminal = Terminal(screen)
    assert (terminal.steered, terminal.room) == (True, 23)
    assert terminal.frame(["one", "two"]) == "\x1b[Hone\x1b[K\ntwo\x1b[K\x1b[J"
    drawn = terminal.frame([str(number) for number in range(30)]).split("\n")
    assert (len(drawn), drawn[-2]) == (23, "21\x1b[K")
    assert "and 8 lines" in drawn[-1]
    monkeypatch.setenv("TERM", "dumb")
    assert not Terminal(screen).steered
