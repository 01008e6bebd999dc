"""A person at a terminal is told that a command is at work, once it has said nothing for two seconds."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from agent.cli.writing import silence, standard

if TYPE_CHECKING:
    import pytest

QUIET = "import signal, sys\nfrom agent.cli.writing import silence\nsilence.SECOND = 0.01\nsilence.end()\n"


def seconds(counted: silence.Silence, number: int) -> list[str]:
    """Let seconds pass, and return what was said meanwhile."""
    return [said for _ in range(number) if (said := counted.second())]


def test_the_second_silent_second_is_ended_and_each_thirtieth(capsys: pytest.CaptureFixture[str]) -> None:
    """A new line begins a new silence."""
    counted = silence.Silence()
    standard.say("begun")
    assert seconds(counted, 29) == ["          still at work after 2 s"]
    assert seconds(counted, 2) == ["          still at work after 30 s"]
    standard.say("next")
    assert seconds(counted, 2) == ["          still at work after 33 s"]
    assert capsys.readouterr().out == "begun\nnext\n"


def test_a_wait_that_was_announced_is_no_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """Ten minutes of probation are one line."""
    counted = silence.Silence()
    standard.say("on probation")
    standard.wait()
    assert seconds(counted, 100) == []
    standard.say("over")
    assert len(seconds(counted, 5)) == 1
    assert "over" in capsys.readouterr().out


def test_at_a_terminal_a_signal_asks_and_a_pipe_is_left_alone() -> None:
    """Whatever the command is blocked in goes on afterwards."""
    script = QUIET + "signal.sigtimedwait([signal.SIGUSR1], 0.5)\nsilence.over()\n"
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=theirs, check=False)
    os.close(theirs)
    assert done.returncode == 0
    assert b"still at work after 2 s" in os.read(ours, 4096)
    os.close(ours)
    piped = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
