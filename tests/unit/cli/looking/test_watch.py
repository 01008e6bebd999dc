"""`status --watch`: drawn again where a person looks, told again where a program reads, and ended by either."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.looking import watch
from agent.cli.writing.output import Output, Shown
from agent.core.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

COMMAND = str(Path(sys.executable).with_name("iot-cert"))


def told(health: str, second: int) -> Shown:
    """Return a look, as the daemon tells it."""
    screen = [("clock", f"12:00:{second:02}"), ("health", health)]
    return Shown({"clock": {"now": second}, "health": [health]}, screen, 1)


LOOKS = [told("ok", 0), told("ok", 1), told("trouble", 2), told("trouble", 3)]


def looks(found: Iterable[Shown], *, then: type[BaseException] | None = None) -> Callable[[], Any]:
    """Return what has one look after the other, and then none, or what it raises then."""
    left = iter(found)

    def look() -> Shown | None:
        item = next(left, None)
        if item is None and then is not None:
            raise then
        return item

    return look


def test_where_no_person_looks_each_change_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """The clock alone is none. Without a further look it is another's turn, as when the daemon has gone."""
    assert watch.watch(looks(LOOKS), Output(as_json=False), pause=0) is None
    assert capfd.readouterr().out.splitlines() == [
        "clock        12:00:00", "health       ok", "", "clock        12:00:02", "health       trouble",
    ]  # fmt: skip


def test_a_program_reads_a_document_for_each_change(capfd: pytest.CaptureFixture[str]) -> None:
    """One a line, and nothing else, after Ctrl-C too."""
    assert watch.watch(looks(LOOKS, then=KeyboardInterrupt), Output(as_json=True), pause=0) == Exit.INTERRUPTED
    said = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert said == [LOOKS[0].document, LOOKS[2].document]


def test_it_ends_with_its_reader() -> None:
    """`| head -1` has seen enough: nothing is asked for a reader that has left, even if nothing changes any more."""
    script = (
        "import sys\nfrom agent.cli.writing.output import Output, Shown\nfrom agent.cli.looking.watch import watch\n"
        "look = Shown({}, [('health', 'ok')], 1)\n"
        "sys.exit(watch(lambda: look, Output(as_json=False), pause=600_000))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "health       ok\n"
    process.stdout.close()
    assert process.wait(60) == 1


def test_ctrl_c_at_a_terminal_ends_it_quietly(tmp_path: Path) -> None:
    """The real command, without a daemon: the screen is drawn over, and no complaint follows it."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"endpoint: a1b2c3-ats.iot.eu-west-1.amazonaws.com\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}/run\n"
        "thing_name: gw-0042\n"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    line = [COMMAND, "--config", str(config), "status", "--watch"]
    process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    while shown.count(b"\x1b[H") < 2 or not shown.endswith(b"\x1b[J\r\n"):
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == Exit.INTERRUPTED
    shown += os.read(ours, 4096)
    os.close(ours)
    assert b"gateway      gw-0042" in shown or b"not enrolled" in shown
    assert b"Stopped" not in shown
    assert b"still at work" not in shown
